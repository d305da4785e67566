//! Server-sent events: what a response of type `text/event-stream` holds
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
use std::borrow::Cow;

use memchr::{memchr, memchr2};
use schema::value::{Label, Size, text};

use super::http::message::{Read, Sent, Target};
use crate::exchange::Summary;
use crate::tables::Also;

/// Events that a server sent in a response, which is a row of `http` once it ends. Events are rows
/// as they come; those of a compressed response, when it ends. `ts` is when an event was complete,
/// `verb` its type, `target` the path asked for.
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

/// A row for each of these events, which the response to `request` held.
pub(super) fn also(request: Option<&Sent>, events: &[Event], also: &mut Also<'_>) {
    let asked = request.map(Read::first_line).unwrap_or_default();
    let (method, target, _) = asked.request();
    let path = Target::of(method, target).path.map(text);
    for it in events {
        let event = if it.event.is_empty() { "message".into() } else { text(&it.event) };
        let summary = Summary {
            verb: event.clone(),
            target: path.clone().unwrap_or_default(),
            ..Summary::default()
        };
        also.bytes(0, it.bytes);
        if it.incomplete {
            also.incomplete();
        }
        let row = Sse {
            event: Label(event),
            id: it.id.as_deref().map(text),
            data_bytes: Size(it.data.len() as u64),
            data: text(&it.data),
            position: it.position,
            path: path.clone(),
        };
        also.row_at::<SseColumns>("sse", it.ts, summary, row);
    }
}

/// What is left to tell when the response has ended.
pub(super) fn end(request: Option<&Sent>, response: &Sent, stream: &Stream, to: &mut Also<'_>) {
    also(request, &stream.ready, to);
    if !stream.compressed {
        return;
    }
    // Where compressed bytes lead to is known only now, and not when they came.
    let read = Read::of(response, b"");
    if read.truncated {
        to.incomplete();
    }
    let mut opened = Stream::default();
    opened.push(read.body.as_deref().unwrap_or_default(), None);
    opened.end();
    also(request, &opened.ready, to);
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    event: Vec<u8>,
    id: Option<Vec<u8>>,
    data: Vec<u8>,
    /// How long it was as sent.
    bytes: u64,
    position: u64,
    /// When it was complete.
    ts: Option<i64>,
    /// Some before it may be missing.
    incomplete: bool,
}

/// Events of a response, told as they come.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// What its bytes say is known only when all have come.
    compressed: bool,
    /// Of the line under way.
    line: Vec<u8>,
    /// The line began with what is not in `line`: it is not empty, and says nothing.
    resumed: bool,
    begun: bool,
    /// The event under way, as far as it is there.
    event: Event,
    has_data: bool,
    /// Parts of the event under way are missing, or more than is kept.
    broken: bool,
    position: u64,
    incomplete: bool,
    latest: Option<i64>,
    /// Events that are complete and not told.
    ready: Vec<Event>,
}

impl Stream {
    pub(super) fn new(compressed: bool) -> Self {
        Self { compressed, ..Self::default() }
    }

    /// Adds bytes that came at a time.
    pub(super) fn push(&mut self, bytes: &[u8], ts: Option<i64>) {
        if self.compressed {
            return;
        }
        self.latest = ts;
        let mut held = std::mem::take(&mut self.line);
        held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((line, used)) = held.get(at..).and_then(line) {
            self.one(line, used, ts);
            at += used;
        }
        held.drain(..at);
        // A line end may be cut in two.
        if held.len() > EVENT_BYTES + 1 {
            self.event.bytes += held.len() as u64;
            let end = held.last().copied().filter(|it| *it == b'\r');
            self.event.bytes -= u64::from(end.is_some());
            held.clear();
            held.extend(end);
            (self.resumed, self.broken) = (true, true);
        }
        self.line = held;
    }

    /// Bytes went missing.
    pub(super) fn cut(&mut self) {
        self.line.clear();
        (self.resumed, self.broken, self.incomplete) = (true, true, true);
    }

    /// No more comes: a line may end with what could have been half of its end.
    pub(super) fn end(&mut self) {
        if self.line.ends_with(b"\r") {
            let held = std::mem::take(&mut self.line);
            let line = held.strip_suffix(b"\r").unwrap_or(&held);
            self.one(line, held.len(), self.latest);
        }
    }

    /// Takes the events that are complete.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn held(&self) -> usize {
        let events = self.ready.iter().chain([&self.event]).map(Event::held);
        self.line.capacity() + events.sum::<usize>()
    }

    /// Reads a line, which took so many bytes with its end.
    fn one(&mut self, line: &[u8], used: usize, ts: Option<i64>) {
        let (mut line, mut used) = (line, used as u64);
        if !std::mem::replace(&mut self.begun, true)
            && let Some(rest) = line.strip_prefix(MARK)
        {
            (line, used) = (rest, used - MARK.len() as u64);
        }
        self.event.bytes += used;
        if std::mem::take(&mut self.resumed) {
            return;
        }
        if line.is_empty() {
            return self.told(ts);
        }
        if line.len() + self.event.data.len() > EVENT_BYTES {
            self.broken = true;
            return;
        }
        let colon = memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        let value = value.get(1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.event.event = value.to_vec(),
            b"id" => self.event.id = Some(value.to_vec()),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            _ => {}
        }
    }

    /// An empty line ends an event, if there is one.
    fn told(&mut self, ts: Option<i64>) {
        let mut event = std::mem::take(&mut self.event);
        let has_data = std::mem::take(&mut self.has_data);
        if std::mem::take(&mut self.broken) {
            self.incomplete = true;
            self.position += u64::from(has_data);
            return;
        }
        if has_data {
            event.position = self.position;
            (event.ts, event.incomplete) = (ts, self.incomplete);
            self.position += 1;
            self.ready.push(event);
        }
    }
}

impl Event {
    fn held(&self) -> usize {
        size_of::<Self>()
            + self.event.capacity()
            + self.id.as_ref().map_or(0, Vec::capacity)
            + self.data.capacity()
    }
}

/// The first line, and how long it is with its end: a carriage return, a line feed or both.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr2(b'\r', b'\n', bytes)?;
    let (line, after) = bytes.split_at_checked(end)?;
    match after {
        // The other half may be still to come.
        [b'\r'] => None,
        [b'\r', b'\n', ..] => Some((line, end + 2)),
        _ => Some((line, end + 1)),
    }
}

/// A mark of the byte order, which may stand before the first event.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Of one event; a longer one is left out.
const EVENT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::drive::{self, client, server};
    use crate::protocol::http;

    const BODY: &[u8] = b"\xef\xbb\xbf: hello\n\ndata: a\ndata:b\nid\n\nevent: add\r\nid: 7\r\ndata:  c\r\n\r\nretry: 1\n\ndata\n\ndata: cut";

    fn read(body: &[u8], piece: usize) -> Vec<Event> {
        let mut stream = Stream::default();
        body.chunks(piece).for_each(|it| stream.push(it, Some(7)));
        stream.end();
        stream.take()
    }

    #[test]
    fn events_are_taken_apart_however_they_are_cut() {
        let all = read(BODY, usize::MAX);
        let said: Vec<_> = all
            .iter()
            .map(|it| {
                let [event, data] =
                    [&it.event, &it.data].map(|it| String::from_utf8_lossy(it).into_owned());
                (event, it.id.clone(), data, it.bytes, it.position)
            })
            .collect();
        let it = |event: &str, id: Option<&[u8]>, data: &str, bytes, position| {
            (event.to_owned(), id.map(<[u8]>::to_vec), data.to_owned(), bytes, position)
        };
        assert_eq!(
            said,
            [
                it("", Some(b""), "a\nb", 19, 0),
                it("add", Some(b"7"), " c", 31, 1),
                it("", None, "", 6, 2)
            ]
        );
        for piece in 1..BODY.len() {
            assert_eq!(read(BODY, piece), all, "pieces of {piece}");
        }
        assert_eq!(read(b"data: x\r\r", 1).len(), 1);
    }

    #[test]
    fn an_event_that_is_too_long_is_left_out() {
        let long = [b"data: ", &[b'x'; EVENT_BYTES + 9][..], b"\r\n\r\ndata: next\n\n"].concat();
        let many = [b"data: line\n".repeat(EVENT_BYTES / 5), b"\ndata: next\n\n".to_vec()].concat();
        for body in [long, many] {
            let all = read(&body, usize::MAX);
            assert_eq!((all.len(), &all[0].data[..], all[0].incomplete), (1, &b"next"[..], true));
            for piece in [1, 7, 1000] {
                assert_eq!(read(&body, piece), all, "pieces of {piece}");
            }
            let mut stream = Stream::default();
            let pieces = body.chunks(100);
            let held = pieces.map(|it| {
                stream.push(it, None);
                stream.held()
            });
            assert!(held.max().unwrap() < 5 * EVENT_BYTES);
        }
    }

    #[test]
    fn events_are_rows_while_the_response_goes_on() {
        let ask = client("GET /feed?from=0 HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = |more: &str| {
            server(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{more}\r\n"))
        };
        let data = |rows: &[Value]| -> Vec<String> {
            let events = rows.iter().filter(|it| it["protocol"] == "sse");
            events.map(|it| it["data"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let chunked = [
            ask.clone(),
            head("Transfer-Encoding: chunked\r\n"),
            server("9\r\ndata: a\n\n\r\n"),
            server("10\r\ndata: b\n\ndata: c\r\n0\r\n\r\n"),
        ];
        let rows = drive::however_cut::<http::Dissector>(&chunked);
        assert_eq!(data(&rows), ["a", "b"]);
        assert_eq!((&rows[0]["status"], rows[0].get("incomplete")), (&200.into(), None));
        assert_eq!((&rows[1]["path"], &rows[2]["position"]), (&"/feed".into(), &1.into()));
        // It never ends, and is longer than what is kept of a body.
        let events: String = (0..10_000).map(|it| format!("data: {it}\n\n")).collect();
        let rows = drive::stream::<http::Dissector>(&[ask, head(""), server(events)], 1460);
        let all = data(&rows);
        assert_eq!((all.len(), all.last().map(String::as_str)), (10_000, Some("9999")));
        assert_eq!(rows[0]["error"], "no response");
    }

    #[test]
    fn what_is_missing_ends_with_an_event() {
        let mut stream = Stream::default();
        stream.push(b"data: a\n\ndata: lo", None);
        stream.cut();
        stream.push(b"st\n\ndata: c\n\n", None);
        let said: Vec<_> = stream.take().into_iter().map(|it| (it.data, it.incomplete)).collect();
        assert_eq!(said, [(b"a".to_vec(), false), (b"c".to_vec(), true)]);
    }
}
