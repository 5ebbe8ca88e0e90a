//! Keys made elsewhere, taken over by text or digest.

use nightlatch_key::{Digest, Environment};

use super::change::check_times;
use super::{Labels, Name, Owner, Refusal, Scopes, Tier};

/// A checked line of an import.
#[derive(Clone, Debug)]
pub struct ImportLine {
    /// SHA-256 of the key's text.
    pub digest: Digest,
    /// What it is for.
    pub name: Name,
    /// Live or test.
    pub environment: Environment,
    /// The principal; the workspace's default one where omitted.
    pub subject: Option<u32>,
    /// What it may do.
    pub scopes: Scopes,
    /// Its rate limit's name.
    pub tier: Option<Tier>,
    /// Who answers for it.
    pub owner: Option<Owner>,
    /// Free labels.
    pub labels: Labels,
    /// Unix seconds, in the future.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub rotate_by: Option<i64>,
    /// Declared with less than 128 bits of entropy, or undeclared.
    pub weak: bool,
}

impl ImportLine {
    /// Checks the line's times against the database clock, unix milliseconds.
    ///
    /// # Errors
    /// [`Refusal::ExpiryPast`], [`Refusal::Invalid`] for a time beyond 2156.
    pub fn check_times(&self, now: i64) -> Result<(), Refusal> {
        check_times(self.expires_at, self.rotate_by, now)
    }
}

/// How a line names the key.
#[derive(Clone, Debug)]
pub enum Material {
    /// The text itself, 1 to 128 bytes.
    Text(secrecy::SecretString),
    /// SHA-256 of the text, 64 hexadecimal characters.
    Digest(String),
}

/// A line as a client sends it, its texts checked by their types.
#[derive(Clone, Debug)]
pub struct RawLine {
    /// Text or digest.
    pub material: Material,
    /// What it is for.
    pub name: Name,
    /// Live or test.
    pub environment: Environment,
    /// The principal.
    pub subject: Option<u32>,
    /// What it may do.
    pub scopes: Scopes,
    /// Its rate limit's name.
    pub tier: Option<Tier>,
    /// Who answers for it.
    pub owner: Option<Owner>,
    /// Free labels.
    pub labels: Labels,
    /// Unix seconds, in the future.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub rotate_by: Option<i64>,
    /// What the sender says of the text's randomness.
    pub entropy_bits: Option<u32>,
}

impl RawLine {
    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where text or digest have the wrong shape; [`Refusal::RotateByRequired`] where a weak key
    /// does not say when it is to be rotated. Expiries are checked against the database clock later.
    pub fn check(self) -> Result<ImportLine, Refusal> {
        use secrecy::ExposeSecret as _;
        let digest = match &self.material {
            Material::Text(text) if (1..=128).contains(&text.expose_secret().len()) => {
                Digest::of(text.expose_secret().as_bytes())
            }
            Material::Text(_) => return Err(Refusal::Invalid { field: "key" }),
            Material::Digest(hex) => Digest::from_hex(hex).map_err(|_| Refusal::Invalid { field: "digest" })?,
        };
        let weak = self.entropy_bits.is_none_or(|bits| bits < 128);
        if weak && self.rotate_by.is_none() {
            return Err(Refusal::RotateByRequired);
        }
        Ok(ImportLine {
            digest,
            name: self.name,
            environment: self.environment,
            subject: self.subject,
            scopes: self.scopes,
            tier: self.tier,
            owner: self.owner,
            labels: self.labels,
            expires_at: self.expires_at,
            rotate_by: self.rotate_by,
            weak,
        })
    }
}
