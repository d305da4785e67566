//! SQL that is the same for everyone who asks the Hub.

use serde::{Deserialize, Serialize};

/// What makes a row the one it is, over all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RowKey {
    /// The table that holds the whole row: `table_name` in `traffic`, as a rule the protocol.
    pub protocol: String,
    /// Where it was seen.
    pub node: String,
    /// The conversation it belongs to.
    pub flow_id: String,
    /// Its place there.
    pub seq: u64,
}

impl RowKey {
    /// The statement that fetches the row with all its columns.
    ///
    /// ```
    /// let key = api::RowKey { protocol: "http".into(), node: "n'1".into(), flow_id: "0abc".into(), seq: 3 };
    /// assert_eq!(key.sql(), r#"SELECT * FROM "http" WHERE node = 'n''1' AND flow_id = '0abc' AND seq = 3"#);
    /// ```
    #[must_use]
    pub fn sql(&self) -> String {
        format!(
            "SELECT * FROM {} WHERE node = {} AND flow_id = {} AND seq = {}",
            quote_name(&self.protocol),
            quote_text(&self.node),
            quote_text(&self.flow_id),
            self.seq
        )
    }

    /// The statement that fetches the conversation the row belongs to, from `connections`.
    #[must_use]
    pub fn connection_sql(&self) -> String {
        format!(
            "SELECT * FROM connections WHERE node = {} AND flow_id = {}",
            quote_text(&self.node),
            quote_text(&self.flow_id)
        )
    }
}

/// A table's or column's name as SQL reads it.
#[must_use]
pub fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL reads it.
#[must_use]
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
