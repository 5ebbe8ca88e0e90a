//! What the measuring programs found, by name.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::bench::numbers::median;

/// Named numbers. One that was measured several times counts with its median.
#[derive(Default)]
pub(super) struct Facts(BTreeMap<String, Vec<f64>>);

#[derive(Deserialize)]
struct Line {
    name: String,
    value: Option<f64>,
}

impl Facts {
    /// Takes a program's output: one object a line.
    pub(super) fn read(&mut self, output: &[u8]) -> Result<()> {
        for line in String::from_utf8_lossy(output).lines() {
            let Line { name, value } = serde_json::from_str(line).with_context(|| format!("reading {line:?}"))?;
            self.set(name, value.unwrap_or(f64::NAN));
        }
        Ok(())
    }

    /// Adds a number.
    pub(super) fn set(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// A number, if it was measured.
    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|values| median(values))
    }
}
