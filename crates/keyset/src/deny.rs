//! The deny note: keys that must die while no head can be signed.
//!
//! ```text
//! nightlatch.deny/1
//! set set_…
//! number 2
//! issued 1763738000000
//! digest 64 hexadecimal characters
//! ```
//!
//! It names digests and not tags, so that it holds under every pepper. What that gives away is whether a text somebody
//! already has is one of the keys that are being ended.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_key::Digest;

use crate::StatementError;
use crate::hex;
use crate::lines::Lines;
use crate::note::{self, Signer, Verifier};

/// The first line of every deny note. Its number is the format's version.
pub const DENY_FIRST_LINE: &str = "nightlatch.deny/1";

/// The most keys one note may name.
pub const MAX_DENIED: usize = 128;

/// What a deny note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    /// The set whose keys it is about.
    pub set: String,
    /// Counts the set's deny notes. Each names what the ones before it named.
    pub number: u64,
    /// When it was made, unix milliseconds: for people; nothing depends on it.
    pub issued: u64,
    /// The keys, ascending.
    pub digests: Vec<Digest>,
}

impl Deny {
    /// The note, signed by a root of the set or by a key that signs its heads.
    pub fn sign(&self, signer: &Signer) -> String {
        let Self { set, number, issued, digests } = self;
        let mut text = format!("{DENY_FIRST_LINE}\nset {set}\nnumber {number}\nissued {issued}\n");
        for digest in digests {
            text.push_str("digest ");
            text.push_str(&hex::encode(digest.as_bytes()));
            text.push('\n');
        }
        signer.sign(&text)
    }

    /// Reads a note that one of `verifiers` has signed.
    ///
    /// # Errors
    /// [`StatementError`] says what is wrong with it.
    pub fn open(note: &str, verifiers: &[Verifier]) -> Result<Self, StatementError> {
        let mut lines = Lines::new(note::open(note, verifiers)?);
        lines.begin("nightlatch.deny/", &[DENY_FIRST_LINE])?;
        let (set, number, issued) = (lines.id("set")?, lines.number("number")?, lines.number("issued")?);
        let mut digests: Vec<Digest> = Vec::new();
        while let Some(text) = lines.another("digest") {
            let digest = hex::decode(text).map(Digest::from_bytes);
            let rising = digest.filter(|digest| digests.last().is_none_or(|last| last.as_bytes() < digest.as_bytes()));
            digests.push(rising.filter(|_| digests.len() < MAX_DENIED).ok_or(StatementError::Line("digest"))?);
        }
        lines.end()?;
        Ok(Self { set, number, issued, digests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_note_comes_back() {
        let root = Signer::new("root", &[1; 32]).unwrap();
        let deny = Deny {
            set: "set_a".into(),
            number: 2,
            issued: 7,
            digests: vec![Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32])],
        };
        let note = deny.sign(&root);
        assert_eq!(Deny::open(&note, &[root.verifier()]), Ok(deny.clone()));
        let descending = Deny { digests: deny.digests.iter().rev().cloned().collect(), ..deny.clone() };
        assert_eq!(Deny::open(&descending.sign(&root), &[root.verifier()]), Err(StatementError::Line("digest")));
        let twice = Deny { digests: vec![Digest::from_bytes([1; 32]); 2], ..deny };
        assert_eq!(Deny::open(&twice.sign(&root), &[root.verifier()]), Err(StatementError::Line("digest")));
    }
}
