//! What was read in processes, as dissection wants it.
use dissect::{Actor, Dissection, Loss, Owner, Side};

use crate::{Counters, Event, Process, Role, What};

impl Event<'_> {
    /// Gives it to a dissection: plaintext becomes rows, and conversations get the names of their processes.
    pub fn feed(&self, to: &mut Dissection) {
        match self {
            Self::Plaintext(it) => to.plaintext(&dissect::Plaintext {
                ts: it.ts,
                local: it.ends.local,
                remote: it.ends.remote,
                side: it.role.map(side),
                sent: it.sent,
                session: it.session,
                offset: it.offset,
                seen: it.seen,
                bytes: it.bytes,
                process: actor(it.process),
            }),
            Self::Socket(it) if it.what == What::Close => {
                to.closed(it.ts, it.ends.local, it.ends.remote);
            }
            Self::Socket(it) => {
                if let Some(process) = it.process {
                    to.owner(&Owner {
                        ts: it.ts,
                        local: it.ends.local,
                        remote: it.ends.remote,
                        side: it.role.map(side),
                        process: actor(process),
                    });
                }
            }
        }
    }
}

const fn actor(it: Process<'_>) -> Actor<'_> {
    Actor { pid: it.pid, name: it.comm, container_id: it.container_id }
}

const fn side(role: Role) -> Side {
    match role {
        Role::Client => Side::Client,
        Role::Server => Side::Server,
    }
}

impl Counters {
    /// What was lost since they said `before`, for the ledger of losses.
    #[must_use]
    pub fn losses(&self, before: &Self, from: i64, until: i64) -> Vec<Loss> {
        let entries = [
            (
                self.lost - before.lost,
                self.lost_bytes - before.lost_bytes,
                "the reader was behind, or bytes were paged out",
            ),
            (0, self.cut_bytes - before.cut_bytes, "single writes were larger than 64 MiB"),
            (
                self.unplaced - before.unplaced,
                self.unplaced_bytes - before.unplaced_bytes,
                "the connection of a TLS session never became known",
            ),
            (
                self.attach_failed - before.attach_failed,
                0,
                "a TLS library could not be read (the worker's log says which)",
            ),
        ];
        let happened = entries.into_iter().filter(|it| it.0 > 0 || it.1 > 0);
        let loss = |(count, bytes, detail): (u64, u64, &str)| Loss {
            from,
            until,
            stage: "tracer",
            count: count.max(1),
            bytes: Some(bytes),
            detail: Some(detail.to_owned()),
        };
        happened.map(loss).collect()
    }
}
