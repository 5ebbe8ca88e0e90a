//! The audit note: what of the audit log was lost when a database was restored from a backup.
//!
//! ```text
//! nightlatch.audit/1
//! set set_…
//! incarnation 1
//! issued 1763738000000
//! audit 1200 64 hexadecimal characters
//! kept 1100
//! ```
//!
//! A signer of heads never signs a checkpoint that does not extend the last one that was published, but for this: a
//! recovery has said, under the same key, from where on the log goes on.

use alloc::format;
use alloc::string::String;

use crate::lines::Lines;
use crate::note::{self, Signer, Verifier};
use crate::{AuditCheckpoint, StatementError};

/// The first line of every audit note. Its number is the format's version.
pub const AUDIT_FIRST_LINE: &str = "nightlatch.audit/1";

/// What an audit note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditGap {
    /// The set that was recovered.
    pub set: String,
    /// The incarnation that the recovery began.
    pub incarnation: u64,
    /// When it was made, unix milliseconds.
    pub issued: u64,
    /// The checkpoint that had been published.
    pub published: AuditCheckpoint,
    /// How many chained entries the restored database still had: those that come after are of another history.
    pub kept: u64,
}

impl AuditGap {
    /// The note, signed by a key that signs the set's heads.
    pub fn sign(&self, signer: &Signer) -> String {
        let Self { set, incarnation, issued, published: AuditCheckpoint { count, root }, kept } = self;
        signer.sign(&format!(
            "{AUDIT_FIRST_LINE}\nset {set}\nincarnation {incarnation}\nissued {issued}\naudit {count} {root}\nkept {kept}\n"
        ))
    }

    /// Reads a note that one of `verifiers` has signed.
    ///
    /// # Errors
    /// [`StatementError`] says what is wrong with it.
    pub fn open(note: &str, verifiers: &[Verifier]) -> Result<Self, StatementError> {
        let mut lines = Lines::new(note::open(note, verifiers)?);
        lines.begin("nightlatch.audit/", &[AUDIT_FIRST_LINE])?;
        let gap = Self {
            set: lines.id("set")?,
            incarnation: lines.number("incarnation")?,
            issued: lines.number("issued")?,
            published: lines.audit()?.ok_or(StatementError::Line("audit"))?,
            kept: lines.number("kept")?,
        };
        lines.end()?;
        Ok(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;

    #[test]
    fn a_note_comes_back() {
        let signer = Signer::new("nightlatch/set_a", &[1; 32]).unwrap();
        let gap = AuditGap {
            set: "set_a".into(),
            incarnation: 1,
            issued: 7,
            published: AuditCheckpoint { count: 3, root: Hash::of(b"root") },
            kept: 2,
        };
        let note = gap.sign(&signer);
        assert_eq!(AuditGap::open(&note, &[signer.verifier()]), Ok(gap));
        let (text, _) = note.split_once("\n\n").unwrap();
        let of_nothing = signer.sign(&format!("{text}\n").replacen("audit 3 ", "audit - ", 1));
        assert_eq!(AuditGap::open(&of_nothing, &[signer.verifier()]), Err(StatementError::Line("audit")));
    }
}
