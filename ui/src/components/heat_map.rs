//! A heat map, drawn as SVG: one path for each shade. What lies under the pointer is told beside it.

use dioxus::prelude::*;

use crate::{
    heat::{Heat, SHADES},
    plot::{Across, Plot},
    scale,
    settings::zone,
    value::time,
};

#[component]
pub(crate) fn HeatMap(
    plot: Plot,
    label: String,
    /// Takes the ends of a stretch that was marked, in the numbers of the horizontal axis.
    onbrush: Option<EventHandler<(f64, f64)>>,
) -> Element {
    let mut size = use_signal(|| (800.0_f64, 260.0_f64));
    let mut pointer = use_signal(|| None::<(f64, f64)>);
    let mut pressed = use_signal(|| None::<f64>);
    let zone = zone();
    let (width, height) = size();
    let longest = |rows: &[String]| rows.iter().map(|it| it.chars().count()).max().unwrap_or(0);
    let names: Vec<String> = plot.series.iter().map(|it| it.name.clone()).collect();
    let left = (longest(&names).clamp(8, 24) as f64 * 6.4 + 16.0).min(width / 2.0);
    let (top, right, bottom) = (8.0, width - 10.0, (height - 22.0).max(30.0));
    let heat = Heat::new(&plot, right - left);
    let (wide, high) =
        ((right - left) / heat.columns as f64, (bottom - top) / heat.rows.len().max(1) as f64);
    let mut paths = vec![String::new(); SHADES + 1];
    for row in 0..heat.rows.len() {
        for column in 0..heat.columns {
            let Some(value) = heat.cell(column, row) else { continue };
            let (x, y) = (left + column as f64 * wide, bottom - (row + 1) as f64 * high);
            let (gap_x, gap_y) =
                (if wide > 5.0 { 1.0 } else { 0.0 }, if high > 5.0 { 1.0 } else { 0.0 });
            if let Some(path) = paths.get_mut(heat.shade(value)) {
                path.push_str(&format!(
                    "M{x:.1} {y:.1}h{:.1}v{:.1}h-{:.1}z",
                    wide - gap_x,
                    high - gap_y,
                    wide - gap_x
                ));
            }
        }
    }
    let every = (13.0 / high).ceil().max(1.0) as usize;
    let across: Vec<(f64, String)> = {
        let x = |value: f64| {
            left + (value - heat.span.0) / (heat.span.1 - heat.span.0) * (right - left)
        };
        let count = ((right - left) / 90.0).max(1.0) as usize;
        let ticks: Vec<(f64, String)> = match &plot.across {
            Across::Time => scale::moments(heat.span.0 as i64, heat.span.1 as i64, count, zone)
                .into_iter()
                .map(|(ns, text)| (ns as f64, text))
                .collect(),
            Across::Number(unit) => scale::ticks(heat.span.0, heat.span.1, count, *unit)
                .into_iter()
                .map(|tick| (tick, unit.show(tick)))
                .collect(),
            Across::Names(names) => {
                let every = (70.0 / wide).ceil().max(1.0) as usize;
                let most = (wide * every as f64 / 6.4).max(3.0) as usize;
                names
                    .iter()
                    .enumerate()
                    .step_by(every)
                    .map(|(at, name)| (at as f64, cut(name, most)))
                    .collect()
            }
        };
        ticks
            .into_iter()
            .map(|(value, text)| (x(value), text))
            .filter(|(x, _)| *x >= left && *x <= right - 8.0)
            .collect()
    };
    let span = heat.span;
    // what a place across stands for
    let value = move |x: f64| {
        let part = ((x - left) / (right - left)).clamp(0.0, 1.0);
        span.0 + part * (span.1 - span.0)
    };
    let (columns, rows) = (heat.columns, heat.rows.clone());
    let tip = pointer().and_then(|(x, y)| {
        if x < left || x >= right || y < top || y >= bottom {
            return None;
        }
        let (column, row) = (((x - left) / wide) as usize, ((bottom - y) / high) as usize);
        let begin = heat.span.0 + (heat.span.1 - heat.span.0) * column as f64 / columns as f64;
        let when = match &plot.across {
            Across::Time => {
                time(begin as i64, zone).trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            Across::Number(unit) => unit.show(begin),
            Across::Names(names) => names.get(column)?.clone(),
        };
        let shown = heat.cell(column, row).map_or_else(|| "–".to_owned(), |it| heat.unit.show(it));
        Some((x, when, rows.get(row)?.clone(), shown))
    });
    let marked = pressed()
        .zip(pointer())
        .map(|(a, (b, _))| (a.min(b), a.max(b)))
        .filter(|(a, b)| b - a > 3.0);
    let can_brush = onbrush.is_some();
    let spoken = format!(
        "{label}: {} rows by {columns} columns, at most {}",
        rows.len(),
        heat.unit.show(heat.most)
    );
    rsx! {
        figure { class: "chart heat",
            div { class: "plot", role: "img", "aria-label": "{spoken}",
                onresize: move |event| {
                    if let Ok(new) = event.get_content_box_size() {
                        let new = (new.width.max(60.0), new.height.max(30.0));
                        if (new.0 - size.peek().0).abs() > 0.5 || (new.1 - size.peek().1).abs() > 0.5 {
                            size.set(new);
                        }
                    }
                },
                svg { width: "{width}", height: "{height}", "aria-hidden": "true",
                    for (row , name) in rows.iter().enumerate().step_by(every) {
                        text { class: "tick", x: "{left - 6.0}", y: "{bottom - (row as f64 + 0.5) * high + 3.5}", "text-anchor": "end", {cut(name, 24)} }
                    }
                    for (x , text) in across.iter() {
                        line { class: "rule", x1: "{x}", x2: "{x}", y1: "{bottom}", y2: "{bottom + 4.0}" }
                        text { class: "tick", x: "{x}", y: "{bottom + 15.0}", "text-anchor": "middle", "{text}" }
                    }
                    line { class: "base", x1: "{left}", x2: "{right}", y1: "{bottom}", y2: "{bottom}" }
                    for (shade , d) in paths.iter().enumerate().filter(|(_, d)| !d.is_empty()) {
                        path { class: "shade-{shade}", d: "{d}" }
                    }
                    if let Some((from, to)) = marked {
                        rect { class: "marked", x: "{from}", y: "{top}", width: "{to - from}", height: "{bottom - top}" }
                    }
                }
                div { class: if can_brush { "pad brush" } else { "pad" },
                    onmousemove: move |event| {
                        let at = event.element_coordinates();
                        pointer.set(Some((at.x, at.y)));
                    },
                    onmouseleave: move |_| {
                        pointer.set(None);
                        pressed.set(None);
                    },
                    onmousedown: move |event| {
                        if can_brush {
                            event.prevent_default();
                            pressed.set(Some(event.element_coordinates().x));
                        }
                    },
                    onmouseup: move |event| {
                        let from = *pressed.peek();
                        pressed.set(None);
                        if let (Some(from), Some(onbrush)) = (from, onbrush) {
                            let to = event.element_coordinates().x;
                            if (to - from).abs() > 3.0 {
                                onbrush.call((value(from.min(to)), value(from.max(to))));
                            }
                        }
                    },
                }
                if let Some((x, when, row, shown)) = tip.filter(|_| marked.is_none()) {
                    div { class: "tip", style: if x > width / 2.0 { "right: {width - x + 10.0}px" } else { "left: {x + 10.0}px" },
                        b { "{when}" }
                        span {}
                        span { class: "what", "{row}" }
                        span { class: "how", "{shown}" }
                    }
                }
            }
            figcaption { class: "legend",
                span { class: "shades", "0"
                    for shade in 1..=SHADES { i { class: "shade-{shade}" } }
                    {heat.unit.show(heat.most)}
                }
            }
            if let Some(left_out) = &plot.left_out {
                p { class: "note", "{left_out}" }
            }
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    // names of one kind begin alike, as paths do
    let end: Vec<char> = text.chars().rev().take(most.saturating_sub(1)).collect();
    std::iter::once('…').chain(end.into_iter().rev()).collect()
}
