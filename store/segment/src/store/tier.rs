//! The thread that moves segments to the bucket, and lets them expire there.
//!
//! Nothing of capture waits for it: what can't be uploaded stays on the disk, within its quota,
//! and is tried again, later and later.
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Shared, now};
use crate::bucket::{Bucket, Manifests, Objects};
use crate::catalog::{Known, Place};
use crate::recover::Doubt;
use crate::{Error, Segment, retention};

/// What the thread has to do with.
pub(super) struct Tier {
    pub(super) bucket: Bucket,
    /// For uploads and listings.
    pub(super) objects: Arc<Objects>,
    /// For those who read; its connections live where they do.
    pub(super) readers: Arc<Objects>,
}

impl Shared {
    /// The bucket's thread.
    pub(super) fn run_tier(&self, tier: &Tier) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    () = self.closed() => {}
                    () = self.tend(tier) => {}
                }
            }),
            Err(error) => tracing::error!(%error, "nothing goes to the bucket"),
        }
    }

    async fn tend(&self, tier: &Tier) {
        let mut failures = 0;
        let mut manifests = None;
        loop {
            let done = match &mut manifests {
                None => match self.survey(tier).await {
                    Ok(found) => {
                        manifests = Some(found);
                        Ok(true)
                    }
                    Err(error) => Err(error),
                },
                Some(manifests) => self.step(tier, manifests).await,
            };
            let pause = match done {
                Ok(busy) => {
                    failures = 0;
                    self.lock().tier_failure = None;
                    if busy { continue } else { LOOK_EVERY }
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "the bucket does not do; it is tried again");
                    }
                    failures += 1;
                    self.lock().tier_failure = Some(error.to_string());
                    backoff(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.changed.notified(), if failures == 0 => {}
            }
        }
    }

    async fn closed(&self) {
        loop {
            let changed = self.closes.notified();
            if self.lock().closing {
                return;
            }
            changed.await;
        }
    }

    /// Finds out what the bucket has, and serves it from there. What of the manifests has to change
    /// is written by the next [`Self::step`], so that nothing is counted again if that fails.
    async fn survey(&self, tier: &Tier) -> Result<Manifests, Error> {
        let known = |table: &str| Some(Arc::clone(&self.lock().tables.get(table)?.schema));
        let (mut manifests, missing) = tier.objects.survey(&known).await?;
        let mut state = self.lock();
        for segment in &missing {
            tracing::warn!(table = segment.table, name = %segment.name, "gone from the bucket");
            state.lose_known(segment, "gone from the bucket");
        }
        if !missing.is_empty() {
            state.write_journal();
        }
        drop(state);
        let doubled = self.attach(tier, &manifests);
        manifests.retain(|it| !doubled.iter().any(|gone| gone.is(it)));
        doubled.iter().for_each(|it| tier.objects.forget(it));
        Ok(manifests)
    }

    /// Puts the bucket's segments among the others. Returns those that were merged into others.
    fn attach(&self, tier: &Tier, manifests: &Manifests) -> Vec<Known> {
        let (mut doubled, segments) = doubled(manifests);
        let mut gone = Vec::new();
        let mut state = self.lock();
        let doubts = state.doubts.clone();
        state.settle(&doubts, |doubt| rows_of(doubt, &segments));
        let mut here: HashMap<String, Vec<(Known, Arc<Segment>)>> = HashMap::new();
        for it in state.segments().into_iter().filter(|it| it.is_local()) {
            here.entry(it.table.clone()).or_default().push((it.known(), it));
        }
        for segment in segments {
            let local = here.get(&segment.table).map_or(&[][..], Vec::as_slice);
            if let Some((_, same)) = local.iter().find(|it| it.0.name == segment.name) {
                same.uploaded.store(true, Ordering::Relaxed);
                continue;
            }
            if local.iter().any(|it| it.0.contains(&segment)) {
                doubled.push(segment);
                continue;
            }
            for (_, it) in local.iter().filter(|it| segment.contains(&it.0)) {
                // Died before what was merged and uploaded was deleted.
                if state.remove(it) {
                    it.expire();
                    gone.push(Arc::clone(it));
                }
            }
            let place = Place::Bucket(Arc::clone(&tier.readers));
            let segment = Segment::new(segment, place, &self.footers);
            state.insert(Arc::new(segment), self.origin);
        }
        state.tier_listed = true;
        drop(state);
        // The files go here, outside the lock.
        drop((gone, here));
        doubled
    }

    /// Does the next thing that is due. False if there is none.
    async fn step(&self, tier: &Tier, manifests: &mut Manifests) -> Result<bool, Error> {
        manifests.save(&tier.objects).await?;
        let expired = {
            let mut state = self.lock();
            let expired = retention::expired_in_bucket(state.segments(), &tier.bucket, now());
            for (segment, reason) in &expired {
                state.expire_in_bucket(segment, reason);
            }
            if !expired.is_empty() {
                state.write_journal();
            }
            expired
        };
        let names = expired.iter().map(|it| it.0.known()).collect::<Vec<_>>();
        drop(expired);
        if !names.is_empty() {
            // Objects go after the manifest that no longer names them.
            manifests.retain(|it| !names.iter().any(|gone| gone.is(it)));
            manifests.save(&tier.objects).await?;
        }
        let doubts = self.lock().doubts.clone();
        let let_go = tier.readers.take_gone();
        tier.objects.add_gone(let_go);
        tier.objects.sweep().await?;
        self.lock().settle(&doubts, |_| 0);

        let Some(segment) = self.lock().pick_upload(&self.options, now()) else { return Ok(false) };
        segment.tried.store(true, Ordering::Relaxed);
        let put = tier.objects.put(&segment).await;
        {
            let _state = self.lock();
            // What has expired meanwhile was counted as lost, and its object goes.
            if put.is_ok() && !segment.is_expired() {
                manifests.add(segment.known());
                // From here on the bucket has it, whether or not the manifest gets there.
                segment.uploaded.store(true, Ordering::Relaxed);
            }
            segment.taken.store(false, Ordering::Relaxed);
        }
        match put {
            Ok(()) => {
                tracing::debug!(file = segment.file, bytes = segment.bytes, "uploaded a segment");
                manifests.save(&tier.objects).await?;
            }
            Err(error) if error.is_damage() => self.verify(&segment),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// The segments that were merged into others of them, and the rest.
fn doubled(manifests: &Manifests) -> (Vec<Known>, Vec<Known>) {
    let mut all = manifests.segments().cloned().collect::<Vec<_>>();
    // What contains others comes before them.
    all.sort_by(|a, b| {
        let key = |it: &Known| (it.origin, it.name.covers.first, Reverse(it.name.covers.last));
        a.table.cmp(&b.table).then_with(|| key(a).cmp(&key(b)))
    });
    let (mut within, mut rest) = (Vec::new(), Vec::<Known>::new());
    for segment in all {
        // Between it and what contains it are at most some that were not there to be merged.
        if rest.iter().rev().take(NEAR).any(|it| it.contains(&segment)) {
            within.push(segment);
        } else {
            rest.push(segment);
        }
    }
    (within, rest)
}

/// How many rows of a segment that is gone from the disk the bucket has.
fn rows_of(doubt: &Doubt, segments: &[Known]) -> u64 {
    let of_table = segments.iter().filter(|it| it.table == doubt.loss.table);
    let of_store = of_table.clone().filter(|it| it.origin == doubt.origin);
    if of_table.clone().any(|it| it.name == doubt.name)
        || of_store.clone().any(|it| it.seals.contain_all(&doubt.seals))
    {
        return u64::MAX;
    }
    // What it was merged of may be there.
    let within = of_store.filter(|it| doubt.seals.contain_all(&it.seals));
    within.map(|it| it.name.rows).sum()
}

/// Longer with every failure, and not the same for all nodes that failed at once.
fn backoff(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    let chance = (RandomState::new().hash_one(failures) % 1000) as f64 / 1000.0;
    pause.mul_f64(0.5 + chance / 2.0)
}

const NEAR: usize = 64;
/// How often it is asked what is due, when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Twice the pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 500 });
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Name, Seals};
    use crate::stage;

    #[test]
    fn of_a_merged_segment_that_is_lost_the_bucket_has_what_was_merged_into_it_and_no_neighbours() {
        let named = |text: &str| Name::parse(&format!("{text}.parquet")).unwrap();
        let part = |name: &str, seals: &str| Known {
            table: "http".to_owned(),
            name: named(name),
            bytes: 1,
            min_ts: 0,
            max_ts: 0,
            schema: Arc::new(arrow_schema::Schema::empty()),
            sealed_at: 0,
            seals: Seals::parse(seals).unwrap(),
            origin: 7,
            data: 1,
        };
        let loss = crate::Loss {
            table: "http".to_owned(),
            from_ts: 0,
            to_ts: 0,
            stage: stage::DISK,
            rows: 392,
            bytes: 1,
            detail: String::new(),
        };
        let merged = Doubt {
            name: named("00000000000000000000-00000001_00000009-392-3b64fa1191bbba88"),
            origin: 7,
            seals: Seals::parse("1-3 5 7-9").unwrap(),
            loss,
        };
        let of_it = [
            part("00000000000000000000-00000001_00000005-134-54943a34514b5642", "1-3 5"),
            part("00000000000000000305-00000007-48-ebc500ae8bfb8c54", "7"),
        ];
        let neighbour = part("00000000000000000097-00000004-70-21e026fedac482ba", "4");
        let all = [of_it.to_vec(), vec![neighbour]].concat();
        assert_eq!(rows_of(&merged, &all), 134 + 48);
        let wider =
            part("00000000000000000000-00000001_00000012-500-54943a34514b5642", "1-3 5 7-12");
        assert_eq!(rows_of(&merged, &[wider]), u64::MAX, "all of it was merged into another one");
    }
}
