//! Reading key texts.

use core::fmt;

use crate::brand::{Brand, Environment, MAX_BRAND_LEN};
use crate::{CHECK_LEN, CLOCK_ORIGIN, ID_LEN, ID_TIME_LEN, MAX_KEY_LEN, TAIL_LEN, base62, check};

/// A regular expression that matches every minted key and little else, for secret scanners. A match is confirmed by its
/// checksum.
pub const KEY_PATTERN: &str = r"\b[a-z][a-z0-9]{1,11}_(?:live|test)_[0-9A-Za-z]{43}\b";

/// A text that has the shape of a key and a right checksum. Whether such a key exists is another question.
#[derive(Clone, Copy)]
pub struct Parsed<'a> {
    text: &'a str,
    brand: Brand,
    environment: Environment,
    prefix_len: usize,
}

impl<'a> Parsed<'a> {
    /// The workspace's mark.
    pub fn brand(&self) -> Brand {
        self.brand
    }

    /// Live or test, as the text says; the record decides.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// The 10 public characters that name the key.
    pub fn id(&self) -> &'a str {
        &self.text[self.prefix_len - ID_LEN..self.prefix_len]
    }

    /// `{brand}_{env}_{id}`: public, safe to log.
    pub fn prefix(&self) -> &'a str {
        &self.text[..self.prefix_len]
    }

    /// Unix seconds at which the id says the key was issued.
    pub fn issued_at(&self) -> u64 {
        let time = base62::decode(&self.id().as_bytes()[..ID_TIME_LEN]);
        time.unwrap_or_default().saturating_add(CLOCK_ORIGIN)
    }
}

impl fmt::Debug for Parsed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parsed({}…)", self.prefix())
    }
}

/// Why a text is not a key. Only the readable front tells cases apart; of the rest it is said that it does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The first part is not a brand.
    Brand,
    /// The checksum does not fit what stands before it.
    Checksum,
    /// The second part is neither `live` nor `test`.
    Environment,
    /// Too short or too long.
    Length,
    /// A character after the second underscore is not base62.
    Alphabet,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Brand => "the key does not begin with a brand",
            Self::Checksum => "the key's checksum does not fit: it was mistyped or cut",
            Self::Environment => "the key's second part is neither live nor test",
            Self::Length => "the key is too short or too long",
            Self::Alphabet => "the key holds a character that no key has",
        })
    }
}

impl core::error::Error for ParseError {}

/// Reads a key text.
///
/// The brand and the environment are public and read as such. Behind the second underscore neither a branch nor an
/// address depends on a character: there are two verdicts, over the whole of it.
///
/// # Errors
/// [`ParseError`] says what does not fit.
pub fn parse(text: &[u8]) -> Result<Parsed<'_>, ParseError> {
    if text.len() > MAX_KEY_LEN || text.len() < 2 + 1 + 4 + 1 + TAIL_LEN {
        return Err(ParseError::Length);
    }
    let (front, tail) = text.split_at(text.len() - TAIL_LEN);
    let brand_len = front.iter().take(MAX_BRAND_LEN + 1).position(|&b| b == b'_').ok_or(ParseError::Brand)?;
    let brand = core::str::from_utf8(&front[..brand_len]).map_err(|_| ParseError::Brand)?;
    let brand = Brand::new(brand).map_err(|_| ParseError::Brand)?;
    let environment = match &front[brand_len..] {
        b"_live_" => Environment::Live,
        b"_test_" => Environment::Test,
        _ => return Err(ParseError::Environment),
    };
    if !base62::all_digits(tail) {
        return Err(ParseError::Alphabet);
    }
    let (signed, given) = text.split_at(text.len() - CHECK_LEN);
    let expected = check::check_of(signed);
    if expected.iter().zip(given).fold(0, |bits, (a, b)| bits | (a ^ b)) != 0 {
        return Err(ParseError::Checksum);
    }
    // All of it is ASCII by now.
    let text = core::str::from_utf8(text).map_err(|_| ParseError::Alphabet)?;
    Ok(Parsed { text, brand, environment, prefix_len: front.len() + ID_LEN })
}
