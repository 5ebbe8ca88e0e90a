//! What every handler can reach.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use nightlatch_api::Code;
use nightlatch_keyset::Pepper;
use nightlatch_keyset::note::Signer;
use tokio_util::sync::CancellationToken;

use super::attempts::AttemptLimit;
use super::cursor::Cursors;
use super::head::Heads;
use super::heard::Heard;
use super::idempotency::Replays;
use super::refused::Refused;
use super::session::OidcLimit;
use super::strays::StrayLimit;
use super::turns::Turns;
use super::verify::VerifyLimit;
use crate::domain::SetId;
use crate::metrics::Metrics;
use crate::oidc::Provider;
use crate::publisher::Publishers;
use crate::secrets::{Keyring, Secrets};
use crate::signin::Hashing;
use crate::store::Store;
use crate::store::workspaces::Set;

/// What an [`App`] is made of.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The secrets of this control plane.
    pub secrets: Arc<Secrets>,
    /// The directory of published sets: `{set id}/head`, `{set id}/files/{name}`.
    pub sets_dir: PathBuf,
    /// The data directory, where files with enrolment tokens are, removed once those are used.
    pub data_dir: PathBuf,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The publishers of this process.
    pub publishers: Publishers,
    /// The set of the founding workspace.
    pub founding: SetId,
    /// The identity provider that members may sign in through.
    pub oidc: Option<Provider>,
    /// The networks of the proxies before this server: what they say of where a call came from is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Cancelled when the server stops: callers that wait are answered at once.
    pub stopping: CancellationToken,
}

/// The state handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    parts: Parts,
    cursors: Cursors,
    replays: Replays,
    verify_limit: VerifyLimit,
    attempt_limit: AttemptLimit,
    stray_limit: StrayLimit,
    oidc_limit: OidcLimit,
    heads: Heads,
    hashing: Hashing,
    heard: Heard,
    imports: Turns,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("store", &self.0.parts.store).finish_non_exhaustive()
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let key = parts.secrets.server_key();
        let (cursors, replays) = (Cursors::new(key), Replays::new(Arc::clone(&parts.secrets)));
        let (verify_limit, heads, heard) = (VerifyLimit::new(), Heads::default(), Heard::default());
        let (attempt_limit, stray_limit) = (AttemptLimit::new(), StrayLimit::new());
        let (oidc_limit, hashing) = (OidcLimit::new(), Hashing::default());
        Self(Arc::new(Inner {
            parts,
            cursors,
            replays,
            verify_limit,
            attempt_limit,
            stray_limit,
            oidc_limit,
            heads,
            hashing,
            heard,
            imports: Turns::default(),
        }))
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.parts.store
    }

    pub(super) fn sets_dir(&self) -> &PathBuf {
        &self.0.parts.sets_dir
    }

    pub(super) fn data_dir(&self) -> &PathBuf {
        &self.0.parts.data_dir
    }

    /// The publishers of this process.
    pub(super) fn publishers(&self) -> &Publishers {
        &self.0.parts.publishers
    }

    /// The set of the founding workspace.
    pub(super) fn founding(&self) -> &SetId {
        &self.0.parts.founding
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.parts.metrics
    }

    pub(super) fn cursors(&self) -> &Cursors {
        &self.0.cursors
    }

    pub(super) fn replays(&self) -> &Replays {
        &self.0.replays
    }

    pub(super) fn verify_limit(&self) -> &VerifyLimit {
        &self.0.verify_limit
    }

    pub(super) fn attempt_limit(&self) -> &AttemptLimit {
        &self.0.attempt_limit
    }

    pub(super) fn stray_limit(&self) -> &StrayLimit {
        &self.0.stray_limit
    }

    pub(super) fn oidc_limit(&self) -> &OidcLimit {
        &self.0.oidc_limit
    }

    /// The networks of the proxies before this server.
    pub(super) fn trusted_proxies(&self) -> &[IpNet] {
        &self.0.parts.trusted_proxies
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.0.parts.secrets
    }

    /// The identity provider, where there is one.
    pub(super) fn oidc(&self) -> Option<&Provider> {
        self.0.parts.oidc.as_ref()
    }

    /// What verifies passwords.
    pub(super) fn hashing(&self) -> &Hashing {
        &self.0.hashing
    }

    pub(super) fn heads(&self) -> &Heads {
        &self.0.heads
    }

    /// Cancelled when the server stops.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.0.parts.stopping
    }

    /// What edges say that may change a receipt.
    pub(super) fn heard(&self) -> &Heard {
        &self.0.heard
    }

    /// Whose turn it is to import.
    pub(super) fn imports(&self) -> &Turns {
        &self.0.imports
    }

    /// The peppers of a set.
    pub(super) async fn peppers(&self, set: &SetId) -> Result<Vec<Pepper>, Refused> {
        let keys = self.keys(set, "its peppers cannot be read").await?;
        Ok(keys.peppers)
    }

    /// The key that signs the heads of a set now, and receipts about it. Read anew each time: it may be replaced while the
    /// server runs, and receipts are signed once.
    pub(super) async fn signer(&self, set: &Set) -> Result<Arc<Signer>, Refused> {
        let what = "there is no key to sign a receipt with";
        let keys = self.keys(&set.id, what).await?;
        let signer = set.signer.as_deref().and_then(|vkey| keys.signer(vkey));
        signer.cloned().ok_or_else(|| failed(&set.id, what, &"the set's head-signing key is not at hand"))
    }

    async fn keys(&self, set: &SetId, what: &str) -> Result<Keyring, Refused> {
        let Some(published) = self.publishers().of(set) else {
            // A set that another process has just made, or one that cannot be published here.
            tracing::warn!(%set, what, "this process has no publisher of the set");
            return Err(Refused::new(Code::Unavailable).detail("The set is not ready here; try again."));
        };
        (published.keys())().await.map_err(|error| failed(set, what, &error))
    }
}

fn failed(set: &SetId, what: &str, why: &dyn fmt::Display) -> Refused {
    tracing::error!(%set, %why, "{what}");
    Refused::new(Code::Internal)
}
