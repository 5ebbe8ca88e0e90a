//! The second factor of an account: an authenticator's code, or a recovery code.

use secrecy::ExposeSecret;

use crate::api::App;
use crate::domain::AccountId;
use crate::secrets::{open, seal};
use crate::signin::recovery;
use crate::signin::totp::TotpSecret;
use crate::store::accounts::{self, Account};
use crate::store::{Error, Tx};

/// A code that was found right and has yet to be taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// The account has no second factor.
    NotNeeded,
    /// An authenticator's, of this step.
    Step(i64),
    /// A recovery code with this digest; the database says whether there is one.
    Recovery([u8; 32]),
}

impl Proof {
    /// Takes the code, so that it counts for nothing else. Returns whether it was still to be had.
    pub(super) async fn take(self, tx: &mut Tx, account: &AccountId) -> Result<bool, Error> {
        match self {
            Self::NotNeeded => Ok(true),
            Self::Step(step) => accounts::take_step(tx, account, step).await,
            Self::Recovery(digest) => accounts::take_recovery_code(tx, account, &digest).await,
        }
    }
}

/// The step of a right code of the account's authenticator at `now`, unix milliseconds.
pub(super) fn step(app: &App, account: &Account, code: &nightlatch_api::Secret, now: i64) -> Option<i64> {
    let secret = open_totp(app, &account.id, account.totp.as_deref()?)?;
    secret.step_of(code.expose(), now.div_euclid(1000), account.totp_last_step)
}

/// A recovery code of the account, where the text is one.
pub(super) fn recovery(account: &Account, code: &nightlatch_api::Secret) -> Option<Proof> {
    recovery::digest(account.id.as_str(), code.expose()).map(Proof::Recovery)
}

/// Seals the secret of an account's authenticator.
pub(super) fn seal_totp(app: &App, account: &AccountId, secret: &TotpSecret) -> Vec<u8> {
    let key = app.secrets().server_key().derive("totp", account.as_str().as_bytes());
    seal(&key, account.as_str().as_bytes(), secret.bytes())
}

/// Opens what [`seal_totp`] sealed.
pub(super) fn open_totp(app: &App, account: &AccountId, sealed: &[u8]) -> Option<TotpSecret> {
    let key = app.secrets().server_key().derive("totp", account.as_str().as_bytes());
    let secret = open(&key, account.as_str().as_bytes(), sealed).and_then(|plain| TotpSecret::from_bytes(&plain));
    if secret.is_none() {
        tracing::error!(account = account.as_str(), "the secret of an authenticator cannot be opened");
    }
    secret
}

/// Whether the account proves itself as it did when it was read.
pub(super) fn is_unchanged(before: &Account, now: &Account) -> bool {
    let [before_hash, now_hash] = [before, now].map(|one| one.password_hash.as_ref().map(ExposeSecret::expose_secret));
    before_hash == now_hash && before.totp == now.totp && before.oidc == now.oidc
}
