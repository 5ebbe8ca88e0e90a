//! Parsers of unsigned bytes: key texts, file names, route policies, edge reports.

use nightlatch_api::EdgeReport;
use nightlatch_gate::policy::Policy;
use nightlatch_key::parse;
use nightlatch_keyset::FileName;

/// A key text that is taken is spelled from its parts, and no text one character away is taken.
pub fn key_text(input: &[u8]) {
    let Ok(parsed) = parse(input) else { return };
    let spelt = format!("{}_{}_{}", parsed.brand(), parsed.environment(), parsed.id());
    assert_eq!(spelt, parsed.prefix(), "the prefix says what the parts say");
    assert!(input.starts_with(spelt.as_bytes()));
    let _ = parsed.issued_at();
    for at in 0..input.len() {
        let mut other = input.to_vec();
        other[at] = if other[at] == b'a' { b'b' } else { b'a' };
        assert!(parse(&other).is_err(), "a key with another character at {at} is taken too");
    }
}

/// A name that is taken is written the same.
pub fn file_name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(name) = FileName::parse(text) {
        assert_eq!(name.to_text(), text);
    }
}

/// A policy that is taken is encoded the same.
pub fn policy(input: &[u8]) {
    if let Ok(policy) = Policy::decode(input) {
        assert!(policy.encode() == input, "a policy with two spellings");
    }
}

/// A report that is taken comes back as it was, however it was spelled.
pub fn report(input: &[u8]) {
    let Ok(report) = serde_json::from_slice::<EdgeReport>(input) else { return };
    let spelt = serde_json::to_vec(&report).expect("a report can be written");
    let again: EdgeReport = serde_json::from_slice(&spelt).expect("what was written can be read");
    assert_eq!(again, report);
}
