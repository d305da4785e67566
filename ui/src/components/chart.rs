//! Charts, drawn as SVG. What lies under the pointer is told beside it; a stretch can be marked by dragging.

use dioxus::prelude::*;

use crate::{
    plot::{Across, Look, Plot, Series},
    scale::{self, Unit},
    settings::zone,
    value::{grouped, time},
};

#[component]
pub(crate) fn Chart(
    plot: Plot,
    look: Look,
    /// Series add up.
    #[props(default)]
    stacked: bool,
    /// What it shows, for who cannot see it.
    label: String,
    #[props(default)] legend: bool,
    /// Takes the ends of a stretch that was marked, in the numbers of the horizontal axis.
    onbrush: Option<EventHandler<(f64, f64)>>,
) -> Element {
    let mut size = use_signal(|| (800.0_f64, 200.0_f64));
    let mut pointer = use_signal(|| None::<f64>);
    let mut pressed = use_signal(|| None::<f64>);
    let mut only = use_signal(|| None::<String>);
    let zone = zone();
    let (width, height) = size();
    let mut shown = plot.clone();
    if let Some(name) = only() {
        let one: Vec<_> = shown.series.iter().filter(|line| line.name == name).cloned().collect();
        if !one.is_empty() {
            shown.series = one;
        }
    }
    let drawing = Drawing::new(&shown, look, stacked, width, height, zone);
    let spoken = summary(&shown, &label);
    let marked =
        pressed().zip(pointer()).map(|(a, b)| (a.min(b), a.max(b))).filter(|(a, b)| b - a > 3.0);
    let tip = pointer().and_then(|x| drawing.tip(&shown, x, zone));
    let can_brush = onbrush.is_some();
    rsx! {
        figure { class: "chart",
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
                    for (y , text) in drawing.down.iter() {
                        line { class: "rule", x1: "{drawing.left}", x2: "{drawing.right}", y1: "{y}", y2: "{y}" }
                        text { class: "tick", x: "{drawing.left - 6.0}", y: "{y + 3.5}", "text-anchor": "end", "{text}" }
                    }
                    for (x , text) in drawing.across.iter() {
                        line { class: "rule", x1: "{x}", x2: "{x}", y1: "{drawing.bottom}", y2: "{drawing.bottom + 4.0}" }
                        text { class: "tick", x: "{x}", y: "{drawing.bottom + 15.0}", "text-anchor": "middle", "{text}" }
                    }
                    line { class: "base", x1: "{drawing.left}", x2: "{drawing.right}", y1: "{drawing.bottom}", y2: "{drawing.bottom}" }
                    for (class , d) in drawing.paths.iter() {
                        path { class: "{class}", d: "{d}" }
                    }
                    if let Some((from, to)) = marked {
                        rect { class: "marked", x: "{from}", y: "{drawing.top}", width: "{to - from}", height: "{drawing.bottom - drawing.top}" }
                    }
                    if let Some(tip) = &tip {
                        line { class: "cross", x1: "{tip.x}", x2: "{tip.x}", y1: "{drawing.top}", y2: "{drawing.bottom}" }
                    }
                }
                // above the drawing, so that places are told within one element
                div { class: if can_brush { "pad brush" } else { "pad" },
                    onmousemove: move |event| pointer.set(Some(event.element_coordinates().x)),
                    onmouseleave: move |_| {
                        pointer.set(None);
                        pressed.set(None);
                    },
                    onmousedown: move |event| {
                        if can_brush {
                            event.prevent_default();
                            let x = event.element_coordinates().x;
                            pointer.set(Some(x));
                            pressed.set(Some(x));
                        }
                    },
                    onmouseup: {
                        let drawing = drawing.clone();
                        move |event: MouseEvent| {
                            let from = *pressed.peek();
                            pressed.set(None);
                            if let (Some(from), Some(onbrush)) = (from, onbrush) {
                                let to = event.element_coordinates().x;
                                let (a, b) = (drawing.value(from.min(to)), drawing.value(from.max(to)));
                                if (to - from).abs() > 3.0 && a < b {
                                    onbrush.call((a, b));
                                }
                            }
                        }
                    },
                }
                if let Some(tip) = tip.filter(|_| marked.is_none()) {
                    div { class: "tip", style: if tip.x > width / 2.0 { "right: {width - tip.x + 10.0}px" } else { "left: {tip.x + 10.0}px" },
                        b { "{tip.title}" }
                        for (tone , name , value) in tip.lines {
                            span { class: "swatch {tone}" }
                            span { class: "what", "{name}" }
                            span { class: "how", "{value}" }
                        }
                    }
                }
            }
            if legend && plot.series.len() > 1 {
                figcaption { class: "legend",
                    for line in plot.series.iter() {
                        button { r#type: "button", "aria-pressed": only.read().as_ref() == Some(&line.name), title: "show {line.name} alone",
                            onclick: {
                                let name = line.name.clone();
                                move |_| {
                                    let next = (only.peek().as_ref() != Some(&name)).then(|| name.clone());
                                    only.set(next);
                                }
                            },
                            span { class: "swatch {line.tone}" }
                            "{line.name}"
                        }
                    }
                }
            }
            if let Some(left_out) = &plot.left_out {
                p { class: "note", "{left_out}" }
            }
        }
    }
}

/// One number, large, with the way it came.
#[component]
pub(crate) fn Single(plot: Plot) -> Element {
    let line = plot.series.first();
    let last = line.and_then(|line| line.points.iter().rev().find(|(_, y)| y.is_finite()));
    let text = last.map_or_else(
        || "–".to_owned(),
        |(_, y)| match plot.unit {
            // there is room for all of a count
            Unit::Number if y.fract() == 0.0 && (0.0..1e9).contains(y) => grouped(*y as u64),
            unit => unit.show(*y),
        },
    );
    let spark = line.filter(|line| line.points.len() > 2).map(|line| {
        let drawing = Drawing::bare(&plot, line);
        drawing.paths
    });
    rsx! {
        div { class: "single",
            strong { "{text}" }
            if let Some(paths) = spark {
                svg { view_box: "0 0 300 60", preserve_aspect_ratio: "none", "aria-hidden": "true",
                    for (class , d) in paths {
                        path { class: "{class}", d: "{d}" }
                    }
                }
            }
        }
    }
}

/// Places in pixels.
#[derive(Clone, Debug, PartialEq)]
struct Drawing {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// What the two ends of the horizontal axis stand for.
    span: (f64, f64),
    /// Ticks of the vertical axis, and of the horizontal one.
    down: Vec<(f64, String)>,
    across: Vec<(f64, String)>,
    /// Classes and paths.
    paths: Vec<(String, String)>,
    /// How wide a bar's place is, in numbers of the horizontal axis.
    step: f64,
}

/// What is told of a place.
struct Tip {
    x: f64,
    title: String,
    lines: Vec<(String, String, String)>,
}

impl Drawing {
    fn new(plot: &Plot, look: Look, stacked: bool, width: f64, height: f64, zone: i64) -> Self {
        let is_bar = look == Look::Bars;
        let stacks = stack(&plot.series, stacked, look == Look::Area);
        let points = || stacks.iter().flatten();
        let xs = || points().map(|it| it.x);
        let step = match &plot.across {
            Across::Names(_) => 1.0,
            _ => plot.step.unwrap_or_else(|| smallest_step(xs())),
        };
        let (mut low, mut high) = plot.span.unwrap_or_else(|| {
            let (low, high) =
                (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
            if is_bar && !matches!(plot.across, Across::Names(_)) {
                (low, high + step)
            } else {
                (low, high)
            }
        });
        if let Across::Names(names) = &plot.across {
            (low, high) = (-0.5, names.len() as f64 - 0.5);
        }
        if !(low.is_finite() && high.is_finite()) || high <= low {
            high = low + 1.0;
        }
        let gap = match &plot.across {
            Across::Time => usual_step(xs()) * 4.0,
            _ => f64::INFINITY,
        };
        let most = points().map(|it| it.y).filter(|y| y.is_finite()).fold(0.0, f64::max);
        let least = points().map(|it| it.y).filter(|y| y.is_finite()).fold(0.0, f64::min);
        let (top, bottom) = (8.0, (height - 22.0).max(20.0));
        let count = ((bottom - top) / 32.0).clamp(2.0, 8.0) as usize;
        let high_y = scale::top(most, count, plot.unit);
        let low_y = if least < 0.0 { -scale::top(-least, count, plot.unit) } else { 0.0 };
        let labels: Vec<(f64, String)> = scale::ticks(low_y, high_y, count, plot.unit)
            .into_iter()
            .map(|tick| (tick, plot.unit.show(tick)))
            .collect();
        let widest = labels.iter().map(|(_, text)| text.chars().count()).max().unwrap_or_default();
        let left = widest as f64 * 6.2 + 14.0;
        let right = (width - 10.0).max(left + 10.0);
        let mut drawing = Self {
            left,
            right,
            top,
            bottom,
            span: (low, high),
            down: Vec::new(),
            across: Vec::new(),
            paths: Vec::new(),
            step,
        };
        let y = |value: f64| {
            finite(bottom - (value - low_y) / (high_y - low_y) * (bottom - top), bottom)
        };
        drawing.down = labels.into_iter().map(|(tick, text)| (y(tick), text)).collect();
        drawing.across = drawing.ticks(plot, zone);
        let zero = y(0.0);
        for (line, points) in plot.series.iter().zip(&stacks) {
            let at = |it: &Placed| (drawing.x(it.x), y(it.y), y(it.base));
            match look {
                Look::Bars => {
                    let room = match plot.across {
                        Across::Names(_) if !stacked => 0.8 / plot.series.len().max(1) as f64,
                        Across::Names(_) => 0.8,
                        _ => 1.0,
                    };
                    let place =
                        plot.series.iter().position(|it| it.name == line.name).unwrap_or_default()
                            as f64;
                    let shift = match plot.across {
                        Across::Names(_) if !stacked => place * room - 0.4,
                        Across::Names(_) => -0.4,
                        _ => 0.0,
                    };
                    let mut d = String::new();
                    for it in points.iter().filter(|it| it.y.is_finite() && it.y != it.base) {
                        let (from, to) = (
                            drawing.x(it.x + shift * step),
                            drawing.x(it.x + (shift + room) * step),
                        );
                        let (from, to) = (from.max(drawing.left), to.min(drawing.right));
                        let gap = if to - from > 4.0 { 1.0 } else { 0.0 };
                        let wide = (to - from - gap).max(0.6);
                        if to <= from {
                            continue;
                        }
                        // the smallest count is still to be seen
                        let (high, low) = (y(it.y), y(it.base));
                        let high = if (low - high).abs() < 1.5 {
                            low - 1.5_f64.copysign(it.y - it.base)
                        } else {
                            high
                        };
                        d.push_str(&format!("M{from:.1} {low:.1}V{high:.1}h{wide:.1}V{low:.1}Z"));
                    }
                    drawing.paths.push((format!("bars {}", line.tone), d));
                }
                Look::Points => {
                    let mut d = String::new();
                    for it in points.iter().filter(|it| it.y.is_finite()) {
                        let (x, y, _) = at(it);
                        d.push_str(&format!("M{:.1} {y:.1}h0.01", x));
                    }
                    drawing.paths.push((format!("dots {}", line.tone), d));
                }
                Look::Area | Look::Line | Look::Table | Look::Heat | Look::Single => {
                    let (mut d, mut area) = (String::new(), String::new());
                    for run in runs(points, gap) {
                        for (place, it) in run.iter().enumerate() {
                            let (x, y, _) = at(it);
                            d.push_str(&format!(
                                "{}{x:.1} {y:.1}",
                                if place == 0 { 'M' } else { 'L' }
                            ));
                            area.push_str(&format!(
                                "{}{x:.1} {y:.1}",
                                if place == 0 { 'M' } else { 'L' }
                            ));
                        }
                        if let [only] = run {
                            let (x, y, _) = at(only);
                            d.push_str(&format!("M{x:.1} {y:.1}h0.01"));
                        }
                        for it in run.iter().rev() {
                            let (x, _, base) = at(it);
                            area.push_str(&format!(
                                "L{x:.1} {:.1}",
                                if stacked { base } else { zero }
                            ));
                        }
                        area.push('Z');
                    }
                    if look == Look::Area {
                        drawing.paths.push((format!("area {}", line.tone), area));
                    }
                    drawing.paths.push((format!("stroke {}", line.tone), d));
                }
            }
        }
        drawing
    }

    /// A line without axes, in a box of 300 by 60.
    fn bare(plot: &Plot, line: &Series) -> Self {
        let one = Plot { series: vec![line.clone()], ..plot.clone() };
        let mut drawing = Self::new(&one, Look::Area, false, 300.0, 60.0, 0);
        let (left, right) = (drawing.left, drawing.right);
        let stretch = |x: f64| (x - left) / (right - left) * 300.0;
        drawing = Self { left: 0.0, right: 300.0, top: 2.0, bottom: 58.0, ..drawing };
        let most = line
            .points
            .iter()
            .map(|(_, y)| *y)
            .filter(|y| y.is_finite())
            .fold(0.0, f64::max)
            .max(1e-9);
        let mut d = String::new();
        for (x, y) in line.points.iter().filter(|(_, y)| y.is_finite()) {
            let x = stretch(
                left + (x - drawing.span.0) / (drawing.span.1 - drawing.span.0) * (right - left),
            );
            let y = 58.0 - (y / most).clamp(0.0, 1.0) * 56.0;
            d.push_str(&format!("{}{x:.1} {y:.1}", if d.is_empty() { 'M' } else { 'L' }));
        }
        drawing.paths = vec![
            (format!("area {}", line.tone), format!("{d}L300 58L0 58Z")),
            (format!("stroke {}", line.tone), d),
        ];
        drawing
    }

    fn x(&self, value: f64) -> f64 {
        let part = (value - self.span.0) / (self.span.1 - self.span.0);
        finite(self.left + part * (self.right - self.left), self.left)
    }

    /// What a place across stands for.
    fn value(&self, x: f64) -> f64 {
        let part = ((x - self.left) / (self.right - self.left)).clamp(0.0, 1.0);
        self.span.0 + part * (self.span.1 - self.span.0)
    }

    fn ticks(&self, plot: &Plot, zone: i64) -> Vec<(f64, String)> {
        let wide = self.right - self.left;
        match &plot.across {
            Across::Time => {
                let (low, high) = (self.span.0 as i64, self.span.1 as i64);
                scale::moments(low, high, (wide / 86.0).max(1.0) as usize, zone)
                    .into_iter()
                    .map(|(ns, text)| (self.x(ns as f64), text))
                    .filter(|(x, _)| *x <= self.right - 8.0)
                    .collect()
            }
            Across::Number(unit) => {
                scale::ticks(self.span.0, self.span.1, (wide / 90.0).max(1.0) as usize, *unit)
                    .into_iter()
                    .map(|tick| (self.x(tick), unit.show(tick)))
                    .collect()
            }
            Across::Names(names) => {
                let room = wide / names.len().max(1) as f64;
                let every = (34.0 / room).ceil().max(1.0) as usize;
                let most = ((room * every as f64) / 6.4).max(3.0) as usize;
                names
                    .iter()
                    .enumerate()
                    .step_by(every)
                    .map(|(at, name)| (self.x(at as f64), tail(name, most)))
                    .collect()
            }
        }
    }

    /// What the place under the pointer says.
    fn tip(&self, plot: &Plot, x: f64, zone: i64) -> Option<Tip> {
        if x < self.left - 2.0 || x > self.right + 2.0 {
            return None;
        }
        let wanted = self.value(x);
        let all = plot.series.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
        let nearest = all.min_by(|a, b| (a - wanted).abs().total_cmp(&(b - wanted).abs()))?;
        let title = match &plot.across {
            Across::Time => {
                let text = time(nearest as i64, zone);
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            Across::Number(unit) => unit.show(nearest),
            Across::Names(names) => {
                names.get(nearest.max(0.0) as usize)?.chars().take(80).collect()
            }
        };
        let mut lines: Vec<_> = plot
            .series
            .iter()
            .filter_map(|line| {
                let (_, y) = line.points.iter().find(|(x, _)| *x == nearest)?;
                Some((line.tone.clone(), short(&line.name, 46), plot.unit.show(*y), *y))
            })
            .collect();
        lines.sort_by(|a, b| b.3.total_cmp(&a.3));
        lines.truncate(12);
        let lines = lines.into_iter().map(|(tone, name, value, _)| (tone, name, value)).collect();
        Some(Tip { x: self.x(nearest), title, lines })
    }
}

/// A point with the place it stands on.
#[derive(Clone, Copy, Debug)]
struct Placed {
    x: f64,
    base: f64,
    y: f64,
}

/// Parts of a line without a hole: a value that is missing is one, and so is a stretch of time without points.
fn runs(points: &[Placed], gap: f64) -> Vec<&[Placed]> {
    let parts = points.split(|it| !it.y.is_finite());
    parts
        .flat_map(|part| part.chunk_by(|a, b| b.x - a.x <= gap))
        .filter(|run| !run.is_empty())
        .collect()
}

/// Places of all points. In a stack of areas, who has no point where others have one is nothing there.
fn stack(series: &[Series], stacked: bool, filled: bool) -> Vec<Vec<Placed>> {
    let mut xs: Vec<f64> =
        series.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x)).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let mut all: Vec<Series> = Vec::new();
    let series = if stacked && filled {
        all.extend(series.iter().map(|line| {
            let known: std::collections::BTreeMap<u64, f64> =
                line.points.iter().map(|(x, y)| (x.to_bits(), *y)).collect();
            let points = xs.iter().map(|x| (*x, known.get(&x.to_bits()).copied().unwrap_or(0.0)));
            Series { points: points.collect(), ..line.clone() }
        }));
        &all
    } else {
        series
    };
    let mut tops: std::collections::BTreeMap<u64, f64> = std::collections::BTreeMap::new();
    series
        .iter()
        .map(|line| {
            let place = |(x, y): &(f64, f64)| {
                if !stacked || !y.is_finite() {
                    return Placed { x: *x, base: 0.0, y: *y };
                }
                let top = tops.entry(x.to_bits()).or_default();
                let base = *top;
                *top += y;
                Placed { x: *x, base, y: *top }
            };
            line.points.iter().map(place).collect()
        })
        .collect()
}

/// Numbers too large to be told apart have no place; they stand at the edge.
fn finite(place: f64, edge: f64) -> f64 {
    if place.is_finite() { place } else { edge }
}

/// The step that most neighbours are apart.
fn usual_step(xs: impl Iterator<Item = f64>) -> f64 {
    let mut xs: Vec<f64> = xs.filter(|x| x.is_finite()).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let mut steps: Vec<f64> = xs
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] => Some(b - a),
            _ => None,
        })
        .collect();
    steps.sort_by(f64::total_cmp);
    steps.get(steps.len() / 2).copied().unwrap_or(f64::INFINITY)
}

fn smallest_step(xs: impl Iterator<Item = f64>) -> f64 {
    let mut xs: Vec<f64> = xs.filter(|x| x.is_finite()).collect();
    xs.sort_by(f64::total_cmp);
    let steps = xs.windows(2).filter_map(|pair| match pair {
        [a, b] if b > a => Some(b - a),
        _ => None,
    });
    steps.min_by(f64::total_cmp).unwrap_or(1.0)
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(most.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// Names that stand beside each other differ at their ends as a rule: addresses do.
fn tail(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let mut out = "…".to_owned();
    out.extend(text.chars().skip(count + 1 - most));
    out
}

/// A chart in a sentence.
fn summary(plot: &Plot, label: &str) -> String {
    let parts: Vec<String> = plot
        .series
        .iter()
        .take(8)
        .map(|line| {
            let ys = || line.points.iter().map(|(_, y)| *y).filter(|y| y.is_finite());
            let (low, high) =
                (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
            format!("{}: {} to {}", line.name, plot.unit.show(low), plot.unit.show(high))
        })
        .collect();
    format!("{label}. {}", parts.join("; "))
}

/// The unit names a choice offers.
#[component]
pub(crate) fn UnitChoice(unit: Unit, onchoose: EventHandler<Unit>) -> Element {
    rsx! {
        label { class: "choice", "unit "
            select { onchange: move |event| {
                    if let Some(unit) = Unit::ALL.into_iter().find(|it| it.name() == event.value()) {
                        onchoose.call(unit);
                    }
                },
                for it in Unit::ALL {
                    option { value: it.name(), selected: it == unit, "{it.name()}" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: &[(f64, f64)]) -> Series {
        Series { name: name.to_owned(), tone: "tone-0".into(), points: points.to_vec() }
    }

    fn plot(series: Vec<Series>) -> Plot {
        Plot {
            across: Across::Time,
            span: None,
            step: None,
            series,
            unit: Unit::Number,
            left_out: None,
        }
    }

    fn html(plot: Plot, look: Look, stacked: bool) -> String {
        #[component]
        fn Show(plot: Plot, look: Look, stacked: bool) -> Element {
            rsx! { Chart { plot, look, stacked, label: "rows a second", legend: true } }
        }
        let mut dom = VirtualDom::new_with_props(Show, ShowProps { plot, look, stacked });
        dom.rebuild_in_place();
        dioxus_ssr::render(&dom)
    }

    #[test]
    fn a_chart_has_axes_a_legend_and_says_itself() {
        let second = 1_000_000_000.0;
        let lines = vec![line("<a>", &[(0.0, 1.0), (second, 3.0)]), line("b", &[(0.0, 12_000.0)])];
        let html = html(plot(lines), Look::Line, false);
        for part in [
            "rows a second",
            "1 to 3",
            "12k",
            "00:00:00.200",
            "&#60;a&#62;",
            "class=\"stroke tone-0\"",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn a_bar_that_stands_alone_is_seen() {
        let hour = 3_600_000_000_000.0;
        let alone = Plot {
            span: Some((0.0, 60.0 * hour)),
            step: Some(hour),
            ..plot(vec![line("a", &[(10.0 * hour, 5.0)])])
        };
        let drawing = Drawing::new(&alone, Look::Bars, true, 610.0, 200.0, 0);
        let (_, d) = &drawing.paths[0];
        let width = d.split('h').nth(1).and_then(|it| it.split('V').next()).expect("a bar");
        assert!(width.parse::<f64>().is_ok_and(|it| (5.0..12.0).contains(&it)), "{d}");
    }

    #[test]
    fn stacked_series_stand_on_each_other() {
        let lines = [line("a", &[(0.0, 1.0), (1.0, 2.0)]), line("b", &[(1.0, 5.0)])];
        let stacks = stack(&lines, true, false);
        let top = stacks.get(1).and_then(|line| line.first()).expect("b has a point");
        assert_eq!((top.base, top.y), (2.0, 7.0));
        let stacks = stack(&lines, true, true);
        let first = stacks.get(1).and_then(|line| line.first()).expect("b is nothing there");
        assert_eq!((first.x, first.base, first.y), (0.0, 1.0, 1.0));
    }

    #[test]
    fn a_line_does_not_lead_over_a_time_without_points() {
        let xs = [0.0, 1.0, 2.0, 9.0, 10.0];
        let points: Vec<_> = xs.map(|x| Placed { x, base: 0.0, y: 1.0 }).to_vec();
        assert_eq!(runs(&points, 4.0).iter().map(|run| run.len()).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(usual_step(xs.into_iter()), 1.0);
    }

    #[test]
    fn a_line_breaks_where_a_value_is_missing_and_no_number_is_written_wrong() {
        let points = [(0.0, 1.0), (1e9, f64::NAN), (2e9, 2.0), (3e9, 3.0)];
        let drawing =
            Drawing::new(&plot(vec![line("a", &points)]), Look::Line, false, 400.0, 100.0, 0);
        let (_, d) = drawing.paths.first().expect("there is a line");
        assert!(!d.contains("NaN"), "{d}");
        assert_eq!(d.matches('M').count(), 3, "{d}");
        for look in Look::ALL {
            for points in [
                &[][..],
                &[(0.0, f64::INFINITY)],
                &[(f64::MAX, -1.0), (0.0, f64::MIN)],
                &[(5.0, 0.0)],
            ] {
                let drawing =
                    Drawing::new(&plot(vec![line("a", points)]), look, true, 10.0, 10.0, 0);
                assert!(
                    drawing.paths.iter().all(|(_, d)| !d.contains("NaN") && !d.contains("inf")),
                    "{look:?} {points:?}: {:?}",
                    drawing.paths
                );
            }
        }
    }

    #[test]
    fn a_place_is_told_with_the_values_there() {
        let lines = vec![line("a", &[(0.0, 1.0), (10.0, 3.0)]), line("b", &[(10.0, 7.0)])];
        let plot = Plot { across: Across::Number(Unit::Number), ..plot(lines) };
        let drawing = Drawing::new(&plot, Look::Line, false, 400.0, 100.0, 0);
        let tip = drawing.tip(&plot, drawing.x(9.0), 0).expect("it is within");
        assert_eq!(tip.title, "10");
        let names: Vec<_> =
            tip.lines.iter().map(|(_, name, value)| format!("{name} {value}")).collect();
        assert_eq!(names, ["b 7", "a 3"]);
        assert!(drawing.tip(&plot, 0.0, 0).is_none());
        assert!((drawing.value(drawing.x(4.0)) - 4.0).abs() < 1e-9);
    }
}
