//! Traffic as it happens.

use api::RowKey;
use dioxus::prelude::*;

use crate::{
    Route, browser,
    client::{Failure, Session},
    components::{
        detail::Detail,
        empty::Empty,
        filter_bar::FilterBar,
        icon::Icon,
        list::{List, Window},
    },
    filter,
    tail::{Line, Live},
    value::grouped,
};

#[component]
pub(crate) fn Traffic(filter: String, row: String) -> Element {
    let live = use_context::<Live>();
    let session = use_context::<Session>();
    let window = Window::new();
    let mut wrong = use_signal(|| None);
    let mut address = use_signal(|| (filter.clone(), row.clone()));
    {
        let mut live = live.clone();
        use_effect(use_reactive((&filter, &row), move |(filter, row)| {
            if address.peek().0 != filter {
                let mut cursor = window.cursor;
                cursor.set(None);
                window.follow(&live);
            }
            live.set_filter(&filter);
            address.set((filter, row));
        }));
    }
    // a list nobody looks at may forget its oldest rows
    use_drop({
        let live = live.clone();
        move || live.hold(false)
    });
    let open = use_callback({
        let live = live.clone();
        move |number: u64| {
            let key = live.peek().ring.get(number).map(|row| row.key());
            let Some(key) = key else { return };
            let mut cursor = window.cursor;
            window.hold(&live);
            cursor.set(Some(number));
            let filter = address.peek().0.clone();
            navigator().replace(Route::Traffic { filter, row: written(&key) });
        }
    });
    let close = use_callback({
        let live = live.clone();
        move |_: ()| {
            let filter = address.peek().0.clone();
            navigator().replace(Route::Traffic { filter, row: String::new() });
            if *window.scroll.peek() < 1.0 && !*window.paused.peek() {
                window.follow(&live);
            }
        }
    });
    let narrow = use_callback(move |clause: String| {
        let (filter, row) = address.peek().clone();
        let text = filter::and(&filter, &clause);
        spawn(async move {
            if let Err(Failure::Refused(error)) = session.check(&text).await {
                // what is seen stays; the bar shows what was tried
                wrong.set(Some((text, error)));
            } else {
                navigator().push(Route::Traffic { filter: text, row });
            }
        });
    });
    use_hook({
        let live = live.clone();
        move || {
            std::rc::Rc::new(browser::Keys::listen(move |key| {
                let is_open = !address.peek().1.is_empty();
                let cursor = *window.cursor.peek();
                match key {
                    "j" | "ArrowDown" | "k" | "ArrowUp" => {
                        let by = if matches!(key, "j" | "ArrowDown") { 1 } else { -1 };
                        let number = window.step(&live, by);
                        if let (Some(number), true) = (number, is_open) {
                            open.call(number);
                        }
                    }
                    "Enter" => match cursor {
                        Some(number) => open.call(number),
                        None => return false,
                    },
                    "Escape" if is_open => close.call(()),
                    "Escape" => {
                        let mut cursor = window.cursor;
                        cursor.set(None);
                        window.follow(&live);
                    }
                    "/" => browser::focus("filter"),
                    "p" => toggle(window, &live),
                    _ => return false,
                }
                true
            }))
        }
    });
    let key = read(&row);
    let is_empty = {
        let tail = live.read();
        tail.ring.end() == tail.ring.start()
    };
    rsx! {
        section { class: "traffic",
            FilterBar { filter: filter.clone(), wrong }
            Status { window }
            div { class: if key.is_some() { "split detailed" } else { "split" },
                div { class: "pane",
                    if is_empty {
                        Empty { filter: filter.clone() }
                    } else {
                        List { window, open: key.clone(), onopen: open }
                    }
                }
                if let Some(key) = &key {
                    Detail { row: key.clone(), onclose: close, onfilter: narrow }
                }
            }
        }
    }
}

/// What arrives, what does not, and how the line to the Hub is.
#[component]
fn Status(window: Window) -> Element {
    let live = use_context::<Live>();
    let paused = window.paused;
    let tail = live.read();
    let rows = tail.ring.end() - tail.ring.start();
    let is_still = (window.pin)().is_some();
    let now_ms = browser::now_ms();
    let (class, line) = match &tail.line {
        Line::Connecting => ("chip", "connecting".to_owned()),
        Line::Open if paused() => ("chip warn", "paused".to_owned()),
        Line::Open if is_still => ("chip warn", "holding still".to_owned()),
        Line::Open => ("chip good", "live".to_owned()),
        Line::Waiting { why, until_ms } => {
            let secs = ((until_ms - now_ms) / 1000.0).ceil().max(0.0);
            ("chip bad", format!("{why}; again in {secs:.0} s"))
        }
        Line::Refused(_) => ("chip bad", "the filter was refused".to_owned()),
    };
    let icon = if paused() { "play" } else { "pause" };
    let is_refused = matches!(tail.line, Line::Refused(_));
    let is_waiting = matches!(tail.line, Line::Waiting { .. });
    let rate = tail.rate;
    let (skipped, not_kept) = (tail.skipped, tail.not_kept);
    let history = tail.history_error.clone();
    let gone: Vec<_> = tail.gone.iter().map(|(node, why)| (node.clone(), why.clone())).collect();
    drop(tail);
    let (toggled, retried) = (live.clone(), live.clone());
    rsx! {
        div { class: "status-line", role: "status",
            button { class: "tool", id: "pause", "data-testid": "pause", "aria-pressed": paused(),
                title: "hold the list still (p)", onclick: move |_| toggle(window, &toggled),
                Icon { name: icon }
                if paused() { "Resume" } else { "Pause" }
            }
            span { class, id: "line", "data-testid": "line", span { class: "dot" } "{line}" }
            if is_waiting {
                button { class: "tool", onclick: move |_| { let mut live = retried.clone(); live.retry() }, "Try now" }
            }
            span { class: "fact", b { "{grouped(rows)}" } " rows" }
            span { class: "fact", b { "{rate:.0}" } " rows/s" }
            if skipped > 0 {
                span { class: "fact warn", title: "rows that matched but were left out of this view because the page or a node could not keep up; a query finds them",
                    b { "{grouped(skipped)}" } " skipped"
                }
            }
            if not_kept > 0 {
                span { class: "fact warn", title: "rows that came while the list was held still and full; a query finds them",
                    b { "{grouped(not_kept)}" } " not kept while held"
                }
            }
            for (node , why) in gone {
                span { class: "fact bad", title: "{why}", "no rows from " b { "{node}" } }
            }
            if let Some(error) = history.filter(|_| !is_refused) {
                span { class: "fact bad", title: "{error}", "earlier rows are missing: {error.message}" }
            }
            span { class: "keys", kbd { "/" } " filter " kbd { "j" } kbd { "k" } " move " kbd { "↵" } " open " kbd { "esc" } " close" }
        }
    }
}

fn toggle(window: Window, live: &Live) {
    let Window { mut paused, .. } = window;
    if *paused.peek() {
        window.follow(live);
    } else {
        paused.set(true);
        window.hold(live);
    }
}

/// A row's key as it stands in an address.
fn written(key: &RowKey) -> String {
    format!("{}~{}~{}~{}", key.protocol, key.flow_id, key.seq, key.node)
}

fn read(text: &str) -> Option<RowKey> {
    let mut parts = text.splitn(4, '~');
    let (protocol, flow_id, seq, node) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(RowKey {
        protocol: protocol.into(),
        flow_id: flow_id.into(),
        seq: seq.parse().ok()?,
        node: node.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_an_address() {
        let key =
            RowKey { protocol: "http".into(), node: "a~b".into(), flow_id: "0abc".into(), seq: 7 };
        assert_eq!(read(&written(&key)), Some(key));
        assert_eq!(read("http~x"), None);
    }
}
