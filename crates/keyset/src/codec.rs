//! Reading and writing the fixed, little-endian fields of the binary files.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::MAX_ID_LEN;

/// Why bytes are not the file they should be. Each case names what was being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Rows, profiles or scopes are not in strictly ascending order.
    Order(&'static str),
    /// A number or a text is not one that this field can hold.
    Value(&'static str),
    /// More bytes than the file says it has.
    Trailing,
    /// Fewer bytes than the file says it has, or than any such file has.
    Truncated(&'static str),
    /// Another kind of file.
    Magic,
    /// A format version this reader does not know.
    Version(u16),
    /// The bytes do not hash to what the signed statement says.
    Hash(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(what) => write!(f, "{what} are out of order or doubled"),
            Self::Value(what) => write!(f, "{what} holds a value it cannot have"),
            Self::Trailing => f.write_str("bytes follow the end of the file"),
            Self::Truncated(what) => write!(f, "the file ends inside its {what}"),
            Self::Magic => f.write_str("the file is of another kind"),
            Self::Version(version) => write!(f, "format version {version} is unknown to this reader"),
            Self::Hash(what) => write!(f, "{what} does not have the hash it was signed with"),
        }
    }
}

impl core::error::Error for Malformed {}

/// A cursor over bytes. Every length is checked against what is left before anything is sliced or allocated.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Bytes that are kept for later versions and are zero in this one.
    pub(crate) fn zeros(&mut self, len: usize, what: &'static str) -> Result<(), Malformed> {
        if self.take(len, what)?.iter().any(|&b| b != 0) {
            return Err(Malformed::Value(what));
        }
        Ok(())
    }

    /// An id in a field of [`MAX_ID_LEN`] bytes, padded with zeros.
    pub(crate) fn id(&mut self, what: &'static str) -> Result<String, Malformed> {
        let field = self.take(MAX_ID_LEN, what)?;
        let len = field.iter().position(|&b| b == 0).unwrap_or(field.len());
        let (text, padding) = field.split_at(len);
        if !is_id(text) || padding.iter().any(|&b| b != 0) {
            return Err(Malformed::Value(what));
        }
        Ok(text.iter().map(|&b| char::from(b)).collect())
    }

    /// A text behind its one-byte length.
    pub(crate) fn short_text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let len = usize::from(self.u8(what)?);
        core::str::from_utf8(self.take(len, what)?).map_err(|_| Malformed::Value(what))
    }

    /// Bytes that are left.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

/// Whether `text` can be the id of a set, a workspace or a pepper: 1 to 32 of `[0-9A-Za-z_-]`.
pub(crate) fn is_id(text: &[u8]) -> bool {
    (1..=MAX_ID_LEN).contains(&text.len()) && text.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Writes an id into its padded field. The caller has checked it.
pub(crate) fn put_id(out: &mut Vec<u8>, id: &str) {
    debug_assert!(is_id(id.as_bytes()));
    out.extend_from_slice(id.as_bytes());
    out.resize(out.len() + MAX_ID_LEN - id.len(), 0);
}
