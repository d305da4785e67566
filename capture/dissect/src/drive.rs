//! For tests: leads one dissector through a scripted conversation, as a flow does.
use schema::value::Columns;
use serde_json::{Map, Value};

use crate::envelope::Facts;
use crate::exchange::Side;
use crate::limits::Limits;
use crate::protocol::{Dissect, PROTOCOLS};
use crate::session::{Arrival, Context, Session, Work};
use crate::tables::{Tables, builder_of};

#[path = "../tests/support/json.rs"]
mod json;

/// What one side did.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// It sent these bytes.
    Sends(Side, Vec<u8>),
    /// So many of its bytes were not captured.
    Loses(Side, u64),
    /// It sends no more.
    Ends(Side),
}

/// The client sent these bytes.
pub(crate) fn client(bytes: impl AsRef<[u8]>) -> Step {
    Step::Sends(Side::Client, bytes.as_ref().to_vec())
}

/// The server sent these bytes.
pub(crate) fn server(bytes: impl AsRef<[u8]>) -> Step {
    Step::Sends(Side::Server, bytes.as_ref().to_vec())
}

/// The rows of a stream that comes in pieces of at most `piece` bytes, a millisecond each: the
/// protocol's own columns and the summary's, nulls left out; then those that it gives in other
/// tables, with `protocol`; then `lost` if it was given up, or what it becomes.
pub(crate) fn stream<D: Dissect>(steps: &[Step], piece: usize) -> Vec<Value> {
    drive::<D>(steps, Some(piece))
}

/// The same of datagrams, each step one.
pub(crate) fn datagrams<D: Dissect>(steps: &[Step]) -> Vec<Value> {
    drive::<D>(steps, None)
}

/// The rows of a stream, which must be the same however it is cut.
pub(crate) fn however_cut<D: Dissect>(steps: &[Step]) -> Vec<Value> {
    let rows = stream::<D>(steps, usize::MAX);
    for piece in [1, 2, 3, 5, 7, 11, 16, 61, 100, 1000] {
        assert_eq!(stream::<D>(steps, piece), rows, "pieces of {piece}");
    }
    rows
}

fn drive<D: Dissect>(steps: &[Step], piece: Option<usize>) -> Vec<Value> {
    let place = PROTOCOLS.iter().position(|it| it.name == D::NAME).unwrap();
    let mut session = Session::<D>::new(builder_of(place));
    let mut tables = Tables::new("node", &crate::Keep::default());
    let facts = Facts {
        id: schema::FlowId::new(0, 0),
        client: ("192.0.2.1".to_owned(), 40_000),
        server: ("192.0.2.2".to_owned(), *D::PORTS.first().unwrap_or(&1)),
        asked: std::cell::RefCell::default(),
        processes: (None, None),
        plaintext: false,
    };
    let limits = Limits::default();
    let mut learned = Vec::new();
    let (mut seq, mut lost, mut ts, mut outcome) = (0, 0, 0, None);
    for step in steps {
        let mut cx = Context {
            tables: &mut tables,
            facts: &facts,
            limits: &limits,
            seq: &mut seq,
            datagram: piece.is_none(),
            lost: &mut lost,
            learned: &mut learned,
        };
        let result = match step {
            Step::Sends(side, bytes) => {
                bytes.chunks(piece.unwrap_or(usize::MAX)).try_for_each(|part| {
                    ts += 1_000_000;
                    session.bytes(&mut cx, *side, part, Arrival { ts, seen: 0 })
                })
            }
            Step::Loses(side, missing) => session.gap(&mut cx, *side, *missing),
            Step::Ends(side) => {
                session.end(&mut cx, *side);
                Ok(())
            }
        };
        if let Err(ended) = result {
            outcome = Some(ended);
            break;
        }
    }
    let mut cx = Context {
        tables: &mut tables,
        facts: &facts,
        limits: &limits,
        seq: &mut seq,
        datagram: piece.is_none(),
        lost: &mut lost,
        learned: &mut learned,
    };
    session.abandon(&mut cx, None);
    let batches = tables.take();
    let mut rows = Vec::new();
    for own in [true, false] {
        let of = batches.iter().filter(|(table, _)| (table.name == D::Columns::TABLE.name) == own);
        rows.extend(of.flat_map(|it| json::objects(&it.1)).map(|it| tidy(it, own)));
    }
    match outcome {
        Some(crate::session::Ended::Lost) => rows.push("lost".into()),
        Some(crate::session::Ended::Becomes { name, .. }) => {
            rows.push(format!("becomes {name}").into());
        }
        None => {}
    }
    rows
}

/// Without what every row of a drive has alike.
fn tidy(mut row: Map<String, Value>, own: bool) -> Value {
    if own {
        row.remove("protocol");
    }
    for name in [
        "ts",
        "duration",
        "client_ip",
        "client_port",
        "server_ip",
        "server_port",
        "request_bytes",
        "response_bytes",
        "encrypted",
        "capture",
        "flow_id",
        "seq",
        "node",
    ] {
        row.remove(name);
    }
    for name in ["failed", "incomplete"] {
        if row.get(name) == Some(&Value::Bool(false)) {
            row.remove(name);
        }
    }
    Value::Object(row)
}
