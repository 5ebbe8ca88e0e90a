//! The key under which secrets are sealed that several processes share through the database.

use std::fmt;

use super::{LEN, SecretsError, Seed, decode, open, seal};

/// A master key. It comes from the environment or a file and is stored nowhere by this program.
#[derive(Clone)]
pub struct MasterKey(Seed);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

impl MasterKey {
    /// Reads 32 bytes in base64.
    ///
    /// # Errors
    /// [`SecretsError::BadMasterKey`].
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        decode(text.trim()).map(Self).ok_or(SecretsError::BadMasterKey)
    }

    /// Seals a secret for one place only.
    pub(super) fn seal(&self, kind: &str, name: &str, secret: &[u8; LEN]) -> Vec<u8> {
        seal(&self.0, place(kind, name).as_bytes(), secret)
    }

    /// Opens what was sealed for that place.
    pub(super) fn open(&self, kind: &str, name: &str, sealed: &[u8]) -> Result<Seed, SecretsError> {
        let plain = open(&self.0, place(kind, name).as_bytes(), sealed).ok_or(SecretsError::WrongMasterKey)?;
        plain.as_slice().try_into().map(Seed::new).map_err(|_| SecretsError::WrongMasterKey)
    }
}

fn place(kind: &str, name: &str) -> String {
    format!("nightlatch/shared-secret/1\0{kind}\0{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let key = MasterKey::parse("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap();
        let sealed = key.seal("head", "a", &[9; LEN]);
        assert_eq!(*key.open("head", "a", &sealed).unwrap(), [9; LEN]);
        assert!(key.open("head", "b", &sealed).is_err());
        assert!(key.open("pepper", "a", &sealed).is_err());
        assert!(MasterKey::parse("AQEB").is_err());
        let other = MasterKey::parse("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=").unwrap();
        assert!(matches!(other.open("head", "a", &sealed), Err(SecretsError::WrongMasterKey)));
    }
}
