//! Guesses at passwords and codes, counted for all replicas together.

use nightlatch_api::Code;

use crate::api::App;
use crate::api::refused::Refused;
use crate::api::source::network;
use crate::signin::limits::{ACCOUNT, ADDRESS};
use crate::store::Error;
use crate::store::sign_in_guesses::{self, Asked, Buckets, Counted};

/// Counts a guess at the account of this address, before it is tried. It is the same for an address without an account.
///
/// # Errors
/// 429 with the time to wait.
pub(super) async fn count(app: &App, email: &str, source: Option<&str>) -> Result<Counted, Refused> {
    let source = network(source.unwrap_or_default());
    let name = |kind: &str, parts: [&str; 2]| {
        let text = format!("{kind}\0{}\0{}", parts[0], parts[1]);
        *app.secrets().server_key().derive("sign-in guesses", text.as_bytes())
    };
    let buckets = Buckets {
        address: (name("address", [&source, ""]), ADDRESS),
        known: (name("known", [email, &source]), ACCOUNT),
        account: (name("account", [email, ""]), ACCOUNT),
    };
    let asked = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { sign_in_guesses::ask(tx, buckets).await }))
        .await?;
    match asked {
        Asked::Counted(counted) => Ok(counted),
        Asked::Wait(ms) => Err(Refused::new(Code::RateLimited).retry_after(ms.saturating_add(999) / 1000)),
    }
}

/// Takes a guess back that was right, where more is still to be sent.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn give_back(app: &App, counted: Counted) -> Result<(), Refused> {
    let store = app.store();
    store
        .write::<_, Error, _>(move |tx| Box::pin(async move { sign_in_guesses::give_back(tx, &counted).await }))
        .await?;
    Ok(())
}
