//! What the cookie of a session holds.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use nightlatch_key::Digest;
use zeroize::Zeroizing;

/// 256 random bits that are a session to whoever holds them. Only their digest is stored.
pub struct SessionSecret(Zeroizing<[u8; 32]>);

impl SessionSecret {
    /// A new one.
    pub fn draw(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        random(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Reads a cookie's value; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        let length = Base64UrlUnpadded::decode(text, bytes.as_mut_slice()).ok()?.len();
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// The cookie's value. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64UrlUnpadded::encode_string(self.0.as_slice()))
    }

    /// What it is stored as.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_slice())
    }

    /// The bytes, to derive keys of.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::os_random;

    #[test]
    fn a_cookie_is_read_back() {
        let secret = SessionSecret::draw(&mut os_random);
        let text = secret.expose();
        assert_eq!(text.len(), 43);
        assert_eq!(SessionSecret::parse(&text).unwrap().digest(), secret.digest());
        for bad in ["", "x", &text[1..], &format!("{}A", *text), &format!("{}=", *text)] {
            assert!(SessionSecret::parse(bad).is_none(), "{bad}");
        }
    }
}
