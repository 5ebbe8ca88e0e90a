//! Taking over keys made elsewhere.

use super::{Context, Error, Random, Tx};
use crate::domain::Refusal;
use crate::domain::import::ImportLine;

/// One import request, already parsed line by line.
#[derive(Clone, Debug)]
pub struct Import {
    /// Line number, counted from 1, and the checked line.
    pub lines: Vec<(u32, ImportLine)>,
    /// Lines that did not even parse: they count against `strict`.
    pub rejected: Vec<(u32, Refusal)>,
    /// Import nothing if any line is refused.
    pub strict: bool,
    /// Import nothing, say what would happen.
    pub dry_run: bool,
    /// SHA-256 of the request body, for the audit entry.
    pub body_hash: [u8; 32],
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Keys created.
    pub created: u64,
    /// Lines whose digest the workspace already has, in this request or before.
    pub existing: u64,
    /// Lines refused, by line number.
    pub errors: Vec<(u32, Refusal)>,
}

/// Imports all lines in this one transaction. `random` makes the keys' ids.
///
/// # Errors
/// [`Error::NumbersExhausted`], [`Error::Database`]. Refused lines are no error.
pub async fn run(tx: &mut Tx, context: &Context, import: Import, random: Random<'_>) -> Result<Imported, Error> {
    todo!()
}
