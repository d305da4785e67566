//! What two ends said to each other, one message after the other. Which column has whose words is read from a
//! table's docs and kinds: no protocol is known here.

use api::{Field, Kind, RowKey, Table};
use serde_json::Value as Json;

use crate::value::{Row, Value, shown};

/// How a table tells what was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    /// The column that says who sent it: its doc names both sides.
    speaker: Option<String>,
    /// A column of JSON with several messages, each with its sender.
    messages: Option<String>,
    /// The columns with what was said.
    words: Vec<Words>,
}

/// A column with what was said.
#[derive(Clone, Debug, PartialEq)]
struct Words {
    name: String,
    /// Whose: the one's who asked, who answered, or the only one's.
    part: Part,
    kind: Kind,
    /// The column that says of what media type it is.
    media: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Request,
    Response,
    Only,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) by_server: bool,
    /// Nanoseconds since 1970; within a row's JSON, since its time.
    pub(crate) at: i64,
    pub(crate) size: Option<u64>,
    /// What it is, in a word or two.
    pub(crate) title: String,
    pub(crate) failed: bool,
    pub(crate) words: Vec<Word>,
    /// The row it stands in, if that is known.
    pub(crate) key: Option<RowKey>,
}

/// Some of the words of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word {
    /// The column's name, where there are several.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) media: String,
}

impl Shape {
    pub(crate) fn of(table: &Table) -> Self {
        let fields = table.fields.iter();
        let names_both =
            |field: &Field| field.doc.contains("`client`") && field.doc.contains("`server`");
        let find = |kind: Kind, nullable: Option<bool>| {
            let found = fields.clone().find(|field| {
                field.kind == kind
                    && names_both(field)
                    && nullable.is_none_or(|it| it == field.nullable)
            });
            found.map(|field| field.name.to_string())
        };
        // who closed a connection, and the like, is not known of every row
        let speaker = find(Kind::Label, Some(false));
        let messages = find(Kind::Json, None);
        let is_there = |name: &str| table.field(name).is_some();
        let words = fields.clone().filter_map(|field| {
            let (part, rest) = match field.name.split_once('_') {
                Some(("request", rest)) => (Part::Request, rest),
                Some(("response", rest)) => (Part::Response, rest),
                _ => (Part::Only, &*field.name),
            };
            let is_said = match field.kind {
                Kind::Body => true,
                Kind::Text => part == Part::Only && is_there(&format!("{}_bytes", field.name)),
                Kind::Json => part != Part::Only || speaker.is_some(),
                _ => false,
            };
            let media = field.name.strip_suffix(rest).map(|prefix| format!("{prefix}content_type"));
            (is_said && messages.as_deref() != Some(&*field.name)).then(|| Words {
                name: field.name.to_string(),
                part,
                kind: field.kind,
                media: media.filter(|name| is_there(name)),
            })
        });
        let words = words.collect();
        Self { speaker, messages, words }
    }

    /// Whether its rows are messages rather than questions with their answers.
    pub(crate) fn is_talk(&self) -> bool {
        let is_message = |it: &Words| it.part == Part::Only && it.kind != Kind::Json;
        let is_answer = |it: &Words| it.part != Part::Only;
        self.speaker.is_some()
            || self.messages.is_some()
            || (self.words.iter().any(is_message) && !self.words.iter().any(is_answer))
    }

    /// The statement that fetches the messages of a conversation, from a row's position on.
    pub(crate) fn sql(&self, row: &RowKey, from: u64, most: usize) -> String {
        let words = self.words.iter().flat_map(|it| [Some(&it.name), it.media.as_ref()]).flatten();
        let own = self.speaker.iter().chain(&self.messages).chain(words);
        let mut columns: Vec<String> = ENVELOPE.iter().map(|it| (*it).to_owned()).collect();
        for name in own {
            let name = api::quote_name(name);
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
        format!(
            "SELECT {} FROM {} WHERE flow_id = {} AND node = {} AND seq >= {from} ORDER BY ts, seq LIMIT {most}",
            columns.join(", "),
            api::quote_name(&row.protocol),
            api::quote_text(&row.flow_id),
            api::quote_text(&row.node)
        )
    }

    /// What a row says was said.
    pub(crate) fn said(&self, row: &Row<'_>) -> Vec<Said> {
        let at = match row.value("ts") {
            Value::Time(ns) => ns,
            _ => 0,
        };
        let key = Some(row.key());
        let listed = self.messages.as_ref().and_then(|name| messages(&row.text(name)));
        let verb = shown(&row.value("verb"), Some(Kind::Label), 0);
        let target = shown(&row.value("target"), Some(Kind::Text), 0);
        let title = format!("{verb} {target}").trim().to_owned();
        if let Some(mut listed) = listed {
            for it in &mut listed {
                it.at = it.at.saturating_add(at);
                it.key = key.clone();
                it.title.clone_from(&title);
            }
            return listed;
        }
        let (asked, answered) = (row.number("request_bytes"), row.number("response_bytes"));
        let has = |bytes: Option<u64>| bytes.is_some_and(|it| it > 0);
        let duration = match row.value("duration") {
            Value::Int(ns) => Some(ns),
            _ => None,
        };
        let speaker = self.speaker.as_ref().map(|name| row.text(name) == "server");
        let failed = row.flag("failed");
        let question = Said {
            by_server: speaker.unwrap_or_else(|| !has(asked) && has(answered)),
            at,
            size: if has(asked) { asked } else { answered },
            title,
            failed: false,
            words: Vec::new(),
            key,
        };
        if duration.is_none() && !(has(asked) && has(answered)) {
            let words = self.words(row, |_| true);
            return vec![Said { words, failed, ..question }];
        }
        let status = shown(&row.value("status"), Some(Kind::Code), 0);
        let error = row.text("error");
        let answer = Said {
            by_server: !question.by_server,
            at: at.saturating_add(duration.unwrap_or_default()),
            size: answered,
            title: format!("{status} {error}").trim().to_owned(),
            failed,
            words: self.words(row, |part| part == Part::Response),
            key: question.key.clone(),
        };
        // where nobody says whose they are, the other columns may be of both
        let is_own = speaker.is_some();
        let words = self.words(row, |part| part == Part::Request || (part == Part::Only && is_own));
        vec![Said { words, ..question }, answer]
    }

    fn words(&self, row: &Row<'_>, is_meant: impl Fn(Part) -> bool) -> Vec<Word> {
        let words = self.words.iter().filter(|it| is_meant(it.part)).filter_map(|it| {
            let bytes = match row.value(&it.name) {
                Value::Bytes(bytes) => bytes.to_vec(),
                Value::Text(text) => text.as_bytes().to_vec(),
                _ => return None,
            };
            let media = it.media.as_ref().map(|name| row.text(name).into_owned());
            (!bytes.is_empty()).then(|| Word {
                name: it.name.replace('_', " "),
                bytes,
                media: media.unwrap_or_default(),
            })
        });
        let mut words: Vec<Word> = words.collect();
        if let [one] = words.as_mut_slice() {
            one.name.clear();
        }
        words
    }
}

/// The messages of a JSON list, if each says whether it is from the client or the server.
pub(crate) fn messages(json: &str) -> Option<Vec<Said>> {
    let Json::Array(list) = serde_json::from_str(json).ok()? else { return None };
    let one = |it: &Json| {
        let by_server = match it.get("from")?.as_str()? {
            "client" => false,
            "server" => true,
            _ => return None,
        };
        let words = it.get("body").filter(|it| !it.is_null()).map(|body| Word {
            name: String::new(),
            bytes: match body {
                Json::String(text) => text.clone().into_bytes(),
                other => other.to_string().into_bytes(),
            },
            media: String::new(),
        });
        Some(Said {
            by_server,
            at: it.get("offset").and_then(Json::as_i64).unwrap_or_default(),
            size: it.get("size").and_then(Json::as_u64),
            title: String::new(),
            failed: false,
            words: words.into_iter().collect(),
            key: None,
        })
    };
    let said: Vec<Said> = list.iter().map(one).collect::<Option<_>>()?;
    (!said.is_empty()).then_some(said)
}

/// What every protocol's table has of it.
const ENVELOPE: [&str; 13] = [
    "ts",
    "duration",
    "protocol",
    "verb",
    "target",
    "status",
    "failed",
    "error",
    "request_bytes",
    "response_bytes",
    "flow_id",
    "seq",
    "node",
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
        UInt64Array,
    };

    use super::*;

    fn table(fields: &[(&'static str, Kind, &'static str)]) -> Table {
        let fields = fields.iter().map(|(name, kind, doc)| Field {
            name: (*name).into(),
            doc: (*doc).into(),
            kind: *kind,
            nullable: false,
        });
        Table { name: "gossip".into(), doc: "".into(), fields: fields.collect() }
    }

    fn rows(own: Vec<(&str, ArrayRef)>, bytes: [u64; 2], duration: Option<i64>) -> RecordBatch {
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let number = |number: u64| Arc::new(UInt64Array::from(vec![number])) as ArrayRef;
        let mut columns = vec![
            ("ts", Arc::new(TimestampNanosecondArray::from(vec![1_000])) as ArrayRef),
            ("duration", Arc::new(Int64Array::from(vec![duration])) as ArrayRef),
            ("protocol", text("gossip")),
            ("verb", text("TELL")),
            ("target", text("/x")),
            ("status", number(7)),
            ("request_bytes", number(bytes[0])),
            ("response_bytes", number(bytes[1])),
            ("flow_id", text("0abc")),
            ("seq", number(3)),
            ("node", text("n")),
        ];
        columns.extend(own);
        RecordBatch::try_from_iter(columns).expect("one row")
    }

    fn look(shape: &Shape, batch: &RecordBatch) -> Vec<String> {
        let said = shape.said(&Row { batch, at: 0 });
        let words = |it: &Said| {
            let words = it.words.iter().map(|it| String::from_utf8_lossy(&it.bytes).into_owned());
            words.collect::<Vec<_>>().join("|")
        };
        said.iter()
            .map(|it| {
                let who = if it.by_server { "server" } else { "client" };
                format!("{who} {} {:?} {}: {}", it.at, it.size, it.title, words(it))
            })
            .collect()
    }

    #[test]
    fn a_row_with_a_sender_is_what_that_one_said() {
        let shape = Shape::of(&table(&[
            ("sender", Kind::Label, "Who sent it: `client` or `server`."),
            ("payload", Kind::Body, "What."),
            ("note", Kind::Text, "Something else."),
        ]));
        assert!(shape.is_talk());
        let of = |sender: &str| {
            vec![
                ("sender", Arc::new(StringArray::from(vec![sender])) as ArrayRef),
                ("payload", Arc::new(BinaryArray::from(vec![b"hello".as_slice()])) as ArrayRef),
            ]
        };
        let batch = rows(of("server"), [0, 12], None);
        assert_eq!(look(&shape, &batch), ["server 1000 Some(12) TELL /x: hello"]);
        // who asked is said, and the other one answers
        let batch = rows(of("server"), [30, 4], Some(500));
        assert_eq!(
            look(&shape, &batch),
            ["server 1000 Some(30) TELL /x: hello", "client 1500 Some(4) 7: "]
        );
        let key = RowKey {
            protocol: "gossip".into(),
            node: "n'1".into(),
            flow_id: "0abc".into(),
            seq: 3,
        };
        let sql = shape.sql(&key, 2, 9);
        assert!(sql.contains("node, \"sender\", \"payload\" FROM \"gossip\""), "{sql}");
        assert!(sql.contains("node = 'n''1' AND seq >= 2 ORDER BY ts, seq LIMIT 9"), "{sql}");
    }

    #[test]
    fn a_question_has_its_answer_on_the_other_side() {
        let shape = Shape::of(&table(&[
            ("request_body", Kind::Body, ""),
            ("response_body", Kind::Body, ""),
            ("rows", Kind::Json, ""),
        ]));
        assert!(!shape.is_talk());
        let body = |bytes: &'static [u8]| Arc::new(BinaryArray::from(vec![bytes])) as ArrayRef;
        let own = vec![("request_body", body(b"a?")), ("response_body", body(b"b!"))];
        let batch = rows(own, [10, 20], Some(500));
        assert_eq!(
            look(&shape, &batch),
            ["client 1000 Some(10) TELL /x: a?", "server 1500 Some(20) 7: b!"]
        );
    }

    #[test]
    fn events_are_the_servers() {
        let shape = Shape::of(&table(&[
            ("data", Kind::Text, ""),
            ("data_bytes", Kind::Size, ""),
            ("path", Kind::Text, ""),
        ]));
        assert!(shape.is_talk());
        let data = Arc::new(StringArray::from(vec!["tick"])) as ArrayRef;
        let batch = rows(vec![("data", data)], [0, 33], None);
        assert_eq!(look(&shape, &batch), ["server 1000 Some(33) TELL /x: tick"]);
    }

    #[test]
    fn a_list_of_messages_is_told_one_by_one() {
        let doc = "The messages: `from` (`client` or `server`).";
        let shape = Shape::of(&table(&[("messages", Kind::Json, doc)]));
        assert!(shape.is_talk());
        let json = r#"[{"from":"client","offset":5,"size":7,"body":{"1":"a"}},{"from":"server","offset":9,"size":0}]"#;
        let list = Arc::new(StringArray::from(vec![json])) as ArrayRef;
        let batch = rows(vec![("messages", list)], [10, 20], Some(500));
        assert_eq!(
            look(&shape, &batch),
            ["client 1005 Some(7) TELL /x: {\"1\":\"a\"}", "server 1009 Some(0) TELL /x: "]
        );
        for other in ["[]", "{}", "[1]", r#"[{"from":"nobody"}]"#, r#"[{"from":"client"},{}]"#, "["]
        {
            assert_eq!(messages(other), None, "{other}");
        }
    }
}
