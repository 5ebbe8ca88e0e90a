//! What a text is worth.

use nightlatch_key::{Brand, Digest, parse};
use nightlatch_keyset::{Record, Status};
use wasm_bindgen::prelude::*;

use crate::copy::Copy;

/// The longest text that can be a key, in bytes.
const MAX_TEXT: usize = 128;

/// The lowest 8 bits of a verdict.
#[wasm_bindgen]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It is a key, and valid.
    Allowed = 0,
    /// It is a key, and valid until its deadline; its successor is in use.
    Retiring = 1,
    /// It is no key of this set.
    Invalid = 2,
    /// It was revoked.
    Revoked = 3,
    /// It is switched off for now, or the member it belongs to is suspended or removed.
    Disabled = 4,
    /// Its deadline is over.
    Expired = 5,
    /// Nothing can be said: no head is in force.
    Stale = 6,
    /// Nothing can be said: the copy is damaged. The next offer names the whole base.
    Corrupt = 7,
}

/// A code, with the number of the profile of a key that is allowed.
pub(crate) fn pack(code: Code, record: Option<&Record>) -> u32 {
    let profile = record.filter(|_| matches!(code, Code::Allowed | Code::Retiring)).map_or(0, |record| record.profile);
    code as u32 | profile << 8
}

/// Judges a text, and gives the record of the key it is.
pub(crate) fn judge(copy: &Copy, text: &[u8], now: u64) -> (u32, Option<Record>) {
    let Some((serving, now)) = copy.serving(now) else {
        return (pack(Code::Stale, None), None);
    };
    if !may_be_key(text, serving.head.brand, serving.head.accepts_foreign) {
        return (pack(Code::Invalid, None), None);
    }
    find(copy, &Digest::of(text), now)
}

/// Whether a text may be a key of a set: minted under its brand, or of another shape where it accepts those. A text that
/// begins as a key of the brand and is none is refused unhashed.
fn may_be_key(text: &[u8], brand: Brand, accepts_foreign: bool) -> bool {
    if parse(text).is_ok_and(|parsed| parsed.brand() == brand) {
        return true;
    }
    let rest = text.strip_prefix(brand.as_str().as_bytes());
    let mistyped = rest.is_some_and(|rest| rest.starts_with(b"_live_") || rest.starts_with(b"_test_"));
    accepts_foreign && !mistyped && (1..=MAX_TEXT).contains(&text.len())
}

/// Judges the key whose text has that digest.
pub(crate) fn find(copy: &Copy, digest: &Digest, now: u64) -> (u32, Option<Record>) {
    let Some((serving, now)) = copy.serving(now) else {
        return (pack(Code::Stale, None), None);
    };
    let record = match serving.replica.lookup(&copy.pepper.tag(digest)) {
        Ok(Some(record)) => record,
        Ok(None) => return (pack(Code::Invalid, None), None),
        Err(_) => return (pack(Code::Corrupt, None), None),
    };
    let Some(profile) = serving.replica.profile(record.profile) else {
        return (pack(Code::Corrupt, None), None);
    };
    let over = record.deadline.is_some_and(|deadline| now >= deadline.saturating_mul(1_000));
    let code = match record.status {
        Status::Revoked => Code::Revoked,
        Status::Disabled => Code::Disabled,
        // A member's keys are refused all at once by their profile, and keep their own status.
        Status::Active | Status::Retiring if profile.refused => Code::Disabled,
        Status::Active | Status::Retiring if over => Code::Expired,
        Status::Active => Code::Allowed,
        Status::Retiring => Code::Retiring,
    };
    (pack(code, Some(&record)), Some(record))
}
