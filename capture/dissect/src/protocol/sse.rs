//! Server-sent events: what a response of type `text/event-stream` holds
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
use std::borrow::Cow;

use memchr::memchr2;
use schema::value::{Label, Size, text};

use super::http::message::{Read, Sent, Target};
use crate::exchange::Summary;
use crate::tables::Also;

/// Events that a server sent in a response, which is a row of `http`, too; they are written when
/// it ends. `ts` is when an event was complete, `verb` its type, `target` the path asked for.
#[derive(schema::Record)]
pub(super) struct Sse<'a> {
    /// The event's type; `message` if it has none.
    event: Label<'a>,
    /// From where a client would ask to go on.
    id: Option<Cow<'a, str>>,
    /// What the event says.
    data: Cow<'a, str>,
    /// The size of `data`.
    data_bytes: Size,
    /// Its position among the events of the response, from 0.
    position: u64,
    /// The path asked for (OpenTelemetry `url.path`).
    path: Option<Cow<'a, str>>,
}

/// A row for each event.
pub(super) fn also(
    request: Option<&Sent>,
    response: &Sent,
    times: &[(u64, i64)],
    also: &mut Also<'_>,
) {
    let asked = request.map(|it| Read::of(it, b"")).unwrap_or_default();
    let (method, target, _) = asked.request();
    let path = Target::of(method, target).path.map(text);
    let read = Read::of(response, b"");
    let body = read.body.as_deref().unwrap_or_default();
    // Where compressed bytes lead to is not known.
    let times = if matches!(read.body, Some(Cow::Borrowed(_))) { times } else { &[] };
    if read.truncated {
        also.incomplete();
    }
    for (position, it) in (0..).zip(events(body).take(MOST_EVENTS)) {
        let at = times.partition_point(|time| time.0 < it.end as u64);
        let ts = times.get(at).map(|it| it.1);
        let event = if it.event.is_empty() { Cow::Borrowed("message") } else { text(it.event) };
        let summary = Summary {
            verb: event.clone(),
            target: path.clone().unwrap_or_default(),
            ..Summary::default()
        };
        also.bytes(0, (it.end - it.start) as u64);
        let row = Sse {
            event: Label(event),
            id: it.id.map(text),
            data_bytes: Size(it.data.len() as u64),
            data: text(&it.data),
            position,
            path: path.clone(),
        };
        also.row_at::<SseColumns>("sse", ts, summary, row);
    }
}

/// One event, and where it stands in the body.
struct Event<'a> {
    event: &'a [u8],
    id: Option<&'a [u8]>,
    data: Cow<'a, [u8]>,
    start: usize,
    end: usize,
}

/// The events that are complete.
fn events(body: &[u8]) -> impl Iterator<Item = Event<'_>> {
    let mut at = if body.starts_with(MARK) { MARK.len() } else { 0 };
    std::iter::from_fn(move || {
        loop {
            let start = at;
            let (mut event, mut id): (&[u8], Option<&[u8]>) = (b"", None);
            let mut data: Option<Cow<'_, [u8]>> = None;
            loop {
                let rest = body.get(at..)?;
                let length = memchr2(b'\r', b'\n', rest)?;
                let (line, after) = rest.split_at_checked(length)?;
                at += length + if after.starts_with(b"\r\n") { 2 } else { 1 };
                if line.is_empty() {
                    break;
                }
                let colon = memchr::memchr(b':', line).unwrap_or(line.len());
                let (name, value) = line.split_at_checked(colon)?;
                let value = value.get(1..).unwrap_or_default();
                let value = value.strip_prefix(b" ").unwrap_or(value);
                match name {
                    b"event" => event = value,
                    b"id" => id = Some(value),
                    b"data" => match &mut data {
                        None => data = Some(Cow::Borrowed(value)),
                        Some(data) => {
                            data.to_mut().push(b'\n');
                            data.to_mut().extend_from_slice(value);
                        }
                    },
                    _ => {}
                }
            }
            if let Some(data) = data {
                return Some(Event { event, id, data, start, end: at });
            }
        }
    })
}

/// A mark of the byte order, which may stand before the first event.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Events of one response.
const MOST_EVENTS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_apart() {
        let body = b"\xef\xbb\xbf: hello\n\ndata: a\ndata:b\nid\n\nevent: add\r\nid: 7\r\ndata:  c\r\n\r\nretry: 1\n\ndata\n\ndata: cut";
        let found: Vec<_> = events(body)
            .map(|it| {
                let [event, data] =
                    [it.event, &it.data].map(|it| String::from_utf8_lossy(it).into_owned());
                (event, it.id.map(<[u8]>::to_vec), data)
            })
            .collect();
        let said = |event: &str, id: Option<&[u8]>, data: &str| {
            (event.to_owned(), id.map(<[u8]>::to_vec), data.to_owned())
        };
        assert_eq!(
            found,
            [said("", Some(b""), "a\nb"), said("add", Some(b"7"), " c"), said("", None, "")]
        );
    }
}
