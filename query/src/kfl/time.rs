//! Times and spans, as both generations of KFL write them.
use datafusion::arrow::temporal_conversions::timestamp_ms_to_datetime;

/// A span such as `1h30m`, in nanoseconds.
pub(super) fn duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut total: i128 = 0;
    if rest.is_empty() || rest.len() > LONGEST {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit())?;
        let (whole, after) = rest.split_at_checked(digits)?;
        let unit = after.find(|it: char| it.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit)?;
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total += i128::from(whole.parse::<u32>().ok()?) * scale;
        rest = after;
    }
    Some(sign * total)
}

/// A span as SQL's interval.
pub(super) fn interval(ns: i128) -> String {
    const UNITS: [(i128, &str); 6] = [
        (3_600_000_000_000, "hours"),
        (60_000_000_000, "minutes"),
        (1_000_000_000, "seconds"),
        (1_000_000, "milliseconds"),
        (1_000, "microseconds"),
        (1, "nanoseconds"),
    ];
    let unit = UNITS.iter().find(|it| ns % it.0 == 0);
    let (scale, unit) = unit.copied().unwrap_or((1, "nanoseconds"));
    format!("interval '{} {unit}'", ns / scale)
}

/// Whether this is a moment such as `2026-01-31T12:00:00Z`.
pub(super) fn is_rfc3339(text: &str) -> bool {
    let shape = "0000-00-00T00:00:00";
    let Some((time, zone)) = text.split_at_checked(shape.len()) else { return false };
    let fits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.chars().zip(shape.chars()).all(|(it, shape)| match shape {
                '0' => it.is_ascii_digit(),
                _ => it == shape,
            })
    };
    let zone = match zone.strip_prefix('.') {
        Some(rest) => rest.trim_start_matches(|it: char| it.is_ascii_digit()),
        None => zone,
    };
    let offset = zone.strip_prefix(['+', '-']).is_some_and(|it| fits(it, "00:00"));
    fits(time, shape) && (zone == "Z" || offset)
}

/// The older KFL's `10/19/2021, 6:29:02.000 PM`, as RFC 3339.
pub(super) fn datetime(text: &str) -> Option<String> {
    let (date, time) = text.split_once(", ")?;
    let mut date = date.split('/').map(|it| it.parse::<u32>().ok());
    let (month, day, year) = (date.next()??, date.next()??, date.next()??);
    let (clock, half) = time.rsplit_once(' ')?;
    let mut clock = clock.split(':');
    let hour: u32 = clock.next()?.parse().ok()?;
    let minute: u32 = clock.next()?.parse().ok()?;
    let second = clock.next()?;
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    let second: u32 = second.parse().ok()?;
    let late = match half {
        "AM" => 0,
        "PM" => 12,
        _ => return None,
    };
    let sound = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (1..=9999).contains(&year)
        && (1..=12).contains(&hour)
        && minute < 60
        && second < 60
        && fraction.len() <= 9
        && fraction.chars().all(|it| it.is_ascii_digit());
    let hour = hour % 12 + late;
    let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
    sound.then(|| {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    })
}

/// Milliseconds since 1970, as RFC 3339.
pub(super) fn of_milliseconds(ms: i64) -> Option<String> {
    let moment = timestamp_ms_to_datetime(ms)?.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    // Years of more than four digits have a sign before them.
    is_rfc3339(&moment).then_some(moment)
}

/// Longer than any span a person writes.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_go_writes_them() {
        assert_eq!(duration("5m"), Some(300_000_000_000));
        assert_eq!(duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(duration("250ms"), Some(250_000_000));
        for wrong in ["", "5", "m", "5 m", "5parsecs", "99999999999h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(interval(300_000_000_000), "interval '5 minutes'");
        assert_eq!(interval(90_000_000_000), "interval '90 seconds'");
    }

    #[test]
    fn moments_are_told_from_other_texts() {
        assert!(is_rfc3339("2026-03-14T22:00:00Z"));
        assert!(is_rfc3339("2026-03-14T22:00:00.5+01:00"));
        for wrong in ["", "2026-03-14", "2026-03-14T22:00:00", "2026-03-14 22:00:00Z", "now"] {
            assert!(!is_rfc3339(wrong), "{wrong}");
        }
        let it = datetime("10/19/2021, 6:29:02 PM");
        assert_eq!(it.as_deref(), Some("2021-10-19T18:29:02Z"));
        let it = datetime("1/2/2021, 12:00:00.250 AM");
        assert_eq!(it.as_deref(), Some("2021-01-02T00:00:00.250Z"));
        assert_eq!(datetime("19/10/2021, 6:29:02 PM"), None);
        let it = of_milliseconds(1_634_668_524_000);
        assert_eq!(it.as_deref(), Some("2021-10-19T18:35:24.000Z"));
        assert_eq!(of_milliseconds(951_782_400_000).as_deref(), Some("2000-02-29T00:00:00.000Z"));
        assert_eq!(of_milliseconds(i64::MAX), None);
    }
}
