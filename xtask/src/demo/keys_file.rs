//! A file of keys from some earlier system: digests only, as an import takes them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Result;
use nightlatch_api::{Environment, ImportLine};
use sha2::{Digest as _, Sha256};

/// Writes `count` lines. Nobody holds the keys behind these digests: they are there to make the set as large as a real
/// one.
pub(super) fn write(path: &Path, count: u32) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..count {
        let digest: [u8; 32] = Sha256::digest(format!("a key of the demonstration, number {number}")).into();
        let line = ImportLine {
            digest: Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()),
            key: None,
            name: format!("imported {number}"),
            environment: Environment::Live,
            scopes: vec!["invoices:read".into()],
            tier: None,
            principal: None,
            owner: Some("earlier system".into()),
            labels: Default::default(),
            expires_at: None,
            rotate_by: None,
            entropy_bits: Some(160),
        };
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
