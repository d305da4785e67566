//! The packets of a conversation: what each says, header by header, beside its bytes.

use std::ops::Range;

use api::{ApiError, Format, Kind, QueryRequest, RowKey};
use dioxus::prelude::*;

use super::{error::ErrorNote, icon::Icon};
use crate::{
    Route,
    browser::Abort,
    client::Session,
    decode::packet::{Layer, layers, summary},
    settings::zone,
    value::{Row, Value, hex_marked, read, shown, size},
};

/// The packets, as far as they are kept.
#[component]
pub(crate) fn Packets(row: RowKey) -> Element {
    let session = use_context::<Session>();
    let mut is_open = use_signal(|| false);
    let mut chosen = use_signal(|| None::<(usize, usize)>);
    let mut refused = use_signal(|| None::<ApiError>);
    let key = (row.flow_id.clone(), row.node.clone());
    let (all, file) = (row.packets_sql(None), format!("{}.pcapng", row.flow_id));
    let download = move |_| {
        let (sql, name) = (all.clone(), file.clone());
        spawn(async move {
            let saved = session.export(sql, Format::Pcapng, &name).await;
            refused.set(saved.err().map(|it| it.error()));
        });
    };
    let sql = format!(
        "SELECT ts, wire_bytes, link, data FROM packets WHERE flow_id = {} AND node = {} ORDER BY ts LIMIT {MOST_ROWS}",
        api::quote_text(&row.flow_id),
        api::quote_text(&row.node)
    );
    let asked = sql.clone();
    let rows = use_resource(use_reactive((&key, &is_open()), move |(_, is_open)| {
        let sql = asked.clone();
        async move {
            if !is_open {
                return None;
            }
            Some(session.ask(QueryRequest::sql(sql), &Abort::new()).await)
        }
    }));
    let zone = zone();
    rsx! {
        details { class: "group nested", "data-testid": "packets", ontoggle: move |_| is_open.toggle(),
            summary { "packets" }
            match &*rows.read() {
                Some(Some(Ok(answer))) if answer.rows == 0 => rsx! {
                    p { class: "note", "No packet of this conversation is kept: they were not stored, or have gone to make room." }
                },
                Some(Some(Ok(answer))) => rsx! {
                    table { class: "said packets", tbody {
                        for (part , batch) in answer.batches.iter().enumerate() {
                            for at in 0..batch.num_rows() {
                                {
                                    let it = Row { batch, at };
                                    let is_chosen = chosen() == Some((part, at));
                                    let bytes = match batch.column_by_name("data").map(|data| read(data, at)) {
                                        Some(Value::Bytes(bytes)) => bytes,
                                        _ => &[],
                                    };
                                    let layers = layers(it.number("link").unwrap_or(1), bytes);
                                    rsx! {
                                        tr { class: if is_chosen { "on" } else { "" }, "data-testid": "packet",
                                            td { class: "dim", {shown(&it.value("ts"), Some(Kind::Time), zone).chars().skip(11).collect::<String>()} }
                                            td { button { r#type: "button", "aria-expanded": is_chosen, onclick: move |_| chosen.set((!is_chosen).then_some((part, at))), {summary(&layers)} } }
                                            td { class: "dim right", {shown(&it.value("wire_bytes"), Some(Kind::Size), zone)} }
                                        }
                                        if is_chosen {
                                            tr { class: "opened", td { colspan: 3, Packet { layers, bytes: bytes.to_vec(), wire_bytes: it.number("wire_bytes").unwrap_or_default() } } }
                                        }
                                    }
                                }
                            }
                        }
                    } }
                    if answer.rows >= MOST_ROWS { p { class: "note", "only the first {MOST_ROWS} are shown; the file has all" } }
                    p { class: "note",
                        button { class: "tool", r#type: "button", "data-testid": "packets-download", onclick: download, Icon { name: "download" } "Download as pcapng" }
                        " "
                        Link { to: Route::sql(&sql), class: "tool", Icon { name: "prompt" } "Open as SQL" }
                    }
                    if let Some(error) = refused() {
                        ErrorNote { text: "", error, testid: "packets-refused" }
                    }
                },
                Some(Some(Err(failure))) => rsx! { ErrorNote { text: "", error: failure.error(), testid: "packets-error" } },
                Some(None) | None => rsx! { p { class: "note", "Fetching…" } },
            }
        }
    }
}

/// One packet: its layers, and its bytes; those of what was clicked are marked.
#[component]
fn Packet(layers: Vec<Layer>, bytes: Vec<u8>, wire_bytes: u64) -> Element {
    let mut marked = use_signal(|| None::<Range<usize>>);
    let is_marked = |range: &Range<usize>| marked.read().as_ref() == Some(range);
    let kept = bytes.get(..MOST_BYTES).unwrap_or(&bytes);
    let dump = hex_marked(kept, &marked.read().clone().unwrap_or_default());
    // what the innermost header says is looked at most
    let innermost = layers.iter().rposition(|it| !it.parts.is_empty());
    let missing = wire_bytes.saturating_sub(bytes.len() as u64);
    rsx! {
        div { class: "packet",
            div { class: "layers",
                for (at , layer) in layers.iter().enumerate() {
                    details { open: innermost == Some(at), "data-testid": "layer",
                        summary { class: if is_marked(&layer.range) { "on" } else { "" },
                            onclick: { let range = layer.range.clone(); move |_| marked.set(Some(range.clone())) },
                            b { "{layer.name}" } " {layer.short}"
                        }
                        for part in layer.parts.iter() {
                            button { class: if is_marked(&part.range) { "part on" } else { "part" }, r#type: "button", "aria-pressed": is_marked(&part.range), "data-testid": "part",
                                onclick: { let range = part.range.clone(); move |_| marked.set(Some(range.clone())) },
                                span { class: "dim", "{part.name}" } " {part.value}"
                            }
                        }
                    }
                }
                if missing > 0 {
                    p { class: "note", "{size(missing)} more were on the wire and not captured" }
                }
            }
            div { class: "bytes",
                pre { class: "dump", tabindex: 0, "aria-label": "the packet's bytes",
                    for (is_marked , text) in dump {
                        if is_marked { mark { "{text}" } } else { "{text}" }
                    }
                }
                if bytes.len() > MOST_BYTES {
                    p { class: "note", "only the first {size(MOST_BYTES as u64)} are shown" }
                }
            }
        }
    }
}

const MOST_ROWS: usize = 200;
const MOST_BYTES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_told_header_by_header_beside_its_bytes() {
        let ip = [
            0x45, 0, 0, 0x1d, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 0, 53,
            0, 9, 0, 0, b'<',
        ];
        let html = dioxus_ssr::render_element(
            rsx! { Packet { layers: layers(101, &ip), bytes: ip.to_vec(), wire_bytes: 100 } },
        );
        for part in ["<b>IPv4</b>", "10.0.0.1 → 10.0.0.2", "time to live", "53 → 53, 1 byte"] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(html.contains("000000  45 00 00 1d") && html.contains("71 B more were"), "{html}");
    }
}
