//! What a password must be.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::Email;

/// The shortest password, in characters.
pub const MIN_PASSWORD_CHARS: usize = 12;
/// The longest password, in bytes. Longer ones are refused and not cut.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// A password that may be set: of an allowed length, and not what everybody would try first.
#[derive(Clone)]
pub struct Password(SecretString);

/// Why a password may not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordFault {
    /// Fewer than [`MIN_PASSWORD_CHARS`] characters.
    Short,
    /// More than [`MAX_PASSWORD_BYTES`] bytes.
    Long,
    /// It is the e-mail address.
    Email,
    /// It is one character, again and again.
    Repeated,
}

impl PasswordFault {
    /// What is wrong with it, for people.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Short => "must have at least 12 characters",
            Self::Long => "must have at most 1024 bytes",
            Self::Email => "must not be the e-mail address",
            Self::Repeated => "must not be one character again and again",
        }
    }
}

impl Password {
    /// Checks a password that somebody with this address wants to have.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(text: &str, email: &Email) -> Result<Self, PasswordFault> {
        if text.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordFault::Long);
        }
        if text.chars().count() < MIN_PASSWORD_CHARS {
            return Err(PasswordFault::Short);
        }
        if text.trim().to_lowercase() == email.as_str() {
            return Err(PasswordFault::Email);
        }
        let mut chars = text.chars();
        if chars.next().is_some_and(|first| chars.all(|c| c == first)) {
            return Err(PasswordFault::Repeated);
        }
        Ok(Self(text.into()))
    }

    /// Its bytes, for hashing.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_long_enough_and_not_the_address() {
        let email = Email::parse("ada.lovelace@example.com").unwrap();
        let fault = |text: &str| Password::new(text, &email).err();
        assert_eq!(fault("elevenchars"), Some(PasswordFault::Short));
        assert_eq!(fault("twelve chars"), None);
        // Characters, not bytes: twelve of these are 36.
        assert_eq!(fault("ありがとうございます"), Some(PasswordFault::Short));
        assert_eq!(fault("ありがとうございました!!"), None);
        assert_eq!(fault(&"ab".repeat(512)), None);
        assert_eq!(fault(&"ab".repeat(513)), Some(PasswordFault::Long));
        assert_eq!(fault(" Ada.Lovelace@EXAMPLE.com"), Some(PasswordFault::Email));
        assert_eq!(fault("aaaaaaaaaaaaaaaa"), Some(PasswordFault::Repeated));
        assert_eq!(format!("{:?}", Password::new("twelve chars", &email).unwrap()), "Password(hidden)");
    }
}
