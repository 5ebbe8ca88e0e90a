//! The table of requirements names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Directories that are nobody's sources.
const NOT_SOURCES: [&str; 4] = ["target", "node_modules", "build", ".git"];

/// Each id has a row, and each row a test that carries the id in its name; all tests named are somewhere in the sources.
#[test]
fn every_test_that_the_requirements_name_is_there() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?;
    let mut known = BTreeSet::new();
    functions(root, &mut known)?;
    let table = fs::read_to_string(root.join("docs/REQUIREMENTS.md"))?;
    let mut ids = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| S")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, id, _, shown, _] = cells[..] else { anyhow::bail!("not a row of three cells: {row}") };
        let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        ensure!(ids.insert(id), "{id} has two rows");
        for test in &tests {
            ensure!(known.contains(*test), "{id}: no test is called {test}");
        }
        let name = format!("_{}_", id.to_lowercase().replace('-', "_"));
        let carries = tests.iter().any(|test| format!("_{test}").contains(&name));
        ensure!(carries, "{id}: none of its tests has the id in its name");
    }
    ensure!(ids.len() > 40, "the table has {} rows", ids.len());
    Ok(())
}

/// The names of all functions in the Rust sources below a directory.
fn functions(directory: &Path, known: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !NOT_SOURCES.contains(&name) {
                functions(&path, known)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let named = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            known.extend(named.map(str::to_owned));
        }
    }
    Ok(())
}
