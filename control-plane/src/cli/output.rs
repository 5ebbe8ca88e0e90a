//! What commands print: tables for people, JSON for programs.

use std::io::{self, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
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

/// A table with these columns.
pub(super) fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(columns);
    table
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
