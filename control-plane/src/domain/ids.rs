//! Prefixed ids.

use std::fmt;

/// The characters of generated ids: Crockford's base 32, lower case, so that ids survive being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The characters of ids within key texts.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Random characters of a generated id: 80 bits.
const GENERATED_LEN: usize = 16;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// What the id's text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Reads an id as a client sends it. `None` where the shape is wrong, which is answered like an id that does
            /// not exist.
            pub fn parse(text: &str) -> Option<Self> {
                let tail = text.strip_prefix($prefix)?;
                let shape = (1..=32).contains(&tail.len()) && tail.bytes().all(|b| b.is_ascii_alphanumeric());
                shape.then(|| Self(text.to_owned()))
            }

            /// The whole text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes an id the database returned.
            pub(crate) fn from_stored(text: String) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! generated {
    ($name:ident, $len:expr) => {
        impl $name {
            /// A new id from 10 random bytes.
            pub fn generate(random: [u8; 10]) -> Self {
                Self(format!("{}{}", Self::PREFIX, &encode(random)[..$len]))
            }
        }
    };
}

id!(
    /// A workspace.
    WorkspaceId,
    "ws_"
);
id!(
    /// A published key set.
    SetId,
    "set_"
);
id!(
    /// A rotation.
    RotationId,
    "rot_"
);
id!(
    /// A management or edge token.
    TokenId,
    "tok_"
);
id!(
    /// An edge that has an identity.
    EdgeId,
    "edge_"
);
id!(
    /// A link between a partner and a client workspace.
    LinkId,
    "lnk_"
);
id!(
    /// A member of a workspace.
    MemberId,
    "mem_"
);
id!(
    /// A key: `key_` and the 10 characters of the id within its text.
    KeyId,
    "key_"
);
generated!(WorkspaceId, GENERATED_LEN);
// A set's whole id must fit the 16 bytes that the block behind every tag has for it.
generated!(SetId, 12);
generated!(RotationId, GENERATED_LEN);
generated!(TokenId, GENERATED_LEN);
generated!(EdgeId, GENERATED_LEN);
generated!(LinkId, GENERATED_LEN);
generated!(MemberId, GENERATED_LEN);

impl WorkspaceId {
    /// The workspace whose keys are the management tokens of all others.
    pub fn reserved() -> Self {
        Self("ws_management".to_owned())
    }

    /// Whether this is that workspace.
    pub fn is_reserved(&self) -> bool {
        *self == Self::reserved()
    }
}

impl KeyId {
    /// The API id of a key whose text carries this 10-character id.
    pub fn of_text(id: &str) -> Self {
        Self(format!("key_{id}"))
    }

    /// An id for a key whose text carries none: 10 base62 characters from `random`.
    pub fn random(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut text = String::with_capacity(Self::PREFIX.len() + 10);
        text.push_str(Self::PREFIX);
        let mut bytes = [0; 16];
        while text.len() < Self::PREFIX.len() + 10 {
            random(&mut bytes);
            // 248 = 4 × 62: the rest would make some characters likelier.
            let digits =
                bytes.iter().filter(|&&byte| byte < 248).map(|byte| char::from(BASE62[usize::from(byte % 62)]));
            text.extend(digits.take(Self::PREFIX.len() + 10 - text.len()));
        }
        Self(text)
    }

    /// The 10 characters after `key_`.
    pub fn tail(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }
}

/// A key as a caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRef {
    /// `key_…`
    Id(KeyId),
    /// `kn_…`: the key number within the workspace.
    Number(u32),
}

impl KeyRef {
    /// Reads `key_…` or `kn_…`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("kn_") {
            Some(digits) => {
                let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
                canonical.then(|| digits.parse().ok().map(Self::Number)).flatten()
            }
            None => KeyId::parse(text).map(Self::Id),
        }
    }
}

impl From<KeyId> for KeyRef {
    fn from(id: KeyId) -> Self {
        Self::Id(id)
    }
}

/// `prn_{subject}`: a principal's id.
pub fn principal_id(subject: u32) -> String {
    format!("prn_{subject}")
}

/// The subject of a principal's id, where it is one.
pub fn principal_subject(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("prn_")?;
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    canonical.then(|| digits.parse().ok()).flatten()
}

fn encode(random: [u8; 10]) -> String {
    let mut bits = random.iter().fold(0u128, |bits, &byte| bits << 8 | u128::from(byte));
    let mut text = [0; GENERATED_LEN];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    text.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        assert_eq!(KeyRef::parse("kn_17"), Some(KeyRef::Number(17)));
        for bad in ["kn_017", "kn_", "kn_0", "kn_+1", "kn_4294967296", "key_", "key_a-b", "17", "KEY_abc"] {
            assert_eq!(KeyRef::parse(bad), None, "{bad}");
        }
        assert_eq!(principal_subject("prn_1"), Some(1));
        assert_eq!(principal_subject("prn_01"), None);
        assert_eq!(RotationId::generate([0; 10]).as_str(), "rot_0000000000000000");
        assert_eq!(RotationId::generate([255; 10]).as_str(), "rot_zzzzzzzzzzzzzzzz");
        assert!(RotationId::parse(RotationId::generate([7; 10]).as_str()).is_some());
        let mut byte = 240;
        let id = KeyId::random(&mut |bytes: &mut [u8]| {
            for place in bytes {
                *place = byte;
                byte = byte.wrapping_add(1);
            }
        });
        assert_eq!(id.as_str(), "key_stuvwxyz01");
        assert_eq!(SetId::generate([255; 10]).as_str(), "set_zzzzzzzzzzzz");
    }
}
