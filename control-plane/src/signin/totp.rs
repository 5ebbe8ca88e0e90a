//! Time-based one-time passwords (RFC 6238): HMAC-SHA-1, six digits, steps of 30 seconds, as every authenticator has them.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Bytes of a secret: as many as SHA-1's output (RFC 4226 §4).
pub const SECRET_LEN: usize = 20;
/// Seconds of a step.
const STEP_SECONDS: i64 = 30;
/// Steps that a clock may be early or late.
const DRIFT: i64 = 1;
/// The name under which authenticators show it.
const ISSUER: &str = "Nightlatch";

/// What an authenticator and the server share.
pub struct TotpSecret(Zeroizing<[u8; SECRET_LEN]>);

impl TotpSecret {
    /// A new one.
    pub fn draw(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bytes = Zeroizing::new([0; SECRET_LEN]);
        random(bytes.as_mut_slice());
        Self(bytes)
    }

    /// From its bytes, where they are as many.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// Its bytes, for sealing.
    pub(crate) fn bytes(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    /// In base 32, as people type it into an authenticator. Shown once.
    pub fn expose(&self) -> Zeroizing<String> {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut text = Zeroizing::new(String::with_capacity(SECRET_LEN * 8 / 5));
        // Five bytes are eight characters, and 20 is a multiple of five.
        for group in self.0.chunks(5) {
            let bits = group.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
            for place in (0..8).rev() {
                text.push(char::from(ALPHABET[(bits >> (place * 5) & 31) as usize]));
            }
        }
        text
    }

    /// What an authenticator scans (the Key Uri Format). Shown once.
    pub fn uri(&self, account: &str) -> Zeroizing<String> {
        let account: String = form_urlencoded::byte_serialize(account.as_bytes()).collect();
        let secret = self.expose();
        Zeroizing::new(format!(
            "otpauth://totp/{ISSUER}:{account}?secret={}&issuer={ISSUER}&algorithm=SHA1&digits=6&period={STEP_SECONDS}",
            *secret
        ))
    }

    /// The step whose code this is, at `now` (unix seconds), a step early or late. `None` for a wrong code, and for one of
    /// a step that is not after `last`: no code counts twice.
    pub fn step_of(&self, code: &str, now: i64, last: i64) -> Option<i64> {
        let digits = parse(code)?;
        let current = now.div_euclid(STEP_SECONDS);
        let mut found = None;
        // All of them, so that the time tells nothing.
        for step in current - DRIFT..=current + DRIFT {
            let right = bool::from(self.code(step).ct_eq(&digits));
            if right && step > last && found.is_none() {
                found = Some(step);
            }
        }
        found
    }

    fn code(&self, step: i64) -> u32 {
        let mut mac = Hmac::<Sha1>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of any length");
        mac.update(&step.to_be_bytes());
        truncate(&mac.finalize().into_bytes(), 1_000_000)
    }

    /// The code of the step at `now` (unix seconds), as an authenticator shows it.
    pub fn show(&self, now: i64) -> String {
        format!("{:06}", self.code(now.div_euclid(STEP_SECONDS)))
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(hidden)")
    }
}

/// Dynamic truncation (RFC 4226 §5.3).
fn truncate(hash: &[u8], modulus: u32) -> u32 {
    let offset = usize::from(hash[hash.len() - 1] & 15);
    let four = [hash[offset] & 127, hash[offset + 1], hash[offset + 2], hash[offset + 3]];
    u32::from_be_bytes(four) % modulus
}

/// Six digits, with blanks between them or not.
fn parse(code: &str) -> Option<u32> {
    let digits = code.bytes().filter(|byte| *byte != b' ');
    let (mut value, mut count) = (0_u32, 0);
    for digit in digits {
        if !digit.is_ascii_digit() || count == 6 {
            return None;
        }
        value = value * 10 + u32::from(digit - b'0');
        count += 1;
    }
    (count == 6).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the secret, and eight digits at certain seconds.
    const RFC_SECRET: &[u8; 20] = b"12345678901234567890";
    const RFC_CODES: [(i64, u32); 6] = [
        (59, 94_287_082),
        (1_111_111_109, 7_081_804),
        (1_111_111_111, 14_050_471),
        (1_234_567_890, 89_005_924),
        (2_000_000_000, 69_279_037),
        (20_000_000_000, 65_353_130),
    ];

    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(RFC_SECRET).unwrap()
    }

    #[test]
    fn the_codes_are_those_of_the_rfc() {
        for (second, code) in RFC_CODES {
            assert_eq!(secret().show(second), format!("{:06}", code % 1_000_000));
        }
        // RFC 4648's base 32 of the same bytes.
        assert_eq!(*secret().expose(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let uri = secret().uri("ada+x@example.com");
        assert!(uri.starts_with("otpauth://totp/Nightlatch:ada%2Bx%40example.com?secret=GEZD"), "{}", *uri);
    }

    #[test]
    fn a_code_counts_a_step_early_and_late_and_once() {
        let (now, step) = (1_000_020, 33_334);
        for (at, from) in [(now - 30, step - 1), (now, step), (now + 30, step + 1)] {
            assert_eq!(secret().step_of(&secret().show(at), now, 0), Some(from));
        }
        for at in [now - 60, now + 60] {
            assert_eq!(secret().step_of(&secret().show(at), now, 0), None);
        }
        let code = secret().show(now);
        assert_eq!(secret().step_of(&code, now, step), None, "twice");
        assert_eq!(secret().step_of(&code, now, step + 1), None, "an earlier one after a later one");
        assert_eq!(secret().step_of(&code, now, step - 1), Some(step));
    }

    #[test]
    fn other_texts_are_no_codes() {
        let now = 59;
        assert_eq!(secret().step_of("287 082", now, 0), Some(1));
        for bad in ["", "28708", "2870821", "28708a", "287082\n", "-87082", "２８７０８２"] {
            assert_eq!(secret().step_of(bad, now, 0), None, "{bad:?}");
        }
    }
}
