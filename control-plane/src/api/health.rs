//! Operations: is it alive, is it ready, what does it count.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use nightlatch_api::{Code, Problem};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::caller::{Call, Caller};
use super::refused::Refused;
use crate::domain::{Action, EdgeState, Target};
use crate::metrics::{EdgeGauges, SetGauges};
use crate::publisher::{PublisherStatus, Role};
use crate::store::{Error, audit, edges, workspaces};

/// How long the database may take to say what time it is.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);
/// Most edges that metrics name: each is a label.
const MAX_EDGES: u32 = 1000;

/// The process is alive.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the process can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// Whether every check passes.
    ready: bool,
    /// What this process is to the founding workspace's set: `leading` (it numbers and signs), `standby`, `starting` or
    /// `stopped`.
    role: &'static str,
    /// The fencing term of that set's lease, whoever holds it.
    lease_term: u64,
    /// How this process stands to all sets.
    sets: SetCounts,
    /// What was looked at.
    checks: Vec<Check>,
}

/// Sets by what this process is to them.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct SetCounts {
    /// Those it has a publisher for, or wants to have one for.
    all: usize,
    /// Those that it numbers and signs.
    leading: usize,
    /// Those that have trouble here, whoever leads them; `/metrics` and the log name them.
    failing: usize,
}

/// One thing that has to hold.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Check {
    /// What: `database`, `publisher`, `schema` or `audit`. The last is told and takes nothing out of service: whether the audit
    /// logs in the database are still those that were signed, and are chained.
    name: &'static str,
    /// Whether it holds.
    ok: bool,
    /// What is wrong, when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Check {
    fn new(name: &'static str, result: Result<(), String>) -> Self {
        Self { name, ok: result.is_ok(), detail: result.err() }
    }
}

/// Says that the process is alive, whatever else.
#[utoipa::path(get, path = "/healthz", tag = "operations", operation_id = "healthz", responses((status = 200, description = "Alive.", body = Alive)))]
pub(super) async fn healthz() -> axum::Json<Alive> {
    axum::Json(Alive { status: "ok" })
}

/// Says whether the database answers, and whether a valid head is published. The trouble of some sets is told and does not
/// make the process unready for all the others.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", operation_id = "readyz",
    responses(
        (status = 200, description = "Ready.", body = Readiness),
        (status = 503, description = "Not ready; the checks say why.", body = Readiness),
    ),
)]
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let now = database_clock(&app).await;
    let (sets, publisher) = match &now {
        Ok(now) => standing(&app, u64::try_from(*now).unwrap_or_default()),
        Err(_) => (SetCounts::default(), Err("cannot be judged without the database".to_owned())),
    };
    let schema = match app.store().fits().await {
        Err(error @ Error::SchemaTooNew { .. }) => Err(error.to_string()),
        // Whatever else fails is the database's.
        _ => Ok(()),
    };
    let checks =
        vec![Check::new("database", now.map(drop)), Check::new("publisher", publisher), Check::new("schema", schema)];
    let ready = checks.iter().all(|check| check.ok);
    let mut checks = checks;
    // Without saying whose: this is asked without a token.
    let broken = app.publishers().all().into_iter().any(|(_, one)| one.watch().borrow().audit_broken.is_some());
    let told = "an audit log is not the one that was signed, cannot be chained, or somebody holds its chain; the server's log \
                says which and why";
    checks.push(Check::new("audit", if broken { Err(told.to_owned()) } else { Ok(()) }));
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let founding = app.publishers().of(app.founding()).map(|published| published.watch().borrow().clone());
    let PublisherStatus { role, term, .. } = founding.unwrap_or_default();
    (code, axum::Json(Readiness { ready, role: role.as_str(), lease_term: term, sets, checks })).into_response()
}

/// How the sets stand; an error where not one of them is in order.
fn standing(app: &App, now: u64) -> (SetCounts, Result<(), String>) {
    let (running, failing) = (app.publishers().all(), app.publishers().failing());
    // This is asked without a token: what is wrong with another workspace's set is for the log.
    let mut why = "every set has trouble; /metrics and the server's log say which and why".to_owned();
    let mut counts = SetCounts { all: running.len() + failing.len(), leading: 0, failing: failing.len() };
    for (set, published) in running {
        let status = published.watch();
        let status = status.borrow();
        counts.leading += usize::from(matches!(status.role, Role::Leading(_)));
        if let Err(trouble) = status.readiness(now) {
            counts.failing += 1;
            if set == *app.founding() {
                why = trouble;
            }
        }
    }
    let result = if counts.failing < counts.all { Ok(()) } else { Err(why) };
    (counts, result)
}

async fn database_clock(app: &App) -> Result<i64, String> {
    match tokio::time::timeout(DATABASE_PATIENCE, app.store().now()).await {
        Ok(Ok(now)) => Ok(now),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database did not answer a readiness check");
            Err("the database fails".to_owned())
        }
        Err(_) => Err(format!("the database did not answer within {} s", DATABASE_PATIENCE.as_secs())),
    }
}

/// Shows what is counted and measured, in the Prometheus text format. Where the deployment has several workspaces, it is for
/// the founding one's people: it names everybody's sets and edges. While the database fails, what names them is left out.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses(
        (status = 200, description = "The metrics.", body = String, content_type = "application/openmetrics-text"),
        (status = "4XX", description = "There are several workspaces, and no token of the founding one was sent.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn metrics(State(app): State<App>, headers: HeaderMap, extensions: Extensions) -> Response {
    let with_names = match may_see_all(&app, &headers, &extensions).await {
        Ok(with_names) => with_names,
        Err(refused) => return refused.into_response(),
    };
    if with_names {
        observe_sets(&app).await;
        observe_edges(&app).await;
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], app.metrics().encode(with_names)).into_response()
}

/// Whether whoever asks may see what names sets and edges: `false` where the database does not say whether there are several
/// workspaces. Where there are, strangers to the founding one are refused.
async fn may_see_all(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Result<bool, Refused> {
    let Ok(mut read) = app.store().read().await else { return Ok(false) };
    let Ok(sets) = workspaces::all_sets(&mut read).await else { return Ok(false) };
    drop(read);
    let founding = sets.iter().find(|set| set.id == *app.founding()).map(|set| set.workspace.clone());
    if sets.iter().all(|set| Some(&set.workspace) == founding.as_ref()) {
        return Ok(true);
    }
    let call = Call { method: &Method::GET, route: "/metrics", headers, extensions };
    let caller = Caller::identify(app, call).await.map_err(|denied| denied.refused)?;
    if Some(caller.workspace()) != founding.as_ref() {
        return Err(Refused::new(Code::Forbidden));
    }
    caller.authority.require(Action::EdgesRead, &Target::None)?;
    Ok(true)
}

/// Notes how the sets stand at this moment. A database that is down leaves the last known values.
async fn observe_sets(app: &App) {
    let Ok(mut read) = app.store().read().await else { return };
    let (Ok(now), Ok(sets)) = (read.now().await, workspaces::all_sets(&mut read).await) else { return };
    let seconds = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or_default()).as_secs_f64();
    for set in sets {
        let published = app.publishers().of(&set.id);
        let status = published.map(|published| published.watch().borrow().clone()).unwrap_or_default();
        let age = set.head_issued.map(|issued| now - issued);
        let Ok(waiting) = audit::oldest_unchained(&mut read, &set.workspace).await else { return };
        app.metrics().observe_set(&SetGauges {
            set: set.id.to_string(),
            unpublished: status.unpublished,
            head_age: age.map(seconds),
            heartbeat_lag: age.map(|age| seconds(age - set.heartbeat_ms)),
            lease_term: i64::try_from(status.term).unwrap_or(i64::MAX),
            leading: matches!(status.role, Role::Leading(_)),
            failing: status.readiness(u64::try_from(now).unwrap_or_default()).is_err(),
            overlay: status.overlay,
            delta_bytes: status.delta_bytes,
            build: status.build.map_or((0, 0), |build| (build.rows, build.expected)),
            deny_unreadable: status.deny_unreadable.is_some(),
            audit_broken: status.audit_broken.is_some(),
            audit_unchained_age: waiting.map_or(0.0, |at| seconds(now - at)),
        });
    }
}

/// Notes how the edges stand, as [`observe_sets`] does.
async fn observe_edges(app: &App) {
    let Ok(mut read) = app.store().read().await else { return };
    let (Ok(edges), Ok(removed)) = (edges::watched(&mut read, MAX_EDGES).await, edges::count_removed(&mut read).await)
    else {
        return;
    };
    #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let gauges = edges.iter().filter_map(|view| {
        let latest = view.latest.as_ref()?;
        let age = latest.facts.data_age_ms.map(|age| age.saturating_add(view.now - latest.reported_at));
        Some(EdgeGauges {
            edge: view.edge.id.to_string(),
            data_age: age.map(seconds),
            clock_offset: latest.clock_offset_ms.map(seconds),
        })
    });
    let count = |state| edges.iter().filter(|view| view.state() == state).count();
    let by_state = EdgeState::ALL.map(|state| {
        let standing = i64::try_from(count(state)).unwrap_or(i64::MAX);
        (state.as_str(), if state == EdgeState::Removed { removed } else { standing })
    });
    app.metrics().observe_edges(&gauges.collect::<Vec<_>>(), by_state);
}
