//! The lines of a signed statement: `field value`, in one order and one spelling.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::codec::is_id;
use crate::index::{MAX_PART_LEN, MAX_PARTS};
use crate::note::{NoteError, Verifier};
use crate::{AuditCheckpoint, Hash, Tag, hex};

/// A reader of lines.
pub(crate) struct Lines<'a> {
    rest: core::iter::Peekable<core::str::Split<'a, char>>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text.split('\n').peekable() }
    }

    /// The first line, where it is one of those that this reader knows. `kind` is what all of its kind begin with.
    pub(crate) fn begin(&mut self, kind: &str, known: &[&'static str]) -> Result<&'static str, StatementError> {
        let first = self.rest.next().unwrap_or_default();
        match known.iter().find(|known| **known == first) {
            Some(known) => Ok(known),
            None if first.starts_with(kind) => Err(StatementError::Version),
            None => Err(StatementError::Kind),
        }
    }

    pub(crate) fn end(&mut self) -> Result<(), StatementError> {
        if self.rest.next() == Some("") && self.rest.next().is_none() {
            return Ok(());
        }
        Err(StatementError::Line("the end"))
    }

    pub(crate) fn value(&mut self, field: &'static str) -> Result<&'a str, StatementError> {
        self.another(field).ok_or(StatementError::Line(field))
    }

    /// The next line's value, if it is a line of this field.
    pub(crate) fn another(&mut self, field: &str) -> Option<&'a str> {
        let value = self.rest.peek()?.strip_prefix(field)?.strip_prefix(' ')?;
        self.rest.next();
        Some(value)
    }

    pub(crate) fn id(&mut self, field: &'static str) -> Result<String, StatementError> {
        let value = self.value(field)?;
        if is_id(value.as_bytes()) { Ok(value.into()) } else { Err(StatementError::Line(field)) }
    }

    pub(crate) fn number(&mut self, field: &'static str) -> Result<u64, StatementError> {
        number(self.value(field)?).ok_or(StatementError::Line(field))
    }

    /// A number, or `-` where there is none.
    pub(crate) fn optional(&mut self, field: &'static str) -> Result<Option<u64>, StatementError> {
        match self.value(field)? {
            "-" => Ok(None),
            text => number(text).map(Some).ok_or(StatementError::Line(field)),
        }
    }

    /// Exactly `N` numbers.
    pub(crate) fn numbers<const N: usize>(&mut self, field: &'static str) -> Result<[u64; N], StatementError> {
        let mut words = self.value(field)?.split(' ');
        let mut numbers = [0; N];
        for slot in &mut numbers {
            *slot = words.next().and_then(number).ok_or(StatementError::Line(field))?;
        }
        if words.next().is_some() { Err(StatementError::Line(field)) } else { Ok(numbers) }
    }

    /// One to `most` lines of this field, each a verifier key.
    pub(crate) fn verifiers(&mut self, field: &'static str, most: usize) -> Result<Vec<Verifier>, StatementError> {
        let mut verifiers = Vec::new();
        while let Some(text) = self.another(field) {
            let verifier = Verifier::from_vkey(text).ok().filter(|_| verifiers.len() < most);
            verifiers.push(verifier.ok_or(StatementError::Line(field))?);
        }
        if verifiers.is_empty() { Err(StatementError::Line(field)) } else { Ok(verifiers) }
    }

    /// The lengths of a base's parts.
    pub(crate) fn parts(&mut self) -> Result<Vec<u64>, StatementError> {
        let value = self.value("base-parts")?;
        if value == "-" {
            return Ok(Vec::new());
        }
        let wrong = StatementError::Line("base-parts");
        let lens = value.split(',').map(|len| number(len).filter(|len| (1..=MAX_PART_LEN as u64).contains(len)));
        let lens = lens.collect::<Option<Vec<_>>>().ok_or(wrong)?;
        if lens.len() > MAX_PARTS { Err(wrong) } else { Ok(lens) }
    }

    /// The rebase record's hash and length.
    pub(crate) fn rebase(&mut self) -> Result<Option<(Hash, u64)>, StatementError> {
        let hash = match self.value("rebase")? {
            "-" => None,
            text => Some(Hash::from_hex(text).ok_or(StatementError::Line("rebase"))?),
        };
        match (hash, self.number("rebase-length")?) {
            (None, 0) => Ok(None),
            (Some(hash), len) if len > 0 => Ok(Some((hash, len))),
            _ => Err(StatementError::Line("rebase-length")),
        }
    }

    pub(crate) fn hash(&mut self, field: &'static str) -> Result<Hash, StatementError> {
        Hash::from_hex(self.value(field)?).ok_or(StatementError::Line(field))
    }

    pub(crate) fn tag(&mut self, field: &'static str) -> Result<Tag, StatementError> {
        hex::decode(self.value(field)?).map(Tag::from_bytes).ok_or(StatementError::Line(field))
    }

    pub(crate) fn yes_or_no(&mut self, field: &'static str) -> Result<bool, StatementError> {
        match self.value(field)? {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(StatementError::Line(field)),
        }
    }

    /// The audit log's checkpoint.
    pub(crate) fn audit(&mut self) -> Result<Option<AuditCheckpoint>, StatementError> {
        let value = self.value("audit")?;
        if value == "-" {
            return Ok(None);
        }
        let read = |(count, root)| {
            let count = number(count).filter(|count| *count > 0)?;
            Some(AuditCheckpoint { count, root: Hash::from_hex(root)? })
        };
        value.split_once(' ').and_then(read).map(Some).ok_or(StatementError::Line("audit"))
    }
}

/// One spelling per number: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Why a text is not a head, a trust note or a deny note to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementError {
    /// Another kind of note.
    Kind,
    /// This line is missing, out of place or holds what it cannot.
    Line(&'static str),
    /// The note is not believed.
    Note(NoteError),
    /// A format this reader does not know.
    Version,
}

impl From<NoteError> for StatementError {
    fn from(error: NoteError) -> Self {
        Self::Note(error)
    }
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("the note is of another kind"),
            Self::Line(field) => write!(f, "the note's line {field} is missing or wrong"),
            Self::Note(error) => error.fmt(f),
            Self::Version => f.write_str("the note is of a format that this program does not know"),
        }
    }
}

impl core::error::Error for StatementError {}
