//! Rows for people.
//!
//! What was captured is hostile: no control character of a value reaches the terminal.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Schema, SchemaRef};
use schema::{Field, Kind};
use unicode_width::UnicodeWidthChar;

use super::{Error, Rows};

/// Columns; or, where they would not fit the terminal, a value a line.
pub(super) struct Table<W: Write> {
    out: W,
    fields: Vec<Field>,
    flat: SchemaRef,
    width: Option<usize>,
    /// The first rows: they decide how wide each column is.
    waiting: Vec<Vec<String>>,
    layout: Option<Layout>,
    rows: u64,
}

enum Layout {
    /// The width of each column.
    Columns(Vec<usize>),
    /// The width of the names.
    Lines(usize),
}

impl<W: Write> Table<W> {
    pub(super) fn new(out: W, schema: &Schema, width: Option<usize>) -> Self {
        let fields = schema.fields().iter().map(|it| Field::from_arrow(it)).collect();
        let flat = formats::flat_schema(schema);
        Self { out, fields, flat, width, waiting: Vec::new(), layout: None, rows: 0 }
    }

    /// A table of rows that have no end: the columns are as wide as such values are, as a rule.
    pub(super) fn endless(out: W, schema: &Schema, width: Option<usize>) -> Result<Self, Error> {
        let mut table = Self::new(out, schema, width);
        let wide = |it: &Field| columns(&it.name).max(usual(it.kind));
        let mut widths = table.fields.iter().map(wide).collect::<Vec<_>>();
        if let Some(room) = width {
            // Whatever does not fit is cut.
            fit(&mut widths, room);
        }
        table.head(&widths)?;
        table.layout = Some(Layout::Columns(widths));
        Ok(table)
    }

    fn head(&mut self, widths: &[usize]) -> Result<(), Error> {
        let names: Vec<_> = self.fields.iter().map(|it| it.name.to_string()).collect();
        line(&mut self.out, &names, widths, &self.fields)?;
        let rule: Vec<_> = widths.iter().map(|it| "─".repeat(*it)).collect();
        Ok(writeln!(self.out, "{}", rule.join("  "))?)
    }

    fn cells(&self, batch: &RecordBatch) -> Result<Vec<Vec<String>>, Error> {
        let options = FormatOptions::default().with_display_error(true);
        let flat = formats::flat(batch, &self.flat)?;
        let mut rows = vec![Vec::with_capacity(self.fields.len()); batch.num_rows()];
        for (column, field) in flat.columns().iter().zip(&self.fields) {
            let format = ArrayFormatter::try_new(column, &options)?;
            let durations = (field.kind == Kind::Duration
                && *column.data_type() == DataType::Int64)
                .then(|| column.as_primitive::<Int64Type>());
            for (row, cells) in rows.iter_mut().enumerate() {
                cells.push(match durations {
                    _ if column.is_null(row) => String::new(),
                    Some(durations) => duration(durations.value(row)),
                    None => shown(&format.value(row).to_string()),
                });
            }
        }
        Ok(rows)
    }

    fn settle(&mut self) -> Result<(), Error> {
        if self.layout.is_some() || self.fields.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut widths: Vec<usize> = self.fields.iter().map(|it| columns(&it.name)).collect();
        for row in &waiting {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = columns(cell).min(CELL).max(*width);
            }
        }
        let layout = match self.width {
            Some(room) if !fit(&mut widths, room) => {
                Layout::Lines(self.fields.iter().map(|it| columns(&it.name)).max().unwrap_or(0))
            }
            _ => Layout::Columns(widths),
        };
        if let Layout::Columns(widths) = &layout {
            self.head(widths)?;
        }
        self.layout = Some(layout);
        waiting.iter().try_for_each(|row| self.print(row))
    }

    fn print(&mut self, row: &[String]) -> Result<(), Error> {
        self.rows += 1;
        match &self.layout {
            Some(Layout::Columns(widths)) => line(&mut self.out, row, widths, &self.fields)?,
            Some(Layout::Lines(name_width)) => {
                writeln!(self.out, "── row {} ──", self.rows)?;
                for (field, cell) in
                    self.fields.iter().zip(row).filter(|(_, cell)| !cell.is_empty())
                {
                    let pad = name_width.saturating_sub(columns(&field.name));
                    let room = self.width.unwrap_or(usize::MAX).saturating_sub(name_width + 3);
                    writeln!(self.out, "{}{:pad$}  {}", field.name, "", cut(cell, room.max(CELL)))?;
                }
            }
            None => {}
        }
        Ok(())
    }
}

impl<W: Write> Rows for Table<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let rows = self.cells(batch)?;
        if self.layout.is_none() {
            self.waiting.extend(rows);
            if self.waiting.len() >= SAMPLE {
                self.settle()?;
            }
            return Ok(());
        }
        rows.iter().try_for_each(|row| self.print(row))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.settle()?;
        Ok(self.out.flush()?)
    }
}

fn line(
    out: &mut impl Write,
    cells: &[String],
    widths: &[usize],
    fields: &[Field],
) -> Result<(), Error> {
    let mut text = String::new();
    for ((cell, width), field) in cells.iter().zip(widths).zip(fields) {
        let cell = cut(cell, *width);
        let pad = width.saturating_sub(columns(&cell));
        if is_number(field.kind) {
            text.extend(std::iter::repeat_n(' ', pad));
            text.push_str(&cell);
        } else {
            text.push_str(&cell);
            text.extend(std::iter::repeat_n(' ', pad));
        }
        text.push_str("  ");
    }
    Ok(writeln!(out, "{}", text.trim_end())?)
}

/// Narrows the widest columns until all fit; false if they would become unreadable.
fn fit(widths: &mut [usize], room: usize) -> bool {
    let between = 2 * widths.len().saturating_sub(1);
    loop {
        let total: usize = widths.iter().sum::<usize>() + between;
        if total <= room {
            return true;
        }
        let Some(widest) = widths.iter_mut().max() else { return true };
        if *widest <= NARROWEST {
            return false;
        }
        *widest -= (total - room).min(*widest - NARROWEST).min((*widest / 8).max(1));
    }
}

/// The value without what would move the cursor.
fn shown(value: &str) -> String {
    if value.len() <= LONGEST && value.bytes().all(|it| matches!(it, b' '..=b'~')) {
        return value.to_owned();
    }
    let mut text = String::with_capacity(value.len().min(4 * CELL));
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            // Direction marks turn a terminal's line around; they are as good as control characters.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                text.extend(c.escape_unicode());
            }
            c => text.push(c),
        }
        if text.len() > LONGEST {
            text.push('…');
            break;
        }
    }
    text
}

fn duration(nanoseconds: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let value = nanoseconds as f64;
    match nanoseconds.unsigned_abs() {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.3} s", value / 1e9),
    }
}

fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

fn columns(text: &str) -> usize {
    if text.bytes().all(|it| matches!(it, b' '..=b'~')) {
        return text.len();
    }
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// How wide a value of that kind is, as a rule.
const fn usual(kind: Kind) -> usize {
    match kind {
        Kind::Time => 30,
        Kind::Address => 15,
        Kind::Duration => 9,
        Kind::Port | Kind::Code | Kind::Flag => 5,
        Kind::Label | Kind::Count | Kind::Size => 8,
        _ => 40,
    }
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Count | Kind::Size | Kind::Duration | Kind::Port | Kind::Code)
}

/// Rows looked at before the first is printed.
const SAMPLE: usize = 500;
/// No column is made wider for its values; a longer name still is.
const CELL: usize = 60;
/// A column narrower than this says nothing.
const NARROWEST: usize = 8;
/// Characters of a value that a table shows at most; the other formats give all.
const LONGEST: usize = 2_000;
