//! What can be asked.

use crate::Table;
use serde::{Deserialize, Serialize};

/// The tables of all Workers, merged by name, and the views over them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tables {
    /// Each with its columns and their docs.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<openapi::Table>))]
    pub tables: Vec<Table>,
    /// Tables that are not asked at some node because they differ there.
    #[serde(default)]
    pub refused: Vec<RefusedTable>,
}

/// A node's table that cannot be joined with the others' of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefusedTable {
    /// The node that announced it.
    pub node: String,
    /// Its name.
    pub table: String,
    /// Which column differs, and how.
    pub reason: String,
}

/// The functions that a statement may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Functions {
    /// By their names.
    pub functions: Vec<Function>,
}

/// A function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Function {
    /// Its name in SQL.
    pub name: String,
    /// `scalar`, `aggregate` or `window`.
    pub kind: String,
    /// How it is called.
    pub syntax: String,
    /// What it yields.
    pub doc: String,
}

/// What [`Table`] looks like, for the description only: the crate `schema` knows no OpenAPI.
#[cfg(feature = "openapi")]
pub(crate) mod openapi {
    /// A named set of columns.
    #[derive(utoipa::ToSchema)]
    #[expect(dead_code, reason = "only its shape is described")]
    pub(crate) struct Table {
        /// Its name in SQL.
        name: String,
        /// What a row of it is.
        doc: String,
        /// Its columns, in order.
        fields: Vec<Field>,
    }

    /// One column.
    #[derive(utoipa::ToSchema)]
    #[expect(dead_code, reason = "only its shape is described")]
    pub(crate) struct Field {
        /// Its name in SQL.
        name: String,
        /// What it says.
        doc: String,
        /// What kind of value it holds, such as `Code` or `Duration`: how to show it.
        kind: String,
        /// It may be null.
        nullable: bool,
    }
}
