//! Rust type → kind → column builder.
use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BinaryViewBuilder, BooleanBuilder, ListBuilder, MapBuilder, PrimitiveBuilder,
    StringBuilder, StringViewBuilder,
};
use arrow_array::types::{Int32Type, Int64Type, TimestampNanosecondType, UInt16Type, UInt64Type};
use arrow_array::{ArrayRef, ArrowPrimitiveType};

use crate::{Kind, Table};

/// The rows of one table, a builder for each column. Made by `#[derive(Record)]`.
pub trait Columns: Default + Send + 'static {
    /// The table they belong to.
    const TABLE: Table;
    /// One row.
    type Row<'a>;
    /// Adds a row.
    fn push(&mut self, row: Self::Row<'_>);
    /// Takes the rows so far, a column each, in the table's order; without those left out.
    fn finish(&mut self) -> Vec<ArrayRef>;
    /// About how many bytes the rows so far take.
    fn bytes(&self) -> usize;
    /// From here on leaves out the columns whose names `keeps` refuses: rows have no value for them,
    /// and [`Columns::finish`] none of their arrays. To be called before the first row.
    fn keep_only(&mut self, keeps: &dyn Fn(&str) -> bool);
}

/// A Rust type that can stand in a column.
pub trait Value {
    /// What it means.
    const KIND: Kind;
    /// Whether it may be missing.
    const NULLABLE: bool = false;
    /// What gathers such values.
    type Builder: Build;
    /// Adds the value.
    fn append(self, to: &mut Self::Builder);
    /// Adds that there is none.
    fn append_null(to: &mut Self::Builder);
}

/// A column being built.
pub trait Build: Default + Send + 'static {
    /// The values so far.
    fn finish(&mut self) -> ArrayRef;
    /// About how many bytes they take.
    fn bytes(&self) -> usize;
}

/// Text with few distinct values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label<'a>(pub Cow<'a, str>);
/// A JSON document as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<'a>(pub Cow<'a, str>);
/// An IP address as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a>(pub &'a str);
/// A name of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a>(pub &'a str);
/// A number that names something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);
/// How many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size(pub u64);
/// Nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub i64);
/// Nanoseconds between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duration(pub i64);
/// A message's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body<'a>(pub Cow<'a, [u8]>);
/// A list of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts<'a>(pub Vec<Cow<'a, str>>);
/// Names and values in order. Names are stored in lower case; bytes that are not UTF-8 are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a>(pub Vec<(&'a [u8], Cow<'a, [u8]>)>);

impl<'a, T: Into<Cow<'a, str>>> From<T> for Label<'a> {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl<T: ArrowPrimitiveType> Build for PrimitiveBuilder<T>
where
    Self: Default,
{
    fn finish(&mut self) -> ArrayRef {
        Arc::new(Self::finish(self))
    }
    fn bytes(&self) -> usize {
        ArrayBuilder::len(self) * size_of::<T::Native>()
    }
}

impl Build for BooleanBuilder {
    fn finish(&mut self) -> ArrayRef {
        Arc::new(Self::finish(self))
    }
    fn bytes(&self) -> usize {
        self.len() / 8
    }
}

/// Moments, with the time zone that [`Kind::Time`] declares.
#[derive(Debug)]
pub struct TimeBuilder(PrimitiveBuilder<TimestampNanosecondType>);

impl Default for TimeBuilder {
    fn default() -> Self {
        Self(PrimitiveBuilder::new().with_data_type(Kind::Time.data_type()))
    }
}

impl Build for TimeBuilder {
    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
    fn bytes(&self) -> usize {
        self.0.len() * 8
    }
}

/// Texts of any length.
#[derive(Debug)]
pub struct TextBuilder {
    builder: StringViewBuilder,
    bytes: usize,
}

impl Default for TextBuilder {
    fn default() -> Self {
        Self {
            builder: StringViewBuilder::with_capacity(0).with_fixed_block_size(BLOCK_BYTES),
            bytes: 0,
        }
    }
}

impl TextBuilder {
    fn append(&mut self, text: &str) {
        self.bytes += VIEW_BYTES + text.len();
        self.builder.append_value(text);
    }
    fn append_null(&mut self) {
        self.bytes += VIEW_BYTES;
        self.builder.append_null();
    }
}

impl Build for TextBuilder {
    fn finish(&mut self) -> ArrayRef {
        self.bytes = 0;
        Arc::new(self.builder.finish())
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Payloads.
#[derive(Debug)]
pub struct BodyBuilder {
    builder: BinaryViewBuilder,
    bytes: usize,
}

impl Default for BodyBuilder {
    fn default() -> Self {
        let builder = BinaryViewBuilder::with_capacity(0).with_fixed_block_size(BLOCK_BYTES);
        Self { builder, bytes: 0 }
    }
}

impl Build for BodyBuilder {
    fn finish(&mut self) -> ArrayRef {
        self.bytes = 0;
        Arc::new(self.builder.finish())
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Lists of texts.
#[derive(Debug)]
pub struct TextsBuilder {
    builder: ListBuilder<StringBuilder>,
    bytes: usize,
}

impl Default for TextsBuilder {
    fn default() -> Self {
        Self { builder: ListBuilder::new(StringBuilder::new()), bytes: 0 }
    }
}

impl Build for TextsBuilder {
    fn finish(&mut self) -> ArrayRef {
        self.bytes = 0;
        Arc::new(self.builder.finish())
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Headers of one message a row.
#[derive(Debug)]
pub struct HeadersBuilder {
    builder: MapBuilder<StringBuilder, StringBuilder>,
    name: String,
    bytes: usize,
}

impl Default for HeadersBuilder {
    fn default() -> Self {
        let builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        Self { builder, name: String::new(), bytes: 0 }
    }
}

impl Build for HeadersBuilder {
    fn finish(&mut self) -> ArrayRef {
        self.bytes = 0;
        Arc::new(self.builder.finish())
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
}

macro_rules! values {
    ($($ty:ty, $kind:ident, $builder:ty, ($self:ident, $to:ident) => $append:expr, $null:ident => $append_null:expr;)*) => {$(
        impl Value for $ty {
            const KIND: Kind = Kind::$kind;
            type Builder = $builder;
            #[inline]
            fn append($self, $to: &mut Self::Builder) { $append }
            #[inline]
            fn append_null($null: &mut Self::Builder) { $append_null }
        }
    )*};
}

values! {
    bool, Flag, BooleanBuilder, (self, to) => to.append_value(self), to => to.append_null();
    Code, Code, PrimitiveBuilder<Int32Type>, (self, to) => to.append_value(self.0), to => to.append_null();
    u16, Port, PrimitiveBuilder<UInt16Type>, (self, to) => to.append_value(self), to => to.append_null();
    u64, Count, PrimitiveBuilder<UInt64Type>, (self, to) => to.append_value(self), to => to.append_null();
    Size, Size, PrimitiveBuilder<UInt64Type>, (self, to) => to.append_value(self.0), to => to.append_null();
    Duration, Duration, PrimitiveBuilder<Int64Type>, (self, to) => to.append_value(self.0), to => to.append_null();
    Time, Time, TimeBuilder, (self, to) => to.0.append_value(self.0), to => to.0.append_null();
    Label<'_>, Label, TextBuilder, (self, to) => to.append(&self.0), to => to.append_null();
    Cow<'_, str>, Text, TextBuilder, (self, to) => to.append(&self), to => to.append_null();
    Json<'_>, Json, TextBuilder, (self, to) => to.append(&self.0), to => to.append_null();
    Address<'_>, Address, TextBuilder, (self, to) => to.append(self.0), to => to.append_null();
    Id<'_>, Id, TextBuilder, (self, to) => to.append(self.0), to => to.append_null();
}

impl Value for Body<'_> {
    const KIND: Kind = Kind::Body;
    type Builder = BodyBuilder;
    fn append(self, to: &mut BodyBuilder) {
        to.bytes += VIEW_BYTES + self.0.len();
        to.builder.append_value(&self.0);
    }
    fn append_null(to: &mut BodyBuilder) {
        to.bytes += VIEW_BYTES;
        to.builder.append_null();
    }
}

impl Value for Texts<'_> {
    const KIND: Kind = Kind::Texts;
    type Builder = TextsBuilder;
    fn append(self, to: &mut TextsBuilder) {
        to.bytes += 4;
        for text in self.0 {
            to.bytes += 4 + text.len();
            to.builder.values().append_value(text);
        }
        to.builder.append(true);
    }
    fn append_null(to: &mut TextsBuilder) {
        to.bytes += 4;
        to.builder.append(false);
    }
}

impl Value for Headers<'_> {
    const KIND: Kind = Kind::Headers;
    type Builder = HeadersBuilder;
    fn append(self, to: &mut HeadersBuilder) {
        to.bytes += 4;
        for (name, value) in self.0 {
            to.bytes += 8 + name.len() + value.len();
            to.name.clear();
            to.name.push_str(&text(name));
            to.name.make_ascii_lowercase();
            to.builder.keys().append_value(&to.name);
            to.builder.values().append_value(text(&value));
        }
        // As many keys as values were appended, so this cannot fail.
        to.builder.append(true).expect("a value for every key");
    }
    fn append_null(to: &mut HeadersBuilder) {
        to.bytes += 4;
        to.builder.append(false).expect("a value for every key");
    }
}

/// Bytes as text, what is no UTF-8 replaced. What comes from the wire is ASCII nearly always, which
/// this is faster for than [`String::from_utf8_lossy`].
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    type Builder = T::Builder;
    #[inline]
    fn append(self, to: &mut Self::Builder) {
        match self {
            Some(it) => it.append(to),
            None => T::append_null(to),
        }
    }
    fn append_null(to: &mut Self::Builder) {
        T::append_null(to);
    }
}

/// What is made room for at a time. Left to grow, it would be 2 MiB for each of some thousand columns.
const BLOCK_BYTES: u32 = 64 << 10;

const VIEW_BYTES: usize = 16;
