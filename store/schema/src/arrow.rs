//! Kind → Arrow type; docs and kind in the metadata.
use std::borrow::Cow;
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Fields, Schema, SchemaRef, TimeUnit};

use crate::{Field, Kind, Table};

impl Kind {
    /// The Arrow type of a column of this kind.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Flag => DataType::Boolean,
            Self::Code => DataType::Int32,
            Self::Port => DataType::UInt16,
            Self::Count | Self::Size => DataType::UInt64,
            Self::Label | Self::Text | Self::Json | Self::Address | Self::Id => DataType::Utf8View,
            Self::Texts => DataType::List(Arc::new(ArrowField::new("item", DataType::Utf8, true))),
            Self::Body => DataType::BinaryView,
            Self::Headers => {
                let entry = Fields::from(vec![
                    ArrowField::new("keys", DataType::Utf8, false),
                    ArrowField::new("values", DataType::Utf8, true),
                ]);
                let entries = ArrowField::new("entries", DataType::Struct(entry), false);
                DataType::Map(Arc::new(entries), false)
            }
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            Self::Duration => DataType::Int64,
        }
    }
}

impl Field {
    /// The column as Arrow has it, its doc and kind in the metadata.
    pub fn arrow(&self) -> ArrowField {
        ArrowField::new(self.name.as_ref(), self.kind.data_type(), self.nullable).with_metadata(
            [
                (DOC.to_owned(), self.doc.to_string()),
                (KIND.to_owned(), self.kind.name().to_owned()),
            ]
            .into(),
        )
    }

    /// A column from Arrow. Without metadata, the kind follows from the type.
    pub fn from_arrow(field: &ArrowField) -> Self {
        let kind = field.metadata().get(KIND).and_then(|it| Kind::from_name(it));
        Self {
            name: Cow::Owned(field.name().clone()),
            doc: Cow::Owned(field.metadata().get(DOC).cloned().unwrap_or_default()),
            kind: kind.unwrap_or_else(|| kind_of(field.data_type())),
            nullable: field.is_nullable(),
        }
    }
}

impl Table {
    /// The table as Arrow has it, its name and doc in the metadata.
    pub fn arrow(&self) -> SchemaRef {
        let fields = self.fields.iter().map(Field::arrow).collect::<Vec<_>>();
        let metadata =
            [(TABLE.to_owned(), self.name.to_string()), (DOC.to_owned(), self.doc.to_string())];
        Arc::new(Schema::new_with_metadata(fields, metadata.into()))
    }

    /// A table from Arrow.
    pub fn from_arrow(name: &str, schema: &Schema) -> Self {
        Self {
            name: Cow::Owned(name.to_owned()),
            doc: Cow::Owned(schema.metadata().get(DOC).cloned().unwrap_or_default()),
            fields: Cow::Owned(schema.fields().iter().map(|it| Field::from_arrow(it)).collect()),
        }
    }
}

/// What a column without metadata most likely means, such as one computed by a query.
fn kind_of(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Boolean => Kind::Flag,
        DataType::UInt16 => Kind::Port,
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => Kind::Body,
        DataType::List(_) | DataType::LargeList(_) => Kind::Texts,
        DataType::Map(..) => Kind::Headers,
        DataType::Timestamp(..) => Kind::Time,
        it if it.is_numeric() => Kind::Count,
        _ => Kind::Text,
    }
}

const DOC: &str = "doc";
const KIND: &str = "kind";
const TABLE: &str = "table";
