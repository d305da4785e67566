//! What to delete when the disk or its age says so.
//!
//! A segment that a scan holds expires from the catalogue at once and from the disk when the scan
//! ends. If the process dies in between, the next one finds the file whole, serves it, and lets it
//! expire once more.
use std::sync::Arc;
use std::time::Duration;

use crate::{Bucket, Options, Segment};

/// What is kept and expires together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// What traffic became.
    Records,
    /// What was captured.
    Packets,
}

impl Class {
    pub(crate) fn of(table: &str) -> Self {
        if table == "packets" { Self::Packets } else { Self::Records }
    }

    pub(crate) fn quota(self, options: &Options) -> u64 {
        match self {
            Self::Records => options.keep_bytes_records,
            Self::Packets => options.keep_bytes_packets,
        }
    }
}

/// The segments that are older, or more, than is to be kept at `now` (nanoseconds since 1970),
/// with the reason. The one sealed first goes first. Age counts from sealing, so that a capture of
/// last year can be imported today.
pub(crate) fn expired(
    mut segments: Vec<Arc<Segment>>,
    options: &Options,
    now: i64,
) -> Vec<(Arc<Segment>, &'static str)> {
    segments.retain(|it| it.is_local());
    segments.sort_by_key(|it| (it.sealed_at, it.covers().first));
    let mut gone = Vec::new();
    if let Some(age) = options.keep_age {
        let before = now.saturating_sub(nanoseconds(age));
        let old = segments.extract_if(.., |it| it.sealed_at < before);
        gone.extend(old.map(|it| (it, "older than is kept")));
    }
    for class in [Class::Records, Class::Packets] {
        let members = || segments.iter().filter(|it| Class::of(&it.table) == class);
        let kept = members().map(|it| it.bytes).sum::<u64>();
        let mut over = kept.saturating_sub(class.quota(options));
        for segment in members() {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(segment.bytes);
            gone.push((Arc::clone(segment), "more than is kept"));
        }
    }
    gone
}

/// The segments of the bucket that are older, or more, than it is to keep at `now`, with the
/// reason. The one sealed first goes first.
pub(crate) fn expired_in_bucket(
    mut segments: Vec<Arc<Segment>>,
    bucket: &Bucket,
    now: i64,
) -> Vec<(Arc<Segment>, &'static str)> {
    segments.retain(|it| it.is_in_bucket());
    segments.sort_by_key(|it| (it.sealed_at, it.covers().first));
    let mut gone = Vec::new();
    if let Some(age) = bucket.keep_age {
        let before = now.saturating_sub(nanoseconds(age));
        let old = segments.extract_if(.., |it| it.sealed_at < before);
        gone.extend(old.map(|it| (it, "older than the bucket keeps")));
    }
    let kept = segments.iter().map(|it| it.bytes).sum::<u64>();
    let mut over = kept.saturating_sub(bucket.keep_bytes.unwrap_or(u64::MAX));
    for segment in segments {
        if over == 0 {
            break;
        }
        over = over.saturating_sub(segment.bytes);
        gone.push((segment, "more than the bucket keeps"));
    }
    gone
}

/// Segments to give up so that `bytes` fit on a full disk: of the class that takes the larger part
/// of its quota, the one sealed first goes first. One that a scan holds frees nothing now, and
/// stays. `segments` are clones of what the store holds.
pub(crate) fn shed(
    mut segments: Vec<Arc<Segment>>,
    options: &Options,
    bytes: u64,
) -> Vec<Arc<Segment>> {
    segments.retain(|it| Arc::strong_count(it) <= 2 && it.is_local());
    segments.sort_by_key(|it| (it.sealed_at, it.covers().first));
    let mut gone = Vec::new();
    let mut freed = 0;
    while freed < bytes && !segments.is_empty() {
        let part = |class: Class| {
            let members = segments.iter().filter(|it| Class::of(&it.table) == class);
            let kept = members.map(|it| it.bytes).sum::<u64>();
            kept as f64 / class.quota(options).max(1) as f64
        };
        let packets_first = part(Class::Packets) >= part(Class::Records);
        let class = if packets_first { Class::Packets } else { Class::Records };
        let Some(at) = segments.iter().position(|it| Class::of(&it.table) == class) else { break };
        let segment = segments.remove(at);
        freed += segment.bytes;
        gone.push(segment);
    }
    gone
}

/// As many as there are, or as fit.
pub(crate) fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
