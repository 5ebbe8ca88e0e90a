//! A Worker between a source it reads its set from and an origin it forwards to.

use anyhow::Result;
use nightlatch_gate::policy::{CredentialSource, Draft, OptionsRule, Policy, RouteDraft};
use nightlatch_key::Environment;
use nightlatch_keyset::PrincipalKind;
use nightlatch_tests::caller::Caller;
use nightlatch_tests::origin::Origin;
use nightlatch_tests::published::PublishedSet;
use nightlatch_tests::set_source::SetSource;
use nightlatch_tests::workerd::{Worker, WorkerConfig};

/// What the origin checks signatures with.
pub(crate) const ORIGIN_KEY: &str = "an origin key of some length";

/// What the edge shows its source.
pub(crate) const TOKEN: &str = "nle_test_token";

/// How many seconds a connection to `/aged` may last.
pub(crate) const AGE: u32 = 2;

/// A Worker and everything around it.
pub(crate) struct Stand {
    pub(crate) set: PublishedSet,
    pub(crate) source: SetSource,
    pub(crate) origin: Origin,
    pub(crate) worker: Worker,
    pub(crate) caller: Caller,
}

impl Stand {
    /// Starts a Worker on a set of these routes; `prepare` puts keys in and publishes, `configure` bends the
    /// configuration.
    pub(crate) async fn start(
        prepare: impl FnOnce(&mut PublishedSet) -> Result<()>,
        configure: impl FnOnce(WorkerConfig) -> WorkerConfig,
    ) -> Result<Self> {
        let mut set = PublishedSet::new(&policy()?)?;
        prepare(&mut set)?;
        let source = SetSource::serve(&set).await?;
        source.state().token = Some(TOKEN.to_owned());
        let origin = Origin::start().await?;
        let worker = Worker::start(&configure(config(&set, &source, &origin))).await?;
        let caller = Caller::new(worker.url())?;
        Ok(Self { set, source, origin, worker, caller })
    }
}

/// A whole configuration. The poll interval is long, so that tests see each refresh they cause.
pub(crate) fn config(set: &PublishedSet, source: &SetSource, origin: &Origin) -> WorkerConfig {
    WorkerConfig::new()
        .variable("NIGHTLATCH_SET", &set.head.set)
        .variable("NIGHTLATCH_SOURCE", source.url())
        .variable("NIGHTLATCH_REPORT_URL", source.report_url())
        .variable("NIGHTLATCH_ORIGIN", origin.url())
        .variable("NIGHTLATCH_VERIFIER", set.verifier())
        .variable("NIGHTLATCH_PEPPERS", set.peppers())
        .variable("NIGHTLATCH_TOKEN", TOKEN)
        .variable("NIGHTLATCH_ORIGIN_KEY", ORIGIN_KEY)
        .variable("NIGHTLATCH_POLL_SECONDS", "600")
        .variable("NIGHTLATCH_FETCH_TIMEOUT_MS", "2000")
}

/// The routes of every stand.
pub(crate) fn policy() -> Result<Policy> {
    let query = || [CredentialSource::Bearer, CredentialSource::Query("api_key".into())];
    let draft = Draft::new("test")
        .developer_url("https://example.com/rotate")
        .route(RouteDraft::new("GET", "/status").environments([Environment::Live, Environment::Test]))
        .route(RouteDraft::new("GET", "/live"))
        .route(RouteDraft::new("GET", "/invoices").scopes(["invoices:read"]))
        .route(RouteDraft::new("POST", "/invoices").scopes(["invoices:write"]))
        .route(RouteDraft::new("GET", "/partners").principals([PrincipalKind::Partner]))
        .route(RouteDraft::new("GET", "/query").credentials(query()))
        .route(RouteDraft::new("POST", "/browser").options(OptionsRule::Pass))
        .route(RouteDraft::new("GET", "/redirect"))
        .route(RouteDraft { open: true, ..RouteDraft::new("GET", "/open") })
        .route(RouteDraft { max_connection_age: Some(AGE), ..RouteDraft::new("*", "/aged") })
        .route(RouteDraft::new("*", "/any/{*rest}"));
    Ok(Policy::new(draft)?)
}
