//! The list of rows: newest on top, only what is in view in the document.

use api::{Kind, RowKey, Table};
use dioxus::prelude::*;

use crate::{
    browser,
    state::{Catalog, hue},
    tail::Live,
    value::{Row, Value, clock, duration, shown, size},
};

/// How far the list is from the newest row.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Window {
    pub(crate) scroll: Signal<f64>,
    pub(crate) height: Signal<f64>,
    /// The list ends (at its top) before this row; nothing if it follows the newest.
    pub(crate) pin: Signal<Option<u64>>,
    pub(crate) paused: Signal<bool>,
    /// The row the keyboard is at.
    pub(crate) cursor: Signal<Option<u64>>,
    /// Where the list ended when it was drawn last: held still, it must not move by what came since.
    drawn: CopyValue<u64>,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            scroll: use_signal(|| 0.0),
            height: use_signal(|| 800.0),
            pin: use_signal(|| None),
            paused: use_signal(|| false),
            cursor: use_signal(|| None),
            drawn: use_hook(|| CopyValue::new(0)),
        }
    }

    /// Holds the list where it is.
    pub(crate) fn hold(mut self, live: &Live) {
        if self.pin.peek().is_none() {
            let drawn = (*self.drawn.read()).max(live.peek().ring.start());
            self.pin.set(Some(drawn));
        }
        live.hold(true);
    }

    /// Follows the newest row again, from the top.
    pub(crate) fn follow(mut self, live: &Live) {
        self.paused.set(false);
        self.pin.set(None);
        self.scroll.set(0.0);
        live.hold(false);
        browser::scroll_to(LIST, 0.0);
    }

    /// Moves the cursor, and the view with it; the row it is at now.
    pub(crate) fn step(mut self, live: &Live, by: i64) -> Option<u64> {
        self.hold(live);
        let tail = live.peek();
        let end = (*self.pin.peek())?;
        let start = tail.ring.start();
        let top = end.checked_sub(1)?;
        let number = match *self.cursor.peek() {
            Some(at) => at.saturating_add_signed(-by).clamp(start, top),
            None => top.saturating_sub((*self.scroll.peek() / ROW) as u64).max(start),
        };
        drop(tail);
        self.cursor.set(Some(number));
        let y = (top - number) as f64 * ROW;
        let (scroll, height) = (*self.scroll.peek(), *self.height.peek());
        if y < scroll {
            browser::scroll_to(LIST, y);
        } else if y + ROW > scroll + height {
            browser::scroll_to(LIST, y + ROW - height);
        }
        Some(number)
    }
}

#[component]
pub(crate) fn List(window: Window, open: Option<RowKey>, onopen: EventHandler<u64>) -> Element {
    let live = use_context::<Live>();
    let catalog = use_context::<Catalog>();
    let Window { mut scroll, mut height, mut pin, paused, cursor, mut drawn } = window;
    let zone = use_hook(browser::zone_secs);
    let tables = catalog.tables.read();

    let tail = live.read();
    let ring = &tail.ring;
    let end = pin().unwrap_or_else(|| ring.end()).max(ring.start());
    let total = end - ring.start();
    drawn.set(end);
    let first = ((scroll() / ROW) as u64).min(total);
    let last = (first + (height() / ROW) as u64 + 3).min(total);
    let missed = ring.end() - end;
    let now_ns = (browser::now_ms() * 1e6) as i64;
    let lines: Vec<_> = (first..last)
        .filter_map(|place| {
            let number = end - 1 - place;
            let row = ring.get(number)?;
            let is_open =
                cursor() == Some(number) || open.as_ref().is_some_and(|key| is_row(&row, key));
            Some((number, line(&row, &tables, now_ns, zone), is_open))
        })
        .collect();
    drop(tail);

    let scrolled = {
        let live = live.clone();
        move |event: Event<ScrollData>| {
            let y = event.scroll_top();
            scroll.set(y);
            if y < 1.0 && !*paused.peek() && open.is_none() {
                pin.set(None);
                live.hold(false);
            } else if y >= 1.0 {
                window.hold(&live);
            }
        }
    };
    rsx! {
        div { class: "list", role: "grid", "aria-label": "traffic, newest first", "aria-rowcount": "{total}",
            div { class: "line head", role: "row",
                for (class , name) in HEADS {
                    span { class, role: "columnheader", "{name}" }
                }
            }
            if missed > 0 {
                button { class: "newer", id: "newer", "data-testid": "newer", onclick: move |_| window.follow(&live),
                    "{crate::value::grouped(missed)} new ↑"
                }
            }
            div { class: "rows", id: LIST, "data-testid": "rows", role: "rowgroup", tabindex: 0, onscroll: scrolled,
                onresize: move |event| {
                    if let Ok(size) = event.get_content_box_size() {
                        height.set(size.height);
                    }
                },
                div { class: "all", height: "{total as f64 * ROW}px",
                    div { class: "seen", transform: "translateY({first as f64 * ROW}px)",
                        for (number , line , is_open) in lines {
                            div { class: line.class(is_open), role: "row", "data-testid": "row", "aria-selected": is_open,
                                onclick: move |_| onopen.call(number),
                                span { role: "gridcell", class: "time", "{line.time}" }
                                span { role: "gridcell", class: "protocol {line.hue}", "{line.protocol}" }
                                span { role: "gridcell", class: "verb", "{line.verb}" }
                                span { role: "gridcell", class: "target", "{line.target}" }
                                span { role: "gridcell", class: "status", "{line.status}" }
                                span { role: "gridcell", class: "ends", "{line.ends}" }
                                span { role: "gridcell", class: "duration", "{line.duration}" }
                                span { role: "gridcell", class: "size", "{line.size}" }
                            }
                        }
                    }
                }
            }
        }
    }
}

const HEADS: [(&str, &str); 8] = [
    ("time", "time"),
    ("protocol", "protocol"),
    ("verb", "verb"),
    ("target", "target"),
    ("status", "status"),
    ("ends", "client → server"),
    ("duration", "duration"),
    ("size", "size"),
];

/// A row as the list shows it.
#[derive(Debug, PartialEq)]
struct Line {
    time: String,
    protocol: String,
    hue: String,
    verb: String,
    target: String,
    status: String,
    ends: String,
    duration: String,
    size: String,
    failed: bool,
    incomplete: bool,
}

impl Line {
    fn class(&self, is_open: bool) -> &'static str {
        match (self.failed, self.incomplete, is_open) {
            (true, _, false) => "line failed",
            (true, _, true) => "line failed open",
            (_, true, false) => "line partial",
            (_, true, true) => "line partial open",
            (_, _, false) => "line",
            (_, _, true) => "line open",
        }
    }
}

fn line(row: &Row<'_>, tables: &[Table], now_ns: i64, zone: i64) -> Line {
    let number = |name, kind| shown(&row.value(name), Some(kind), zone);
    let failed = row.flag("failed");
    let mut status = number("status", Kind::Code);
    if status.is_empty() && !failed && row.value("duration") != Value::Null {
        status.push_str("ok");
    }
    if status.is_empty() && failed {
        // some protocols fail in words
        status = row.text("error").split_whitespace().next().unwrap_or("failed").to_owned();
    }
    let bytes = row.number("request_bytes").unwrap_or_default()
        + row.number("response_bytes").unwrap_or_default();
    let protocol = row.text("protocol").into_owned();
    Line {
        time: match row.value("ts") {
            Value::Time(ns) => clock(ns, now_ns, zone),
            _ => String::new(),
        },
        hue: hue(tables, &protocol),
        protocol,
        verb: number("verb", Kind::Label),
        target: number("target", Kind::Text),
        status,
        ends: format!("{} → {}", end(row, "client", false), end(row, "server", true)),
        duration: match row.value("duration") {
            Value::Int(ns) => duration(ns),
            _ => "–".to_owned(),
        },
        size: size(bytes),
        failed,
        incomplete: row.flag("incomplete"),
    }
}

/// The best name of an end: what it is in the cluster, else its address.
fn end(row: &Row<'_>, side: &str, with_port: bool) -> String {
    let part =
        |name: &str| Some(row.text(&format!("{side}_{name}"))).filter(|text| !text.is_empty());
    let name = ["service", "workload", "pod", "process"].into_iter().find_map(part);
    let is_named = name.is_some();
    let name = name.or_else(|| part("ip")).unwrap_or_else(|| "?".into());
    match row.number(&format!("{side}_port")) {
        Some(port) if with_port && name.contains(':') && !is_named => format!("[{name}]:{port}"),
        Some(port) if with_port => format!("{name}:{port}"),
        _ => name.into_owned(),
    }
}

fn is_row(row: &Row<'_>, key: &RowKey) -> bool {
    row.number("seq") == Some(key.seq)
        && row.text("flow_id") == key.flow_id
        && row.text("node") == key.node
}

/// The height of a row, as the style sheet has it.
const ROW: f64 = 24.0;
const LIST: &str = "rows";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_line_names_the_ends_and_shows_failure() {
        let batch = fixture::traffic(3);
        let tables = fixture::tables();
        let good = line(&Row { batch: &batch, at: 0 }, &tables, 1_795_341_892_000_000_000, 0);
        assert_eq!((good.time.as_str(), good.duration.as_str()), ("10:04:52.000", "1.23 ms"));
        assert_eq!(good.ends, "10.0.0.7 → library:70");
        assert_eq!(good.class(false), "line");
        let bad = line(&Row { batch: &batch, at: 2 }, &tables, 0, 0);
        assert_eq!((bad.status.as_str(), bad.class(true)), ("503", "line failed open"));
    }

    #[test]
    fn the_list_holds_what_is_in_view_newest_first() {
        #[component]
        fn Show() -> Element {
            let tables = use_signal(|| std::rc::Rc::new(fixture::tables()));
            use_context_provider(|| Catalog { tables });
            use_context_provider(|| {
                let mut tail = crate::tail::Tail::new();
                tail.ring.push(fixture::traffic(5_000), 1, false);
                Live::with(tail)
            });
            let window = Window::new();
            let onopen = use_callback(|_: u64| {});
            rsx! { List { window, open: None, onopen } }
        }
        let mut dom = VirtualDom::new(Show);
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        let newest = html.find("/menu/4999<").expect("the newest row is there");
        assert!(html.find("/menu/4998<").is_some_and(|next| next > newest), "{html}");
        assert!(!html.contains("/menu/4900<"));
        assert_eq!(html.matches("data-testid=\"row\"").count(), 36);
        assert!(html.contains("height:120000px"), "{html}");
        assert!(html.contains("line failed"));
    }
}
