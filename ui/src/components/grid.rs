//! Rows of any answer as a table; only what is in view is in the document.

use std::rc::Rc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use dioxus::prelude::*;

use super::record::Shown;
use crate::{
    settings::zone,
    value::{is_number, kind, read, shown},
};

/// The rows of an answer, shared.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    batches: Rc<Vec<(usize, RecordBatch)>>,
    pub(crate) count: usize,
    /// Of each column, in characters.
    widths: Rc<Vec<usize>>,
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.batches, &other.batches)
    }
}

impl Rows {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let mut count = 0;
        let mut placed = Vec::with_capacity(batches.len());
        for batch in batches {
            let rows = batch.num_rows();
            placed.push((count, batch));
            count += rows;
        }
        let mut rows = Self { schema, batches: Rc::new(placed), count, widths: Rc::default() };
        let widths = (0..rows.schema.fields().len()).map(|column| rows.width(column)).collect();
        rows.widths = Rc::new(widths);
        rows
    }

    pub(crate) fn get(&self, number: usize) -> Option<Shown> {
        let after = self.batches.partition_point(|(start, _)| *start <= number);
        let (start, batch) = self.batches.get(after.checked_sub(1)?)?;
        (number - start < batch.num_rows())
            .then(|| Shown { batch: batch.clone(), at: number - start })
    }

    /// As wide as its name and its first values need, within reason.
    fn width(&self, column: usize) -> usize {
        let Some(field) = self.schema.fields().get(column) else { return 0 };
        let lengths =
            (0..self.count.min(SAMPLE)).filter_map(|number| self.get(number)).map(|row| {
                row.batch
                    .columns()
                    .get(column)
                    .map_or(0, |cells| shown(&read(cells, row.at), kind(field), 0).chars().count())
            });
        lengths.max().unwrap_or_default().max(field.name().chars().count()).clamp(4, 60) + 3
    }
}

#[component]
pub(crate) fn Grid(
    rows: Rows,
    open: Option<usize>,
    onopen: EventHandler<usize>,
    #[props(default = "results")] id: &'static str,
) -> Element {
    let zone = zone();
    let mut scroll = use_signal(|| 0.0_f64);
    let mut height = use_signal(|| 800.0_f64);
    let fields = rows.schema.fields();
    let columns =
        rows.widths.iter().map(|width| format!("{width}ch")).collect::<Vec<_>>().join(" ");
    let first = ((scroll() / ROW) as usize).min(rows.count);
    let last = (first + (height() / ROW) as usize + 3).min(rows.count);
    rsx! {
        div { class: "grid", role: "table", "aria-label": "result", "aria-rowcount": "{rows.count}", id, "data-testid": "results", tabindex: 0,
            onscroll: move |event| scroll.set(event.scroll_top()),
            onresize: move |event| {
                if let Ok(size) = event.get_content_box_size() {
                    height.set(size.height);
                }
            },
            div { class: "cells head", role: "row", grid_template_columns: "{columns}",
                for field in fields.iter() {
                    span { role: "columnheader", class: if is_number(field) { "right" } else { "" },
                        title: field.metadata().get("doc").cloned(), "{field.name()}" }
                }
            }
            div { class: "all", height: "{rows.count as f64 * ROW}px",
                div { class: "seen", transform: "translateY({first as f64 * ROW}px)",
                    for number in first..last {
                        if let Some(row) = rows.get(number) {
                            div { class: if open == Some(number) { "cells open" } else { "cells" }, role: "row", "data-testid": "result-row",
                                grid_template_columns: "{columns}", onclick: move |_| onopen.call(number),
                                for (field , column) in fields.iter().zip(row.batch.columns()) {
                                    {
                                        let value = read(column, row.at);
                                        let text = shown(&value, kind(field), zone);
                                        let class = match (&value, is_number(field)) {
                                            (crate::value::Value::Null, true) => "right null",
                                            (crate::value::Value::Null, false) => "null",
                                            (_, true) => "right",
                                            (_, false) => "",
                                        };
                                        let text = if matches!(value, crate::value::Value::Null) { "null".to_owned() } else { text };
                                        rsx! { span { role: "cell", class, "{text}" } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

const ROW: f64 = 24.0;
const SAMPLE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn rows_are_found_across_batches() {
        let batch = fixture::traffic(3);
        let rows = Rows::new(
            batch.schema(),
            vec![batch.clone(), fixture::traffic(0), fixture::traffic(4)],
        );
        assert_eq!(rows.count, 7);
        let at = |number| rows.get(number).map(|row| (row.batch.num_rows(), row.at));
        assert_eq!(
            [at(0), at(2), at(3), at(6), at(7)],
            [Some((3, 0)), Some((3, 2)), Some((4, 0)), Some((4, 3)), None]
        );
    }

    #[test]
    fn a_table_shows_what_its_kinds_mean() {
        let batch = fixture::gopher();
        let rows = Rows::new(batch.schema(), vec![batch]);
        #[component]
        fn Show(rows: Rows) -> Element {
            let onopen = use_callback(|_: usize| {});
            rsx! { Grid { rows, open: None, onopen } }
        }
        let mut dom = VirtualDom::new_with_props(Show, ShowProps { rows });
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        for part in ["2026-11-22 10:04:52", "1.23 ms", "accept: text/plain", "What duration says."]
        {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("<script>"), "{html}");
    }
}
