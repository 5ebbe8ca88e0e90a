//! Heads and the notes around them.

use nightlatch_keyset::Head;
use nightlatch_keyset::note::{self, MAX_NOTE_LEN, Verifier};

use crate::stand::stand;

/// The input is a head's text, and signed here. A head that is taken is signed the same.
pub fn head(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if !text.ends_with('\n') {
        return;
    }
    let note = stand().signer.sign(text);
    if let Ok(head) = Head::open(&note, &stand().verifiers) {
        assert_eq!(head.sign(&stand().signer), note, "a head with two spellings");
        assert!(head.version >= head.base_version && head.valid_until >= head.issued);
    }
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
