//! How large the Worker is.

use anyhow::Result;

use super::programs::Programs;
use super::row::{Row, Target};
use crate::worker_build::{GZIP_BUDGET, Size};

/// Compresses both files that are deployed.
pub(super) fn measure(programs: &Programs) -> Result<Vec<Row>> {
    let kib = |bytes: usize| bytes as f64 / 1_024.0;
    let size = Size::of(&programs.worker)?;
    Ok(vec![Row::new("whole Worker, gzip (KiB)", kib(size.gzip())).target(Target::AtMost(kib(GZIP_BUDGET)))])
}
