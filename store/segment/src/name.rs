//! A segment's file name: what must be known of it even when its content is damaged.
use std::fmt;
use std::sync::Arc;

/// `MIN_TS-NUMBERS-ROWS-CHECKS.parquet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    /// The earliest `ts`; times before 1970 stand as 0.
    pub(crate) min_ts: i64,
    pub(crate) covers: Covers,
    pub(crate) rows: u64,
    pub(crate) checks: Checks,
}

/// The first and the last number of the seals whose rows a segment has. Between them there may be
/// others that are gone, or were elsewhere when it was merged: see [`Seals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Covers {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Covers {
    /// What one seal wrote.
    pub(crate) fn one(seq: u64) -> Self {
        Self { first: seq, last: seq }
    }

    /// From the first of these to the last.
    pub(crate) fn join(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// The numbers of the seals whose rows a segment has, as ranges in order. A segment all of whose
/// seals are another's is one that was merged into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seals(Arc<[Covers]>);

impl Seals {
    pub(crate) fn one(covers: Covers) -> Self {
        Self([covers].into())
    }

    /// Those of several segments.
    pub(crate) fn join<'a>(of: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = of.flat_map(|it| it.0.iter().copied()).collect::<Vec<_>>();
        all.sort_unstable_by_key(|it| it.first);
        let mut joined = Vec::<Covers>::with_capacity(all.len());
        for it in all {
            match joined.last_mut() {
                Some(last) if it.first <= last.last.saturating_add(1) => *last = last.join(it),
                _ => joined.push(it),
            }
        }
        Self(joined.into())
    }

    /// The first and the last.
    pub(crate) fn covers(&self) -> Option<Covers> {
        Some(self.0.first()?.join(*self.0.last()?))
    }

    pub(crate) fn contain(&self, covers: Covers) -> bool {
        let after = self.0.partition_point(|it| it.first <= covers.first);
        let range = after.checked_sub(1).and_then(|it| self.0.get(it));
        range.is_some_and(|it| it.contains(covers))
    }

    pub(crate) fn contain_all(&self, other: &Self) -> bool {
        other.0.iter().all(|it| self.contain(*it))
    }

    /// As [`fmt::Display`] says them: only ranges in order, with something between them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let range = |it: &str| {
            let (first, last) = it.split_once('-').unwrap_or((it, it));
            let covers = Covers { first: first.parse().ok()?, last: last.parse().ok()? };
            (covers.first <= covers.last).then_some(covers)
        };
        let ranges = text.split(' ').map(range).collect::<Option<Vec<_>>>()?;
        let ordered = ranges.is_sorted_by(|a, b| a.last < b.first.saturating_sub(1));
        ordered.then(|| Self(ranges.into()))
    }
}

impl fmt::Display for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Covers { first, last }) in self.0.iter().enumerate() {
            write!(f, "{}{first}", if n == 0 { "" } else { " " })?;
            if first < last {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

/// Checksums of what is read before a query, and so is checked before it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Checks {
    pub(crate) footer: u32,
    pub(crate) index: u32,
}

impl Name {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".parquet")?.split('-');
        let min_ts = parts.next()?.parse().ok()?;
        let covers = parts.next()?;
        let (first, last) = covers.split_once('_').unwrap_or((covers, covers));
        let covers = Covers { first: first.parse().ok()?, last: last.parse().ok()? };
        let rows = parts.next()?.parse().ok()?;
        let checks = u64::from_str_radix(parts.next()?, 16).ok()?;
        let (footer, index) = ((checks >> 32) as u32, checks as u32);
        let found = Self { min_ts, covers, rows, checks: Checks { footer, index } };
        let whole = covers.first <= covers.last && parts.next().is_none();
        (whole && found.to_string() == name).then_some(found)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min_ts, covers, rows, checks: Checks { footer, index } } = self;
        let min_ts = (*min_ts).max(0);
        write!(f, "{min_ts:020}-{:08}", covers.first)?;
        if covers.first < covers.last {
            write!(f, "_{:08}", covers.last)?;
        }
        write!(f, "-{rows}-{footer:08x}{index:08x}.parquet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_are_the_numbers_they_were_made_of() {
        let seals = |text: &str| Seals::parse(text).unwrap();
        let parts = ["4-6", "1", "2", "9-12 20", "8"].map(seals);
        let joined = Seals::join(parts.iter());
        assert_eq!(joined.to_string(), "1-2 4-6 8-12 20");
        assert_eq!(seals(&joined.to_string()), joined);
        assert_eq!(joined.covers(), Some(Covers { first: 1, last: 20 }));
        assert!(parts.iter().all(|it| joined.contain_all(it)));
        for other in ["3", "7", "13", "0", "21", "2-4", "6-8", "1-20", "1 3"] {
            assert!(!joined.contain_all(&seals(other)), "{other}");
        }
        for wrong in ["", "1 ", "2-1", "1 2", "5 1", "1-4 3", "x", "18446744073709551616"] {
            assert_eq!(Seals::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let checks = Checks { footer: 0x5f0c_9e71, index: 0xa2b3_d4e6 };
        for (covers, text) in [
            (Covers::one(42), "01763805600000000000-00000042-8192-5f0c9e71a2b3d4e6.parquet"),
            (
                Covers { first: 42, last: 57 },
                "01763805600000000000-00000042_00000057-8192-5f0c9e71a2b3d4e6.parquet",
            ),
        ] {
            let name = Name { min_ts: 1_763_805_600_000_000_000, covers, rows: 8192, checks };
            assert_eq!(name.to_string(), text);
            assert_eq!(Name::parse(text), Some(name));
        }
        for wrong in [
            "",
            "01763805600000000000-00000042-8192-5f0c9e71a2b3d4e6",
            "01763805600000000000-00000042_00000042-8192-5f0c9e71a2b3d4e6.parquet",
            "01763805600000000000-00000057_00000042-8192-5f0c9e71a2b3d4e6.parquet",
            "1763805600000000000-42-8192-5f0c9e71a2b3d4e6.parquet",
            "01763805600000000000-00000042-8192-5f0c9e71a2b3d4e6-.parquet",
        ] {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
    }
}
