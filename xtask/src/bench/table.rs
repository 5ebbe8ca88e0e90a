//! How the result is shown.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::row::Row;

/// Prints one table.
pub(super) fn print(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["goal", "measured", "reference", "ratio", "target", "result"]);
    for column in 1..=3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in rows {
        let result = match row.pass() {
            Some(true) => "pass",
            Some(false) => "miss",
            None => "",
        };
        table.add_row([
            row.goal.clone(),
            plain(row.measured),
            row.reference.map(plain).unwrap_or_default(),
            row.ratio().map(|ratio| format!("{ratio:.3}")).unwrap_or_default(),
            row.target_text().unwrap_or_default(),
            result.to_owned(),
        ]);
    }
    println!("{table}");
}

/// Prints one object a line.
pub(super) fn print_json(rows: &[Row]) -> Result<()> {
    for row in rows {
        let line = json!({
            "goal": row.goal,
            "measured": row.measured,
            "reference": row.reference,
            "ratio": row.ratio(),
            "target": row.target_text(),
            "pass": row.pass(),
        });
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}

/// A number with as many digits as mean something.
fn plain(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
