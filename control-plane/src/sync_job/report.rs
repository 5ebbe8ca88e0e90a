//! What a pass did, or would do.

use std::fmt;

use indicatif::HumanBytes;
use nightlatch_keyset::Head;
use serde::Serialize;

use crate::push::PushStatus;

/// A pass in numbers and names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The set.
    pub set: String,
    /// The head's recovery count.
    pub incarnation: u64,
    /// The head's base number.
    pub epoch: u64,
    /// The head's change counter.
    pub version: u64,
    /// The head's database clock, unix milliseconds.
    pub issued: u64,
    /// From when on edges no longer rely on the head, unix milliseconds.
    pub valid_until: u64,
    /// Files written; of a dry run, files to be written.
    pub copied: Vec<Copied>,
    /// Whether the head was, or is to be, replaced.
    pub head: bool,
    /// The notes beside the head that were written, or are to be: `trust`, `deny`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<&'static str>,
    /// Files removed, or to be removed.
    pub removed: Vec<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// How pushing heads has gone since the job began; the head of this pass may still be on its way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub push: Vec<PushStatus>,
}

/// A file of a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Its name.
    pub name: String,
    /// Its length; of a dry run, where the head tells it.
    pub bytes: Option<u64>,
}

impl Report {
    /// Nothing done yet about this head.
    pub(super) fn of(head: &Head, dry_run: bool) -> Self {
        Self {
            set: head.set.clone(),
            incarnation: head.incarnation,
            epoch: head.epoch,
            version: head.version,
            issued: head.issued,
            valid_until: head.valid_until,
            dry_run,
            ..Self::default()
        }
    }

    /// Whether there was nothing to do.
    pub fn is_empty(&self) -> bool {
        self.copied.is_empty() && !self.head && self.notes.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, incarnation, epoch, version, .. } = self;
        if self.is_empty() {
            return write!(f, "{set} is up to date at version {version}");
        }
        if !self.dry_run {
            let bytes: u64 = self.copied.iter().filter_map(|file| file.bytes).sum();
            write!(
                f,
                "{set} is at version {version}: {} files copied ({}), {} removed",
                self.copied.len(),
                HumanBytes(bytes),
                self.removed.len()
            )?;
            return self.notes.iter().try_for_each(|name| write!(f, ", {name} note replaced"));
        }
        write!(f, "{set}: to version {version} (incarnation {incarnation}, epoch {epoch})")?;
        for file in &self.copied {
            write!(f, "\n  copy    {}", file.name)?;
            if let Some(bytes) = file.bytes {
                write!(f, " ({})", HumanBytes(bytes))?;
            }
        }
        for name in &self.notes {
            write!(f, "\n  replace {name}")?;
        }
        if self.head {
            f.write_str("\n  replace head")?;
        }
        for name in &self.removed {
            write!(f, "\n  remove  {name}")?;
        }
        f.write_str("\nnothing was written")
    }
}
