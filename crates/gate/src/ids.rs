//! Public names of keys and principals.

use core::fmt;

use nightlatch_key::{ID_LEN, Parsed};
use nightlatch_keyset::Record;

/// A key's name in the API: `key_` and its id, or `kn_` and its number where the text carries no id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyId {
    /// A minted key, by the id in its text.
    Minted([u8; ID_LEN]),
    /// An imported key, by its number in the workspace.
    Number(u32),
}

impl KeyId {
    /// The name of a key that was found under a text, which was read as a key text or not.
    #[must_use]
    pub fn of(parsed: Option<&Parsed<'_>>, record: &Record) -> Self {
        let id = parsed.filter(|_| !record.foreign).and_then(|parsed| parsed.id().as_bytes().first_chunk());
        id.map_or(Self::Number(record.number), |id| Self::Minted(*id))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // An id is base62.
            Self::Minted(id) => write!(f, "key_{}", core::str::from_utf8(id).unwrap_or_default()),
            Self::Number(number) => write!(f, "kn_{number}"),
        }
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A principal's name in the API: `prn_` and its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrincipalId(pub u32);

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prn_{}", self.0)
    }
}
