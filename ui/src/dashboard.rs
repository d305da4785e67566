//! Dashboards: panels of SQL over one time. Those shipped are files beside this; a person's own are kept by the browser.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{browser, plot::Look, range, scale::Unit};

/// Panels that are looked at together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Dashboard {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) variables: Vec<Variable>,
    pub(crate) panels: Vec<Panel>,
}

/// Something that can be chosen for all panels at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// Its values: the first column of the answer.
    pub(crate) sql: String,
}

/// A statement and how its answer is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) doc: String,
    pub(crate) sql: String,
    pub(crate) look: Look,
    pub(crate) unit: Unit,
    pub(crate) stacked: bool,
    /// Of twelve columns.
    pub(crate) width: u8,
    /// In rows of the grid.
    pub(crate) height: u8,
}

impl Default for Panel {
    fn default() -> Self {
        Self {
            title: String::new(),
            doc: String::new(),
            sql: String::new(),
            look: Look::Table,
            unit: Unit::Number,
            stacked: false,
            width: 6,
            height: 3,
        }
    }
}

/// What a panel's statement is asked with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// From when to when, in nanoseconds since 1970.
    pub(crate) low: i64,
    pub(crate) high: i64,
    /// Values of variables; one that is not there, or empty, is not narrowed.
    pub(crate) values: BTreeMap<String, String>,
}

impl Asked {
    /// The length of a bar or of the way from point to point.
    pub(crate) fn step(&self) -> i64 {
        crate::scale::bucket(self.high.saturating_sub(self.low), POINTS)
    }

    /// The statement with everything put in. `$range` is the condition on the time, `$bucket` the time
    /// of a row in steps, `$seconds` the length of a step and `$span` that of the whole; `[[ … $name … ]]`
    /// holds only if a value is chosen for the variable.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let step = self.step();
        // with a point, so that a rate is no whole number
        let secs = |ns: i64| format!("{:?}", ns as f64 / 1e9);
        let mut out = self.narrowed(sql);
        for (name, value) in [
            ("$range", range::clause(Some(self.low), Some(self.high))),
            ("$bucket", format!("to_timestamp_nanos((CAST(ts AS BIGINT) / {step}) * {step})")),
            ("$seconds", secs(step)),
            ("$span", secs(self.high.saturating_sub(self.low))),
        ] {
            out = out.replace(name, &value);
        }
        out
    }

    fn narrowed(&self, sql: &str) -> String {
        let mut out = String::with_capacity(sql.len());
        let mut rest = sql;
        while let Some((before, after)) = rest.split_once("[[") {
            out.push_str(before);
            let Some((inner, behind)) = after.split_once("]]") else {
                out.push_str("[[");
                rest = after;
                continue;
            };
            let chosen = self.values.iter().filter(|(_, value)| !value.is_empty());
            let named = chosen.into_iter().find(|(name, _)| inner.contains(&format!("${name}")));
            match named {
                Some((name, value)) => {
                    out.push_str(&inner.replace(&format!("${name}"), &api::quote_text(value)));
                }
                None => out.push_str("true"),
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }
}

/// Those that come with the page.
pub(crate) fn shipped() -> Vec<Dashboard> {
    SHIPPED.iter().filter_map(|json| serde_json::from_str(json).ok()).collect()
}

/// Those of this browser.
pub(crate) fn own() -> Vec<Dashboard> {
    browser::remembered(PLACE).and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}

pub(crate) fn keep(own: &[Dashboard]) {
    if let Ok(json) = serde_json::to_string(own) {
        browser::remember(PLACE, &json);
    }
}

/// All of them: one's own in the place of the shipped one of that name.
pub(crate) fn all(own: &[Dashboard]) -> Vec<Dashboard> {
    let mut all = shipped();
    for mine in own {
        match all.iter_mut().find(|it| it.name == mine.name) {
            Some(it) => *it = mine.clone(),
            None => all.push(mine.clone()),
        }
    }
    all
}

/// Puts a dashboard among one's own.
pub(crate) fn put(own: &mut Vec<Dashboard>, dashboard: Dashboard) {
    match own.iter_mut().find(|it| it.name == dashboard.name) {
        Some(it) => *it = dashboard,
        None => own.push(dashboard),
    }
}

/// Adds a panel to the dashboard for such, and says which that is.
pub(crate) fn add(panel: Panel) -> String {
    let mut own = self::own();
    let mut mine = own.iter().find(|it| it.name == MINE).cloned().unwrap_or_else(|| Dashboard {
        name: MINE.to_owned(),
        doc: "Panels from the SQL console.".to_owned(),
        ..Dashboard::default()
    });
    mine.panels.push(panel);
    put(&mut own, mine);
    keep(&own);
    MINE.to_owned()
}

/// Reads what somebody pastes, or says what is wrong with it.
pub(crate) fn read(json: &str) -> Result<Dashboard, String> {
    let mut dashboard: Dashboard =
        serde_json::from_str(json).map_err(|error| format!("this is no dashboard: {error}"))?;
    if dashboard.name.trim().is_empty() {
        return Err("a dashboard needs a name".to_owned());
    }
    if dashboard.panels.is_empty() {
        return Err("it has no panels".to_owned());
    }
    for panel in &mut dashboard.panels {
        panel.width = panel.width.clamp(2, 12);
        panel.height = panel.height.clamp(1, 12);
    }
    Ok(dashboard)
}

/// Values of variables as they stand in an address: `name=value`, one a line.
pub(crate) fn values(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn written(values: &BTreeMap<String, String>) -> String {
    let lines: Vec<_> = values
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", value.replace('\n', " ")))
        .collect();
    lines.join("\n")
}

const SHIPPED: [&str; 7] = [
    include_str!("dashboard/overview.json"),
    include_str!("dashboard/protocol.json"),
    include_str!("dashboard/endpoints.json"),
    include_str!("dashboard/talkers.json"),
    include_str!("dashboard/tcp.json"),
    include_str!("dashboard/dns.json"),
    include_str!("dashboard/capture.json"),
];
const PLACE: &str = "kubeshark.dashboards";
const MINE: &str = "Mine";
const POINTS: i64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_shipped_are_whole() {
        let shipped = shipped();
        assert_eq!(shipped.len(), SHIPPED.len());
        for dashboard in &shipped {
            let json = serde_json::to_string(dashboard).expect("it can be written");
            assert_eq!(read(&json).as_ref(), Ok(dashboard));
            for panel in &dashboard.panels {
                let where_ = format!("{}: {}", dashboard.name, panel.title);
                assert!(panel.sql.contains("$range"), "{where_}");
                let asked = Asked { low: 0, high: 1_000_000_000, ..Asked::default() };
                assert!(!asked.sql(&panel.sql).contains('$'), "{where_}");
                assert!(!panel.doc.is_empty(), "{where_}");
            }
            for variable in &dashboard.variables {
                let sign = format!("${}", variable.name);
                assert!(
                    dashboard.panels.iter().any(|panel| panel.sql.contains(&sign)),
                    "{}",
                    variable.name
                );
            }
        }
    }

    #[test]
    fn a_statement_is_asked_of_the_time_and_the_values_chosen() {
        let mut asked = Asked { low: 0, high: 100_000_000_000, values: BTreeMap::new() };
        let sql =
            "SELECT $bucket, count(*) / $seconds FROM t WHERE $range AND [[a = $a]] AND [[b = $b]]";
        assert_eq!(
            asked.sql(sql),
            "SELECT to_timestamp_nanos((CAST(ts AS BIGINT) / 1000000000) * 1000000000), count(*) / 1.0 FROM t \
             WHERE ts >= '1970-01-01T00:00:00Z' AND ts < '1970-01-01T00:01:40Z' AND true AND true"
        );
        asked.values = values("a=it's\nb=");
        assert!(asked.sql(sql).ends_with("a = 'it''s' AND true"));
        assert_eq!(asked.sql("[[never closed"), "[[never closed");
        assert_eq!(values(&written(&asked.values)).get("a").map(String::as_str), Some("it's"));
    }

    #[test]
    fn what_is_pasted_is_checked() {
        assert!(read("{}").is_err());
        assert!(read("not json").is_err_and(|why| why.starts_with("this is no dashboard")));
        let wide =
            read("{\"name\":\"x\",\"panels\":[{\"sql\":\"select 1\",\"width\":99,\"height\":0}]}")
                .expect("it is one");
        assert_eq!(wide.panels.first().map(|it| (it.width, it.height)), Some((12, 1)));
    }

    #[test]
    fn ones_own_stands_in_the_place_of_the_shipped() {
        let mut own = Vec::new();
        let first = shipped().into_iter().next().expect("there are some");
        put(&mut own, Dashboard { doc: "mine".into(), ..first.clone() });
        put(&mut own, Dashboard { name: "Other".into(), ..first.clone() });
        put(&mut own, Dashboard { name: "Other".into(), doc: "again".into(), ..first.clone() });
        let all = all(&own);
        assert_eq!(all.len(), SHIPPED.len() + 1);
        assert_eq!(
            all.iter().find(|it| it.name == first.name).map(|it| it.doc.as_str()),
            Some("mine")
        );
    }
}
