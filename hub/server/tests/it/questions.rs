//! Questions at random, as somebody might ask who wants to know what she may not.

use crate::data::{Dice, NAMESPACES, Nodes, Row, T0, short};
use serde_json::{Value, json};

pub(crate) struct Question {
    /// SQL, or a filter.
    pub(crate) text: String,
    is_filter: bool,
    /// Whether the answer's rows have an order.
    pub(crate) ordered: bool,
    /// Whether it asks how it would be answered.
    pub(crate) is_plan: bool,
    pub(crate) is_packets: bool,
    /// How often rows may be looked at.
    pub(crate) scans: u64,
}

impl Question {
    pub(crate) fn json(&self) -> Value {
        let name = if self.is_filter { "filter" } else { "sql" };
        let format = if self.is_packets { "pcapng" } else { "arrow" };
        json!({name: self.text, "format": format})
    }
}

pub(crate) fn any(dice: &mut Dice, nodes: &Nodes) -> Question {
    let ask = &mut Asking { dice, nodes };
    let (text, ordered) = match ask.dice.below(20) {
        0..3 => ask.first_rows(),
        3..6 => ask.groups(),
        6..8 => ask.counts(),
        8..10 => ask.joined(),
        10 => ask.united(),
        11 => ask.named_before(),
        12..14 => ask.nested(),
        14 => ask.windows(),
        15 => ask.values(),
        16 => ask.computed(),
        17 => {
            let text = ask.condition("traffic");
            let plain = Question { is_filter: true, ..question(text, true) };
            return plain;
        }
        18 => {
            let (sql, _) = match ask.dice.below(3) {
                0 => ask.first_rows(),
                1 => ask.groups(),
                _ => ask.counts(),
            };
            let analyze = if ask.dice.one_of(3) { "" } else { "analyze " };
            return Question { is_plan: true, ..question(format!("explain {analyze}{sql}"), true) };
        }
        _ => {
            let text = match ask.dice.below(3) {
                0 => "select * from packets order by ts".to_owned(),
                1 => format!("select flow_id from http where {}", ask.condition("http")),
                _ => {
                    format!("select * from packets where {} order by ts", ask.condition("packets"))
                }
            };
            return Question { is_packets: true, ..question(text, true) };
        }
    };
    question(text, ordered)
}

fn question(text: String, ordered: bool) -> Question {
    // Of a plan's first rows the keys are asked for before, and of packets the conversations.
    let scans = 3 * (1 + text.matches("from").count() + text.matches("join").count()) as u64;
    Question { text, is_filter: false, ordered, is_plan: false, is_packets: false, scans }
}

struct Asking<'a, 'b> {
    dice: &'a mut Dice,
    nodes: &'b Nodes,
}

const TABLES: [&str; 9] =
    ["http", "http", "http", "dns", "traffic", "traffic", "connections", "packets", "processes"];

impl Asking<'_, '_> {
    fn table(&mut self) -> &'static str {
        if self.dice.one_of(30) { "losses" } else { self.dice.pick(&TABLES) }
    }

    fn row(&mut self) -> Row {
        self.dice.pick(&self.nodes.rows)
    }

    /// A word that somebody said.
    fn word(&mut self) -> String {
        let row = self.row();
        match self.dice.below(3) {
            0 => row.by_client(),
            1 => row.by_server(),
            _ => row.by_both(),
        }
    }

    fn part(&mut self) -> String {
        let letters = short(self.dice.pick(&NAMESPACES));
        format!("{letters}{}", self.dice.below(30))
    }

    /// Texts that tell something.
    fn said(&mut self, table: &str) -> &'static str {
        let of: &[&str] = match table {
            "http" => &[
                "target",
                "error",
                "method",
                "text(request_body)",
                "text(response_body)",
                "request_headers['x'][1]",
                "array_to_string(response_tags, ',')",
                "upper(target)",
                "coalesce(target, method, 'nothing')",
            ],
            "dns" => &[
                "target",
                "error",
                "question",
                "records",
                "array_to_string(response_answers, ',')",
            ],
            "traffic" => &["target", "error", "reverse(target)", "client_pod"],
            "connections" => &["state", "client_namespace", "flow_id"],
            "packets" => &["flow_id", "text(data)", "node"],
            "processes" => &["name", "namespace"],
            _ => &["stage", "node"],
        };
        self.dice.pick(of)
    }

    /// Numbers that tell something.
    fn number(&mut self, table: &str) -> &'static str {
        let of: &[&str] = match table {
            "http" => &[
                "seq",
                "status",
                "duration",
                "size",
                "request_bytes",
                "octet_length(request_body)",
            ],
            "dns" | "traffic" => &["seq", "status", "duration", "request_bytes"],
            "connections" => &["bytes", "part"],
            "packets" => &["wire_bytes", "octet_length(data)"],
            "processes" => &["pid"],
            _ => &["count", "bytes"],
        };
        self.dice.pick(of)
    }

    fn label(&mut self, table: &str) -> &'static str {
        let of: &[&str] = match table {
            "http" | "dns" | "traffic" => &[
                "client_namespace",
                "server_namespace",
                "client_pod",
                "verb",
                "failed",
                "node",
                "status",
                "protocol",
                "target",
            ],
            "connections" => &["client_namespace", "server_namespace", "state", "node"],
            "packets" => &["node", "flow_id"],
            "processes" => &["namespace", "node"],
            _ => &["stage", "node"],
        };
        self.dice.pick(of)
    }

    /// What makes an order of the table's rows in which none are equal.
    fn order(&mut self, table: &str) -> &'static str {
        let of: &[&str] = match table {
            "http" | "dns" | "traffic" => &[
                "ts desc",
                "ts",
                "duration desc, seq",
                "target, seq desc",
                "client_namespace nulls first, seq",
                "seq desc",
            ],
            "connections" => &["ts desc", "bytes, part", "flow_id, part"],
            "packets" => &["ts", "ts desc", "flow_id, ts"],
            _ => &["ts desc", "ts"],
        };
        self.dice.pick(of)
    }

    fn condition(&mut self, table: &str) -> String {
        match self.dice.below(8) {
            0 => format!("({}) and ({})", self.simple(table), self.simple(table)),
            1 => format!("({}) or ({})", self.simple(table), self.simple(table)),
            2 => format!("not ({})", self.simple(table)),
            3 => format!("({}) is not true", self.simple(table)),
            _ => self.simple(table),
        }
    }

    fn simple(&mut self, table: &str) -> String {
        let row = self.row();
        let id = row.id;
        let common = match self.dice.below(10) {
            0 if table != "processes" && table != "losses" => {
                return format!("flow_id = '{}'", row.flow());
            }
            1 if table != "processes" && table != "losses" => {
                let other = self.row();
                return format!("flow_id in ('{}', '{}')", row.flow(), other.flow());
            }
            2 => Some(format!("ts >= to_timestamp_nanos({})", T0 + id as i64 * 1_000_003)),
            3 => Some(format!("ts < to_timestamp_nanos({})", T0 + id as i64 * 1_000_003)),
            4 => Some(format!("{} > {id}", self.number(table))),
            5 => Some(format!("{} is null", self.said(table))),
            _ => None,
        };
        if let Some(common) = common {
            return common;
        }
        let namespace = self.dice.pick(&NAMESPACES);
        match (table, self.dice.below(12)) {
            ("http" | "dns" | "traffic" | "connections", 0) => {
                format!("client_namespace = '{namespace}'")
            }
            ("http" | "dns" | "traffic" | "connections", 1) => {
                format!("server_namespace in ('{namespace}', 'bravo')")
            }
            ("http" | "dns" | "traffic" | "connections", 2) => {
                "client_namespace is distinct from server_namespace".to_owned()
            }
            ("http" | "dns" | "traffic", 3) => format!("status >= {}", self.dice.pick(&[300, 450])),
            ("http", 4) => format!("cast(size as bigint) = {id}"),
            ("http", 5) => format!("1000 / (cast(size as bigint) - {id}) > 2"),
            ("http", 6) => format!("array_has(response_tags, '{}')", self.word()),
            ("http", 7) => format!("request_headers['x'] = '{}'", row.by_client()),
            ("http", 8) => format!("request_body like '%{}%'", self.part()),
            ("http" | "dns" | "traffic", 9) => format!("target = '{}'", row.by_client()),
            ("http" | "dns" | "traffic", 10) => format!("target like '%{}%'", self.part()),
            ("http" | "dns" | "traffic", 11) => format!("100 / (seq - {id}) >= 0"),
            ("processes", _) => format!("namespace = '{namespace}'"),
            _ => format!("{} is not null", self.said(table)),
        }
    }

    fn maybe(&mut self, table: &str) -> String {
        if self.dice.one_of(3) {
            String::new()
        } else {
            format!(" where {}", self.condition(table))
        }
    }

    fn first_rows(&mut self) -> (String, bool) {
        let table = self.table();
        let columns = match self.dice.below(3) {
            0 => "*".to_owned(),
            _ => format!("{} as a, {} as b", self.said(table), self.number(table)),
        };
        let (filter, order) = (self.maybe(table), self.order(table));
        let limit = match self.dice.below(3) {
            0 => String::new(),
            1 => format!(" limit {}", 1 + self.dice.below(9)),
            _ => format!(" limit {} offset {}", 1 + self.dice.below(50), self.dice.below(5)),
        };
        (format!("select {columns} from {table}{filter} order by {order}{limit}"), true)
    }

    fn groups(&mut self) -> (String, bool) {
        let table = self.table();
        let (label, said, number) = (self.label(table), self.said(table), self.number(table));
        let filter = self.maybe(table);
        let having = if self.dice.one_of(3) { " having count(*) > 2" } else { "" };
        let sql = format!(
            "select {label} as g, count(*), count({said}), min({said}), max({said}), sum({number}), \
             count(distinct {said}) from {table}{filter} group by 1{having}"
        );
        (sql, false)
    }

    fn counts(&mut self) -> (String, bool) {
        let table = self.table();
        let filter = if self.dice.one_of(2) { String::new() } else { self.maybe(table) };
        let what = match self.dice.below(5) {
            0 | 1 => "count(*)".to_owned(),
            2 => format!("count({})", self.said(table)),
            3 => format!("min(ts), max(ts), count(distinct {})", self.label(table)),
            _ => format!("max({}), min({})", self.said(table), self.number(table)),
        };
        (format!("select {what} from {table}{filter}"), false)
    }

    fn joined(&mut self) -> (String, bool) {
        let (a, b) = self.dice.pick(&[
            ("http", "connections"),
            ("traffic", "connections"),
            ("dns", "packets"),
            ("http", "packets"),
            ("connections", "packets"),
            ("http", "dns"),
        ]);
        let kind = self.dice.pick(&["join", "left join", "right join", "full join"]);
        let (said, more) = match self.dice.below(2) {
            0 => ("a.flow_id, b.flow_id as other", ""),
            _ => ("a.node, count(*), count(a.flow_id), count(b.flow_id)", " group by a.node"),
        };
        let filter = match self.dice.below(3) {
            0 => format!(" where b.ts >= to_timestamp_nanos({})", T0 + self.dice.below(200) as i64),
            1 => " where a.flow_id is null or b.flow_id is null".to_owned(),
            _ => String::new(),
        };
        (
            format!("select {said} from {a} a {kind} {b} b on a.flow_id = b.flow_id{filter}{more}"),
            false,
        )
    }

    fn united(&mut self) -> (String, bool) {
        let all = if self.dice.one_of(2) { " all" } else { "" };
        let (one, other) = (self.maybe("http"), self.maybe("dns"));
        let kind = self.dice.pick(&["union", "intersect", "except"]);
        let all = if kind == "union" { all } else { "" };
        let column = self.dice.pick(&["target", "client_pod", "status", "flow_id"]);
        let sql =
            format!("select {column} from http{one} {kind}{all} select {column} from dns{other}");
        (sql, false)
    }

    fn named_before(&mut self) -> (String, bool) {
        let (filter, said) = (self.maybe("http"), self.said("http"));
        let sql = format!(
            "with some as (select *, {said} as said from http{filter}), per as (select client_namespace as n, \
             count(*) as c from some group by 1) select some.said, per.c from some left join per \
             on some.client_namespace is not distinct from per.n"
        );
        (sql, false)
    }

    fn nested(&mut self) -> (String, bool) {
        let inner = self.condition("connections");
        let said = self.said("http");
        let sql = match self.dice.below(5) {
            0 => format!(
                "select {said} as a from http where flow_id in (select flow_id from connections where {inner})"
            ),
            1 => "select count(*) from http h where not exists (select 1 from connections c \
                  where c.flow_id = h.flow_id and c.part = 1)"
                .to_owned(),
            2 => "select seq, (select count(*) from dns) as others from http".to_owned(),
            3 => format!("select {said} as a from http where seq > (select min(seq) from dns)"),
            _ => format!(
                "select count(*) from (select distinct {said} as a from http where {})",
                self.condition("http")
            ),
        };
        (sql, false)
    }

    fn windows(&mut self) -> (String, bool) {
        let said = self.said("http");
        let (by, filter) = (self.label("http"), self.maybe("http"));
        let sql = format!(
            "select seq, row_number() over (partition by {by} order by ts) as n, \
             lag({said}) over (order by ts) as before, sum(seq) over (partition by {by}) as s from http{filter}"
        );
        (sql, false)
    }

    fn values(&mut self) -> (String, bool) {
        let table = self.table();
        let (label, filter) = (self.label(table), self.maybe(table));
        (format!("select distinct {label} as v from {table}{filter}"), false)
    }

    /// What fails on some rows, and must not on those that are not hers.
    fn computed(&mut self) -> (String, bool) {
        let id = self.row().id;
        let sql = match self.dice.below(6) {
            0 => "select cast(target as int) from http".to_owned(),
            1 => format!("select 10 / (cast(size as bigint) - {id}) from http"),
            2 => {
                format!("select count(*) from traffic where 10 / (cast(seq as bigint) - {id}) > 0")
            }
            3 => "select sum(cast(method as bigint)) from http where method is not null".to_owned(),
            4 => format!("select cast(substr(target, 5, 1) as int) from http where seq = {id}"),
            _ => format!("select max(10 / (cast(wire_bytes as bigint) - {id})) from packets"),
        };
        (sql, false)
    }
}
