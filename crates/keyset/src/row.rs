//! What a set says about one key, and the bytes that say it.

use nightlatch_key::CLOCK_ORIGIN;

use crate::codec::Malformed;
use crate::layout::Columns;
use crate::pepper::Tag;
use crate::profile::Profile;

/// Bits of a profile's number.
pub(crate) const PROFILE_BITS: u32 = 21;
/// The most profiles a set has.
pub(crate) const MAX_PROFILES: usize = 1 << PROFILE_BITS;

const STATUS_BITS: u32 = 0b11;
const FOREIGN_BIT: u32 = 0b100;
const PROFILE_SHIFT: u32 = 3;

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
    /// The principal it acts for; 0 where the set has no subjects.
    pub subject: u32,
    /// Its number in the workspace; 0 where the set has no key numbers.
    pub number: u32,
}

impl Record {
    /// The record without what such rows do not say.
    pub(crate) fn cut(self, columns: Columns) -> Self {
        let Self { subject, number, .. } = self;
        Self {
            subject: if columns.subject { subject } else { 0 },
            number: if columns.number { number } else { 0 },
            ..self
        }
    }
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

impl<'a> Change<'a> {
    /// The change that leads to a record.
    pub(crate) fn of(tag: Tag, record: &Record, profile: &'a Profile) -> Self {
        let Record { status, foreign, deadline, profile: _, subject, number } = *record;
        Self { tag, status, foreign, deadline, profile, subject, number }
    }

    /// The record, once the profile has a number.
    pub(crate) fn record(&self, profile: u32) -> Record {
        let Self { tag: _, status, foreign, deadline, profile: _, subject, number } = *self;
        Record { status, foreign, deadline, profile, subject, number }
    }
}

/// A deadline as rows have it: seconds since 2020-01-01, 0 for none. Beyond 2156 it does not fit and counts as that instant.
pub(crate) fn stored_deadline(deadline: Option<u64>) -> u32 {
    deadline.map_or(0, |at| at.saturating_sub(CLOCK_ORIGIN).clamp(1, u64::from(u32::MAX)) as u32)
}

/// The deadline that a stored number means, in unix seconds.
pub(crate) fn deadline_of(stored: u32) -> Option<u64> {
    if stored == 0 { None } else { Some(u64::from(stored) + CLOCK_ORIGIN) }
}

/// Writes what follows the rest in a row.
pub(crate) fn encode(record: &Record, columns: Columns, out: &mut [u8]) {
    let foreign = if record.foreign { FOREIGN_BIT } else { 0 };
    let meta = record.status.code() | foreign | record.profile << PROFILE_SHIFT;
    out[..3].copy_from_slice(&meta.to_le_bytes()[..3]);
    out[3..7].copy_from_slice(&stored_deadline(record.deadline).to_le_bytes());
    let mut at = 7;
    for (_, value) in
        [(columns.subject, record.subject), (columns.number, record.number)].iter().filter(|(has, _)| *has)
    {
        out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        at += 4;
    }
}

/// Reads what follows the rest in a row. `profiles` is how many there are.
#[inline]
pub(crate) fn decode(row: &[u8], columns: Columns, profiles: usize) -> Result<Record, Malformed> {
    let Some((&[a, b, c, d, e, f, g], more)) = row.split_first_chunk::<7>() else {
        return Err(Malformed::Truncated("row"));
    };
    let meta = u32::from_le_bytes([a, b, c, 0]);
    let profile = meta >> PROFILE_SHIFT;
    if profile as usize >= profiles {
        return Err(Malformed::Value("row"));
    }
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (subject, more) = if columns.subject { (word(more), more.get(4..).unwrap_or_default()) } else { (0, more) };
    Ok(Record {
        // Two bits, four statuses.
        status: Status::from_code(meta & STATUS_BITS).unwrap_or(Status::Revoked),
        foreign: meta & FOREIGN_BIT != 0,
        deadline: deadline_of(u32::from_le_bytes([d, e, f, g])),
        profile,
        subject,
        number: if columns.number { word(more) } else { 0 },
    })
}
