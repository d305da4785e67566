//! Rows of an answer, drawn as somebody chose.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use dioxus::prelude::*;

use super::{
    chart::{Chart, Single},
    heat_map::HeatMap,
};
use crate::{
    plot::{Look, plot},
    scale::Unit,
    settings::zone,
};

/// Rows that are drawn; equal if they are the same.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    /// Tells answers apart.
    pub(crate) turn: u64,
}

impl PartialEq for Drawn {
    fn eq(&self, other: &Self) -> bool {
        self.turn == other.turn
    }
}

#[component]
pub(crate) fn Figure(
    rows: Drawn,
    look: Look,
    unit: Option<Unit>,
    #[props(default)] stacked: bool,
    label: String,
    /// The time asked about: the axis shows all of it, also where nothing was.
    span: Option<(i64, i64)>,
    onbrush: Option<EventHandler<(f64, f64)>>,
) -> Element {
    let drawn = plot(&rows.schema, &rows.batches, look, zone());
    match drawn {
        Err(why) => rsx! {
            div { class: "chart wait", role: "status",
                if rows.batches.iter().all(|batch| batch.num_rows() == 0) { "No rows in this time" } else { "{why}" }
            }
        },
        Ok(mut plot) => {
            if let Some(unit) = unit {
                plot.unit = unit;
            }
            let is_time = plot.across == crate::plot::Across::Time;
            if let Some((low, high)) = span.filter(|_| is_time) {
                plot.span = Some((low as f64, high as f64));
            }
            if look == Look::Single {
                return rsx! { Single { plot } };
            }
            let onbrush = onbrush.filter(|_| is_time);
            if look == Look::Heat {
                return rsx! { HeatMap { plot, label, onbrush } };
            }
            rsx! { Chart { plot, look, stacked, label, legend: true, onbrush } }
        }
    }
}

/// The choice of looks.
#[component]
pub(crate) fn Looks(look: Look, onchoose: EventHandler<Look>) -> Element {
    rsx! {
        div { class: "segments", role: "group", "aria-label": "how to show it",
            for it in Look::ALL {
                button { r#type: "button", class: if it == look { "on" } else { "" }, "aria-pressed": it == look, "data-testid": "look-{it.name()}", onclick: move |_| onchoose.call(it), "{it.name()}" }
            }
        }
    }
}
