//! What a database keeps of a key.

use core::fmt;

use sha2::{Digest as _, Sha256};

/// SHA-256 of a key's text. The text has 160 random bits, so the digest cannot be turned back.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a key's text, minted or foreign.
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Takes the 32 bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal characters of either case.
    ///
    /// # Errors
    /// [`DigestError`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        let source = text.as_bytes();
        if source.len() != 64 {
            return Err(DigestError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(source.as_chunks::<2>().0) {
            let high = char::from(pair[0]).to_digit(16).ok_or(DigestError)?;
            let low = char::from(pair[1]).to_digit(16).ok_or(DigestError)?;
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }
}

/// In a time that does not depend on where two digests differ.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |bits, (a, b)| bits | (a ^ b)) == 0
    }
}

impl Eq for Digest {}

/// A digest is not the secret, but whoever holds a set's pepper can look for it: it is kept out of logs.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// The text is not a SHA-256 digest in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestError;

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest is SHA-256 as 64 hexadecimal characters")
    }
}

impl core::error::Error for DigestError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_in_both_cases() {
        let digest = Digest::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::from_hex(hex), Ok(digest));
        assert_eq!(Digest::from_hex(&hex.to_uppercase()), Ok(digest));
        for bad in ["", "00", &hex[1..], &hex.replace('b', "g")] {
            assert_eq!(Digest::from_hex(bad), Err(DigestError));
        }
    }
}
