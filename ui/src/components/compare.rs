//! Two rows side by side, with what differs marked.

use api::RowKey;
use dioxus::prelude::*;

use super::{detail::one, error::ErrorNote, icon::Icon, record::Shown};
use crate::{
    client::{Failure, Session},
    compare::{Compared, Pair, compare},
    settings::zone,
    state::{Catalog, hue},
    value::Row,
};

#[component]
pub(crate) fn Compare(left: RowKey, right: RowKey, onclose: EventHandler<()>) -> Element {
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let mut is_all = use_signal(|| false);
    let rows = use_resource(use_reactive((&left, &right), move |keys| async move {
        let rows = both(session, &keys).await;
        (keys, rows)
    }));
    let zone = zone();
    let state = rows.read();
    // the rows of the pair before are not those asked for
    let state =
        state.as_ref().filter(|(of, _)| *of == (left.clone(), right.clone())).map(|(_, it)| it);
    let columns = match state {
        Some(Ok((Some(left), Some(right)))) => compare(
            &Row { batch: &left.batch, at: left.at },
            &Row { batch: &right.batch, at: right.at },
            zone,
        ),
        _ => Vec::new(),
    };
    let differing = columns.iter().filter(|it| it.differs()).count();
    let title = |key: &RowKey, row: Option<Row<'_>>| {
        let text = |name: &str| row.map(|it| it.text(name).into_owned()).unwrap_or_default();
        let (verb, target) = (text("verb"), text("target"));
        rsx! {
            span { class: "protocol {hue(&catalog.tables.read(), &key.protocol)}", "{key.protocol}" }
            " "
            b { "{verb}" }
            " {target}"
        }
    };
    let titles = match state {
        Some(Ok((a, b))) => {
            let row = |it: &Option<Shown>| {
                it.as_ref().map(|it| it.batch.clone()).zip(it.as_ref().map(|it| it.at))
            };
            Some((row(a), row(b)))
        }
        _ => None,
    };
    rsx! {
        aside { class: "detail compare", id: "compare", "data-testid": "compare", "aria-label": "two rows compared",
            header {
                span { class: "target", b { "Compare" }
                    if !columns.is_empty() {
                        span { class: "note", role: "status", " {differing} of {columns.len()} fields differ" }
                    }
                }
                span { class: "tools",
                    button { class: "tool", r#type: "button", "aria-pressed": is_all(), "data-testid": "compare-all", onclick: move |_| is_all.toggle(), "what is the same, too" }
                    button { class: "bare", title: "close (esc)", "aria-label": "close", "data-testid": "compare-close", onclick: move |_| onclose.call(()), Icon { name: "close" } }
                }
            }
            div { class: "scroll", tabindex: 0,
                match state {
                    None => rsx! { p { class: "note", "Fetching both rows…" } },
                    Some(Err(failure)) => {
                        rsx! { ErrorNote { text: "", error: failure.error(), testid: "compare-error" } }
                    }
                    Some(Ok((Some(_), Some(_)))) => rsx! {
                        table { class: "compared",
                            thead { tr {
                                th { scope: "col", class: "field", "field" }
                                if let Some((a, b)) = &titles {
                                    th { scope: "col", {title(&left, a.as_ref().map(|(batch, at)| Row { batch, at: *at }))} }
                                    th { scope: "col", {title(&right, b.as_ref().map(|(batch, at)| Row { batch, at: *at }))} }
                                }
                            } }
                            tbody {
                                for it in columns.into_iter().filter(|it| is_all() || it.differs()) {
                                    {field(it, is_all())}
                                }
                            }
                        }
                        if differing == 0 && !is_all() {
                            p { class: "note", "Both rows say the same in every field." }
                        }
                    },
                    Some(Ok((a, _))) => rsx! {
                        p { class: "note", "The Workers no longer have the " {if a.is_none() { "first" } else { "second" }} " row: it is older than what they keep, or its Worker is away." }
                    },
                }
            }
        }
    }
}

async fn both(
    session: Session,
    (left, right): &(RowKey, RowKey),
) -> Result<(Option<Shown>, Option<Shown>), Failure> {
    let left = one(session, left.sql()).await?;
    Ok((left, one(session, right.sql()).await?))
}

fn field(it: Compared, is_all: bool) -> Element {
    if !it.has_parts {
        let Some(pair) = it.pairs.into_iter().next() else { return rsx! {} };
        return line(Pair { name: it.column, ..pair }, false);
    }
    let same = it.pairs.iter().filter(|pair| !pair.differs).count();
    let hidden = if is_all { 0 } else { same };
    rsx! {
        tr { class: "parts", th { scope: "colgroup", colspan: 3, "{it.column}" if hidden > 0 { span { class: "note", " {hidden} the same" } } } }
        for pair in it.pairs.into_iter().filter(|pair| is_all || pair.differs) {
            {line(pair, true)}
        }
    }
}

fn line(pair: Pair, is_part: bool) -> Element {
    let class = match (pair.differs, is_part) {
        (true, true) => "differs part",
        (true, false) => "differs",
        (false, true) => "part",
        (false, false) => "",
    };
    let side = |text: &Option<String>, has_other: bool| match text {
        Some(text) => rsx! { span { "{text}" } },
        None if has_other => rsx! { span { class: "null", "–" } },
        None => rsx! {},
    };
    rsx! {
        tr { class,
            th { scope: "row", title: "{pair.name}", "{pair.name}" }
            td { class: if pair.left.is_none() { "lacks" } else { "" }, {side(&pair.left, pair.right.is_some())} }
            td { class: if pair.right.is_none() { "lacks" } else { "" }, {side(&pair.right, pair.left.is_some())}
                if let Some(more) = &pair.more { span { class: "more", "{more}" } } }
        }
    }
}
