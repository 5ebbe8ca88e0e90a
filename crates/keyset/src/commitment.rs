//! Hashes, and the chain that runs through all versions of a set.

use alloc::string::String;
use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::hex;

/// A SHA-256 hash of public bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 lower-case hexadecimal characters; anything else is `None`.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// 64 lower-case hexadecimal characters.
    pub fn to_hex(&self) -> String {
        hex::encode(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// What a set has been through, in 32 bytes: `c_V = SHA-256(label ‖ c_{V−1} ‖ link_V)`, where `link_V` is the hash of
/// version V's one file: its delta's body, or, where an epoch is cut, its base.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Commitment(pub Hash);

impl Commitment {
    /// `c_0`, before the first version: zeros.
    pub const START: Self = Self(Hash([0; 32]));

    /// The commitment one version on.
    pub fn then(&self, link: &Hash) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"nightlatch.commitment/1");
        hash.update(self.0.0);
        hash.update(link.0);
        Self(Hash(hash.finalize().into()))
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
