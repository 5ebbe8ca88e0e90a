//! What is personal in an entry: committed to, so that it can be shown, and erased without a trace.

use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_keyset::Hash;
use sha2::{Digest as _, Sha256};

/// What a commitment begins with.
const LABEL: &[u8] = b"nightlatch.audit-personal/1";

/// Bytes of a salt. It is what keeps a guessed address from being confirmed.
pub const SALT_LEN: usize = 16;

/// Random bytes that are erased with the value they belong to.
pub type Salt = [u8; SALT_LEN];

/// What stands in an entry for a value. Without the salt it says nothing of it.
pub fn commitment(field: &str, salt: &Salt, value: &str) -> Hash {
    let mut hash = Sha256::new_with_prefix(LABEL);
    hash.update(u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes());
    hash.update(field);
    hash.update(salt);
    hash.update(value);
    Hash(hash.finalize().into())
}

/// Whether a text can name a personal field.
pub fn is_field(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'.';
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

/// An entry's commitments: `field:hex`, separated by blanks, the fields ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commitments(Vec<(String, Hash)>);

impl Commitments {
    /// Of these fields, in any order. One that is named twice is kept once.
    pub fn new(mut fields: Vec<(String, Hash)>) -> Self {
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        fields.dedup_by(|one, other| one.0 == other.0);
        Self(fields)
    }

    /// Their text; `None` where there are none.
    pub fn to_text(&self) -> Option<String> {
        let mut text = String::new();
        for (field, commitment) in &self.0 {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(field);
            text.push(':');
            text.push_str(&commitment.to_hex());
        }
        (!text.is_empty()).then_some(text)
    }

    /// Reads what [`Self::to_text`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields: Vec<(String, Hash)> = Vec::new();
        for word in text.split(' ') {
            let (field, hex) = word.split_once(':').filter(|(field, _)| is_field(field))?;
            if fields.last().is_some_and(|(last, _)| last.as_str() >= field) {
                return None;
            }
            fields.push((field.into(), Hash::from_hex(hex)?));
        }
        Some(Self(fields))
    }

    /// A field's commitment.
    pub fn of(&self, field: &str) -> Option<&Hash> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, commitment)| commitment)
    }

    /// The fields, ascending.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(field, _)| field.as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec;

    #[test]
    fn commitments_have_one_spelling() {
        let hash = commitment("email", &[1; SALT_LEN], "ada@example.org");
        let all = Commitments::new(vec![("source".into(), hash), ("email".into(), hash)]);
        let text = all.to_text().unwrap();
        assert_eq!(text, format!("email:{hash} source:{hash}"));
        assert_eq!(Commitments::parse(&text), Some(all));
        let upper = format!("email:{}", hash.to_hex().to_uppercase());
        for wrong in ["", " ", "email", "email:", &upper, &format!("b:{hash} a:{hash}"), &format!("a:{hash}  b:{hash}")]
        {
            assert_eq!(Commitments::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Commitments::default().to_text(), None);
    }

    #[test]
    fn field_salt_and_value_each_count() {
        let of = commitment("ab", &[1; SALT_LEN], "c");
        for other in [
            commitment("a", &[1; SALT_LEN], "bc"),
            commitment("ab", &[2; SALT_LEN], "c"),
            commitment("ab", &[1; SALT_LEN], "d"),
        ] {
            assert_ne!(of, other);
        }
    }
}
