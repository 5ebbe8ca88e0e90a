//! What a set says about one key, and its 32 bytes.

use nightlatch_key::CLOCK_ORIGIN;

use crate::codec::Malformed;
use crate::pepper::{TAG_LEN, Tag};
use crate::profile::Profile;

/// Bytes of a row: tag 16, deadline 4, meta 4, subject 4, key number 4.
pub(crate) const ROW_LEN: usize = 32;

/// The greatest profile number a row can name: 24 bits.
pub(crate) const MAX_PROFILE: u32 = (1 << 24) - 1;

const STATUS_BITS: u32 = 0b11;
const FOREIGN_BIT: u32 = 0b100;
const RESERVED_BITS: u32 = 0b1111_1000;
const PROFILE_SHIFT: u32 = 8;

/// What the control plane last said of a key. Expiry follows from the deadline and is not a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In use.
    Active,
    /// A predecessor in its overlap: valid until its deadline.
    Retiring,
    /// Switched off for now.
    Disabled,
    /// Gone for ever.
    Revoked,
}

impl Status {
    /// The name the control plane stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }

    /// The number a row stores.
    pub const fn code(self) -> u32 {
        match self {
            Self::Active => 0,
            Self::Retiring => 1,
            Self::Disabled => 2,
            Self::Revoked => 3,
        }
    }

    /// The status of a stored number, if it has one.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Active),
            1 => Some(Self::Retiring),
            2 => Some(Self::Disabled),
            3 => Some(Self::Revoked),
            _ => None,
        }
    }
}

/// What a replica knows about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the control plane last said.
    pub status: Status,
    /// Imported: its text does not carry its id, and edges name it by number.
    pub foreign: bool,
    /// Unix seconds from which the key is no longer valid: the nearer of its expiry and its retirement.
    pub deadline: Option<u64>,
    /// Which of the set's profiles it has.
    pub profile: u32,
    /// The principal it acts for.
    pub subject: u32,
    /// Its number in the workspace.
    pub number: u32,
}

/// A key's new state on its way into a delta or a base, its profile still spelt out.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Where the row stands.
    pub tag: Tag,
    /// As in [`Record`].
    pub status: Status,
    /// As in [`Record`].
    pub foreign: bool,
    /// As in [`Record`]. Rounded up to 2020-01-01T00:00:01Z where it lies before: both are long past.
    pub deadline: Option<u64>,
    /// What the key may do.
    pub profile: &'a Profile,
    /// As in [`Record`].
    pub subject: u32,
    /// As in [`Record`].
    pub number: u32,
}

impl Change<'_> {
    /// The record, once the profile has a number.
    pub(crate) fn record(&self, profile: u32) -> Record {
        let Self { tag: _, status, foreign, deadline, profile: _, subject, number } = *self;
        Record { status, foreign, deadline, profile, subject, number }
    }
}

/// Encodes a row. Deadlines beyond 2156 do not fit 32 bits and count as that instant.
pub(crate) fn encode(tag: &Tag, record: &Record) -> [u8; ROW_LEN] {
    let deadline = record.deadline.map_or(0, |at| at.saturating_sub(CLOCK_ORIGIN).clamp(1, u64::from(u32::MAX)) as u32);
    let meta = record.status.code() | if record.foreign { FOREIGN_BIT } else { 0 } | record.profile << PROFILE_SHIFT;
    let mut row = [0; ROW_LEN];
    row[..TAG_LEN].copy_from_slice(&tag.0);
    for (place, value) in
        row[TAG_LEN..].as_chunks_mut::<4>().0.iter_mut().zip([deadline, meta, record.subject, record.number])
    {
        *place = value.to_le_bytes();
    }
    row
}

/// Decodes what follows the tag in a row.
pub(crate) fn decode(row: &[u8; ROW_LEN], profiles: usize) -> Result<Record, Malformed> {
    let word = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
    let meta = word(20);
    let profile = meta >> PROFILE_SHIFT;
    if meta & RESERVED_BITS != 0 || profile as usize >= profiles {
        return Err(Malformed::Value("row"));
    }
    let status = Status::from_code(meta & STATUS_BITS).ok_or(Malformed::Value("row"))?;
    let deadline = match word(16) {
        0 => None,
        at => Some(u64::from(at) + CLOCK_ORIGIN),
    };
    Ok(Record { status, foreign: meta & FOREIGN_BIT != 0, deadline, profile, subject: word(24), number: word(28) })
}
