//! From one row to its packets, among many millions.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api::RowKey;
use arrow_array::builder::BinaryViewBuilder;
use arrow_array::{
    ArrayRef, Int32Array, RecordBatch, StringViewArray, TimestampNanosecondArray, UInt64Array,
};
use futures::StreamExt;
use query::{Ask, Engine, Limits, Query, Tables};
use schema::FlowId;
use segment::{Options, Store};

/// Builds a store of so many small packets in `folder`, unless it is there, and fetches the packets of some
/// conversations from it as a capture file: of one exchange, and of all.
pub(crate) fn packets_of_a_row(folder: &Path, packets: u64) -> Result<()> {
    let options = Options { seal_after: Duration::from_secs(3_600), ..Options::default() };
    let (store, _) = Store::open(folder, dissect::tables(), options)?;
    let held = || store.state().tables.iter().find(|it| it.name == "packets").cloned();
    if held().is_none_or(|it| it.rows < packets) {
        fill(&store, packets)?;
        store.seal()?;
    }
    let table = held().context("the store has packets")?;
    println!("{} packets in {} segments, {} bytes", table.rows, table.segments, table.bytes);
    let tables = Tables::new(dissect::tables().iter().cloned());
    let engine = Engine::local(NODE, store.clone(), tables, query::Options::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (name, whole) in [("one exchange", false), ("a whole conversation", true)] {
        let mut costs = Vec::new();
        for n in 0..ASKED {
            // Spread over the store, and none asked for twice.
            let flow = (n * 2 + u64::from(whole)) * (packets / PACKETS_OF_FLOW) / (2 * ASKED);
            let began = Instant::now();
            let cpu = cpu()?;
            let found = runtime.block_on(fetch(&engine, flow, whole))?;
            costs.push((began.elapsed(), self::cpu()? - cpu));
            let wanted = if whole { PACKETS_OF_FLOW } else { PACKETS_OF_ROW };
            ensure!(found == wanted, "{found} packets of conversation {flow}, not {wanted}");
        }
        let most = |of: &dyn Fn(&(Duration, Duration)) -> Duration| {
            let mut all = costs.iter().map(of).collect::<Vec<_>>();
            all.sort();
            (all[all.len() / 2], all[all.len() - 1])
        };
        let ((wall, wall_most), (cpu, cpu_most)) = (most(&|it| it.0), most(&|it| it.1));
        println!(
            "{name:24} {ASKED} times: wall {:6.1} ms median, {:6.1} ms most; CPU {:6.1} ms median, {:6.1} ms most",
            ms(wall),
            ms(wall_most),
            ms(cpu),
            ms(cpu_most)
        );
    }
    Ok(())
}

/// How many packets came, as a capture file.
async fn fetch(engine: &Engine, flow: u64, whole: bool) -> Result<u64> {
    let key = RowKey {
        protocol: "http".to_owned(),
        node: NODE.to_owned(),
        flow_id: name(flow).as_str().to_owned(),
        seq: 0,
    };
    let from = time(flow, PACKETS_OF_FLOW / 2);
    let to = time(flow, PACKETS_OF_FLOW / 2 + PACKETS_OF_ROW - 1);
    let sql = key.packets_sql((!whole).then_some((from, to - from)));
    let query = Query { id: "flow".to_owned(), ask: Ask::Sql(sql), limits: Limits::default() };
    let mut answer = engine.run(query).await?;
    let mut file = pcapng::Rows::new(Vec::new(), &answer.schema)?;
    let mut rows = 0;
    while let Some(batch) = answer.rows.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        file.write(&batch)?;
    }
    file.finish()?;
    Ok(rows)
}

/// Conversations of equal length, [`OPEN`] at a time, each a packet after the other's.
fn fill(store: &Store, packets: u64) -> Result<()> {
    let table = dissect::tables().iter().find(|it| it.name == "packets");
    let schema = table.context("packets are a table")?.arrow();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let rounds = packets / (OPEN * PACKETS_OF_FLOW) * PACKETS_OF_FLOW;
    let order = (0..rounds).flat_map(|round| {
        let (group, packet) = (round / PACKETS_OF_FLOW, round % PACKETS_OF_FLOW);
        (0..OPEN).map(move |n| (group * OPEN + n, packet))
    });
    let order = order.collect::<Vec<_>>();
    for part in order.chunks(8_192) {
        let mut data = BinaryViewBuilder::new();
        for _ in part {
            let bytes = (0..9).flat_map(|_| random().to_le_bytes()).collect::<Vec<_>>();
            data.append_value(&bytes[..54 + usize::try_from(random() % 18)?]);
        }
        let times = part.iter().map(|(flow, packet)| time(*flow, *packet));
        let names = part.iter().map(|(flow, _)| name(*flow)).collect::<Vec<_>>();
        let rows = part.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC")),
            Arc::new(Int32Array::from(vec![1; rows])),
            Arc::new(Int32Array::from(vec![0; rows])),
            Arc::new(UInt64Array::from(vec![72; rows])),
            Arc::new(data.finish()),
            Arc::new(StringViewArray::from_iter_values(names.iter().map(FlowId::as_str))),
            Arc::new(StringViewArray::from(vec![NODE; rows])),
        ];
        store.append("packets", RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    Ok(())
}

/// When a conversation's packet was captured.
fn time(flow: u64, packet: u64) -> i64 {
    let (group, n) = (flow / OPEN, flow % OPEN);
    let at = (group * PACKETS_OF_FLOW + packet) * OPEN + n;
    START + i64::try_from(at).unwrap_or_default() * BETWEEN
}

fn name(flow: u64) -> FlowId {
    FlowId::new(time(flow, 0), flow.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)
}

fn ms(it: Duration) -> f64 {
    it.as_secs_f64() * 1e3
}

/// What this process used so far, of all its threads.
fn cpu() -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos += stat.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanos))
}

const NODE: &str = "bench";
/// 2025-11-22T00:00:00Z.
const START: i64 = 1_763_769_600_000_000_000;
/// Nanoseconds between two packets: ten thousand packets a second.
const BETWEEN: i64 = 100_000;
/// Conversations open at a time.
const OPEN: u64 = 2_000;
const PACKETS_OF_FLOW: u64 = 100;
/// Packets of one exchange.
const PACKETS_OF_ROW: u64 = 6;
/// Rows whose packets are fetched.
const ASKED: u64 = 20;
