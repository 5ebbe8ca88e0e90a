//! `/v1/verify`: the authoritative answer, from the primary, about a key of the caller's workspace.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::State;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use nightlatch_api::{Code, Problem, Verdict, VerifiedKey, VerifyKey};
use nightlatch_gate as gate;
use nightlatch_gate::path::{PathError, canonicalize};
use nightlatch_gate::policy::Policy;
use nightlatch_gate::{Found, Keys, SetFacts, Unfit};
use nightlatch_key::Digest;
use nightlatch_keyset::{Profile, Record};

use super::App;
use super::body::Json;
use super::caller::Caller;
use super::keys::view;
use super::refused::Refused;
use super::routes::choose;
use super::time::from_seconds;
use crate::domain::{self, Key, PrincipalKind, SetId};
use crate::store::keys::{self, KeyView};
use crate::store::{profiles, routes, workspaces};

/// Calls per second and token, and how many may come at once.
const RATE: NonZeroU32 = NonZeroU32::new(100).unwrap();
const BURST: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// Keeps one caller from asking for all.
pub(super) struct VerifyLimit {
    limiter: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl VerifyLimit {
    pub(super) fn new() -> Self {
        let limiter = RateLimiter::keyed(Quota::per_second(RATE).allow_burst(BURST));
        Self { limiter, clock: DefaultClock::default() }
    }

    fn take(&self, caller: &str) -> Result<(), Refused> {
        self.limiter.check_key(&caller.to_owned()).map_err(|early| {
            let wait: Duration = early.wait_time_from(self.clock.now());
            Refused::new(Code::RateLimited)
                .with("limit", format!("{RATE} a second, {BURST} at once"))
                .with("retry_after_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        })
    }
}

/// Says whether an edge that had learnt everything would let a key through: with `method` and `path`, for that request;
/// without, for the key alone. It holds on the next call after a change.
#[utoipa::path(
    post, path = "/v1/verify", tag = "keys", operation_id = "verifyKey",
    request_body = VerifyKey,
    responses(
        (status = 200, description = "The verdict, also where it is a refusal.", body = Verdict),
        (status = 429, description = "Too many calls.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn verify(
    State(app): State<App>,
    caller: Caller,
    body: Json<VerifyKey>,
) -> Result<axum::Json<Verdict>, Refused> {
    app.verify_limit().take(caller.id())?;
    let asked = body.value;
    let request = match (&asked.method, &asked.path) {
        (Some(method), Some(path)) => Some((method.as_str(), path.as_str())),
        (None, None) => None,
        (None, Some(_)) => return Err(Refused::invalid("method", "is missing: it goes with `path`")),
        (Some(_), None) => return Err(Refused::invalid("path", "is missing: it goes with `method`")),
    };
    let text = asked.key.expose().as_bytes();
    let found = look_up(&app, &caller, asked.set.as_deref(), text, request.is_some()).await?;
    Ok(axum::Json(found.judge(text, request)))
}

/// Everything a verdict rests on, from one snapshot.
struct Snapshot {
    workspace: String,
    brand: nightlatch_key::Brand,
    accepts_foreign: bool,
    policy: Option<Policy>,
    digest: Digest,
    key: Option<KeyView>,
    /// Whether it is a member's, and the member is not active.
    refused: bool,
    /// Unix milliseconds.
    now: i64,
}

async fn look_up(
    app: &App,
    caller: &Caller,
    set: Option<&str>,
    text: &[u8],
    with_policy: bool,
) -> Result<Snapshot, Refused> {
    let workspace = caller.workspace();
    let mut read = app.store().read().await?;
    let set: SetId = choose(&mut read, workspace, set).await?;
    let accepts_foreign = workspaces::set(&mut read, workspace, &set).await?.accepts_foreign;
    let policy = if with_policy { routes::current(&mut read, workspace, &set).await? } else { None };
    let policy = policy.map(|routes| Policy::decode(&routes.policy)).transpose().map_err(|_| {
        tracing::error!(%set, "the stored policy cannot be read");
        Refused::new(Code::Internal)
    })?;
    let digest = Digest::of(text);
    let key = keys::by_digest(&mut read, workspace, &digest).await?;
    let refused = match key.as_ref().map(|view| &view.key) {
        Some(key) if key.kind == PrincipalKind::User => {
            profiles::contents(&mut read, workspace, key.subject).await?.refused
        }
        _ => false,
    };
    Ok(Snapshot {
        workspace: workspace.to_string(),
        brand: workspaces::get(&mut read, workspace).await?.brand,
        accepts_foreign,
        policy,
        key,
        refused,
        digest,
        now: read.now().await?,
    })
}

impl Snapshot {
    fn judge(&self, text: &[u8], request: Option<(&str, &str)>) -> Verdict {
        let now = u64::try_from(self.now).unwrap_or_default();
        let facts = SetFacts {
            workspace: &self.workspace,
            brand: self.brand,
            accepts_foreign: self.accepts_foreign,
            issued: now,
            skew: 0,
        };
        let route = match request.map(|(method, target)| self.route(method, target)) {
            None => None,
            Some(Ok(route)) => Some(route),
            Some(Err(code)) => return refusal(code, code.title().to_owned(), None),
        };
        let row = Row::of(&self.digest, self.key.as_ref().map(|view| (&view.key, self.refused)), &self.workspace);
        match gate::check(text, route, &facts, &row, now) {
            Ok(_) => Verdict { allowed: true, status: 200, code: None, detail: None, key: self.shown() },
            Err(denial) => {
                // Only the holder of the secret is told about the key.
                let key = denial.key.as_ref().and_then(|_| self.shown());
                refusal(denial.code, denial.detail(), key)
            }
        }
    }

    /// The route of a request, found as an edge finds it.
    fn route(&self, method: &str, target: &str) -> Result<&gate::policy::Route, gate::Code> {
        let canonical = canonicalize(target).map_err(|error| match error {
            PathError::TooLong => gate::Code::PathTooLong,
            _ => gate::Code::PathAmbiguous,
        })?;
        // Without a document every request is refused.
        let policy = self.policy.as_ref().ok_or(gate::Code::RouteNotFound)?;
        policy.find(method, &canonical.path).ok_or(gate::Code::RouteNotFound)
    }

    fn shown(&self) -> Option<VerifiedKey> {
        let KeyView { key, .. } = self.key.as_ref()?;
        Some(VerifiedKey {
            id: key.id.to_string(),
            prefix: key.prefix.clone(),
            name: key.name.clone(),
            state: view::state(key.state(self.now)),
            principal: domain::ids::principal_id(key.subject),
            kind: view::kind(key.kind),
            environment: view::environment(key.environment),
            scopes: view::scopes(key),
            tier: key.tier.as_ref().map(|tier| tier.as_str().to_owned()),
            valid_until: key.valid_until().map(from_seconds),
        })
    }
}

fn refusal(code: gate::Code, detail: String, key: Option<VerifiedKey>) -> Verdict {
    Verdict { allowed: false, status: code.status(), code: Some(code.as_str().to_owned()), detail: Some(detail), key }
}

/// The one row, as the gate looks keys up.
pub(super) struct Row<'a> {
    digest: &'a Digest,
    found: Option<(Record, Profile)>,
    workspace: &'a str,
}

impl<'a> Row<'a> {
    /// The row of a key, where there is one with this digest, and whether its member refuses all its keys.
    pub(super) fn of(digest: &'a Digest, key: Option<(&Key, bool)>, workspace: &'a str) -> Self {
        let found = key.map(|(key, refused)| (record(key), profile(key, refused)));
        Self { digest, found, workspace }
    }
}

impl Keys for Row<'_> {
    fn find(&self, digest: &Digest) -> Result<Option<Found<'_>>, Unfit> {
        let found = self.found.as_ref().filter(|_| digest == self.digest);
        Ok(found.map(|(record, profile)| Found { record: *record, profile, workspace: self.workspace }))
    }
}

fn record(key: &Key) -> Record {
    let image = key.edge_image();
    Record {
        status: image.status,
        foreign: key.imported,
        deadline: image.deadline.map(|deadline| u64::try_from(deadline).unwrap_or_default()),
        profile: 0,
        subject: key.subject,
        number: key.number,
    }
}

fn profile(key: &Key, refused: bool) -> Profile {
    Profile {
        kind: key.kind,
        environment: key.environment,
        tier: key.tier.as_ref().map(|tier| tier.as_str().to_owned()),
        scopes: view::scopes(key),
        live: (key.kind == PrincipalKind::User).then_some(key.subject),
        refused,
    }
}
