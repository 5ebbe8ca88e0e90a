//! Signed notes: short texts with Ed25519 signatures beneath, as the C2SP `signed-note` specification describes them.
//!
//! ```text
//! text, any number of lines
//!
//! — name base64(4-byte key id ‖ 64-byte signature)
//! ```
//!
//! Signers that a reader does not know are ignored; one that it knows and whose signature is wrong refuses the note.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The longest note, signatures included, in bytes.
pub const MAX_NOTE_LEN: usize = 16 * 1024;
/// The most signature lines a reader looks at.
const MAX_SIGNATURES: usize = 16;
/// The algorithm byte of Ed25519 in key ids and verifier keys.
const ED25519: u8 = 1;
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why a note is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// A known signer's signature does not fit the text.
    BadSignature,
    /// Not a note.
    Malformed,
    /// Longer than [`MAX_NOTE_LEN`].
    TooLong,
    /// None of the signers is one the reader trusts.
    UnknownSigner,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadSignature => "a trusted signer's signature does not fit the note",
            Self::Malformed => "not a signed note",
            Self::TooLong => "the note is too long",
            Self::UnknownSigner => "no trusted signer has signed the note",
        })
    }
}

impl core::error::Error for NoteError {}

/// The text is not a verifier key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierError;

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a verifier key of the form name+hash+base64 with an Ed25519 key")
    }
}

impl core::error::Error for VerifierError {}

/// A key that signs notes. Its secret is wiped when dropped.
pub struct Signer {
    name: String,
    key: SigningKey,
}

impl Signer {
    /// A signer from its name and a 32-byte seed.
    ///
    /// # Errors
    /// [`VerifierError`] where the name is empty or has white space or a plus sign.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, VerifierError> {
        if !is_name(name) {
            return Err(VerifierError);
        }
        Ok(Self { name: name.into(), key: SigningKey::from_bytes(seed) })
    }

    /// What others check this signer's notes with.
    pub fn verifier(&self) -> Verifier {
        let key = self.key.verifying_key();
        Verifier { id: key_id(&self.name, &key), name: self.name.clone(), key }
    }

    /// The text with this signer's line beneath. The text must end in a newline.
    pub fn sign(&self, text: &str) -> String {
        debug_assert!(text.ends_with('\n'));
        format!("{text}\n{}", self.line(text))
    }

    fn line(&self, text: &str) -> String {
        let mut blob = Vec::with_capacity(68);
        blob.extend_from_slice(&self.verifier().id);
        blob.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{SIGNATURE_MARK}{} {}\n", self.name, Base64::encode_string(&blob))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.name)
    }
}

/// A signer that a reader trusts.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl Verifier {
    /// Reads a verifier key: `name+hash+base64(1 ‖ public key)`.
    ///
    /// # Errors
    /// [`VerifierError`] for anything else, and where the hash is not that of name and key.
    pub fn from_vkey(text: &str) -> Result<Self, VerifierError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierError);
        };
        let mut blob = [0; 33];
        let blob = Base64::decode(encoded, &mut blob).map_err(|_| VerifierError)?;
        let (&ED25519, key) = blob.split_first().ok_or(VerifierError)? else {
            return Err(VerifierError);
        };
        let key = VerifyingKey::from_bytes(key.try_into().map_err(|_| VerifierError)?).map_err(|_| VerifierError)?;
        let id = key_id(name, &key);
        if !is_name(name) || hash != format!("{:08x}", u32::from_be_bytes(id)) {
            return Err(VerifierError);
        }
        Ok(Self { name: name.into(), id, key })
    }

    /// The verifier key's text.
    pub fn to_vkey(&self) -> String {
        let mut blob = [ED25519; 33];
        blob[1..].copy_from_slice(self.key.as_bytes());
        format!("{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id), Base64::encode_string(&blob))
    }

    /// The signer's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id in signature lines: a short hash of name and key.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_vkey())
    }
}

/// A note with another signer's line beneath those it has.
///
/// # Errors
/// [`NoteError::Malformed`] where it is no note.
pub fn cosign(note: &str, signer: &Signer) -> Result<String, NoteError> {
    let split = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    Ok(format!("{note}{}", signer.line(&note[..=split])))
}

/// The text of a note that at least one of `verifiers` has signed and none of them has signed wrongly.
///
/// # Errors
/// [`NoteError`] says why it is not believed.
pub fn open<'a>(note: &'a str, verifiers: &[Verifier]) -> Result<&'a str, NoteError> {
    open_by(note, verifiers).map(|(text, _)| text)
}

/// As [`open`]; with the first of the signers that is one of `verifiers`.
///
/// # Errors
/// [`NoteError`] says why it is not believed.
pub fn open_by<'a, 'v>(note: &'a str, verifiers: &'v [Verifier]) -> Result<(&'a str, &'v Verifier), NoteError> {
    if note.len() > MAX_NOTE_LEN {
        return Err(NoteError::TooLong);
    }
    // By bytes: the search for patterns in text is larger than all the rest of this file.
    let split = note.as_bytes().windows(2).rposition(|pair| pair == b"\n\n").ok_or(NoteError::Malformed)?;
    let (text, signatures) = (&note[..=split], &note[split + 2..]);
    // In the signatures' lines, too: one spelling for one note.
    if !signatures.ends_with('\n') || note.chars().any(|c| c.is_control() && c != '\n') {
        return Err(NoteError::Malformed);
    }
    let mut believed = None;
    for (count, line) in signatures.lines().enumerate() {
        let (name, encoded) =
            line.strip_prefix(SIGNATURE_MARK).and_then(|l| l.split_once(' ')).ok_or(NoteError::Malformed)?;
        if count >= MAX_SIGNATURES || !is_name(name) {
            return Err(NoteError::Malformed);
        }
        let blob = Base64::decode_vec(encoded).map_err(|_| NoteError::Malformed)?;
        let (id, signature) = blob.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
        let Some(verifier) = verifiers.iter().find(|v| v.name == name && v.id == *id) else {
            continue;
        };
        let signature = Signature::from_slice(signature).map_err(|_| NoteError::BadSignature)?;
        verifier.key.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::BadSignature)?;
        believed = believed.or(Some(verifier));
    }
    believed.map(|verifier| (text, verifier)).ok_or(NoteError::UnknownSigner)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

/// SHA-256(name ‖ newline ‖ algorithm ‖ public key), cut to 4 bytes.
fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update(b"\n");
    hash.update([ED25519]);
    hash.update(key.as_bytes());
    let full: [u8; 32] = hash.finalize().into();
    [full[0], full[1], full[2], full[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    fn signer(name: &str, seed: u8) -> Signer {
        Signer::new(name, &[seed; 32]).unwrap()
    }

    #[test]
    fn a_note_opens_for_those_who_trust_its_signer() {
        let ours = signer("nightlatch/set_a", 1);
        let note = ours.sign("one\ntwo\n");
        assert_eq!(open(&note, &[ours.verifier()]), Ok("one\ntwo\n"));
        assert_eq!(open(&note, &[signer("nightlatch/set_a", 2).verifier()]), Err(NoteError::UnknownSigner));
        assert_eq!(open(&note.replace("two", "TWO"), &[ours.verifier()]), Err(NoteError::BadSignature));
    }

    #[test]
    fn a_stranger_beside_a_known_signer_is_ignored() {
        let ours = signer("ours", 1);
        let theirs = signer("theirs", 2);
        let text = "text\n";
        let line = theirs.sign(text)[text.len() + 1..].to_string();
        let note = ours.sign(text) + &line;
        assert_eq!(open(&note, &[ours.verifier()]), Ok(text));
        // But a known signer's wrong line refuses it, even beside a right one.
        let wrong = theirs.sign("other\n")["other\n".len() + 1..].to_string();
        let note = ours.sign(text) + &wrong;
        assert_eq!(open(&note, &[ours.verifier(), theirs.verifier()]), Err(NoteError::BadSignature));
    }

    #[test]
    fn signers_sign_beneath_each_other() {
        let (old, new) = (signer("root", 1), signer("root2", 2));
        let note = cosign(&old.sign("text\n"), &new).unwrap();
        for verifier in [old.verifier(), new.verifier()] {
            assert_eq!(open_by(&note, core::slice::from_ref(&verifier)), Ok(("text\n", &verifier)));
        }
        assert_eq!(cosign("no note", &new), Err(NoteError::Malformed));
    }

    #[test]
    fn verifier_keys_come_back() {
        let verifier = signer("nightlatch/set_a", 9).verifier();
        let text = verifier.to_vkey();
        assert_eq!(Verifier::from_vkey(&text), Ok(verifier));
        for bad in ["", "a+b", "a+00000000+AAAA", &text.replace("set_a", "set_b"), &text[..text.len() - 1]] {
            assert_eq!(Verifier::from_vkey(bad), Err(VerifierError), "{bad}");
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let ours = signer("ours", 1);
        let note = ours.sign("text\n");
        for bad in ["", "text\n", "text\n\n", &note[..note.len() - 1], &note.replace('\u{2014}', "-")] {
            let error = open(bad, &[ours.verifier()]).unwrap_err();
            assert!(matches!(error, NoteError::Malformed | NoteError::UnknownSigner), "{bad:?}: {error:?}");
        }
        assert_eq!(open(&"x".repeat(MAX_NOTE_LEN + 1), &[]), Err(NoteError::TooLong));
    }
}
