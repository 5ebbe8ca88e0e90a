//! From a key's digest to the tag that a set holds.

use alloc::string::String;
use core::fmt;

use nightlatch_key::Digest;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::codec::{Malformed, is_id};

/// A keyed hash of a key's digest, cut to 136 bits, of which a set matches 128 or more. Without the pepper it tells nothing
/// about the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag([u8; Self::LEN]);

impl Tag {
    /// Bytes of a tag.
    pub const LEN: usize = 17;

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// A tag from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The first 64 bits, the next 64, and the last 8, as numbers.
    pub(crate) const fn words(&self) -> (u64, u64, u8) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q] = self.0;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]), q)
    }

    pub(crate) const fn from_words(high: u64, middle: u64, low: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = high.to_be_bytes();
        let [i, j, k, l, m, n, o, p] = middle.to_be_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, low])
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

/// A set's pepper, absorbed: the state of SHA-256 after the 64-byte block `label ‖ set id ‖ pepper`.
///
/// A tag then costs one compression. The block fills the hash's first block exactly, so the state serves every key; the
/// digest that follows has a fixed length, so nothing can be appended to it.
#[derive(Clone)]
pub struct Pepper {
    id: String,
    midstate: Sha256,
}

impl Pepper {
    /// Bytes of a pepper.
    pub const LEN: usize = 32;

    /// Absorbs a pepper for one set.
    ///
    /// # Errors
    /// [`Malformed::Value`] where an id is not one, or the set's id is longer than the 16 bytes the block has for it.
    pub fn new(id: &str, set: &str, secret: &[u8; Self::LEN]) -> Result<Self, Malformed> {
        if !is_id(id.as_bytes()) {
            return Err(Malformed::Value("pepper id"));
        }
        if !is_id(set.as_bytes()) || set.len() > 16 {
            return Err(Malformed::Value("set id"));
        }
        let mut block = Zeroizing::new([0u8; 64]);
        block[..16].copy_from_slice(b"nightlatch.tag/1");
        block[16..16 + set.len()].copy_from_slice(set.as_bytes());
        block[32..].copy_from_slice(secret);
        let mut midstate = Sha256::new();
        midstate.update(block.as_slice());
        Ok(Self { id: id.into(), midstate })
    }

    /// The name under which heads and bases refer to this pepper.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What a head says beside the pepper's id, so that an edge that holds other bytes under that id knows it, instead of
    /// finding no key at all: the tag of a text that no key can have.
    pub fn check(&self) -> Tag {
        self.tag(&Digest::of(b"nightlatch.pepper-check/1"))
    }

    /// The tag of a key.
    pub fn tag(&self, digest: &Digest) -> Tag {
        let mut hash = self.midstate.clone();
        hash.update(digest.as_bytes());
        let full: [u8; 32] = hash.finalize().into();
        let mut tag = [0; Tag::LEN];
        tag.copy_from_slice(&full[..Tag::LEN]);
        Tag(tag)
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_sha_256_of_block_and_digest() {
        let digest = Digest::of(b"a key");
        let pepper = Pepper::new("p1", "set_0123456789", &[7; 32]).unwrap();
        let mut plain = Sha256::new();
        plain.update(b"nightlatch.tag/1set_0123456789\0\0");
        plain.update([7; 32]);
        plain.update(digest.as_bytes());
        let full: [u8; 32] = plain.finalize().into();
        assert_eq!(pepper.tag(&digest).as_bytes(), &full[..17]);
    }

    #[test]
    fn sets_and_peppers_separate_tags() {
        let digest = Digest::of(b"a key");
        let tag = |set, secret| *Pepper::new("p", set, &[secret; 32]).unwrap().tag(&digest).as_bytes();
        assert_ne!(tag("set_a", 1), tag("set_b", 1));
        assert_ne!(tag("set_a", 1), tag("set_a", 2));
        assert!(Pepper::new("p", "set_01234567890123", &[0; 32]).is_err());
    }
}
