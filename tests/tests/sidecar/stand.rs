//! A sidecar between a source it reads its set from and an origin it forwards to.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_gate::policy::{CredentialSource, Draft, OptionsRule, Policy, RouteDraft};
use nightlatch_key::{Environment, KeyText};
use nightlatch_keyset::note::Signer;
use nightlatch_tests::caller::Caller;
use nightlatch_tests::origin::Origin;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::set_source::SetSource;
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
use nightlatch_tests::wait::eventually;

/// How long anything may take that is promised soon, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// What the origin checks signatures with.
pub(crate) const ORIGIN_KEY: &str = "an origin key of some length";
/// What the edge shows its source.
pub(crate) const TOKEN: &str = "nle_test_token";
/// Seconds after which the routes under `/aged` end their connections.
pub(crate) const AGE: u32 = 1;

/// A sidecar and everything around it. The set has one key that may do everything.
pub(crate) struct Stand {
    pub(crate) set: PublishedSet,
    pub(crate) source: SetSource,
    pub(crate) origin: Origin,
    pub(crate) sidecar: Sidecar,
    pub(crate) caller: Caller,
    pub(crate) key: KeyText,
}

impl Stand {
    /// Starts a sidecar as a reverse proxy; `prepare` changes the set before it is published, `configure` bends the
    /// configuration.
    pub(crate) async fn start(
        prepare: impl FnOnce(&mut PublishedSet) -> Result<()>,
        configure: impl FnOnce(SidecarConfig) -> SidecarConfig,
    ) -> Result<Self> {
        let mut set = PublishedSet::new(&policy()?)?;
        let key = set.issue(Key::with_scopes(&["invoices:read", "invoices:write"]));
        set.publish()?;
        prepare(&mut set)?;
        let source = SetSource::serve(&set).await?;
        source.state().token = Some(TOKEN.to_owned());
        let origin = Origin::start().await?;
        let sidecar = Sidecar::start(configure(config(&set, &source, &origin))).await?;
        let caller = Caller::new(&sidecar.url())?;
        Ok(Self { set, source, origin, sidecar, caller, key })
    }

    /// The same as it comes.
    pub(crate) async fn plain() -> Result<Self> {
        Self::start(|_| Ok(()), |config| config).await
    }

    /// Publishes what changed, and hands it out.
    pub(crate) fn publish(&mut self) -> Result<()> {
        self.set.publish()?;
        self.source.take(&self.set);
        Ok(())
    }

    /// Waits until the sidecar has the set, as it is now, on its disk.
    pub(crate) async fn kept(&self) -> Result<()> {
        eventually("the set is kept", SOON, async || {
            let kept = std::fs::read_to_string(self.sidecar.state_dir().join("head")).context("no head is kept")?;
            ensure!(kept == self.set.note(), "another head is kept: {kept}");
            Ok(())
        })
        .await
    }

    /// Waits until the sidecar answers a key with this status and code.
    pub(crate) async fn says(&self, key: &KeyText, status: u16, code: Option<&str>) -> Result<()> {
        eventually("the sidecar says so", SOON, async || {
            self.caller.get("/status", key.expose()).await?.expect(status, code).map(drop)
        })
        .await
    }
}

/// What the sidecar complained of. The runner shows it where a test fails.
impl Drop for Stand {
    fn drop(&mut self) {
        eprintln!("{}", self.sidecar.log());
    }
}

/// A whole configuration.
pub(crate) fn config(set: &PublishedSet, source: &SetSource, origin: &Origin) -> SidecarConfig {
    SidecarConfig::new()
        .setting("mode", "proxy")
        .setting("origin", origin.url())
        .setting("set", &set.head.set)
        .setting("source", source.url())
        .setting("report_url", source.report_url())
        .verifier(set.verifier())
        .secret("peppers_file", set.peppers())
        .secret("credential_file", TOKEN)
        .secret("origin_key_file", ORIGIN_KEY)
        .number("poll_ms", 100)
        .number("wait_ms", 2_000)
        .number("threads", 2)
}

/// The key that signs the heads of sets published by hand.
pub(crate) fn signer() -> Result<Signer> {
    Ok(Signer::new("nightlatch/set_0123456789", &[1; 32])?)
}

/// The routes of every stand.
pub(crate) fn policy() -> Result<Policy> {
    let query = || [CredentialSource::Bearer, CredentialSource::Query("api_key".into())];
    let aged = |method, path| RouteDraft { max_connection_age: Some(AGE), ..RouteDraft::new(method, path) };
    let draft = Draft::new("test")
        .developer_url("https://example.com/rotate")
        .route(RouteDraft::new("GET", "/status").environments([Environment::Live, Environment::Test]))
        .route(RouteDraft::new("GET", "/invoices").scopes(["invoices:read"]))
        .route(RouteDraft::new("GET", "/admin").scopes(["admin:all"]))
        .route(RouteDraft::new("POST", "/invoices").scopes(["invoices:write"]))
        .route(RouteDraft::new("GET", "/query").credentials(query()))
        .route(RouteDraft::new("POST", "/browser").options(OptionsRule::Pass))
        .route(RouteDraft::new("*", "/any/{*rest}"))
        .route(RouteDraft { open: true, ..RouteDraft::new("GET", "/open") })
        .route(aged("*", "/aged/{*rest}"));
    Ok(Policy::new(draft)?)
}
