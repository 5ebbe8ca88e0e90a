//! Keys that somebody shows this API in place of a management token: what one looks for in an incident is whether a leaked
//! key was tried here.
//!
//! They are looked up after the answer, which is the same and takes the same time for a key that is known and for one that
//! is not: nobody learns by asking.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use nightlatch_key::{Brand, Digest};

use super::{App, attempts};
use crate::domain::Authority;
use crate::store::attempts::Attempt;
use crate::store::{Context, Error, keys};

/// Keys looked up a minute, by whomever they are shown; beyond, they are only counted. What costs the caller nothing must
/// not cost the database much.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// Keeps those who show keys from keeping the database busy.
pub(super) struct StrayLimit(DefaultDirectRateLimiter);

impl StrayLimit {
    pub(super) fn new() -> Self {
        Self(RateLimiter::direct(Quota::per_minute(PER_MINUTE)))
    }
}

/// A key that was shown, as far as it is kept.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) brand: Brand,
    pub(super) digest: Digest,
    pub(super) request_id: String,
    pub(super) source: Option<String>,
}

/// Notes the attempt beside the answer, where a workspace here knows the key.
pub(super) fn note(app: &App, stray: Stray, attempt: Attempt) {
    if app.stray_limit().0.check().is_err() {
        app.metrics().attempt_not_noted();
        return;
    }
    let app = app.clone();
    tokio::spawn(async move {
        if let Err(error) = look_up(&app, stray, attempt).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a key shown in place of a token was not noted");
        }
    });
}

async fn look_up(app: &App, stray: Stray, attempt: Attempt) -> Result<(), Error> {
    let Some((key, actor)) = keys::by_text(&mut app.store().read().await?, stray.brand, &stray.digest).await? else {
        return Ok(());
    };
    let context = Context {
        workspace: key.workspace.clone(),
        actor,
        // Of what is refused nothing is done.
        authority: Authority::Edge,
        acknowledged: false,
        request_id: stray.request_id,
        source: stray.source,
    };
    attempts::note(app, context, Attempt { key: Some(Box::new(key)), ..attempt }).await;
    Ok(())
}
