//! The live tail: what arrived, what did not, and how the line is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    future::{Future as _, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Poll, Waker},
};

use api::{ApiError, QueryRequest, RowKey, TailRequest, TailStatus, route};
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use dioxus::prelude::*;

use crate::{
    browser::{self, Abort, Socket, SocketEvent},
    client::{Answer, Failure, Session},
    range::Range,
    ring::Ring,
};

/// How the line to the Hub is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    Connecting,
    Open,
    /// It broke; the next try is at that time.
    Waiting {
        why: String,
        until_ms: f64,
    },
    /// The Hub will not have this filter.
    Refused(ApiError),
    /// The time asked about is over: nothing new will come.
    Past,
}

/// Rows in a ring, and what is known about those that are not in it.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) ring: Ring,
    pub(crate) line: Line,
    /// Rows that match, a second.
    pub(crate) rate: f64,
    /// Rows the Hub left out because this page or a node could not keep up.
    pub(crate) skipped: u64,
    /// Rows not kept here, because the list was held still and the ring was full.
    pub(crate) not_kept: u64,
    pub(crate) nodes: BTreeSet<String>,
    /// Nodes whose rows stopped coming, and why.
    pub(crate) gone: BTreeMap<String, String>,
    /// Rows of the past have been asked for, and came or failed.
    pub(crate) has_history: bool,
    /// Why the past is missing.
    pub(crate) history_error: Option<ApiError>,
    /// The list is held still: no row may push out those that are looked at.
    pub(crate) held: bool,
    decoder: StreamDecoder,
    /// Rows that arrived before the past did.
    early: Vec<(RecordBatch, usize)>,
    changed: bool,
    /// Who shows what is new, where it waits for that.
    waker: Option<Waker>,
    tries: u32,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self {
            ring: Ring::new(MOST_ROWS, MOST_BYTES),
            line: Line::Connecting,
            rate: 0.0,
            skipped: 0,
            not_kept: 0,
            nodes: BTreeSet::new(),
            gone: BTreeMap::new(),
            has_history: false,
            history_error: None,
            held: false,
            decoder: StreamDecoder::new(),
            early: Vec::new(),
            changed: true,
            waker: None,
            tries: 0,
        }
    }

    /// Forgets everything: another filter is meant from now on.
    fn restart(&mut self) {
        self.ring.clear();
        let (ring, waker) = (std::mem::replace(&mut self.ring, Ring::new(0, 0)), self.waker.take());
        *self = Self { ring, waker, ..Self::new() };
        self.tell();
    }

    /// There is something new: whoever shows it need not wait any longer.
    fn tell(&mut self) {
        self.changed = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Begins a new stream of the same filter; the rows stay.
    fn reconnect(&mut self) {
        self.decoder = StreamDecoder::new();
        self.early.clear();
        self.nodes.clear();
        self.gone.clear();
        self.rate = 0.0;
        self.has_history = false;
        self.line = Line::Connecting;
        self.tell();
    }

    /// The part of the Hub's stream that one message holds.
    pub(crate) fn bytes(&mut self, message: Vec<u8>) {
        let size = message.len();
        let mut buffer = Buffer::from_vec(message);
        while !buffer.is_empty() {
            match self.decoder.decode(&mut buffer) {
                Ok(Some(batch)) if self.has_history => self.take(batch, size),
                Ok(Some(batch)) => {
                    // the past takes a moment; who floods in that moment loses the earliest rows
                    if self.early.len() >= MOST_EARLY {
                        self.early.remove(0);
                    }
                    self.early.push((batch, size));
                }
                Ok(None) => {}
                Err(error) => {
                    self.line = Line::Waiting {
                        why: format!("the stream of rows broke: {error}"),
                        until_ms: 0.0,
                    };
                    break;
                }
            }
        }
        self.tell();
    }

    fn take(&mut self, batch: RecordBatch, bytes: usize) {
        if self.held && self.ring.is_full() {
            self.not_kept += batch.num_rows() as u64;
            return;
        }
        self.ring.push(batch, bytes, false);
    }

    /// What the Hub says between the rows.
    pub(crate) fn text(&mut self, message: &str) {
        self.tell();
        match serde_json::from_str::<TailStatus>(message) {
            Ok(TailStatus::Started { nodes }) => {
                self.line = Line::Open;
                self.tries = 0;
                self.nodes = nodes.into_iter().collect();
            }
            Ok(TailStatus::Rate { rows_per_s, skipped, .. }) => {
                self.rate = rows_per_s;
                self.skipped = skipped;
            }
            Ok(TailStatus::NodeJoined { node }) => {
                self.gone.remove(&node);
                self.nodes.insert(node);
            }
            Ok(TailStatus::NodeGone { node, reason }) => {
                self.nodes.remove(&node);
                self.gone.insert(node, reason);
            }
            Ok(TailStatus::Error(error)) => self.line = Line::Refused(error),
            // a newer Hub may say things this page does not know
            Err(_) => {}
        }
    }

    /// The socket closed.
    pub(crate) fn closed(&mut self, reason: &str, now_ms: f64) {
        self.tell();
        if matches!(self.line, Line::Refused(_) | Line::Past) {
            return;
        }
        let why = if reason.is_empty() { "the connection to the Hub broke" } else { reason };
        let wait_ms = 500 * (1_u32 << self.tries.min(4));
        self.tries += 1;
        self.rate = 0.0;
        self.line = Line::Waiting { why: why.to_owned(), until_ms: now_ms + f64::from(wait_ms) };
    }

    /// The newest rows of the past: those that are not here yet go before those that came meanwhile.
    pub(crate) fn history(&mut self, answer: Result<Answer, Failure>) {
        self.tell();
        self.has_history = true;
        let mut known = HashSet::new();
        match answer {
            Ok(answer) => {
                self.history_error = None;
                let here = self.ring.end().saturating_sub(COMPARED_ROWS).max(self.ring.start())
                    ..self.ring.end();
                known.extend(here.filter_map(|number| self.ring.get(number)).map(|row| row.key()));
                // an answer's first row is its newest
                for batch in answer.batches.iter().rev() {
                    for part in fresh(batch, &mut known).into_iter().rev() {
                        let bytes = answer.bytes * part.num_rows() / answer.rows.max(1);
                        self.ring.push(part, bytes, true);
                    }
                }
            }
            Err(Failure::Refused(error)) => self.history_error = Some(error),
            Err(failure) => self.history_error = Some(failure.error()),
        }
        for (batch, bytes) in std::mem::take(&mut self.early) {
            for part in fresh(&batch, &mut known) {
                self.take(part, bytes);
            }
        }
    }
}

/// Waits until something is new, and a moment at most: another filter may be wanted by then.
async fn news(tail: &RefCell<Tail>) {
    let mut moment = pin!(browser::sleep(LOOK_MS));
    poll_fn(|context| {
        let mut tail = tail.borrow_mut();
        if tail.changed {
            return Poll::Ready(());
        }
        tail.waker = Some(context.waker().clone());
        moment.as_mut().poll(context)
    })
    .await;
}

/// The runs of rows that are not known yet, in their order.
fn fresh(batch: &RecordBatch, known: &mut HashSet<RowKey>) -> Vec<RecordBatch> {
    let mut parts = Vec::new();
    let mut from = 0;
    for at in 0..=batch.num_rows() {
        let is_new = at < batch.num_rows() && known.insert(crate::value::Row { batch, at }.key());
        if is_new {
            continue;
        }
        if at > from {
            parts.push(batch.slice(from, at - from));
        }
        from = at + 1;
    }
    parts
}

/// The tail as the page shares it: written by the line, read by whoever shows it.
#[derive(Clone)]
pub(crate) struct Live {
    tail: Rc<RefCell<Tail>>,
    /// Grows when there is something new to show, at once if nothing was shown lately: nobody reads faster than that,
    /// and layout is what costs.
    frame: Signal<u64>,
    /// What most of the page needs to know of the tail: it is not drawn again for every row.
    line: Memo<Line>,
    is_empty: Memo<bool>,
    /// Which rows are meant, and of which time.
    wanted: Signal<(String, Range)>,
    /// Grows to ask for a new connection now.
    again: Signal<u64>,
}

impl PartialEq for Live {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.tail, &other.tail)
    }
}

impl Live {
    /// A tail that follows its filter as long as the page is open.
    pub(crate) fn provide(session: Session) -> Self {
        let live = use_context_provider(|| Self::with(Tail::new()));
        let follower = live.clone();
        use_future(move || follower.clone().follow(session));
        live
    }

    /// Reads the tail now and whenever something new is to be shown.
    pub(crate) fn read(&self) -> std::cell::Ref<'_, Tail> {
        self.frame.read();
        self.tail.borrow()
    }

    /// Reads the tail once.
    pub(crate) fn peek(&self) -> std::cell::Ref<'_, Tail> {
        self.tail.borrow()
    }

    pub(crate) fn hold(&self, held: bool) {
        self.tail.borrow_mut().held = held;
    }

    /// The filter in force.
    pub(crate) fn filter(&self) -> String {
        self.wanted.read().0.clone()
    }

    /// The time in force.
    pub(crate) fn range(&self) -> Range {
        self.wanted.read().1.clone()
    }

    /// From now on, only rows that match, and of that time.
    pub(crate) fn set(&mut self, filter: &str, range: &Range) {
        let is_new = {
            let wanted = self.wanted.peek();
            wanted.0 != filter || wanted.1 != *range
        };
        if is_new {
            self.tail.borrow_mut().restart();
            self.wanted.set((filter.to_owned(), range.clone()));
            self.frame += 1;
        }
    }

    /// Connects again, now.
    pub(crate) fn retry(&mut self) {
        self.again += 1;
    }

    pub(crate) fn with(tail: Tail) -> Self {
        let (tail, frame) = (Rc::new(RefCell::new(tail)), Signal::new(0));
        let (of_line, of_rows) = (Rc::clone(&tail), Rc::clone(&tail));
        let line = Memo::new(move || {
            frame.read();
            of_line.borrow().line.clone()
        });
        let is_empty = Memo::new(move || {
            frame.read();
            let ring = &of_rows.borrow().ring;
            ring.end() == ring.start()
        });
        let (wanted, again) = (Signal::new(Default::default()), Signal::new(0));
        Self { tail, frame, line, is_empty, wanted, again }
    }

    /// How the line to the Hub is.
    pub(crate) fn line(&self) -> Line {
        self.line.read().clone()
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        *self.is_empty.read()
    }

    /// The loop that keeps the line. It is the only place that opens sockets.
    async fn follow(mut self, session: Session) {
        let mut socket: Option<Socket> = None;
        let mut at = None;
        loop {
            let wanted = (self.wanted.peek().clone(), *self.again.peek(), session.logins());
            let now_ms = browser::now_ms();
            let is_due = match &self.tail.borrow().line {
                Line::Waiting { until_ms, .. } => now_ms >= *until_ms,
                _ => false,
            };
            if is_due || at.as_ref() != Some(&wanted) {
                if at.is_some() {
                    self.tail.borrow_mut().reconnect();
                }
                // the old one goes first: the Hub counts open tails
                if let Some(old) = socket.take() {
                    old.close();
                }
                socket = self.connect(session, &wanted.0.0, &wanted.0.1, now_ms);
                at = Some(wanted);
            }
            let changed = std::mem::take(&mut self.tail.borrow_mut().changed);
            if changed {
                self.frame += 1;
                browser::sleep(FRAME_MS).await;
            }
            news(&self.tail).await;
        }
    }

    fn connect(
        &self,
        session: Session,
        filter: &str,
        range: &Range,
        now_ms: f64,
    ) -> Option<Socket> {
        let end = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let question = QueryRequest {
            limit: Some(if range.is_live() { HISTORY_ROWS } else { PAST_ROWS }),
            deadline_ms: Some(if range.is_live() { HISTORY_MS } else { PAST_MS }),
            since: end(&range.from),
            until: end(&range.to),
            ..QueryRequest::filter(filter)
        };
        let (tail, current, mine) =
            (Rc::clone(&self.tail), self.clone(), (filter.to_owned(), range.clone()));
        let ask = move || {
            spawn(async move {
                let answer = session.ask(question, &Abort::new()).await;
                if *current.wanted.peek() == mine {
                    tail.borrow_mut().history(answer);
                }
            });
        };
        if !range.is_live() {
            let mut tail = self.tail.borrow_mut();
            tail.line = Line::Past;
            tail.tell();
            ask();
            return None;
        }
        let tail = Rc::clone(&self.tail);
        let request = TailRequest { filter: filter.to_owned() };
        let hello = serde_json::to_string(&request).unwrap_or_default();
        let socket = Socket::open(route::TAIL, hello, move |event| match event {
            SocketEvent::Text(text) => tail.borrow_mut().text(&text),
            SocketEvent::Bytes(bytes) => tail.borrow_mut().bytes(bytes),
            SocketEvent::Closed(reason) => tail.borrow_mut().closed(&reason, browser::now_ms()),
        });
        let socket = match socket {
            Ok(socket) => socket,
            Err(why) => {
                self.tail.borrow_mut().closed(&why, now_ms);
                return None;
            }
        };
        ask();
        Some(socket)
    }
}

/// How long what was drawn stays at least.
const FRAME_MS: u32 = 50;
const LOOK_MS: u32 = 100;
const MOST_ROWS: u64 = 100_000;
const MOST_BYTES: usize = 96 << 20;
const MOST_EARLY: usize = 1_000;
const HISTORY_ROWS: u64 = 500;
const HISTORY_MS: u64 = 10_000;
/// Of a time that is over there will be no more: it is asked for in full, within reason.
pub(crate) const PAST_ROWS: u64 = 20_000;
const PAST_MS: u64 = 30_000;
/// How far back a row may already be here when the past is asked for again.
const COMPARED_ROWS: u64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn answer(batch: RecordBatch) -> Result<Answer, Failure> {
        let rows = batch.num_rows();
        Ok(Answer { batches: vec![batch], rows, bytes: 1000, ..Answer::default() })
    }

    fn seqs(tail: &Tail) -> Vec<u64> {
        (tail.ring.start()..tail.ring.end())
            .filter_map(|at| tail.ring.get(at)?.number("seq"))
            .collect()
    }

    /// Rows of an answer: newest first.
    fn past(rows: u64) -> RecordBatch {
        let batch = fixture::traffic(rows);
        let single: Vec<_> = (0..batch.num_rows()).rev().map(|at| batch.slice(at, 1)).collect();
        arrow_select::concat::concat_batches(batch.schema_ref(), &single).expect("one schema")
    }

    #[test]
    fn what_comes_is_shown_at_once() {
        struct Woken(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let woken = std::sync::Arc::new(Woken(false.into()));
        let is_woken = || woken.0.swap(false, std::sync::atomic::Ordering::Relaxed);
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let mut context = std::task::Context::from_waker(&waker);
        let tail = RefCell::new(Tail::new());
        tail.borrow_mut().history(answer(past(4)));
        tail.borrow_mut().changed = false;
        let mut waits = pin!(news(&tail));
        assert!(waits.as_mut().poll(&mut context).is_pending() && !is_woken());
        tail.borrow_mut().bytes(fixture::stream(&[fixture::traffic(6)]));
        assert!(is_woken() && waits.as_mut().poll(&mut context).is_ready());
        // another filter, too
        tail.borrow_mut().changed = false;
        let mut waits = pin!(news(&tail));
        assert!(waits.as_mut().poll(&mut context).is_pending());
        tail.borrow_mut().restart();
        assert!(is_woken() && waits.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn the_past_comes_first_and_no_row_twice() {
        let mut tail = Tail::new();
        // rows 0 to 5 arrive live before the answer, which holds 0 to 3
        tail.bytes(fixture::stream(&[fixture::traffic(6)]));
        assert_eq!(tail.ring.end(), 0);
        tail.history(answer(past(4)));
        assert_eq!(seqs(&tail), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn after_a_break_only_what_was_missed_is_added() {
        let mut tail = Tail::new();
        tail.history(answer(past(3)));
        tail.closed("", 1_000.0);
        assert!(matches!(&tail.line, Line::Waiting { until_ms, .. } if *until_ms == 1_500.0));
        tail.reconnect();
        tail.history(answer(past(5)));
        assert_eq!(seqs(&tail), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn waits_grow_and_a_wrong_filter_is_not_tried_again() {
        let mut tail = Tail::new();
        let mut waits = Vec::new();
        for _ in 0..7 {
            tail.closed("", 0.0);
            if let Line::Waiting { until_ms, .. } = tail.line {
                waits.push(until_ms);
            }
        }
        assert_eq!(waits, [500.0, 1000.0, 2000.0, 4000.0, 8000.0, 8000.0, 8000.0]);

        tail.text(r#"{"type":"error","message":"no column `stauts`","at":{"start":0,"end":6}}"#);
        tail.closed("", 0.0);
        assert!(matches!(&tail.line, Line::Refused(error) if error.at.is_some()));
    }

    #[test]
    fn a_time_that_is_over_is_not_waited_for() {
        let mut tail = Tail::new();
        tail.line = Line::Past;
        tail.closed("", 0.0);
        assert_eq!(tail.line, Line::Past);
    }

    #[test]
    fn the_hub_says_what_is_left_out() {
        let mut tail = Tail::new();
        tail.text(r#"{"type":"started","nodes":["a","b"]}"#);
        tail.text(r#"{"type":"rate","rows_per_s":12.5,"rows":100,"skipped":7}"#);
        tail.text(r#"{"type":"node_gone","node":"b","reason":"it fell silent"}"#);
        tail.text(r#"{"type":"something new"}"#);
        assert_eq!((tail.rate, tail.skipped, tail.nodes.len(), tail.gone.len()), (12.5, 7, 1, 1));
        assert_eq!(tail.line, Line::Open);
    }

    #[test]
    fn rows_that_are_looked_at_are_not_pushed_out() {
        let mut tail = Tail::new();
        tail.ring = Ring::new(10, usize::MAX);
        tail.history(answer(past(10)));
        tail.held = true;
        tail.bytes(fixture::stream(&[fixture::traffic(4)]));
        assert_eq!((tail.ring.start(), tail.ring.end(), tail.not_kept), (0, 10, 4));
        tail.held = false;
        tail.bytes(Vec::new());
        assert_eq!(tail.not_kept, 4);
    }
}
