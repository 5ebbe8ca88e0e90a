//! What commands print: tables for people, JSON for programs.

use std::fmt;
use std::io::{self, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Row, Width};
use jiff::Timestamp;
use serde::Serialize;

use super::exit::Failure;

/// Prints a text as it is.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints one line.
pub(super) fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Prints JSON over several lines.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let pretty = serde_json::to_string_pretty(value).map_err(|error| Failure::other(error.to_string()))?;
    line(&pretty)
}

/// Prints JSON on one line: one thing of many.
pub(super) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(value).map_err(|error| Failure::other(error.to_string()))?)
}

/// The longest word that makes its column wide. Ids, prefixes and times are shorter; what people write may be longer.
const LONGEST_WORD: usize = 64;

/// A table with these columns.
pub(super) fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(columns);
    Table { table, words: columns.map(width).to_vec() }
}

/// Rows of columns. On a terminal columns shrink to fit, but no further than to their longest word: an id, a prefix or a
/// time in two pieces cannot be copied. Where that is too wide still, the terminal wraps whole lines.
pub(super) struct Table {
    table: comfy_table::Table,
    /// The longest word of each column.
    words: Vec<usize>,
}

impl Table {
    pub(super) fn add_row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<_> = cells.into_iter().map(|cell| cell.to_string()).collect();
        for (word, cell) in self.words.iter_mut().zip(&cells) {
            *word = (*word).max(width(cell));
        }
        self.table.add_row(Row::from(cells));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = self.table.clone();
        for (column, word) in table.column_iter_mut().zip(&self.words) {
            let lower = u16::try_from(*word).unwrap_or(u16::MAX) + column.padding_width();
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(lower)));
        }
        f.write_str(&table.trim_fmt())
    }
}

/// How wide the longest word is.
fn width(text: &str) -> usize {
    text.split(' ').map(|word| word.chars().count()).max().unwrap_or_default().min(LONGEST_WORD)
}

/// Prints a table, or a word where it is empty.
pub(super) fn print(table: &Table, nothing: &str) -> Result<(), Failure> {
    if table.is_empty() { line(nothing) } else { line(&table.to_string()) }
}

/// Prints names and values, one a line; values that are not there are left out.
pub(super) fn facts<const N: usize>(facts: [(&str, Option<String>); N]) -> Result<(), Failure> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = facts.into_iter().filter_map(|(name, value)| Some(format!("{name:<width$}  {}\n", printable(&value?))));
    text(&lines.collect::<String>())
}

/// A text of somebody else's, harmless on a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A time as people read it: whole seconds, UTC.
pub(super) fn time(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// A time that may not be there.
pub(super) fn maybe_time(value: Option<Timestamp>) -> String {
    value.map_or_else(|| "-".to_owned(), time)
}
