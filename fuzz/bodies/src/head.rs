//! Heads, trust notes and deny notes, and the notes around them.

use nightlatch_keyset::note::{self, MAX_NOTE_LEN, Verifier};
use nightlatch_keyset::{AuditGap, Deny, Head, MAX_DENIED, Trust};

use crate::stand::stand;

/// The input is a head's text, and signed here. A head that is taken is signed the same.
pub fn head(input: &[u8]) {
    let Some(note) = signed(input) else { return };
    if let Ok(head) = Head::open(&note, &stand().verifiers) {
        assert_eq!(head.sign(&stand().signer), note, "a head with two spellings");
        assert!(head.version >= head.base_version && head.valid_until >= head.issued);
    }
}

/// The input is a trust note's text, and signed here. What is taken is signed the same.
pub fn trust(input: &[u8]) {
    let Some(note) = signed(input) else { return };
    if let Ok(trust) = Trust::open(&note, &stand().verifiers) {
        assert_eq!(trust.sign(&stand().signer), note, "a trust note with two spellings");
        assert!(!trust.roots.is_empty() && !trust.signers.is_empty(), "a trust note that trusts nobody");
    }
}

/// The input is a deny note's text, and signed here. What is taken is signed the same.
pub fn deny(input: &[u8]) {
    let Some(note) = signed(input) else { return };
    if let Ok(deny) = Deny::open(&note, &stand().verifiers) {
        assert_eq!(deny.sign(&stand().signer), note, "a deny note with two spellings");
        assert!(deny.digests.len() <= MAX_DENIED);
    }
}

/// The input is an audit note's text, and signed here. What is taken is signed the same.
pub fn audit_note(input: &[u8]) {
    let Some(note) = signed(input) else { return };
    if let Ok(gap) = AuditGap::open(&note, &stand().verifiers) {
        assert_eq!(gap.sign(&stand().signer), note, "an audit note with two spellings");
        assert!(gap.published.count > 0);
    }
}

fn signed(input: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(input).ok().filter(|text| text.ends_with('\n'))?;
    Some(stand().signer.sign(text))
}

/// The input is a whole note, signatures and all, or a verifier key. What is believed is what a known signer signed.
pub fn note(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(believed) = note::open(text, &stand().verifiers) {
        assert!(text.len() <= MAX_NOTE_LEN && text.starts_with(believed));
        let line = stand().signer.sign(believed)[believed.len() + 1..].trim_end().to_owned();
        assert!(text.lines().any(|found| found == line), "believed without the one signature there is");
    }
    if let Ok(verifier) = Verifier::from_vkey(text) {
        assert_eq!(verifier.to_vkey(), text, "a verifier key with two spellings");
    }
}
