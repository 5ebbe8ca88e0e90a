//! The head: the small signed statement of a set's current state and of how long it may be relied on.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use nightlatch_key::Brand;

use crate::codec::is_id;
use crate::index::{MAX_PART_LEN, MAX_PARTS};
use crate::note::{self, NoteError, Signer, Verifier};
use crate::{Commitment, FileName, Hash, Tag, hex};

/// The first line of every head. Its number is the format's version.
pub const HEAD_FIRST_LINE: &str = "nightlatch.head/2";

/// The largest base or policy a head may announce, in bytes.
const MAX_FILE_LEN: u64 = 4 << 30;

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
}

impl Head {
    /// The head as a signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        signer.sign(&self.to_text())
    }

    /// Reads a note that one of `verifiers` has signed.
    ///
    /// # Errors
    /// [`HeadError`] says what is wrong with it.
    pub fn open(note: &str, verifiers: &[Verifier]) -> Result<Self, HeadError> {
        Self::parse(note::open(note, verifiers)?)
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
        } = self;
        let parts: Vec<String> = base_parts.iter().map(|len| format!("{len}")).collect();
        let parts = if parts.is_empty() { String::from("-") } else { parts.join(",") };
        let rebase = match rebase {
            Some((hash, len)) => format!("rebase {hash}\nrebase-length {len}"),
            None => String::from("rebase -\nrebase-length 0"),
        };
        let pepper_check = hex::encode(pepper_check.as_bytes());
        let accepts_foreign = if *accepts_foreign { "yes" } else { "no" };
        // The last three keep the place of what later formats say: routes open beyond `valid-until`, the note that lists
        // signing keys, and the audit log's checkpoint.
        format!(
            "{HEAD_FIRST_LINE}\nset {set}\nworkspace {workspace}\nbrand {brand}\nincarnation {incarnation}\nepoch {epoch}\n\
             version {version}\ncommitment {commitment}\nkeys {keys}\nbase-version {base_version}\n\
             base-commitment {base_commitment}\nbase-root {base_root}\nbase-length {base_len}\n\
             base-parts {parts}\n{rebase}\npepper {pepper}\npepper-check {pepper_check}\naccepts-foreign {accepts_foreign}\npolicy {policy}\npolicy-length {policy_len}\nissued {issued}\n\
             valid-until {valid_until}\nskew {skew}\nopen-until -\ntrust -\naudit -\n"
        )
    }

    fn parse(text: &str) -> Result<Self, HeadError> {
        let mut lines = Lines { rest: text.split('\n') };
        match lines.rest.next() {
            Some(HEAD_FIRST_LINE) => {}
            Some(first) if first.starts_with("nightlatch.head/") => return Err(HeadError::Version),
            _ => return Err(HeadError::Kind),
        }
        let head = Self {
            set: lines.id("set")?,
            workspace: lines.id("workspace")?,
            brand: Brand::new(lines.value("brand")?).map_err(|_| HeadError::Line("brand"))?,
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
        };
        lines.unused("open-until")?;
        lines.unused("trust")?;
        lines.unused("audit")?;
        if lines.rest.next() != Some("") || lines.rest.next().is_some() {
            return Err(HeadError::Line("the end"));
        }
        if head.base_version > head.version || head.valid_until < head.issued {
            return Err(HeadError::Line("version or valid-until"));
        }
        let rebase_len = head.rebase.map_or(0, |(_, len)| len);
        if head.base_bytes() > MAX_FILE_LEN || head.policy_len > MAX_FILE_LEN || rebase_len > MAX_FILE_LEN {
            return Err(HeadError::Line("length"));
        }
        Ok(head)
    }
}

struct Lines<'a> {
    rest: core::str::Split<'a, char>,
}

impl<'a> Lines<'a> {
    fn value(&mut self, field: &'static str) -> Result<&'a str, HeadError> {
        let line = self.rest.next().ok_or(HeadError::Line(field))?;
        line.strip_prefix(field).and_then(|l| l.strip_prefix(' ')).ok_or(HeadError::Line(field))
    }

    fn id(&mut self, field: &'static str) -> Result<String, HeadError> {
        let value = self.value(field)?;
        if is_id(value.as_bytes()) { Ok(value.into()) } else { Err(HeadError::Line(field)) }
    }

    fn number(&mut self, field: &'static str) -> Result<u64, HeadError> {
        number(self.value(field)?).ok_or(HeadError::Line(field))
    }

    /// The lengths of a base's parts.
    fn parts(&mut self) -> Result<Vec<u64>, HeadError> {
        let value = self.value("base-parts")?;
        if value == "-" {
            return Ok(Vec::new());
        }
        let wrong = HeadError::Line("base-parts");
        let lens = value.split(',').map(|len| number(len).filter(|len| (1..=MAX_PART_LEN as u64).contains(len)));
        let lens = lens.collect::<Option<Vec<_>>>().ok_or(wrong)?;
        if lens.len() > MAX_PARTS { Err(wrong) } else { Ok(lens) }
    }

    /// The rebase record's hash and length.
    fn rebase(&mut self) -> Result<Option<(Hash, u64)>, HeadError> {
        let hash = match self.value("rebase")? {
            "-" => None,
            text => Some(Hash::from_hex(text).ok_or(HeadError::Line("rebase"))?),
        };
        match (hash, self.number("rebase-length")?) {
            (None, 0) => Ok(None),
            (Some(hash), len) if len > 0 => Ok(Some((hash, len))),
            _ => Err(HeadError::Line("rebase-length")),
        }
    }

    fn hash(&mut self, field: &'static str) -> Result<Hash, HeadError> {
        Hash::from_hex(self.value(field)?).ok_or(HeadError::Line(field))
    }

    fn tag(&mut self, field: &'static str) -> Result<Tag, HeadError> {
        hex::decode(self.value(field)?).map(Tag::from_bytes).ok_or(HeadError::Line(field))
    }

    fn yes_or_no(&mut self, field: &'static str) -> Result<bool, HeadError> {
        match self.value(field)? {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(HeadError::Line(field)),
        }
    }

    fn unused(&mut self, field: &'static str) -> Result<(), HeadError> {
        if self.value(field)? == "-" { Ok(()) } else { Err(HeadError::Line(field)) }
    }
}

/// One spelling per number: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Why a text is not a head to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Another kind of note.
    Kind,
    /// This line is missing, out of place or holds what it cannot.
    Line(&'static str),
    /// The note is not believed.
    Note(NoteError),
    /// A format this reader does not know.
    Version,
}

impl From<NoteError> for HeadError {
    fn from(error: NoteError) -> Self {
        Self::Note(error)
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("the note is not a head"),
            Self::Line(field) => write!(f, "the head's line {field} is missing or wrong"),
            Self::Note(error) => error.fmt(f),
            Self::Version => write!(f, "the head is of another format than {HEAD_FIRST_LINE}"),
        }
    }
}

impl core::error::Error for HeadError {}
