//! The trust note: which keys sign a set's heads, said by its root key.
//!
//! ```text
//! nightlatch.trust/1
//! set set_…
//! version 3
//! issued 1763738000000
//! floor 0 12 4711
//! root name+hash+key
//! signer name+hash+key
//! ```

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::StatementError;
use crate::lines::Lines;
use crate::note::{self, Signer, Verifier};

/// The first line of every trust note. Its number is the format's version.
pub const TRUST_FIRST_LINE: &str = "nightlatch.trust/1";

/// The most roots, and the most signers, that a note may list.
const MAX_KEYS: usize = 8;

/// What a trust note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The set whose heads it is about.
    pub set: String,
    /// Counts the set's trust notes. A reader never goes back to a lesser one.
    pub version: u64,
    /// When it was made, unix milliseconds: for people; nothing depends on it.
    pub issued: u64,
    /// Incarnation, epoch and version below which no head is to be accepted any more. It takes the place of what a reader
    /// remembers having accepted from a signer that this note no longer lists.
    pub floor: [u64; 3],
    /// The keys that may sign the next trust note.
    pub roots: Vec<Verifier>,
    /// The keys that sign heads and deltas.
    pub signers: Vec<Verifier>,
}

impl Trust {
    /// The note's text, to be signed elsewhere.
    pub fn to_text(&self) -> String {
        let Self { set, version, issued, floor: [incarnation, epoch, at], roots, signers } = self;
        let mut text = format!(
            "{TRUST_FIRST_LINE}\nset {set}\nversion {version}\nissued {issued}\nfloor {incarnation} {epoch} {at}\n"
        );
        for (field, keys) in [("root", roots), ("signer", signers)] {
            for key in keys {
                text.push_str(&format!("{field} {}\n", key.to_vkey()));
            }
        }
        text
    }

    /// The note, signed by a root. Where readers pin different roots, [`note::cosign`] adds the others.
    pub fn sign(&self, root: &Signer) -> String {
        root.sign(&self.to_text())
    }

    /// Reads a note that one of `roots` has signed.
    ///
    /// # Errors
    /// [`StatementError`] says what is wrong with it.
    pub fn open(note: &str, roots: &[Verifier]) -> Result<Self, StatementError> {
        Self::parse(note::open(note, roots)?)
    }

    /// Reads a text that nobody has signed, or whose signature somebody else checks.
    ///
    /// # Errors
    /// [`StatementError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        let mut lines = Lines::new(text);
        lines.begin("nightlatch.trust/", &[TRUST_FIRST_LINE])?;
        let trust = Self {
            set: lines.id("set")?,
            version: lines.number("version")?,
            issued: lines.number("issued")?,
            floor: lines.numbers("floor")?,
            roots: lines.verifiers("root", MAX_KEYS)?,
            signers: lines.verifiers("signer", MAX_KEYS)?,
        };
        lines.end()?;
        Ok(trust)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn signer(name: &str, seed: u8) -> Signer {
        Signer::new(name, &[seed; 32]).unwrap()
    }

    fn trust() -> Trust {
        Trust {
            set: "set_a".into(),
            version: 3,
            issued: 1_700_000_000_000,
            floor: [0, 12, 4_711],
            roots: vec![signer("root", 1).verifier(), signer("root", 2).verifier()],
            signers: vec![signer("nightlatch/set_a", 3).verifier()],
        }
    }

    #[test]
    fn a_note_comes_back_for_those_who_pin_one_of_its_roots() {
        let (old, new) = (signer("root", 1), signer("root", 2));
        let note = note::cosign(&trust().sign(&old), &new).unwrap();
        for root in [&old, &new] {
            assert_eq!(Trust::open(&note, &[root.verifier()]), Ok(trust()));
        }
        let stranger = signer("root", 9).verifier();
        assert_eq!(Trust::open(&note, &[stranger]), Err(StatementError::Note(note::NoteError::UnknownSigner)));
    }

    #[test]
    fn another_text_is_refused() {
        let text = trust().to_text();
        assert_eq!(Trust::parse(&text), Ok(trust()));
        let no_signer = text.lines().take(7).map(|line| format!("{line}\n")).collect::<String>();
        let many = format!("{text}{}", text.lines().last().map(|line| format!("{line}\n").repeat(8)).unwrap());
        for (bad, error) in [
            (text.replace("trust/1", "trust/2"), StatementError::Version),
            (text.replace("nightlatch.trust", "nightlatch.head"), StatementError::Kind),
            (text.replace("version 3", "version 03"), StatementError::Line("version")),
            (text.replace("floor 0 12", "floor 0 12 1"), StatementError::Line("floor")),
            (no_signer, StatementError::Line("signer")),
            (many, StatementError::Line("signer")),
            (format!("{text}more\n"), StatementError::Line("the end")),
        ] {
            assert_eq!(Trust::parse(&bad), Err(error), "{bad}");
        }
    }
}
