//! The bars above the list. Dragging over them sets the time.

use dioxus::prelude::*;

use super::{chart::Chart, icon::Icon};
use crate::{
    browser::{self, Abort},
    client::Session,
    histogram::{Histogram, ask, span},
    plot::Look,
    range::Range,
    scale::Unit,
    settings::zone,
    state::{Catalog, Pulse},
    value::{duration, grouped},
};

#[component]
pub(crate) fn Bars(filter: String, range: Range, onrange: EventHandler<Range>) -> Element {
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let pulse = use_context::<Pulse>();
    let mut known = use_signal(|| None::<Result<Histogram, String>>);
    let mut is_shown = use_signal(|| browser::remembered(SHOWN).as_deref() != Some("no"));
    let mut turn = use_signal(|| 0_u64);
    use_effect(use_reactive((&filter, &range), move |(filter, range)| {
        let mine = *turn.peek() + 1;
        turn.set(mine);
        if !is_shown() {
            return;
        }
        spawn(async move {
            let mut last = None;
            while *turn.peek() == mine {
                let workers = pulse
                    .workers
                    .peek()
                    .as_ref()
                    .and_then(|it| it.as_ref().ok())
                    .map(|it| it.workers.clone());
                let is_ready = !catalog.tables.peek().is_empty();
                let span = workers.and_then(|workers| span(&range, &workers, browser::now_ms()));
                let Some(span) = span.filter(|_| is_ready) else {
                    browser::sleep(SOON_MS).await;
                    continue;
                };
                // of a time that does not move nothing new comes
                if (last != Some(span) || range.is_live()) && !browser::is_hidden() {
                    let tables = catalog.tables.peek().clone();
                    last = Some(span);
                    let begun = browser::now_ms();
                    let answer = ask(session, &filter, &tables, span, &Abort::new()).await;
                    if *turn.peek() != mine {
                        return;
                    }
                    let answer = answer.map_err(|failure| failure.error().to_string());
                    if known.peek().as_ref() != Some(&answer) {
                        known.set(Some(answer));
                    }
                    // what is dear to count is counted seldom
                    let took = browser::now_ms() - begun;
                    browser::sleep((took * 10.0).min(MOST_MS) as u32).await;
                }
                browser::sleep(AGAIN_MS).await;
            }
        });
    }));
    use_drop(move || {
        let mut turn = turn;
        turn += 1;
    });
    let zone = zone();
    let label = range.label(zone);
    let fold = if is_shown() { "down" } else { "right" };
    let state = known.read();
    let zoomed = {
        let range = range.clone();
        let span = match &*state {
            Some(Ok(it)) => Some((it.low, it.high)),
            _ => None,
        };
        move |_| {
            // twice as much time, around the same middle
            let Some((low, high)) = span else { return };
            let half = (high - low) / 2;
            let wider = Range::between(low.saturating_sub(half), high.saturating_add(half));
            if range != wider {
                onrange.call(wider);
            }
        }
    };
    rsx! {
        section { class: if is_shown() { "histogram" } else { "histogram folded" }, "aria-label": "rows over time", "data-testid": "histogram",
            div { class: "bar",
                button { class: "bare", "aria-expanded": is_shown(), title: "show or hide the histogram", "aria-label": "histogram",
                    onclick: move |_| {
                        let now = !is_shown();
                        browser::remember(SHOWN, if now { "yes" } else { "no" });
                        is_shown.set(now);
                    },
                    Icon { name: fold }
                }
                b { "{label}" }
                if let (Some(Ok(bars)), true) = (&*state, is_shown()) {
                    span { class: "fact", b { "{grouped(bars.rows())}" } " rows" }
                    if bars.failed() > 0 {
                        span { class: "fact bad", b { "{grouped(bars.failed())}" } " failed ({Unit::Percent.show(bars.failed() as f64 * 100.0 / bars.rows().max(1) as f64)})" }
                    }
                    span { class: "fact", "bars of {duration(bars.step)}" }
                    if bars.is_cut {
                        span { class: "fact warn", title: "this filter looks into a protocol's own columns and is counted from its newest rows", "only the newest rows are counted" }
                    }
                }
                span { class: "tools",
                    span { class: "keys", "drag over the bars to set the time" }
                    if !range.is_all() {
                        button { class: "tool", "data-testid": "range-wider", title: "twice as much time", onclick: zoomed, Icon { name: "zoom-out" } "Wider" }
                        button { class: "tool", "data-testid": "range-all", onclick: move |_| onrange.call(Range::default()), Icon { name: "close" } "Any time" }
                    }
                }
            }
            if is_shown() {
                match &*state {
                    None => rsx! { div { class: "chart wait", role: "status", "Counting…" } },
                    Some(Err(why)) => rsx! { div { class: "chart wait bad", role: "alert", "The rows could not be counted: {why}" } },
                    Some(Ok(bars)) => rsx! {
                        Chart { plot: bars.plot(), look: Look::Bars, stacked: true, label: "rows over time, those that failed apart",
                            onbrush: {
                                let step = bars.step;
                                move |(from, to): (f64, f64)| {
                                    // to whole bars: what is seen is what is meant
                                    let from = (from as i64).div_euclid(step) * step;
                                    let to = ((to as i64).div_euclid(step) + 1) * step;
                                    onrange.call(Range::between(from, to));
                                }
                            }
                        }
                    },
                }
            }
        }
    }
}

const SHOWN: &str = "kubeshark.histogram";
const SOON_MS: u32 = 300;
const AGAIN_MS: u32 = 5_000;
const MOST_MS: f64 = 120_000.0;
