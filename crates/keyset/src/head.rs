//! The head: the small signed statement of a set's current state and of how long it may be relied on.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_key::Brand;

use crate::lines::Lines;
use crate::note::{self, Signer, Verifier};
use crate::{Commitment, FileName, Hash, StatementError, Tag, hex};

/// The first line of every head. Its number is the format's version.
pub const HEAD_FIRST_LINE: &str = "nightlatch.head/4";
/// What heads began with before they could carry the audit log's checkpoint.
pub const HEAD_FIRST_LINE_BEFORE: &str = "nightlatch.head/3";

/// The largest base or policy a head may announce, in bytes.
const MAX_FILE_LEN: u64 = 4 << 30;

/// How far the workspace's audit log had been chained when a head was signed, and what it was up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditCheckpoint {
    /// Entries in the chain; at least one.
    pub count: u64,
    /// The root of the tree whose leaves they are.
    pub root: Hash,
}

/// What a head says. Times are unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The set's id.
    pub set: String,
    /// The workspace it belongs to.
    pub workspace: String,
    /// The mark at the front of the workspace's own keys. Other texts are keys only where `accepts_foreign` says so.
    pub brand: Brand,
    /// How often the set was recovered.
    pub incarnation: u64,
    /// The number of the current base.
    pub epoch: u64,
    /// The change counter.
    pub version: u64,
    /// What the set has been through up to `version`.
    pub commitment: Commitment,
    /// How many keys it has at `version`.
    pub keys: u64,
    /// The version at which the epoch begins.
    pub base_version: u64,
    /// The commitment there.
    pub base_commitment: Commitment,
    /// The base's root.
    pub base_root: Hash,
    /// Bytes of the base's index.
    pub base_len: u64,
    /// Bytes of each of its parts.
    pub base_parts: Vec<u64>,
    /// The hash of the record by which a replica of the epoch before builds this base itself, and its bytes.
    pub rebase: Option<(Hash, u64)>,
    /// The pepper its tags are made with.
    pub pepper: String,
    /// [`Pepper::check`](crate::Pepper::check) of that pepper: who holds other bytes under its id must not answer.
    pub pepper_check: Tag,
    /// Whether texts that were not minted here can be keys of this set.
    pub accepts_foreign: bool,
    /// The hash of the route policy in force.
    pub policy: Hash,
    /// The policy's length in bytes.
    pub policy_len: u64,
    /// The database clock, read before the snapshot of the changes that this head includes.
    pub issued: u64,
    /// From here on the head is no ground for any answer.
    pub valid_until: u64,
    /// How far clocks may be apart, in milliseconds.
    pub skew: u64,
    /// Where some routes are open: until when these may still answer for keys known good, at least as late as
    /// `valid_until`.
    pub open_until: Option<u64>,
    /// The version of the trust note that its signer goes by, where there is one.
    pub trust: Option<u64>,
    /// The audit log's checkpoint; `None` before the first. Edges have no use for it.
    pub audit: Option<AuditCheckpoint>,
}

impl Head {
    /// The head as a signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        signer.sign(&self.to_text())
    }

    /// Reads a note that one of `verifiers` has signed.
    ///
    /// # Errors
    /// [`StatementError`] says what is wrong with it.
    pub fn open(note: &str, verifiers: &[Verifier]) -> Result<Self, StatementError> {
        Self::open_by(note, verifiers).map(|(head, _)| head)
    }

    /// As [`Self::open`]; with the one of `verifiers` that has signed it.
    ///
    /// # Errors
    /// [`StatementError`] says what is wrong with it.
    pub fn open_by<'v>(note: &str, verifiers: &'v [Verifier]) -> Result<(Self, &'v Verifier), StatementError> {
        let (text, signer) = note::open_by(note, verifiers)?;
        Ok((Self::parse(text)?, signer))
    }

    /// The base of this head's epoch.
    pub fn base_name(&self) -> FileName {
        FileName::Base { incarnation: self.incarnation, epoch: self.epoch }
    }

    /// The parts of that base, in order.
    pub fn part_names(&self) -> impl Iterator<Item = FileName> + use<> {
        let (incarnation, epoch) = (self.incarnation, self.epoch);
        (0..self.base_parts.len() as u64).map(move |part| FileName::BasePart { incarnation, epoch, part })
    }

    /// The rebase record of this head's epoch.
    pub fn rebase_name(&self) -> FileName {
        FileName::Rebase { incarnation: self.incarnation, epoch: self.epoch }
    }

    /// Bytes of the whole base: what it will take in memory.
    pub fn base_bytes(&self) -> u64 {
        self.base_parts.iter().fold(self.base_len, |sum, len| sum.saturating_add(*len))
    }

    /// The policy in force.
    pub fn policy_name(&self) -> FileName {
        FileName::Policy(self.policy)
    }

    /// The delta of this head's epoch from one version to another.
    pub fn delta_name(&self, from: u64, to: u64) -> FileName {
        FileName::Delta { incarnation: self.incarnation, epoch: self.epoch, from, to }
    }

    fn to_text(&self) -> String {
        let Self {
            set,
            workspace,
            brand,
            incarnation,
            epoch,
            version,
            commitment,
            keys,
            base_version,
            base_commitment,
            base_root,
            base_len,
            base_parts,
            rebase,
            pepper,
            pepper_check,
            accepts_foreign,
            policy,
            policy_len,
            issued,
            valid_until,
            skew,
            open_until,
            trust,
            audit,
        } = self;
        let parts: Vec<String> = base_parts.iter().map(|len| format!("{len}")).collect();
        let parts = if parts.is_empty() { String::from("-") } else { parts.join(",") };
        let rebase = match rebase {
            Some((hash, len)) => format!("rebase {hash}\nrebase-length {len}"),
            None => String::from("rebase -\nrebase-length 0"),
        };
        let pepper_check = hex::encode(pepper_check.as_bytes());
        let accepts_foreign = if *accepts_foreign { "yes" } else { "no" };
        let optional = |number: &Option<u64>| number.map_or_else(|| String::from("-"), |number| format!("{number}"));
        let (open_until, trust) = (optional(open_until), optional(trust));
        let audit = match audit {
            Some(AuditCheckpoint { count, root }) => format!("{count} {root}"),
            None => String::from("-"),
        };
        format!(
            "{HEAD_FIRST_LINE}\nset {set}\nworkspace {workspace}\nbrand {brand}\nincarnation {incarnation}\nepoch {epoch}\n\
             version {version}\ncommitment {commitment}\nkeys {keys}\nbase-version {base_version}\n\
             base-commitment {base_commitment}\nbase-root {base_root}\nbase-length {base_len}\n\
             base-parts {parts}\n{rebase}\npepper {pepper}\npepper-check {pepper_check}\naccepts-foreign {accepts_foreign}\npolicy {policy}\npolicy-length {policy_len}\nissued {issued}\n\
             valid-until {valid_until}\nskew {skew}\nopen-until {open_until}\ntrust {trust}\naudit {audit}\n"
        )
    }

    fn parse(text: &str) -> Result<Self, StatementError> {
        let mut lines = Lines::new(text);
        let earlier =
            lines.begin("nightlatch.head/", &[HEAD_FIRST_LINE, HEAD_FIRST_LINE_BEFORE])? == HEAD_FIRST_LINE_BEFORE;
        let head = Self {
            set: lines.id("set")?,
            workspace: lines.id("workspace")?,
            brand: Brand::new(lines.value("brand")?).map_err(|_| StatementError::Line("brand"))?,
            incarnation: lines.number("incarnation")?,
            epoch: lines.number("epoch")?,
            version: lines.number("version")?,
            commitment: Commitment(lines.hash("commitment")?),
            keys: lines.number("keys")?,
            base_version: lines.number("base-version")?,
            base_commitment: Commitment(lines.hash("base-commitment")?),
            base_root: lines.hash("base-root")?,
            base_len: lines.number("base-length")?,
            base_parts: lines.parts()?,
            rebase: lines.rebase()?,
            pepper: lines.id("pepper")?,
            pepper_check: lines.tag("pepper-check")?,
            accepts_foreign: lines.yes_or_no("accepts-foreign")?,
            policy: lines.hash("policy")?,
            policy_len: lines.number("policy-length")?,
            issued: lines.number("issued")?,
            valid_until: lines.number("valid-until")?,
            skew: lines.number("skew")?,
            open_until: lines.optional("open-until")?,
            trust: lines.optional("trust")?,
            audit: lines.audit()?,
        };
        lines.end()?;
        if earlier && head.audit.is_some() {
            return Err(StatementError::Line("audit"));
        }
        let opens = head.open_until.is_none_or(|until| until >= head.valid_until);
        if head.base_version > head.version || head.valid_until < head.issued || !opens {
            return Err(StatementError::Line("version, valid-until or open-until"));
        }
        let rebase_len = head.rebase.map_or(0, |(_, len)| len);
        if head.base_bytes() > MAX_FILE_LEN || head.policy_len > MAX_FILE_LEN || rebase_len > MAX_FILE_LEN {
            return Err(StatementError::Line("length"));
        }
        Ok(head)
    }
}
