//! Which time is meant: an age that moves on with the clock, or moments that stand.

use crate::value::instant;

/// From when to when. Each end is an RFC 3339 time, an age such as `15m`, or open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Range {
    pub(crate) fn new(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned() }
    }

    /// Between two moments, in nanoseconds since 1970.
    pub(crate) fn between(from: i64, to: i64) -> Self {
        Self { from: written(from), to: written(to) }
    }

    /// Whether new rows belong to it.
    pub(crate) fn is_live(&self) -> bool {
        self.to.is_empty()
    }

    pub(crate) fn is_all(&self) -> bool {
        self.from.is_empty() && self.to.is_empty()
    }

    /// Both ends in nanoseconds since 1970.
    pub(crate) fn bounds(&self, now_ms: f64) -> (Option<i64>, Option<i64>) {
        let now = (now_ms * 1e6) as i64;
        let end = |text: &str| parsed(text).or_else(|| Some(now.saturating_sub(age(text)?)));
        (end(&self.from), end(&self.to))
    }

    /// The same as a condition in SQL.
    pub(crate) fn clause(&self, now_ms: f64) -> String {
        let (from, to) = self.bounds(now_ms);
        clause(from, to)
    }

    /// As a person says it.
    pub(crate) fn label(&self, zone: i64) -> String {
        let end = |text: &str| match parsed(text) {
            Some(ns) => {
                let text = crate::value::time(ns, zone);
                let text = text.trim_end_matches('0').trim_end_matches('.');
                text.to_owned()
            }
            None => format!("{text} ago"),
        };
        match (self.from.is_empty(), self.to.is_empty()) {
            (true, true) => "All that is kept".to_owned(),
            (false, true) if age(&self.from).is_some() => format!("Last {}", self.from),
            (false, true) => format!("Since {}", end(&self.from)),
            (true, false) => format!("Until {}", end(&self.to)),
            (false, false) => {
                let (from, to) = (end(&self.from), end(&self.to));
                // the day is said once
                match (from.split_once(' '), to.split_once(' ')) {
                    (Some((day, _)), Some((other, time))) if day == other => {
                        format!("{from} – {time}")
                    }
                    _ => format!("{from} – {to}"),
                }
            }
        }
    }

    /// Can both ends be read?
    pub(crate) fn is_valid(&self) -> bool {
        [&self.from, &self.to]
            .into_iter()
            .all(|end| end.is_empty() || parsed(end).is_some() || age(end).is_some())
    }
}

/// Times between two moments as a condition in SQL.
pub(crate) fn clause(from: Option<i64>, to: Option<i64>) -> String {
    match (from, to) {
        (None, None) => "true".to_owned(),
        (Some(from), None) => format!("ts >= '{}'", written(from)),
        (None, Some(to)) => format!("ts < '{}'", written(to)),
        (Some(from), Some(to)) => {
            format!("ts >= '{}' AND ts < '{}'", written(from), written(to))
        }
    }
}

/// A moment as RFC 3339, with no more digits than it needs.
pub(crate) fn written(ns: i64) -> String {
    let text = instant(ns, 'T', 9);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}Z")
}

/// An age such as `90s`, `15m`, `24h` or `7d`, in nanoseconds.
pub(crate) fn age(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u32>().ok().map(|number| i64::from(number) * secs * 1_000_000_000)
}

/// A time such as `2026-11-22T07:47:09.5Z`; a blank may stand for the `T`, and without a zone it is UTC.
pub(crate) fn parsed(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let zone_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at_checked(zone_at)?;
    let offset = match zone {
        "" | "Z" | "z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60)
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && (1678..=2261).contains(&year);
    if !fits || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    let secs = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    secs.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// A date as days since 1970: the other way round of what times are written with.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// What a click offers.
pub(crate) const PRESETS: [(&str, &str); 9] = [
    ("", "All that is kept"),
    ("1m", "Last minute"),
    ("5m", "Last 5 minutes"),
    ("15m", "Last 15 minutes"),
    ("1h", "Last hour"),
    ("6h", "Last 6 hours"),
    ("24h", "Last 24 hours"),
    ("2d", "Last 2 days"),
    ("7d", "Last 7 days"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for ns in [0, -1, 1_795_333_629_167_744_000, 951_782_400_000_000_000, 5_000_000_001] {
            assert_eq!(parsed(&written(ns)), Some(ns), "{}", written(ns));
        }
        assert_eq!(parsed("1970-01-01 01:00+01:00"), Some(0));
        for wrong in [
            "",
            "15m",
            "2026-13-01T00:00:00Z",
            "2026-01-01T99:00:00Z",
            "9999-01-01T00:00Z",
            "ü-1-1 1:1",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_age_moves_with_the_clock_and_a_moment_stands() {
        let range = Range::new("15m", "");
        assert!(range.is_live());
        assert_eq!(range.bounds(1_000_000.0), (Some(100_000_000_000), None));
        assert_eq!(range.label(0), "Last 15m");
        let fixed = Range::between(0, 1_500_000_000);
        assert_eq!(
            fixed.clause(9.0),
            "ts >= '1970-01-01T00:00:00Z' AND ts < '1970-01-01T00:00:01.5Z'"
        );
        assert_eq!(fixed.label(0), "1970-01-01 00:00:00 – 00:00:01.5");
        assert!(!fixed.is_live());
        assert!(!Range::new("soon", "").is_valid());
        assert_eq!(age("é"), None);
    }
}
