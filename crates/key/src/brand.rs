//! The readable front of a key: brand and environment.

use core::fmt;

/// The longest brand, in characters.
pub(crate) const MAX_BRAND_LEN: usize = 12;

/// A workspace's mark at the front of its keys: `[a-z][a-z0-9]{1,11}`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Brand {
    bytes: [u8; MAX_BRAND_LEN],
    len: u8,
}

impl Brand {
    /// Takes the brand from its text.
    ///
    /// # Errors
    /// [`BrandError`] where the text is not 2 to 12 lower-case letters and digits that begin with a letter.
    pub fn new(text: &str) -> Result<Self, BrandError> {
        let source = text.as_bytes();
        let shape = (2..=MAX_BRAND_LEN).contains(&source.len())
            && source[0].is_ascii_lowercase()
            && source.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !shape {
            return Err(BrandError);
        }
        let mut bytes = [0; MAX_BRAND_LEN];
        bytes[..source.len()].copy_from_slice(source);
        Ok(Self { bytes, len: source.len() as u8 })
    }

    /// The text of the brand.
    pub fn as_str(&self) -> &str {
        // Always ASCII: `new` admits nothing else.
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// Whether this brand is kept for the product's own tokens (`nlm`, `nle`, `nlo`, `nlc`, `nli`, `nll`, `nlp`) and closed to
    /// workspaces.
    pub fn is_reserved(&self) -> bool {
        matches!(self.as_str(), "nlm" | "nle" | "nlo" | "nlc" | "nli" | "nll" | "nlp")
    }
}

impl fmt::Debug for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a brand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrandError;

impl fmt::Display for BrandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a brand is 2 to 12 lower-case letters and digits and begins with a letter")
    }
}

impl core::error::Error for BrandError {}

/// Where a key is meant to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Environment {
    /// Production.
    Live,
    /// Everything else.
    Test,
}

impl Environment {
    /// `live` or `test`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The environment of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brands_have_a_shape() {
        for good in ["nl", "crun", "a1", "abcdefghijkl"] {
            assert_eq!(Brand::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a", "1a", "Nl", "n_l", "abcdefghijklm", "né"] {
            assert_eq!(Brand::new(bad), Err(BrandError), "{bad}");
        }
        assert!(Brand::new("nlm").unwrap().is_reserved());
        assert!(!Brand::new("nl").unwrap().is_reserved());
    }
}
