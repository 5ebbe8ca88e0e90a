//! Keys that somebody shows this API in place of a management token: what one looks for in an incident is whether a leaked
//! key was tried here.
//!
//! They are looked up after the answer, which is the same and takes the same time for a key that is known and for one that
//! is not: nobody learns by asking.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use nightlatch_key::{Brand, Digest};

use super::source::network;
use super::{App, attempts};
use crate::domain::Authority;
use crate::store::attempts::Attempt;
use crate::store::{Context, Error, keys};

/// Keys looked up a minute that come from one network; beyond, they are only counted. Whoever shows made-up keys hides real
/// ones from nobody but themselves.
const PER_NETWORK: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// And from all together: what costs the caller nothing must not cost the database much.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(3_000).unwrap();
/// Networks that are remembered before those that have not come for a while are forgotten.
const NETWORKS: usize = 10_000;

/// Keeps those who show keys from keeping the database busy.
pub(super) struct StrayLimit {
    networks: DefaultKeyedRateLimiter<String>,
    all: DefaultDirectRateLimiter,
}

impl StrayLimit {
    pub(super) fn new() -> Self {
        Self {
            networks: RateLimiter::keyed(Quota::per_minute(PER_NETWORK)),
            all: RateLimiter::direct(Quota::per_minute(PER_MINUTE)),
        }
    }

    /// Whether another key from there is to be looked up.
    fn allows(&self, source: Option<&str>) -> bool {
        if self.networks.len() > NETWORKS {
            self.networks.retain_recent();
        }
        self.networks.check_key(&network(source.unwrap_or_default())).is_ok() && self.all.check().is_ok()
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
    if !app.stray_limit().allows(stray.source.as_deref()) {
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
        shown: None,
        authority: Authority::Refused(None),
        acknowledged: false,
        request_id: stray.request_id,
        source: stray.source,
    };
    attempts::note(app, context, Attempt { key: Some(Box::new(key)), ..attempt }).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_keys_hide_nobody_elses() {
        let limit = StrayLimit::new();
        let looked_up = (0..200).filter(|_| limit.allows(Some("192.0.2.1"))).count();
        assert!(looked_up <= 61, "{looked_up}");
        assert!(limit.allows(Some("192.0.2.2")));
        // Somebody with many networks cannot keep the database busy either.
        let looked_up =
            (0..100_000).filter(|n| limit.allows(Some(&format!("10.{}.{}.1", n / 250 % 250, n % 250)))).count();
        assert!(looked_up < 20_000, "{looked_up}");
    }
}
