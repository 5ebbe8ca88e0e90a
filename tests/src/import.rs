//! Lines of an import.

use std::collections::BTreeMap;

use anyhow::Result;
use nightlatch_api::{Environment, ImportLine};
use nightlatch_key::Digest;

/// A line that brings a key in by its text.
#[must_use]
pub fn by_text(name: &str, text: &str) -> ImportLine {
    ImportLine { key: Some(text.into()), ..line(name) }
}

/// A line that brings a key in by the digest of its text.
#[must_use]
pub fn by_digest(name: &str, text: &str) -> ImportLine {
    let digest = Digest::of(text.as_bytes());
    let hex = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    ImportLine { digest: Some(hex), ..line(name) }
}

/// A live key of strong entropy and no scopes.
fn line(name: &str) -> ImportLine {
    ImportLine {
        digest: None,
        key: None,
        name: name.to_owned(),
        environment: Environment::Live,
        scopes: Vec::new(),
        tier: None,
        principal: None,
        owner: None,
        labels: BTreeMap::new(),
        expires_at: None,
        rotate_by: None,
        entropy_bits: Some(160),
    }
}

/// The body of an import.
///
/// # Errors
/// When a line has no JSON.
pub fn lines(lines: &[ImportLine]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut body, line)?;
        body.push(b'\n');
    }
    Ok(body)
}
