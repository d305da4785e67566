//! What a person chose for this browser: light or dark, and whose clock times are told by.

use dioxus::prelude::*;

use crate::browser;

/// Kept by the browser, shared by all views.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    /// `light`, `dark`, or empty: as the system has it.
    pub(crate) theme: Signal<String>,
    /// `UTC`, an offset such as `+05:30`, or empty: the clock on the wall.
    pub(crate) zone: Signal<String>,
}

impl Settings {
    pub(crate) fn provide() -> Self {
        let theme = use_signal(|| browser::remembered(THEME).unwrap_or_default());
        let zone = use_signal(|| browser::remembered(ZONE).unwrap_or_default());
        use_effect(move || browser::set_root("data-theme", &theme.read()));
        use_context_provider(|| Self { theme, zone })
    }

    pub(crate) fn set_theme(mut self, theme: &str) {
        browser::remember(THEME, theme);
        self.theme.set(theme.to_owned());
    }

    pub(crate) fn set_zone(mut self, zone: &str) {
        browser::remember(ZONE, zone);
        self.zone.set(zone.to_owned());
    }
}

/// How many seconds the chosen clock is ahead of UTC. Who shows it is drawn again when that changes.
pub(crate) fn zone() -> i64 {
    try_consume_context::<Settings>()
        .and_then(|settings| offset(&settings.zone.read()))
        .unwrap_or_else(browser::zone_secs)
}

fn offset(zone: &str) -> Option<i64> {
    if zone == "UTC" {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60))
}

/// What the choice of clocks offers.
pub(crate) const ZONES: [&str; 33] = [
    "UTC", "-11:00", "-10:00", "-09:00", "-08:00", "-07:00", "-06:00", "-05:00", "-04:00",
    "-03:30", "-03:00", "-02:00", "-01:00", "+01:00", "+02:00", "+03:00", "+03:30", "+04:00",
    "+04:30", "+05:00", "+05:30", "+05:45", "+06:00", "+06:30", "+07:00", "+08:00", "+09:00",
    "+09:30", "+10:00", "+11:00", "+12:00", "+13:00", "+14:00",
];
const THEME: &str = "kubeshark.theme";
const ZONE: &str = "kubeshark.zone";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_offered_is_understood() {
        assert!(ZONES.iter().all(|zone| offset(zone).is_some()));
        assert_eq!(
            (offset("+05:30"), offset("-03:30"), offset("")),
            (Some(19_800), Some(-12_600), None)
        );
        assert_eq!(offset("ümlaut"), None);
    }
}
