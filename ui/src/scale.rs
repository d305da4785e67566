//! Where axes have their ticks, and how numbers read beside them.

use crate::value::{duration, instant};

/// What the numbers of an axis are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    #[default]
    Number,
    Bytes,
    /// Nanoseconds.
    Duration,
    Percent,
    PerSecond,
    BytesPerSecond,
}

impl Unit {
    pub(crate) const ALL: [Self; 6] = [
        Self::Number,
        Self::Bytes,
        Self::Duration,
        Self::Percent,
        Self::PerSecond,
        Self::BytesPerSecond,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::Percent => "percent",
            Self::PerSecond => "per second",
            Self::BytesPerSecond => "bytes per second",
        }
    }

    /// How often something happens, a second or as much longer as makes a number of it that says something.
    pub(crate) fn often(per_second: f64) -> String {
        let (factor, unit) = match per_second {
            ..=0.0 => return "0/s".to_owned(),
            0.1.. => (1.0, "s"),
            rate if rate * 60.0 >= 0.1 => (60.0, "min"),
            rate if rate * 3_600.0 >= 0.1 => (3_600.0, "h"),
            _ => (86_400.0, "d"),
        };
        format!("{}/{unit}", short(per_second * factor))
    }

    /// A number with its unit, in as few digits as tell it.
    pub(crate) fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        match self {
            Self::Number => short(value),
            Self::PerSecond => format!("{}/s", short(value)),
            Self::Percent => format!("{} %", short(value)),
            Self::Duration => duration(value.round() as i64),
            Self::Bytes => bytes(value),
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
        }
    }
}

fn bytes(value: f64) -> String {
    let (mut number, mut unit) = (value.abs(), "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if number < 1_024.0 {
            break;
        }
        (number, unit) = (number / 1_024.0, next);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{} {unit}", digits(number))
}

fn short(value: f64) -> String {
    let size = value.abs();
    let (number, unit) = match size {
        1e15.. => return format!("{value:.2e}"),
        1e12.. => (size / 1e12, "T"),
        1e9.. => (size / 1e9, "G"),
        1e6.. => (size / 1e6, "M"),
        1e4.. => (size / 1e3, "k"),
        _ => (size, ""),
    };
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}{unit}", digits(number))
}

/// Three digits that count, and no zero behind them.
fn digits(number: f64) -> String {
    let decimals = match number {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.001.. => 3,
        _ => 6,
    };
    let text = format!("{number:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// About `count` round numbers from `low` to `high`, both inclusive where they are round.
pub(crate) fn ticks(low: f64, high: f64, count: usize, unit: Unit) -> Vec<f64> {
    if !(low.is_finite() && high.is_finite()) || high <= low {
        return Vec::new();
    }
    let step = step((high - low) / count.max(1) as f64, unit);
    if step <= 0.0 {
        return Vec::new();
    }
    let first = (low / step).ceil();
    (0..=MOST_TICKS)
        .map(|k| (first + k as f64) * step)
        .take_while(|tick| *tick <= high + step * 1e-9)
        .collect()
}

/// The smallest round number that is not below a step. Bytes go by 1024, the rest by ten.
fn step(least: f64, unit: Unit) -> f64 {
    let base: f64 = match unit {
        Unit::Bytes | Unit::BytesPerSecond if least >= 1_024.0 => {
            1_024_f64.powf(least.log(1_024.0).floor())
        }
        _ => 1.0,
    };
    let least = least / base;
    let power = 10_f64.powf(least.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|it| it * power >= least * 0.999_999);
    round.unwrap_or(10.0) * power * base
}

/// The top of an axis that shows numbers up to `most`.
pub(crate) fn top(most: f64, count: usize, unit: Unit) -> f64 {
    if !most.is_finite() || most <= 0.0 {
        return 1.0;
    }
    let half = step(most / count.max(1) as f64, unit) / 2.0;
    (most / half).ceil() * half
}

/// Moments for a time axis with their labels: round in the zone, and told no finer than they need.
pub(crate) fn moments(low: i64, high: i64, count: usize, zone: i64) -> Vec<(i64, String)> {
    let span = high.saturating_sub(low);
    if span <= 0 {
        return Vec::new();
    }
    let least = span / count.max(1) as i64;
    let step = STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| {
        let days = least / DAY + 1;
        days.saturating_mul(DAY)
    });
    let shift = zone.saturating_mul(1_000_000_000);
    let first =
        low.saturating_add(shift).saturating_add(step - 1).div_euclid(step).saturating_mul(step);
    let mut out = Vec::new();
    let mut local = first;
    while local <= high.saturating_add(shift) && out.len() <= MOST_TICKS {
        let text = instant(local, ' ', 9);
        let part = match step {
            DAY.. => text.get(5..10),
            60_000_000_000.. if local.rem_euclid(DAY) == 0 && span >= DAY => text.get(5..10),
            60_000_000_000.. => text.get(11..16),
            1_000_000_000.. => text.get(11..19),
            1_000_000.. => text.get(11..23),
            1_000.. => text.get(14..26),
            _ => text.get(17..29),
        };
        out.push((local.saturating_sub(shift), part.unwrap_or_default().to_owned()));
        local = local.saturating_add(step);
    }
    out
}

/// A round length of time that cuts a span into at most `most` parts.
pub(crate) fn bucket(span: i64, most: i64) -> i64 {
    let least = (span / most.max(1)).max(1);
    STEPS
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or_else(|| (least / DAY + 1).saturating_mul(DAY))
}

const DAY: i64 = 86_400_000_000_000;
const MOST_TICKS: usize = 200;
const STEPS: [i64; 36] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    15_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
    600_000_000_000,
    900_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
    7_200_000_000_000,
    10_800_000_000_000,
    21_600_000_000_000,
    43_200_000_000_000,
    DAY,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 97.0, 5, Unit::Number), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(ticks(0.0, 3.0 * 1_048_576.0, 3, Unit::Bytes).len(), 4);
        assert!(ticks(1.0, 1.0, 5, Unit::Number).is_empty());
        assert!(ticks(f64::NAN, 1.0, 5, Unit::Number).is_empty());
        assert_eq!(top(97.0, 4, Unit::Number), 100.0);
        assert_eq!(top(0.0, 4, Unit::Number), 1.0);
    }

    #[test]
    fn moments_are_round_where_the_reader_is() {
        let hour = 3_600_000_000_000;
        let look = moments(0, 4 * hour, 4, 1_800);
        assert_eq!(look.first(), Some(&(hour / 2, "01:00".to_owned())));
        assert_eq!(look.len(), 4);
        let seconds = moments(1_795_333_629_000_000_000, 1_795_333_642_000_000_000, 6, 0);
        assert_eq!(seconds.first().map(|(_, text)| text.as_str()), Some("07:47:10"));
        assert!(moments(5, 5, 3, 0).is_empty());
        assert!(moments(i64::MIN, i64::MAX, 3, 0).len() <= MOST_TICKS + 1);
    }

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        let look = [
            Unit::Number.show(12_345.0),
            Unit::Number.show(0.05),
            Unit::Bytes.show(1_536.0),
            Unit::Duration.show(1_234_567.0),
            Unit::PerSecond.show(99.96),
            Unit::Percent.show(f64::NAN),
        ];
        assert_eq!(look, ["12.3k", "0.05", "1.5 KiB", "1.23 ms", "100/s", "–"]);
    }

    #[test]
    fn what_is_seldom_is_told_by_the_hour() {
        let look = [12.0, 0.5, 0.01, 0.001, 0.000_01, 0.0].map(Unit::often);
        assert_eq!(look, ["12/s", "0.5/s", "0.6/min", "3.6/h", "0.864/d", "0/s"]);
        assert_eq!(Unit::PerSecond.show(0.000_25), "0.00025/s");
    }

    #[test]
    fn buckets_are_round() {
        assert_eq!(bucket(13_000_000_000, 60), 500_000_000);
        assert_eq!(bucket(900_000_000_000, 90), 10_000_000_000);
        assert_eq!(bucket(0, 90), 1_000);
        assert_eq!(bucket(90 * 10 * DAY, 90), 11 * DAY);
    }
}
