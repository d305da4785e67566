//! Traffic as it happens.

use api::RowKey;
use dioxus::prelude::*;

use crate::{
    Route,
    address::Param,
    browser,
    client::{Failure, Session},
    columns::Sort,
    components::{
        cell_menu::{Asked, CellMenu},
        column_choice::ColumnChoice,
        compare::Compare,
        detail::{Detail, clause},
        empty::Empty,
        filter_bar::FilterBar,
        help::Help,
        histogram::Bars,
        icon::Icon,
        list::{List, MOST_PICKED, Pick, Window},
        range_choice::RangeChoice,
    },
    filter,
    range::Range,
    state::Catalog,
    tail::{Line, Live, PAST_ROWS},
    value::grouped,
};

/// All that the address says of the view.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) filter: String,
    pub(crate) range: Range,
    pub(crate) row: String,
    pub(crate) columns: String,
    pub(crate) sort: String,
    /// Keys of rows, with spaces between them.
    pub(crate) picked: String,
    pub(crate) is_compared: bool,
}

impl View {
    pub(crate) fn route(&self) -> Route {
        Route::Traffic {
            filter: self.filter.as_str().into(),
            from: self.range.from.as_str().into(),
            to: self.range.to.as_str().into(),
            row: self.row.as_str().into(),
            columns: self.columns.as_str().into(),
            sort: self.sort.as_str().into(),
            picked: self.picked.as_str().into(),
            compare: if self.is_compared { "yes".into() } else { Param::default() },
        }
    }
}

#[component]
pub(crate) fn Traffic(
    filter: Param,
    from: Param,
    to: Param,
    row: Param,
    columns: Param,
    sort: Param,
    picked: Param,
    compare: Param,
) -> Element {
    let live = use_context::<Live>();
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let window = Window::new();
    let mut wrong = use_signal(|| None);
    let now = View {
        filter: filter.text(),
        range: Range::new(&from, &to),
        row: row.text(),
        columns: columns.text(),
        sort: sort.text(),
        picked: picked.text(),
        is_compared: &*compare == "yes",
    };
    let mut address = use_signal(|| now.clone());
    let mut asked = use_signal(|| None::<Asked>);
    let mut is_help = use_signal(|| false);
    {
        let mut live = live.clone();
        use_effect(use_reactive(&now, move |now| {
            let is_other = {
                let before = address.peek();
                before.filter != now.filter || before.range != now.range
            };
            if is_other {
                let mut cursor = window.cursor;
                cursor.set(None);
                window.follow(&live);
            }
            live.set(&now.filter, &now.range);
            if *address.peek() != now {
                address.set(now);
            }
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
            let view = View { row: written(&key), is_compared: false, ..address.peek().clone() };
            navigator().replace(view.route());
        }
    });
    let pick = use_callback({
        let live = live.clone();
        move |pick: Pick| {
            window.hold(&live);
            let keys: Vec<RowKey> = {
                let tail = live.peek();
                let meant = window.meant(pick);
                meant.into_iter().filter_map(|it| Some(tail.ring.get(it)?.key())).collect()
            };
            let mut cursor = window.cursor;
            let (Pick::One(number) | Pick::UpTo(number)) = pick;
            cursor.set(Some(number));
            let view = address.peek().clone();
            let picked = picked_with(read_all(&view.picked), keys, matches!(pick, Pick::One(_)));
            let view = View { picked: written_all(&picked), is_compared: false, ..view };
            // the next key may come before the page is drawn again
            address.set(view.clone());
            navigator().replace(view.route());
        }
    });
    let compared = use_callback(move |is_compared: bool| {
        let view = View { is_compared, ..address.peek().clone() };
        if !is_compared || read_all(&view.picked).len() > 1 {
            navigator().replace(view.route());
        }
    });
    let unpick = use_callback(move |()| {
        let view = View { picked: String::new(), is_compared: false, ..address.peek().clone() };
        navigator().replace(view.route());
    });
    let close = use_callback({
        let live = live.clone();
        move |_: ()| {
            let view = View { row: String::new(), ..address.peek().clone() };
            navigator().replace(view.route());
            if *window.scroll.peek() < 1.0 && !*window.paused.peek() {
                window.follow(&live);
            }
        }
    });
    let goto = use_callback(move |key: RowKey| {
        let view = View { row: written(&key), ..address.peek().clone() };
        navigator().replace(view.route());
    });
    let apply = use_callback(move |filter: String| {
        let view =
            View { filter, row: String::new(), is_compared: false, ..address.peek().clone() };
        navigator().push(view.route());
    });
    let narrow = use_callback(move |clause: String| {
        let view = address.peek().clone();
        let text = filter::and(&view.filter, &clause);
        spawn(async move {
            if let Err(Failure::Refused(error)) = session.check(&text).await {
                // what is seen stays; the bar shows what was tried
                wrong.set(Some((text, error)));
            } else {
                navigator().push(View { filter: text, ..view }.route());
            }
        });
    });
    let during = use_callback(move |range: Range| {
        let view = View { range, ..address.peek().clone() };
        navigator().push(view.route());
    });
    let arrange = use_callback(move |columns: String| {
        let view = View { columns, ..address.peek().clone() };
        navigator().replace(view.route());
    });
    let order = use_callback(move |column: String| {
        let view = address.peek().clone();
        let next = Sort::next(Sort::read(&view.sort).as_ref(), &column);
        let sort = next.map(|sort| sort.written()).unwrap_or_default();
        navigator().replace(View { sort, ..view }.route());
    });
    let menu = use_callback({
        let live = live.clone();
        move |(number, column, x, y): (u64, String, f64, f64)| {
            window.hold(&live);
            let tail = live.peek();
            let about = tail.ring.get(number).map(|row| Asked::new(&row, column, x, y, catalog));
            drop(tail);
            asked.set(about);
        }
    });
    use_hook({
        let live = live.clone();
        move || {
            std::rc::Rc::new(browser::Keys::listen(move |key| {
                let is_open = !address.peek().row.is_empty();
                let cursor = *window.cursor.peek();
                if *is_help.peek() || asked.peek().is_some() {
                    if matches!(key, "Escape" | "?") {
                        is_help.set(false);
                        asked.set(None);
                        return true;
                    }
                    return false;
                }
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
                    "x" => match cursor {
                        Some(number) => pick.call(Pick::One(number)),
                        None => return false,
                    },
                    "c" => compared.call(true),
                    "Escape" if address.peek().is_compared => compared.call(false),
                    "Escape" if is_open => close.call(()),
                    "Escape" if !address.peek().picked.is_empty() => unpick.call(()),
                    "Escape" | "g" => {
                        let mut cursor = window.cursor;
                        cursor.set(None);
                        window.follow(&live);
                    }
                    "/" => browser::focus("filter"),
                    "p" => toggle(window, &live),
                    "?" => is_help.set(true),
                    _ => return false,
                }
                true
            }))
        }
    });
    let key = read(&now.row);
    let picked = read_all(&now.picked);
    let two = match picked.as_slice() {
        [.., left, right] if now.is_compared => Some((left.clone(), right.clone())),
        _ => None,
    };
    let split = match (&two, &key) {
        (Some(_), _) => "split comparing",
        (None, Some(_)) => "split detailed",
        (None, None) => "split",
    };
    let is_empty = live.is_empty();
    rsx! {
        section { class: "traffic",
            FilterBar { filter: now.filter.clone(), range: now.range.clone(), wrong, onapply: apply }
            Bars { filter: now.filter.clone(), range: now.range.clone(), onrange: during }
            Status { window, columns: now.columns.clone(), onrange: during, onarrange: arrange, onhelp: move |()| is_help.set(true) }
            if !picked.is_empty() {
                Picked { picked: picked.clone(), oncompare: move |()| compared.call(true), onfilter: narrow, onclear: unpick }
            }
            div { class: split,
                div { class: "pane",
                    if is_empty {
                        Empty { filter: now.filter.clone(), range: now.range.clone(), onrange: during, onfilter: apply }
                    } else {
                        List { window, open: key.clone(), picked: picked.clone(), columns: now.columns.clone(), sort: Sort::read(&now.sort), onopen: open, onpick: pick, onsort: order, onmenu: menu }
                    }
                }
                if let Some((left, right)) = two {
                    Compare { left, right, onclose: move |()| compared.call(false) }
                } else if let Some(key) = &key {
                    Detail { row: key.clone(), onclose: close, onfilter: narrow, onrow: goto }
                }
            }
        }
        if let Some(about) = &*asked.read() {
            CellMenu { asked: about.clone(), onfilter: narrow, onsort: order, onclose: move |()| asked.set(None) }
        }
        if is_help() {
            Help { onclose: move |()| is_help.set(false) }
        }
    }
}

/// What could be done with the rows that are picked.
#[component]
fn Picked(
    picked: Vec<RowKey>,
    oncompare: EventHandler<()>,
    onfilter: EventHandler<String>,
    onclear: EventHandler<()>,
) -> Element {
    let count = picked.len();
    let clauses: Vec<_> = picked.iter().map(|key| format!("({})", clause(key))).collect();
    let only = format!("({})", clauses.join(" or "));
    let title = match count {
        1 => "pick another row to compare it with",
        2 => "fields, headers and payloads side by side (c)",
        _ => "the two that were picked last, side by side (c)",
    };
    rsx! {
        div { class: "status-line picked", role: "status", "data-testid": "picked",
            span { class: "fact", b { "{count}" } if count == 1 { " row picked" } else { " rows picked" } }
            button { class: "tool", r#type: "button", "data-testid": "compare-open", disabled: count < 2, title, onclick: move |_| oncompare.call(()), "Compare" kbd { "c" } }
            button { class: "tool", r#type: "button", "data-testid": "picked-only", title: "and {only}", onclick: move |_| onfilter.call(only.clone()), "Only these" }
            button { class: "tool", r#type: "button", "data-testid": "picked-none", onclick: move |_| onclear.call(()), "Pick none" kbd { "esc" } }
            span { class: "keys", kbd { "x" } " or ctrl-click picks a row, shift-click all up to it" }
        }
    }
}

/// What arrives, what does not, and how the line to the Hub is.
#[component]
fn Status(
    window: Window,
    columns: String,
    onrange: EventHandler<Range>,
    onarrange: EventHandler<String>,
    onhelp: EventHandler<()>,
) -> Element {
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
        Line::Past if !tail.has_history => ("chip", "asking".to_owned()),
        Line::Past => ("chip warn", "not live: a time that is over".to_owned()),
    };
    let icon = if paused() { "play" } else { "pause" };
    let is_refused = matches!(tail.line, Line::Refused(_));
    let is_past = tail.line == Line::Past;
    let is_cut = is_past && rows >= PAST_ROWS;
    let is_waiting = matches!(tail.line, Line::Waiting { .. });
    let rate = tail.rate;
    let (skipped, not_kept) = (tail.skipped, tail.not_kept);
    let history = tail.history_error.clone();
    let gone: Vec<_> = tail.gone.iter().map(|(node, why)| (node.clone(), why.clone())).collect();
    drop(tail);
    let (toggled, retried) = (live.clone(), live.clone());
    rsx! {
        div { class: "status-line", role: "status",
            RangeChoice { range: live.range(), onrange }
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
            if is_past {
                button { class: "tool", "data-testid": "go-live", onclick: move |_| onrange.call(Range::default()), Icon { name: "play" } "Go live" }
            } else {
                span { class: "fact", b { "{rate:.0}" } " rows/s" }
            }
            if is_cut {
                span { class: "fact warn", title: "a shorter time or a filter shows all", "only the newest {grouped(PAST_ROWS)} are listed" }
            }
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
            span { class: "tools",
                span { class: "keys", kbd { "/" } " filter " kbd { "j" } kbd { "k" } " move " kbd { "↵" } " open " kbd { "x" } " pick " }
                ColumnChoice { columns, onchoose: onarrange }
                button { class: "tool", "data-testid": "share", title: "copy a link that shows this view", onclick: move |_| browser::copy(&browser::address()), Icon { name: "link" } "Link" }
                button { class: "bare", title: "keys (?)", "aria-label": "keys", onclick: move |_| onhelp.call(()), Icon { name: "help" } }
            }
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

/// What is picked after a pick: picked once more, a row is left out again.
fn picked_with(mut picked: Vec<RowKey>, keys: Vec<RowKey>, is_toggle: bool) -> Vec<RowKey> {
    for key in keys {
        let place = picked.iter().position(|it| *it == key);
        if let Some(place) = place {
            picked.remove(place);
        }
        if place.is_none() || !is_toggle {
            picked.push(key);
        }
    }
    picked.split_off(picked.len().saturating_sub(MOST_PICKED))
}

fn written_all(keys: &[RowKey]) -> String {
    keys.iter().map(written).collect::<Vec<_>>().join(" ")
}

fn read_all(text: &str) -> Vec<RowKey> {
    text.split(' ').filter_map(read).take(MOST_PICKED).collect()
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

    #[test]
    fn rows_are_picked_and_left_out_again_and_the_last_stand_last() {
        let key = crate::fixture::traffic_key;
        let seqs = |keys: &[RowKey]| keys.iter().map(|it| it.seq).collect::<Vec<_>>();
        let one = picked_with(Vec::new(), vec![key(1)], true);
        let two = picked_with(one, vec![key(2)], true);
        assert_eq!(seqs(&read_all(&written_all(&two))), [1, 2]);
        assert_eq!(seqs(&picked_with(two.clone(), vec![key(1)], true)), [2]);
        assert_eq!(seqs(&picked_with(two.clone(), vec![key(3), key(1)], false)), [2, 3, 1]);
        let many = picked_with(two, (10..40).map(key).collect(), false);
        assert_eq!((many.len(), many.last().map(|it| it.seq)), (MOST_PICKED, Some(39)));
    }
}
