//! `X-Nightlatch-Signature`: how an origin knows that the identity headers were written by its gate.
//!
//! The value is `t=<unix seconds>, v1=<64 hexadecimal digits>`. The digits are HMAC-SHA-256 under the origin key over
//! seven fields in this order: `t` in decimal without leading zeros, the method, the forwarded target (canonical path,
//! with `?` and query where there is one), and the values of `X-Nightlatch-Key-Id`, `-Principal`, `-Workspace` and
//! `-Scopes`. Each field is written as its length in bytes (4 bytes, little-endian) and then its bytes, so that no two
//! requests have the same message.
//!
//! An origin takes the request line and headers as it received them, computes the same, compares in constant time, and
//! refuses what is more than 30 s old, or from more than 30 s ahead. [`verify_signature`] does that. The body is not
//! covered.

use alloc::string::String;
use core::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::identity::Identity;
use crate::hex::push_hex;
use crate::percent::octet;

/// How far a signature's time may be from the origin's, in seconds.
pub const WINDOW_SECONDS: u64 = 30;

/// A key that gate and origin share, ready for use.
#[derive(Clone)]
pub struct OriginKey(Hmac<Sha256>);

impl OriginKey {
    /// The shortest key, in bytes.
    pub const MIN_BYTES: usize = 16;

    /// Takes the key's bytes; `None` where there are fewer than [`Self::MIN_BYTES`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < Self::MIN_BYTES {
            return None;
        }
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// The value of `X-Nightlatch-Signature` for a request forwarded at `t` (unix seconds).
    #[must_use]
    pub fn sign(&self, t: u64, method: &str, target: &str, identity: &Identity) -> String {
        let tag = self.mac(t, method, target, identity).finalize().into_bytes();
        let mut value = String::with_capacity(2 + 20 + 5 + 64);
        // Writing to a string cannot fail.
        let _ = write!(value, "t={t}, v1=");
        push_hex(&mut value, &tag);
        value
    }

    fn mac(&self, t: u64, method: &str, target: &str, identity: &Identity) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        let mut field = |text: &str| {
            // No header or target comes near 4 GiB.
            mac.update(&(text.len() as u32).to_le_bytes());
            mac.update(text.as_bytes());
        };
        let mut decimal = String::with_capacity(20);
        let _ = write!(decimal, "{t}");
        field(&decimal);
        field(method);
        field(target);
        for (_, value) in identity.headers() {
            field(value);
        }
        mac
    }
}

impl fmt::Debug for OriginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginKey(..)")
    }
}

/// Why an origin must not believe the identity headers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// The value is not a signature.
    Malformed,
    /// It was made for other values, or with another key.
    Wrong,
    /// It is right but too old, or from too far ahead.
    OutsideWindow,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the signature is malformed",
            Self::Wrong => "the signature does not fit the request",
            Self::OutsideWindow => "the signature is not of the last 30 seconds",
        })
    }
}

impl core::error::Error for SignatureError {}

/// Checks a signature, as an origin does. `now` is the origin's time in unix seconds; method and target are those of
/// the request line, the identity what the request's headers say.
///
/// # Errors
/// [`SignatureError`] where the identity must not be believed.
pub fn verify_signature(
    key: &OriginKey,
    value: &str,
    now: u64,
    method: &str,
    target: &str,
    identity: &Identity,
) -> Result<(), SignatureError> {
    let (t, tag) = read(value).ok_or(SignatureError::Malformed)?;
    key.mac(t, method, target, identity).verify_slice(&tag).map_err(|_| SignatureError::Wrong)?;
    if now.abs_diff(t) > WINDOW_SECONDS { Err(SignatureError::OutsideWindow) } else { Ok(()) }
}

/// Reads `t=…, v1=…`, in exactly the form in which it is written.
fn read(value: &str) -> Option<(u64, [u8; 32])> {
    let (t, tag) = value.strip_prefix("t=")?.split_once(", v1=")?;
    let canonical = t == "0" || (!t.starts_with('0') && t.bytes().all(|b| b.is_ascii_digit()));
    let t = t.parse().ok().filter(|_| canonical)?;
    let digits = tag.as_bytes();
    if digits.len() != 64 || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = octet(*pair)?;
    }
    Some((t, bytes))
}
