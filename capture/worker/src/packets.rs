//! Stored packets, in the order of time.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Range, sync::Arc};

use arrow_array::{
    Array, BinaryViewArray, BooleanArray, Int32Array, RecordBatch, StringViewArray,
    TimestampNanosecondArray, UInt64Array,
    cast::AsArray,
    types::{Int32Type, TimestampNanosecondType, UInt64Type},
};
use dissect::{FlowId, Link, Packet};
use segment::{Segment, Snapshot};

/// The table they are in.
pub(crate) const PACKETS: &str = "packets";

/// Whether a packet is wanted, by its time and conversation. Asked before its bytes are read.
pub(crate) type Wanted = Arc<dyn Fn(i64, Option<FlowId>) -> bool + Send + Sync>;

/// Packets of a time span, in the order of their times; those of one time in the order in which they came.
/// A segment is open from its first packet to its last.
pub(crate) struct Packets<'a> {
    snapshot: &'a Snapshot,
    span: Range<i64>,
    wanted: Wanted,
    /// Segments that are not open yet, the earliest last.
    closed: Vec<usize>,
    open: Vec<Option<Source>>,
    next: BinaryHeap<Reverse<(i64, usize)>>,
    /// The one whose packet is lent out.
    lent: Option<usize>,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, segment::Error>>>;

/// A segment that is read, or a batch in memory.
struct Source {
    batches: Batches,
    columns: Columns,
    /// The rows in the order of time, and how many are done.
    order: Vec<u32>,
    done: usize,
}

struct Columns {
    ts: TimestampNanosecondArray,
    link: Int32Array,
    interface: Int32Array,
    wire_bytes: UInt64Array,
    data: BinaryViewArray,
    flow_id: StringViewArray,
}

impl<'a> Packets<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, span: Range<i64>, wanted: Wanted) -> Self {
        let segments = &snapshot.segments;
        let within =
            |it: &usize| segments[*it].min_ts < span.end && segments[*it].max_ts >= span.start;
        let mut closed = (0..segments.len()).filter(within).collect::<Vec<_>>();
        closed.sort_by_key(|it| Reverse((segments[*it].min_ts, *it)));
        let sources = segments.len() + snapshot.hot.len();
        let open = std::iter::repeat_with(|| None).take(sources).collect();
        Self { snapshot, span, wanted, closed, open, next: BinaryHeap::new(), lent: None }
    }

    /// Opens what is in memory. Called once, before the first packet.
    fn open_memory(&mut self) -> Result<(), segment::Error> {
        for (n, batch) in self.snapshot.hot.iter().enumerate() {
            let at = self.snapshot.segments.len() + n;
            let batches = Box::new(std::iter::once(Ok(batch.clone())));
            self.start(at, batches)?;
        }
        Ok(())
    }

    /// All of them: calls `each` until it says that it is enough.
    pub(crate) fn each(
        mut self,
        mut each: impl FnMut(&Packet<'_>, Option<FlowId>) -> bool,
    ) -> Result<(), segment::Error> {
        self.open_memory()?;
        while let Some(at) = self.earliest()? {
            let Some(source) = self.open.get(at).and_then(Option::as_ref) else { continue };
            let Some(row) = source.order.get(source.done).map(|it| *it as usize) else { continue };
            let it = &source.columns;
            let packet = Packet {
                ts: it.ts.value(row),
                link: Link::from_dlt(u32::try_from(it.link.value(row)).unwrap_or(u32::MAX)),
                interface: u32::try_from(it.interface.value(row)).unwrap_or_default(),
                wire_len: u32::try_from(it.wire_bytes.value(row)).unwrap_or(u32::MAX),
                data: it.data.value(row),
            };
            if !each(&packet, it.flow(row)) {
                return Ok(());
            }
            self.lent = Some(at);
        }
        Ok(())
    }

    /// Which source has the next packet.
    fn earliest(&mut self) -> Result<Option<usize>, segment::Error> {
        if let Some(at) = self.lent.take() {
            self.advance(at)?;
        }
        loop {
            let due = self.closed.last().map(|it| (self.snapshot.segments[*it].min_ts, *it));
            let open = self.next.peek().map(|it| it.0);
            match (due, open) {
                (Some(due), open) if open.is_none_or(|it| due <= it) => {
                    self.closed.pop();
                    let batches = self.read(&self.snapshot.segments[due.1])?;
                    self.start(due.1, batches)?;
                }
                (_, Some((_, at))) => {
                    self.next.pop();
                    return Ok(Some(at));
                }
                (_, None) => return Ok(None),
            }
        }
    }

    fn read(&self, segment: &Arc<Segment>) -> Result<Batches, segment::Error> {
        let (span, wanted) = (self.span.clone(), Arc::clone(&self.wanted));
        let keep = move |batch: &RecordBatch| {
            let ts = batch.column(0).as_primitive::<TimestampNanosecondType>();
            let flows = batch.column(1).as_string_view();
            let keep =
                |(row, ts): (usize, &i64)| span.contains(ts) && wanted(*ts, flow(flows, row));
            BooleanArray::from_iter(ts.values().iter().enumerate().map(|it| Some(keep(it))))
        };
        let batches = segment.select(&COLUMNS, &self.span, &["ts", "flow_id"], keep)?;
        Ok(Box::new(batches))
    }

    fn start(&mut self, at: usize, mut batches: Batches) -> Result<(), segment::Error> {
        while let Some(batch) = batches.next().transpose()? {
            let Some((columns, order)) = self.columns(&batch) else { continue };
            let first = order.first().map(|it| columns.ts.value(*it as usize));
            if let Some(first) = first {
                self.next.push(Reverse((first, at)));
                self.open[at] = Some(Source { batches, columns, order, done: 0 });
                break;
            }
        }
        Ok(())
    }

    /// Goes to a source's next packet, or closes it.
    fn advance(&mut self, at: usize) -> Result<(), segment::Error> {
        let Some(source) = self.open.get_mut(at).and_then(Option::as_mut) else { return Ok(()) };
        source.done += 1;
        if let Some(row) = source.order.get(source.done) {
            self.next.push(Reverse((source.columns.ts.value(*row as usize), at)));
            return Ok(());
        }
        match self.open[at].take() {
            Some(source) => self.start(at, source.batches),
            None => Ok(()),
        }
    }

    /// A batch's columns, and its wanted rows in the order of time; nothing of what is no packet of ours.
    fn columns(&self, batch: &RecordBatch) -> Option<(Columns, Vec<u32>)> {
        let columns = Columns {
            ts: batch.column_by_name("ts")?.as_primitive_opt::<TimestampNanosecondType>()?.clone(),
            link: batch.column_by_name("link")?.as_primitive_opt::<Int32Type>()?.clone(),
            interface: batch.column_by_name("interface")?.as_primitive_opt::<Int32Type>()?.clone(),
            wire_bytes: batch
                .column_by_name("wire_bytes")?
                .as_primitive_opt::<UInt64Type>()?
                .clone(),
            data: batch.column_by_name("data")?.as_binary_view_opt()?.clone(),
            flow_id: batch.column_by_name("flow_id")?.as_string_view_opt()?.clone(),
        };
        let times = columns.ts.values();
        let wanted = |row: &u32| {
            let ts = times[*row as usize];
            self.span.contains(&ts) && (self.wanted)(ts, columns.flow(*row as usize))
        };
        let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        let mut order = (0..rows).filter(wanted).collect::<Vec<_>>();
        // In memory they are in the order in which they came.
        order.sort_by_key(|it| times[*it as usize]);
        Some((columns, order))
    }
}

impl Columns {
    fn flow(&self, row: usize) -> Option<FlowId> {
        flow(&self.flow_id, row)
    }
}

fn flow(ids: &StringViewArray, row: usize) -> Option<FlowId> {
    (!ids.is_null(row)).then(|| FlowId::parse(ids.value(row))).flatten()
}

/// The conversations of a time span, by the names of the packets in it.
pub(crate) fn conversations(
    snapshot: &Snapshot,
    span: &Range<i64>,
    mut each: impl FnMut(FlowId),
) -> Result<(), segment::Error> {
    let mut batch = |batch: &RecordBatch| {
        let ts = batch
            .column_by_name("ts")
            .and_then(|it| it.as_primitive_opt::<TimestampNanosecondType>());
        let ids = batch.column_by_name("flow_id").and_then(|it| it.as_string_view_opt());
        let (Some(ts), Some(ids)) = (ts, ids) else { return };
        let within = ts.values().iter().enumerate().filter(|it| span.contains(it.1));
        within.filter_map(|(row, _)| flow(ids, row)).for_each(&mut each);
    };
    snapshot.hot.iter().for_each(&mut batch);
    for segment in &snapshot.segments {
        if segment.min_ts >= span.end || segment.max_ts < span.start {
            continue;
        }
        let all = |batch: &RecordBatch| BooleanArray::from(vec![true; batch.num_rows()]);
        for it in segment.select(&["ts", "flow_id"], span, &["ts"], all)? {
            batch(&it?);
        }
    }
    Ok(())
}

const COLUMNS: [&str; 6] = ["ts", "link", "interface", "wire_bytes", "data", "flow_id"];
