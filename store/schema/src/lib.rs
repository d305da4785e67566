//! What a table is: its name, its columns, and what each column means.
//!
//! A table is declared once, as a struct with doc comments and `#[derive(Record)]`. SQL, the
//! reference, completion and the page all read that one declaration; on the wire and on disk it
//! travels in Arrow metadata ([`Table::arrow`], [`Table::from_arrow`]).
extern crate self as schema;

use std::borrow::Cow;

pub use flow_id::FlowId;
pub use schema_derive::Record;
use serde::{Deserialize, Serialize};

#[cfg(feature = "arrow")]
mod arrow;
mod flow_id;
#[cfg(feature = "arrow")]
pub mod value;

/// What the derive's output names, so that a crate with records needs no Arrow of its own.
#[cfg(feature = "arrow")]
#[doc(hidden)]
pub mod derived {
    pub use arrow_array::ArrayRef;
}

/// A named set of columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The name in SQL.
    pub name: Cow<'static, str>,
    /// What a row is.
    pub doc: Cow<'static, str>,
    /// The columns, in the order in which they are shown.
    pub fields: Cow<'static, [Field]>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The name in SQL.
    pub name: Cow<'static, str>,
    /// What the value says, with its unit and, where there is one, the OpenTelemetry attribute.
    pub doc: Cow<'static, str>,
    /// What the value means.
    pub kind: Kind,
    /// Whether a row may be without it.
    pub nullable: bool,
}

/// Whose words a value is: it can be kept from who may read the other end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Words {
    /// Nobody's: who spoke, when, how much and how it ended.
    Nobody,
    /// The client's.
    Client,
    /// The server's.
    Server,
    /// Of both, or of whom is not known.
    Both,
}

/// What a value means. Every reader (Arrow, completion, the page) matches on it once, so that the
/// compiler names each place a new kind needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Yes or no.
    Flag,
    /// A number that names something, such as a status code; not for sums.
    Code,
    /// A transport port.
    Port,
    /// How many.
    Count,
    /// How many bytes.
    Size,
    /// Text with few distinct values, offered by completion.
    Label,
    /// Any text.
    Text,
    /// A JSON document as text.
    Json,
    /// A list of texts.
    Texts,
    /// A message's payload, as bytes.
    Body,
    /// Names and values in order; names in lower case, a name may stand more than once.
    Headers,
    /// An IP address as text.
    Address,
    /// A moment: nanoseconds since 1970, UTC.
    Time,
    /// Nanoseconds between two moments.
    Duration,
    /// Names one thing, such as a flow.
    Id,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::Flag,
        Self::Code,
        Self::Port,
        Self::Count,
        Self::Size,
        Self::Label,
        Self::Text,
        Self::Json,
        Self::Texts,
        Self::Body,
        Self::Headers,
        Self::Address,
        Self::Time,
        Self::Duration,
        Self::Id,
    ];

    /// The name that stands in Arrow metadata and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Code => "code",
            Self::Port => "port",
            Self::Count => "count",
            Self::Size => "size",
            Self::Label => "label",
            Self::Text => "text",
            Self::Json => "json",
            Self::Texts => "texts",
            Self::Body => "body",
            Self::Headers => "headers",
            Self::Address => "address",
            Self::Time => "time",
            Self::Duration => "duration",
            Self::Id => "id",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

impl Table {
    /// The column of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|it| it.name == name)
    }

    /// Whose words a column holds. It follows from the table's shape: an exchange's table begins with what all share,
    /// up to `node`, of which the asker said `target` and the asked `error`; all behind it was said, by the side
    /// that the name begins with. In a table whose rows say who their `sender` is, either side may have said anything.
    /// The name and the protocol that a client asks for when it encrypts stand among what is shared by `connections`.
    /// What the table doesn't have may be anybody's.
    pub fn words(&self, column: &str) -> Words {
        let place = |name: &str| self.fields.iter().position(|it| it.name == name);
        let (Some(at), Some(node)) = (place(column), place(LAST_SHARED)) else {
            return Words::Both;
        };
        let either = self.field("sender").is_some();
        match column {
            "target" | "error" if either => Words::Both,
            _ if at > node && either => Words::Both,
            "target" | "server_name" => Words::Client,
            "error" => Words::Server,
            "alpn" => Words::Both,
            _ if at <= node => Words::Nobody,
            _ if column.starts_with("request_") => Words::Client,
            _ if column.starts_with("response_") => Words::Server,
            _ => Words::Both,
        }
    }

    /// Its section in a page of reference, as Markdown.
    pub fn reference(&self) -> String {
        let mut text = format!("\n## {}\n\n{}\n\n", self.name, self.doc);
        text += "| column | kind | null | what it says |\n| --- | --- | --- | --- |\n";
        for field in self.fields.iter() {
            let null = if field.nullable { "yes" } else { "" };
            let doc = field.doc.replace('|', "\\|");
            text += &format!("| `{}` | {} | {null} | {doc} |\n", field.name, field.kind.name());
        }
        text
    }
}

/// The last of the columns that all exchanges have.
const LAST_SHARED: &str = "node";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_known_by_who_said_it() {
        let names = ["ts", "verb", "target", "error", "request_bytes", "client_pod", "node"];
        let own = ["method", "request_body", "response_body"];
        let field = |name: &str| Field {
            name: Cow::Owned(name.to_owned()),
            doc: "".into(),
            kind: Kind::Text,
            nullable: true,
        };
        let fields: Vec<_> = names.into_iter().chain(own).map(field).collect();
        let table = Table { name: "http".into(), doc: "".into(), fields: fields.into() };
        for it in ["ts", "verb", "request_bytes", "client_pod", "node"] {
            assert_eq!(table.words(it), Words::Nobody, "{it}");
        }
        for it in ["target", "request_body"] {
            assert_eq!(table.words(it), Words::Client, "{it}");
        }
        for it in ["error", "response_body"] {
            assert_eq!(table.words(it), Words::Server, "{it}");
        }
        for it in ["method", "nobody knows it"] {
            assert_eq!(table.words(it), Words::Both, "{it}");
        }
    }
}
