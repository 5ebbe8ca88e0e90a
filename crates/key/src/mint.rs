//! Making key texts.

use core::fmt;

use zeroize::Zeroizing;

use crate::brand::{Brand, Environment};
use crate::parse::{Parsed, parse};
use crate::{CHECK_LEN, CLOCK_ORIGIN, Digest, ID_LEN, ID_TIME_LEN, MAX_KEY_LEN, SECRET_LEN, base62, check};

/// A whole key text, secret included. It is wiped when dropped and never printed.
#[derive(Clone)]
pub struct KeyText {
    bytes: Zeroizing<[u8; MAX_KEY_LEN]>,
    len: usize,
}

impl KeyText {
    /// The text itself. Whoever calls this hands out the secret.
    pub fn expose(&self) -> &str {
        // Always ASCII: `mint` writes nothing else.
        core::str::from_utf8(self.expose_bytes()).unwrap_or_default()
    }

    /// The parts of the text.
    pub fn parts(&self) -> Parsed<'_> {
        match parse(self.expose_bytes()) {
            Ok(parsed) => parsed,
            Err(_) => unreachable!("a minted text parses: `mint` wrote it"),
        }
    }

    /// What a database keeps of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.expose_bytes())
    }

    fn expose_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({}…)", self.parts().prefix())
    }
}

/// Mints a key text.
///
/// `issued_at` is in unix seconds; times before 2020 count as 2020-01-01. `random` must fill its argument from a
/// cryptographically secure source.
pub fn mint(brand: &Brand, environment: Environment, issued_at: u64, random: &mut dyn FnMut(&mut [u8])) -> KeyText {
    let mut text = KeyText { bytes: Zeroizing::new([0; MAX_KEY_LEN]), len: 0 };
    text.push(brand.as_str().as_bytes());
    text.push(b"_");
    text.push(environment.as_str().as_bytes());
    text.push(b"_");

    let mut time = [0; ID_TIME_LEN];
    base62::encode(issued_at.saturating_sub(CLOCK_ORIGIN), &mut time);
    text.push(&time);

    let mut tail = Zeroizing::new([0; ID_LEN - ID_TIME_LEN + SECRET_LEN]);
    base62::fill_random(tail.as_mut_slice(), random);
    text.push(tail.as_slice());

    let check: [u8; CHECK_LEN] = check::check_of(text.expose_bytes());
    text.push(&check);
    text
}
