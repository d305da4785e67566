//! What every view shares: which tables there are, and how the Hub and its Workers do.

use std::rc::Rc;

use api::{Health, Table, Workers};
use dioxus::prelude::*;

use crate::{
    browser,
    client::{Failure, Session},
};

/// The tables the Hub describes.
#[derive(Clone, Copy)]
pub(crate) struct Catalog {
    pub(crate) tables: Signal<Rc<Vec<Table>>>,
}

impl Catalog {
    /// Asks until there are tables, and again from time to time: a Worker may bring new ones.
    pub(crate) fn provide(session: Session) -> Self {
        let tables = use_signal(Rc::default);
        let mut catalog = use_context_provider(|| Self { tables });
        use_future(move || async move {
            loop {
                let answer = session.tables().await;
                if let Ok(answer) = answer
                    && **catalog.tables.peek() != answer.tables
                {
                    catalog.tables.set(Rc::new(answer.tables));
                }
                let is_known = !catalog.tables.peek().is_empty();
                browser::sleep(if is_known { 30_000 } else { 1_500 }).await;
            }
        });
        catalog
    }

    /// How the filter bar names a column: with its table if it could be another protocol's too.
    pub(crate) fn name(&self, table: &str, column: &str) -> String {
        name(&self.tables.read(), table, column)
    }

    /// What a column says, if the Hub told.
    pub(crate) fn doc(&self, table: &str, column: &str) -> Option<String> {
        let tables = self.tables.read();
        let field = tables.iter().find(|it| it.name == table)?.field(column)?;
        Some(field.doc.to_string())
    }
}

fn name(tables: &[Table], table: &str, column: &str) -> String {
    let Some(shared) = tables.iter().find(|it| it.name == "traffic") else {
        return column.to_owned();
    };
    let others = tables.iter().filter(|it| it.name != table && is_protocol(shared, it));
    let is_shared = shared.field(column).is_some();
    if table.is_empty() || is_shared || !others.into_iter().any(|it| it.field(column).is_some()) {
        column.to_owned()
    } else {
        format!("{table}.{column}")
    }
}

/// Whether a table is one of those that `traffic` is made of: it has its columns. Only the view says
/// in which table a row stands.
pub(crate) fn is_protocol(traffic: &Table, table: &Table) -> bool {
    table.name != traffic.name
        && traffic
            .fields
            .iter()
            .all(|field| field.name == "table_name" || table.field(&field.name).is_some())
}

/// One of twelve colours for a name; names that stand beside each other differ.
pub(crate) fn hue(tables: &[Table], name: &str) -> String {
    let place = tables.iter().position(|table| table.name == name).unwrap_or_else(|| {
        name.bytes().fold(7, |sum, byte| (sum * 31 + usize::from(byte)) % 1_000_003)
    });
    format!("hue-{}", place * 5 % 12)
}

/// What the Hub and its Workers said last.
#[derive(Clone, Copy)]
pub(crate) struct Pulse {
    pub(crate) health: Signal<Option<Result<Health, Failure>>>,
    pub(crate) workers: Signal<Option<Result<Workers, Failure>>>,
}

impl Pulse {
    pub(crate) fn provide(session: Session) -> Self {
        let health = use_signal(|| None);
        let workers = use_signal(|| None);
        let mut pulse = use_context_provider(|| Self { health, workers });
        use_future(move || async move {
            loop {
                let health = session.health().await;
                let workers = session.workers().await;
                pulse.health.set(Some(health));
                pulse.workers.set(Some(workers));
                browser::sleep(PULSE_MS).await;
            }
        });
        pulse
    }
}

/// Why there is nothing to see, and what could be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Emptiness {
    pub(crate) title: String,
    pub(crate) text: String,
    /// What each Worker says, if it says something.
    pub(crate) nodes: Vec<(String, String)>,
}

/// Reads the reason for an empty list from what the Hub and its Workers say.
pub(crate) fn emptiness(
    health: Option<&Result<Health, Failure>>,
    workers: &[api::WorkerState],
    // whether a filter or a time narrows what is asked, and whether it is the filter alone
    narrowed: Option<bool>,
    without: Option<u64>,
) -> Emptiness {
    let why = |title: &str, text: &str| Emptiness {
        title: title.to_owned(),
        text: text.to_owned(),
        nodes: Vec::new(),
    };
    let health = match health {
        None => return why("Connecting", "Asking the Hub for its state."),
        Some(Err(failure)) => return why("The Hub is not reached", &failure.error().to_string()),
        Some(Ok(health)) => health,
    };
    let because = |node: &api::WorkerState| {
        let input = node
            .health
            .inputs
            .iter()
            .find_map(|input| Some(format!("{}: {}", input.name, input.error.as_ref()?)));
        let reason =
            node.health.empty_because.clone().or(input).or_else(|| node.health.last_error.clone());
        Some((node.node.clone(), node.reason.clone().or(reason)?))
    };
    let nodes: Vec<_> = workers.iter().filter_map(because).collect();
    if let (Some(any_time), Some(rows)) = (narrowed, without.filter(|rows| *rows > 0)) {
        let rows = crate::value::grouped(rows);
        return if any_time {
            why("No row matches this filter", &format!("Without it there are {rows} rows."))
        } else {
            why(
                "No row of that time matches",
                &format!("Of any time, and without a filter, there are {rows} rows."),
            )
        };
    }
    if health.workers_connected == 0 {
        let text = health.empty_because.as_deref();
        let text = text.unwrap_or("Rows come from Workers, and none is connected to this Hub.");
        return Emptiness { nodes, ..why("No Worker is connected", text) };
    }
    if health.workers_capturing == 0 {
        let text = health.empty_because.as_deref();
        let text = text.unwrap_or("Workers are connected, but none of them reads packets.");
        return Emptiness { nodes, ..why("Nothing is being captured", text) };
    }
    let packets: u64 = workers.iter().map(|worker| worker.health.packets).sum();
    let text = match &health.empty_because {
        Some(text) => text.clone(),
        None if packets == 0 => "The capture runs, but no packet has come by yet.".to_owned(),
        None => format!(
            "{} packets were read, but no exchange of a protocol known to the Workers is complete yet.",
            crate::value::grouped(packets)
        ),
    };
    Emptiness { nodes, ..why("Nothing seen yet", &text) }
}

const PULSE_MS: u32 = 2_000;

#[cfg(test)]
mod tests {
    use api::{NodeHealth, WorkerState};

    use super::*;
    use crate::fixture;

    #[test]
    fn an_empty_list_says_why() {
        let check = |health: Health, packets, narrowed, without| {
            let health_of = NodeHealth { packets, ..NodeHealth::default() };
            let workers =
                [WorkerState { node: "a".into(), health: health_of, ..WorkerState::default() }];
            let it = emptiness(Some(&Ok(health)), &workers, narrowed, without);
            format!("{}: {}", it.title, it.text)
        };
        let health = |connected, capturing| Health {
            workers_connected: connected,
            workers_capturing: capturing,
            ..Health::default()
        };
        assert_eq!(
            check(health(0, 0), 0, None, None),
            "No Worker is connected: Rows come from Workers, and none is connected to this Hub."
        );
        assert_eq!(
            check(health(1, 0), 0, None, None),
            "Nothing is being captured: Workers are connected, but none of them reads packets."
        );
        assert_eq!(
            check(health(1, 1), 0, None, None),
            "Nothing seen yet: The capture runs, but no packet has come by yet."
        );
        assert_eq!(
            check(health(1, 1), 5, Some(true), Some(1234)),
            "No row matches this filter: Without it there are 1,234 rows."
        );
        assert!(
            check(health(1, 1), 5, Some(true), Some(0)).starts_with("Nothing seen yet: 5 packets")
        );
        assert_eq!(
            check(health(1, 1), 5, Some(false), Some(7)),
            "No row of that time matches: Of any time, and without a filter, there are 7 rows."
        );
        let lost = emptiness(Some(&Err(Failure::Unreachable("refused".into()))), &[], None, None);
        assert_eq!(lost.title, "The Hub is not reached");
    }

    #[test]
    fn a_worker_that_cannot_capture_is_quoted() {
        let worker = WorkerState {
            node: "node-1".into(),
            health: NodeHealth {
                empty_because: Some("eth7 does not exist".into()),
                ..NodeHealth::default()
            },
            ..WorkerState::default()
        };
        let health = Health { workers_connected: 1, ..Health::default() };
        let it = emptiness(Some(&Ok(health)), &[worker], None, None);
        assert_eq!(it.nodes, [("node-1".to_owned(), "eth7 does not exist".to_owned())]);
    }

    #[test]
    fn a_column_is_named_with_its_table_only_where_it_must_be() {
        let mut tables = fixture::tables();
        assert_eq!(name(&tables, "gopher", "client_ip"), "client_ip");
        assert_eq!(name(&tables, "gopher", "selector"), "selector");
        let mut other = tables.last().cloned().expect("there are two");
        other.name = "finger".into();
        tables.push(other);
        assert_eq!(name(&tables, "gopher", "client_ip"), "client_ip");
        assert_eq!(name(&tables, "gopher", "selector"), "gopher.selector");
        assert_eq!(name(&[], "gopher", "selector"), "selector");
    }

    #[test]
    fn neighbours_differ_in_colour() {
        let tables = fixture::tables();
        assert_ne!(hue(&tables, "traffic"), hue(&tables, "gopher"));
        assert!(hue(&tables, "unheard of").starts_with("hue-"));
    }
}
