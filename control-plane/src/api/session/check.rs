//! Whether a password is right.

use nightlatch_api::{Code, Secret};
use secrecy::SecretString;

use crate::api::App;
use crate::api::refused::Refused;
use crate::signin::{Busy, Email, MAX_PASSWORD_BYTES, Password};

/// Whether the password is the account's. It costs the same where there is no hash to compare with.
pub(super) async fn password(app: &App, offered: &Secret, hash: Option<SecretString>) -> Result<bool, Refused> {
    app.metrics().password_verified();
    app.hashing().verify(SecretString::from(offered.expose()), hash).await.map_err(busy)
}

/// A password that somebody with this address wants to have.
pub(super) fn new_password(field: &str, offered: &Secret, email: &Email) -> Result<Password, Refused> {
    Password::new(offered.expose(), email).map_err(|fault| Refused::value(field, fault.advice()))
}

/// The hash of a password that is to be set.
pub(super) async fn hash(app: &App, password: Password) -> Result<SecretString, Refused> {
    app.hashing().hash(password).await.map_err(busy)
}

/// Refuses what is too long to be anybody's password, before anything is looked up.
pub(super) fn length(field: &str, offered: &Secret) -> Result<(), Refused> {
    if offered.expose().len() <= MAX_PASSWORD_BYTES {
        Ok(())
    } else {
        Err(Refused::value(field, "is longer than any password"))
    }
}

fn busy(Busy: Busy) -> Refused {
    Refused::new(Code::Unavailable).detail("Too many people are signing in at this moment.")
}
