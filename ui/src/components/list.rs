//! The list of rows: newest on top, only what is in view in the document.

use std::rc::Rc;

use api::{RowKey, Table};
use dioxus::prelude::*;

use crate::{
    browser,
    columns::{Key, Sort, cell, shown_columns, title, track},
    ring::Ring,
    settings::zone,
    state::Catalog,
    tail::Live,
    value::Row,
};

/// How far the list is from the newest row.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Window {
    pub(crate) scroll: Signal<f64>,
    pub(crate) height: Signal<f64>,
    width: Signal<f64>,
    /// The list ends (at its top) before this row; nothing if it follows the newest.
    pub(crate) pin: Signal<Option<u64>>,
    pub(crate) paused: Signal<bool>,
    /// The row the keyboard is at.
    pub(crate) cursor: Signal<Option<u64>>,
    /// Where the list ended when it was drawn last: held still, it must not move by what came since.
    drawn: CopyValue<u64>,
    sorted: CopyValue<Option<Sorted>>,
}

/// Which rows a click or a key picks, or leaves out again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pick {
    One(u64),
    /// All from the one before to this one.
    UpTo(u64),
}

/// Rows in another order than that of their coming.
#[derive(Clone, Debug, PartialEq)]
struct Sorted {
    sort: Sort,
    /// What was sorted, and when: while rows arrive, once in a while is enough.
    rows: (u64, u64),
    at_ms: f64,
    order: Rc<Vec<u64>>,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            scroll: use_signal(|| 0.0),
            height: use_signal(|| 800.0),
            width: use_signal(|| 1_200.0),
            pin: use_signal(|| None),
            paused: use_signal(|| false),
            cursor: use_signal(|| None),
            drawn: use_hook(|| CopyValue::new(0)),
            sorted: use_hook(|| CopyValue::new(None)),
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

    /// The rows that a pick means, as the list shows them.
    pub(crate) fn meant(self, pick: Pick) -> Vec<u64> {
        let (number, from) = match pick {
            Pick::One(number) => (number, None),
            Pick::UpTo(number) => (number, *self.cursor.peek()),
        };
        let Some(from) = from.filter(|from| *from != number) else { return vec![number] };
        match self.sorted.peek().as_ref() {
            Some(sorted) => {
                let place =
                    |number| sorted.order.iter().position(|it| *it == number).map(|at| at as u64);
                let (Some(a), Some(b)) = (place(from), place(number)) else { return vec![number] };
                let row = |at| sorted.order.get(usize::try_from(at).ok()?).copied();
                nearest(a, b).into_iter().filter_map(row).collect()
            }
            None => nearest(from, number),
        }
    }

    /// Moves the cursor, and the view with it; the row it is at now.
    pub(crate) fn step(mut self, live: &Live, by: i64) -> Option<u64> {
        self.hold(live);
        let end = (*self.pin.peek())?;
        let start = live.peek().ring.start();
        let rows = end.saturating_sub(start);
        let order = self.sorted.peek().as_ref().map(|it| Rc::clone(&it.order));
        let count = order.as_ref().map_or(rows, |order| order.len() as u64);
        let bottom = count.checked_sub(1)?;
        let at = |place: u64| match &order {
            Some(order) => order.get(usize::try_from(place).ok()?).copied(),
            None => end.checked_sub(1)?.checked_sub(place),
        };
        let place = match *self.cursor.peek() {
            Some(number) => {
                let place = match &order {
                    Some(order) => order.iter().position(|it| *it == number).map(|at| at as u64),
                    None => (end - 1).checked_sub(number),
                };
                place.unwrap_or_default().saturating_add_signed(by).min(bottom)
            }
            None => ((*self.scroll.peek() / ROW) as u64).min(bottom),
        };
        let number = at(place)?;
        self.cursor.set(Some(number));
        let y = place as f64 * ROW;
        let (scroll, height) = (*self.scroll.peek(), *self.height.peek());
        if y < scroll {
            browser::scroll_to(LIST, y);
        } else if y + ROW > scroll + height {
            browser::scroll_to(LIST, y + ROW - height);
        }
        Some(number)
    }

    /// The order of the rows up to `end`, kept as long as it is right, or nearly so.
    fn sort(mut self, ring: &Ring, end: u64, sort: Option<&Sort>) -> Option<Rc<Vec<u64>>> {
        let Some(sort) = sort else {
            self.sorted.set(None);
            return None;
        };
        let rows = (ring.start(), end);
        let now_ms = browser::now_ms();
        let kept = self.sorted.peek().as_ref().and_then(|it| {
            let is_right = it.rows == rows || (rows.1 > it.rows.1 && now_ms - it.at_ms < SORT_MS);
            (it.sort == *sort && is_right).then(|| Rc::clone(&it.order))
        });
        if kept.is_some() {
            return kept;
        }
        let mut keys: Vec<(Key, u64)> = (rows.0..rows.1)
            .filter_map(|number| Some((Key::of(&ring.get(number)?, &sort.column), number)))
            .collect();
        // of equals, the newest first
        keys.sort_by(|a, b| a.0.compare(&b.0, sort.descending).then(b.1.cmp(&a.1)));
        let order = Rc::new(keys.into_iter().map(|(_, number)| number).collect());
        self.sorted.set(Some(Sorted {
            sort: sort.clone(),
            rows,
            at_ms: now_ms,
            order: Rc::clone(&order),
        }));
        Some(order)
    }
}

#[component]
pub(crate) fn List(
    window: Window,
    open: Option<RowKey>,
    /// Rows that are picked, to be compared or to do something with all of them.
    picked: Vec<RowKey>,
    /// Names of columns, separated by commas; empty for the usual ones.
    columns: String,
    sort: Option<Sort>,
    onopen: EventHandler<u64>,
    onpick: EventHandler<Pick>,
    onsort: EventHandler<String>,
    /// Asks what could be done with a cell: the row's number, the column, and where it is on the screen.
    onmenu: EventHandler<(u64, String, f64, f64)>,
) -> Element {
    let live = use_context::<Live>();
    let catalog = use_context::<Catalog>();
    let Window { mut scroll, mut height, mut width, mut pin, paused, cursor, mut drawn, .. } =
        window;
    let zone = zone();
    let tables = catalog.tables.read();
    let columns = shown_columns(&columns, width());
    let tracks = columns.iter().map(|name| track(name, &tables)).collect::<Vec<_>>().join(" ");

    let tail = live.read();
    let ring = &tail.ring;
    let end = pin().unwrap_or_else(|| ring.end()).max(ring.start());
    let order = window.sort(ring, end, sort.as_ref());
    let total = order.as_ref().map_or_else(|| end - ring.start(), |order| order.len() as u64);
    drawn.set(end);
    let first = ((scroll() / ROW) as u64).min(total);
    let last = (first + (height() / ROW) as u64 + 3).min(total);
    let missed = ring.end() - end;
    let now_ns = (browser::now_ms() * 1e6) as i64;
    let lines: Vec<_> = (first..last)
        .filter_map(|place| {
            let number = match &order {
                Some(order) => *order.get(usize::try_from(place).ok()?)?,
                None => end - 1 - place,
            };
            let row = ring.get(number)?;
            let is_open =
                cursor() == Some(number) || open.as_ref().is_some_and(|key| is_row(&row, key));
            let line = Line::new(&row, &columns, &tables, now_ns, zone);
            let is_picked = picked.iter().any(|key| is_row(&row, key));
            let class =
                format!("{}{}", line.class(is_open), if is_picked { " picked" } else { "" });
            Some((number, place, class, line.cells, is_open, is_picked))
        })
        .collect();
    drop(tail);
    let active =
        lines.iter().find(|(.., is_open, _)| *is_open).map(|(number, ..)| format!("row-{number}"));

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
        div { class: "list", style: "--tracks: {tracks}",
            div { class: "line head", id: HEAD, role: "row",
                for name in columns.iter() {
                    {
                        let way = sort.as_ref().filter(|it| it.column == *name).map(|it| it.descending);
                        let spoken = match way { Some(true) => "descending", Some(false) => "ascending", None => "none" };
                        let mark = match way { Some(true) => " ↓", Some(false) => " ↑", None => "" };
                        let doc = catalog.doc("traffic", name).unwrap_or_default();
                        let name = name.clone();
                        let class = match name.as_str() { "status" | "duration" | "size" => "right", _ => "" };
                        rsx! {
                            span { role: "columnheader", class, "aria-sort": spoken,
                                button { r#type: "button", title: "{doc}\nclick: sort by {title(&name)}", onclick: { let name = name.clone(); move |_| onsort.call(name.clone()) },
                                    "{title(&name)}{mark}" }
                            }
                        }
                    }
                }
            }
            if missed > 0 {
                button { class: "newer", id: "newer", "data-testid": "newer", onclick: move |_| window.follow(&live),
                    "{crate::value::grouped(missed)} new ↑"
                }
            }
            div { class: "rows", id: LIST, "data-testid": "rows", role: "grid", tabindex: 0, "aria-owns": HEAD, "aria-activedescendant": active, "aria-multiselectable": "true", "aria-label": if sort.is_some() { "traffic, sorted" } else { "traffic, newest first" }, "aria-rowcount": "{total}", onscroll: scrolled,
                onresize: move |event| {
                    if let Ok(size) = event.get_content_box_size() {
                        height.set(size.height);
                        if (size.width - *width.peek()).abs() > 1.0 {
                            width.set(size.width);
                        }
                    }
                },
                div { class: "all", height: "{total as f64 * ROW}px",
                    div { class: "seen", transform: "translateY({first as f64 * ROW}px)",
                        for (number , place , class , cells , is_open , is_picked) in lines {
                            div { class: class, id: "row-{number}", role: "row", "data-testid": "row", "aria-selected": is_open || is_picked, "aria-rowindex": "{place + 1}",
                                // a click with Shift would mark the text between
                                onmousedown: move |event| if event.modifiers().shift() { event.prevent_default() },
                                onclick: move |event| {
                                    let keys = event.modifiers();
                                    if keys.shift() {
                                        onpick.call(Pick::UpTo(number));
                                    } else if keys.ctrl() || keys.meta() {
                                        onpick.call(Pick::One(number));
                                    } else {
                                        onopen.call(number);
                                    }
                                },
                                for (name , (class , text)) in columns.iter().zip(cells) {
                                    span { role: "gridcell", class: "{class}",
                                        oncontextmenu: {
                                            let name = name.clone();
                                            move |event: Event<MouseData>| {
                                                event.prevent_default();
                                                let at = event.client_coordinates();
                                                onmenu.call((number, name.clone(), at.x, at.y));
                                            }
                                        },
                                        "{text}"
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

/// A row as the list shows it.
#[derive(Debug, PartialEq)]
struct Line {
    cells: Vec<(String, String)>,
    failed: bool,
    incomplete: bool,
}

impl Line {
    fn new(row: &Row<'_>, columns: &[String], tables: &[Table], now_ns: i64, zone: i64) -> Self {
        Self {
            cells: columns.iter().map(|name| cell(row, name, tables, now_ns, zone)).collect(),
            failed: row.flag("failed"),
            incomplete: row.flag("incomplete"),
        }
    }

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

/// All from one to the other, which stands last; the nearest to that one, if there are too many.
fn nearest(from: u64, to: u64) -> Vec<u64> {
    let most = MOST_PICKED as u64 - 1;
    if from <= to {
        (from.max(to.saturating_sub(most))..=to).collect()
    } else {
        (to..=from.min(to.saturating_add(most))).rev().collect()
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
const HEAD: &str = "rows-head";
/// They all stand in the address.
pub(crate) const MOST_PICKED: usize = 20;
/// How old an order may be while rows arrive.
const SORT_MS: f64 = 1_500.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn html(columns: &str, sort: Option<Sort>) -> String {
        #[component]
        fn Show(columns: String, sort: Option<Sort>) -> Element {
            let tables = use_signal(|| std::rc::Rc::new(fixture::tables()));
            use_context_provider(|| Catalog { tables });
            use_context_provider(|| {
                let mut tail = crate::tail::Tail::new();
                tail.ring.push(fixture::traffic(5_000), 1, false);
                Live::with(tail)
            });
            let window = Window::new();
            let onopen = use_callback(|_: u64| {});
            let onpick = use_callback(|_: Pick| {});
            let picked = vec![fixture::traffic_key(4_998)];
            let onsort = use_callback(|_: String| {});
            let onmenu = use_callback(|_: (u64, String, f64, f64)| {});
            rsx! { List { window, open: None, picked, columns, sort, onopen, onpick, onsort, onmenu } }
        }
        let mut dom =
            VirtualDom::new_with_props(Show, ShowProps { columns: columns.to_owned(), sort });
        dom.rebuild_in_place();
        dioxus_ssr::render(&dom)
    }

    #[test]
    fn the_list_holds_what_is_in_view_newest_first() {
        let html = html("", None);
        let newest = html.find("/menu/4999<").expect("the newest row is there");
        assert!(html.find("/menu/4998<").is_some_and(|next| next > newest), "{html}");
        assert!(!html.contains("/menu/4900<"));
        assert_eq!(html.matches("data-testid=\"row\"").count(), 36);
        assert!(html.contains("height:120000px"), "{html}");
        assert!(html.contains("line failed"));
        assert_eq!(html.matches(" picked\"").count(), 1, "{html}");
    }

    #[test]
    fn of_a_long_range_only_the_nearest_are_meant() {
        assert_eq!(nearest(3, 5), [3, 4, 5]);
        assert_eq!(nearest(5, 3), [5, 4, 3]);
        assert_eq!(nearest(7, 7), [7]);
        // so many that they could not be counted through
        assert_eq!(nearest(0, u64::MAX), (u64::MAX - 19..=u64::MAX).collect::<Vec<_>>());
        assert_eq!(nearest(u64::MAX, 0), (0..=19).rev().collect::<Vec<_>>());
    }

    #[test]
    fn columns_are_chosen_and_rows_are_sorted() {
        let html = html("target,node", Sort::read("duration"));
        assert!(
            html.find("/menu/0<")
                .is_some_and(|first| html.find("/menu/1<").is_some_and(|next| next > first)),
            "{html}"
        );
        assert!(html.contains("node-1") && !html.contains(">verb<"), "{html}");
        let slowest = self::html("target", Sort::read("-duration"));
        assert!(slowest.contains("/menu/4999<") && !slowest.contains("/menu/0<"), "{slowest}");
    }
}
