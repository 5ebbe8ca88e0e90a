//! The verifier core as a JavaScript module: a local copy of a key set, and verdicts from it.
//!
//! The module does what every runtime needs and no runtime does for it: it reads and believes heads, takes bases and
//! deltas, follows a set into its next epoch, and tells what a key's text is worth. It has no clock and fetches nothing:
//! the caller brings the time and the bytes.
//!
//! ```js
//! const verifier = Verifier.withRoot(set, rootKey, pepperId, pepper);
//! let files = verifier.offer(headText, Date.now());        // what to fetch
//! if (verifier.needsTrust) …                                // `trust` beside the head, for takeTrust(); then offer again
//! verifier.finish(await Promise.all(files.map(fetchIt)), Date.now());
//! while (verifier.work()) {}                               // one slice of a rebase, at most, each
//! verifier.verify(keyText, Date.now());                    // a number, see `Code`
//! ```

// Without the standard library's own panics a message costs nothing: a trap says where, and the module is as large as
// what it does.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod attempt;
mod copy;
#[cfg(target_arch = "wasm32")]
mod runtime;
#[cfg(test)]
mod tests;
mod trusted;
mod verdict;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use nightlatch_key::Digest;
use nightlatch_keyset::note::Verifier as Signed;
use nightlatch_keyset::{Pepper, Record};
use wasm_bindgen::prelude::*;

use attempt::Attempt;
use copy::{Copy, Failure, Offer};
pub use verdict::Code;

#[wasm_bindgen]
extern "C" {
    /// JavaScript's array of bytes.
    #[wasm_bindgen(js_name = Uint8Array)]
    pub type Bytes;

    /// A view of all of it, which is copied on its way in.
    #[wasm_bindgen(method)]
    fn subarray(this: &Bytes) -> Vec<u8>;
}

/// A file to fetch, from `files/` beside the head.
#[wasm_bindgen]
pub struct File {
    name: String,
    max_length: u64,
}

#[wasm_bindgen]
impl File {
    /// Its name.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The most bytes it may have; more are refused.
    #[wasm_bindgen(getter, js_name = maxLength)]
    pub fn max_length(&self) -> f64 {
        self.max_length as f64
    }
}

/// A local copy of one key set.
#[wasm_bindgen]
pub struct Verifier {
    copy: Copy,
    attempt: Option<Attempt>,
    needs_trust: bool,
    last: Option<Record>,
}

#[wasm_bindgen]
impl Verifier {
    /// A copy of nothing yet. `verifierKeys` is whose heads are believed, as `name+hash+base64`, separated by commas; `pepper`
    /// is the 32 bytes that go by `pepperId`.
    ///
    /// # Errors
    /// Where one of them is not what it should be.
    #[wasm_bindgen(constructor)]
    pub fn new(set: &str, verifier_keys: &str, pepper_id: &str, pepper: &[u8]) -> Result<Self, JsError> {
        Self::of(set, Vec::new(), keys(verifier_keys)?, pepper_id, pepper)
    }

    /// The same by root keys: whose heads are believed, a trust note says that one of them has signed. See
    /// [`needsTrust`](Self::needs_trust).
    ///
    /// # Errors
    /// Where one of them is not what it should be.
    #[wasm_bindgen(js_name = withRoot)]
    pub fn with_root(set: &str, root_keys: &str, pepper_id: &str, pepper: &[u8]) -> Result<Self, JsError> {
        Self::of(set, keys(root_keys)?, Vec::new(), pepper_id, pepper)
    }

    fn of(
        set: &str,
        roots: Vec<Signed>,
        signers: Vec<Signed>,
        pepper_id: &str,
        pepper: &[u8],
    ) -> Result<Self, JsError> {
        let pepper = pepper.try_into().map_err(|_| JsError::new("a pepper has 32 bytes"))?;
        let pepper = Pepper::new(pepper_id, set, pepper).map_err(|error| told(&error))?;
        let copy = Copy::new(set.into(), roots, signers, pepper);
        Ok(Self { copy, attempt: None, needs_trust: false, last: None })
    }

    /// Whether the head offered last is to be offered again after the trust note, the object `trust` beside the head, has
    /// been given to [`takeTrust`](Self::take_trust).
    #[wasm_bindgen(getter, js_name = needsTrust)]
    pub fn needs_trust(&self) -> bool {
        self.needs_trust
    }

    /// Takes a trust note. Where it no longer lists the key that signed the head in force, nothing is in force any more.
    ///
    /// # Errors
    /// Where it is not signed by a root, of another set, or older than one taken before.
    #[wasm_bindgen(js_name = takeTrust)]
    pub fn take_trust(&mut self, note: &str) -> Result<(), JsError> {
        self.copy.take_trust(note).map_err(|error| told(&error))
    }

    /// Looks at a head, and says which files it takes to put it into force; none where it is in force, or where the
    /// copy is on its way into the next epoch and [`work`](Self::work) has yet to get it there, or where it
    /// [needs trust](Self::needs_trust). What an earlier head was waiting for is forgotten.
    ///
    /// # Errors
    /// Where the head is not believed, not of this set, not timely, or older than one accepted before.
    pub fn offer(&mut self, head: &str, now: f64) -> Result<Vec<File>, JsError> {
        let now = self.copy.now(instant(now));
        self.attempt = None;
        let asked = core::mem::take(&mut self.needs_trust);
        let attempt = match self.copy.offer(head, now).map_err(|error| told(&error))? {
            Offer::News(attempt) => Some(attempt),
            Offer::NeedsTrust if asked => return Err(told(&Failure::Trust)),
            Offer::NeedsTrust => {
                self.needs_trust = true;
                None
            }
            Offer::Nothing => None,
        };
        let files = attempt.iter().flat_map(Attempt::files).map(|(name, max_length)| File { name, max_length });
        let files = files.collect();
        self.attempt = attempt;
        Ok(files)
    }

    /// Takes a piece of one of the files that [`offer`](Self::offer) named, in order. Files taken like this need never be
    /// whole outside of the module.
    ///
    /// # Errors
    /// Where no such file is waited for, or it is longer than it may be.
    pub fn append(&mut self, file: usize, piece: &[u8]) -> Result<(), JsError> {
        let attempt = self.attempt.as_mut().ok_or_else(|| JsError::new("no file is waited for"))?;
        attempt.extend(file, piece).map_err(|error| told(&error))
    }

    /// Puts the offered head into force. `files` are those that [`offer`](Self::offer) named, in its order, or none where
    /// [`append`](Self::append) took them. All of it happens, or none. True where [`work`](Self::work) has something to do
    /// before the head is in force.
    ///
    /// # Errors
    /// Where a file is not what the head implies, or the head has become too old meanwhile.
    pub fn finish(&mut self, files: Vec<Bytes>, now: f64) -> Result<bool, JsError> {
        for (number, file) in files.into_iter().enumerate() {
            self.append(number, &file.subarray())?;
        }
        let now = self.copy.now(instant(now));
        let attempt = self.attempt.take().ok_or_else(|| JsError::new("no file is waited for"))?;
        self.copy.finish(attempt, now).map_err(|error| told(&error))
    }

    /// Does one slice of what is to be done in the background, at most some milliseconds; false where there is nothing.
    /// Verdicts go on between slices.
    ///
    /// # Errors
    /// Where the next epoch cannot be built here; the next [`offer`](Self::offer) names its whole base.
    pub fn work(&mut self) -> Result<bool, JsError> {
        self.copy.work().map_err(|error| told(&error))
    }

    /// What a key's text is worth now: a [`Code`] in the lowest 8 bits and, of a key that is allowed, the number of its
    /// profile above them.
    pub fn verify(&mut self, text: &str, now: f64) -> u32 {
        let now = self.copy.now(instant(now));
        let (verdict, record) = verdict::judge(&self.copy, text.as_bytes(), now);
        self.last = record;
        verdict
    }

    /// The same by the SHA-256 digest of a text, 32 bytes, for callers that keep no texts. The shape is then not looked at.
    pub fn find(&mut self, digest: &[u8], now: f64) -> u32 {
        let now = self.copy.now(instant(now));
        let Ok(digest) = digest.try_into() else {
            return verdict::pack(Code::Invalid, None);
        };
        let (verdict, record) = verdict::find(&self.copy, &Digest::from_bytes(digest), now);
        self.last = record;
        verdict
    }

    /// The principal of the key found last, 0 where the set does not say.
    #[wasm_bindgen(getter)]
    pub fn subject(&self) -> u32 {
        self.last.map_or(0, |record| record.subject)
    }

    /// The number of the key found last, 0 where the set does not say.
    #[wasm_bindgen(getter, js_name = keyNumber)]
    pub fn key_number(&self) -> u32 {
        self.last.map_or(0, |record| record.number)
    }

    /// The unix second from which the key found last is not valid, if there is one.
    #[wasm_bindgen(getter)]
    pub fn deadline(&self) -> Option<f64> {
        self.last.and_then(|record| record.deadline).map(|at| at as f64)
    }

    /// What the keys of a profile may do, separated by spaces. The number is a verdict's upper 24 bits.
    pub fn scopes(&self, profile: u32) -> Option<String> {
        self.copy.profile(profile).map(|profile| profile.scopes.join(" "))
    }

    /// The name of a profile's rate limit, if it has one.
    pub fn tier(&self, profile: u32) -> Option<String> {
        self.copy.profile(profile).and_then(|profile| profile.tier.clone())
    }

    /// The version in force, 0 where nothing is.
    #[wasm_bindgen(getter)]
    pub fn version(&self) -> f64 {
        self.copy.replica().map_or(0.0, |replica| replica.version() as f64)
    }

    /// How many keys the copy holds.
    #[wasm_bindgen(getter)]
    pub fn keys(&self) -> f64 {
        self.copy.replica().map_or(0.0, |replica| replica.len() as f64)
    }

    /// Bytes that the copy occupies.
    #[wasm_bindgen(getter, js_name = copyBytes)]
    pub fn copy_bytes(&self) -> f64 {
        self.copy.replica().map_or(0.0, |replica| replica.memory() as f64)
    }

    /// Bytes of the module's whole memory, which never shrinks.
    #[wasm_bindgen(getter, js_name = memoryBytes)]
    pub fn memory_bytes(&self) -> f64 {
        memory_pages() as f64 * 65_536.0
    }
}

#[cfg(target_arch = "wasm32")]
fn memory_pages() -> usize {
    core::arch::wasm32::memory_size(0)
}

#[cfg(not(target_arch = "wasm32"))]
fn memory_pages() -> usize {
    0
}

/// JavaScript's milliseconds as an instant. What is no time counts as the end of all time, at which nothing is valid.
fn instant(ms: f64) -> u64 {
    if ms >= 0.0 { ms as u64 } else { u64::MAX }
}

fn keys(text: &str) -> Result<Vec<Signed>, JsError> {
    text.split(',').map(|key| Signed::from_vkey(key.trim()).map_err(|error| told(&error))).collect()
}

fn told(error: &dyn core::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}
