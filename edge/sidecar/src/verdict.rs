//! From a request to what becomes of it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, UPGRADE};
use http::{Method, StatusCode};
use nightlatch_gate::headers::{self, Identity, lifecycle};
use nightlatch_gate::policy::Policy;
use nightlatch_gate::{Allow, Code, Denial, Forward, Found, Keys, Request, SetFacts, Unfit, Verdict, decide, problem};
use nightlatch_key::Digest;
use nightlatch_sync::Serving;
use tokio::time::{Instant, timeout_at};

use crate::shared::Shared;
use crate::worker::Worker;

/// Characters of a request id that are repeated in an answer.
const MAX_REQUEST_ID: usize = 64;
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PREFLIGHT_METHOD: HeaderName = HeaderName::from_static("access-control-request-method");

/// What becomes of a request.
pub(crate) enum Outcome {
    /// It may pass.
    Pass(Box<Pass>),
    /// It is answered.
    Refuse(Box<Refusal>),
}

/// A request that may pass.
pub(crate) struct Pass {
    /// Canonical path and query, without the parameters that carry keys.
    pub(crate) target: String,
    /// Who calls; nobody, where it is a preflight.
    pub(crate) identity: Option<Identity>,
    /// The signature over request and identity, where there is an origin key.
    pub(crate) signature: Option<String>,
    /// Whether `Authorization` is the origin's.
    pub(crate) keep_authorization: bool,
    /// What the answer has to announce, of a retiring key.
    pub(crate) announcement: Vec<(&'static str, String)>,
    /// How long the exchange may take.
    pub(crate) max_age: Option<Duration>,
}

/// A refused request.
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// A request as the gate is to see it.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) upgrade: bool,
}

/// A set, as the gate asks it.
struct SetKeys<'a> {
    serving: &'a Serving<Policy>,
    /// Past its validity, so that only open routes may rely on it.
    only_open: bool,
}

impl Keys for SetKeys<'_> {
    fn find(&self, digest: &Digest) -> Result<Option<Found<'_>>, Unfit> {
        let found = self.serving.find(digest).map_err(|_| Unfit::SetCorrupt)?;
        Ok(found.map(|(record, profile)| Found { record, profile, workspace: &self.serving.head().workspace }))
    }

    fn only_open(&self) -> bool {
        self.only_open
    }
}

/// What is to be done before a request can be answered.
enum Step {
    Done(Outcome),
    /// Wait for the set; it is cold or its validity is over.
    Wait,
    /// Look once for a newer set: the key may be in it.
    Probe,
}

/// Decides about a request. It may wait for the set, for `wait_ms` at most, where there is none to answer from.
pub(crate) async fn judge(shared: &Shared, worker: &Worker, asked: &Asked<'_>) -> Outcome {
    match step(shared, Some(worker), asked, false) {
        Step::Done(outcome) => outcome,
        Step::Wait => wait(shared, worker, asked, false).await,
        Step::Probe => wait(shared, worker, asked, true).await,
    }
}

/// Decides once more about a request that was refused a moment ago, at once, without counting it again.
pub(crate) fn judge_again(shared: &Shared, asked: &Asked<'_>) -> Outcome {
    match step(shared, None, asked, true) {
        Step::Done(outcome) => outcome,
        Step::Wait | Step::Probe => Outcome::Refuse(refuse(&Denial::unfit(shared.unfit()), "", shared, asked)),
    }
}

/// Asks for a refresh, and answers once it has helped, failed, or taken too long.
async fn wait(shared: &Shared, worker: &Worker, asked: &Asked<'_>, probe: bool) -> Outcome {
    let mut attempts = shared.attempts.subscribe();
    let arrived = attempts.borrow_and_update().begun;
    let end = Instant::now() + Duration::from_millis(shared.gate().config.wait_ms);
    shared.wanted.notify_one();
    loop {
        let changed = timeout_at(end, attempts.changed()).await;
        // An attempt that began after this request came has ended: there is nothing more to wait for.
        let last = !matches!(changed, Ok(Ok(()))) || attempts.borrow_and_update().ended > arrived;
        if probe && !last {
            continue;
        }
        if let Step::Done(outcome) = step(shared, Some(worker), asked, last) {
            return outcome;
        }
    }
}

fn step(shared: &Shared, worker: Option<&Worker>, asked: &Asked<'_>, last_word: bool) -> Step {
    let reading = shared.clock.read();
    let now = reading.now;
    let authorization = joined(asked.headers, &AUTHORIZATION);
    let x_api_key = joined(asked.headers, &X_API_KEY);
    let preflight = (asked.method == "OPTIONS" && asked.headers.contains_key(ORIGIN))
        .then(|| asked.headers.get(PREFLIGHT_METHOD).and_then(|value| value.to_str().ok()))
        .flatten();
    let request = Request {
        method: asked.method,
        target: asked.target,
        authorization: authorization.as_deref(),
        x_api_key: x_api_key.as_deref(),
        upgrade: asked.upgrade,
        preflight,
    };
    let gate = shared.gate();
    let valid = gate.edge.serving(now);
    let Some(serving) = valid.or_else(|| gate.edge.serving_open(now)) else {
        return if last_word { unfit(shared, worker, shared.unfit(), asked) } else { Step::Wait };
    };
    if reading.behind > serving.head().skew {
        // The wall clock was set back: how long a head may be relied on cannot be told any more.
        return unfit(shared, worker, Unfit::SetStale, asked);
    }
    let keys = SetKeys { serving, only_open: valid.is_none() };
    match decide(&request, serving.policy(), &SetFacts::from(serving.head()), &keys, now) {
        Verdict::Allow(Allow { forward, accepted }) => {
            if let Some(worker) = worker {
                worker.allowed(accepted.key, now);
            }
            let identity = Identity::from(&accepted);
            let key = gate.config.origin_key.as_ref();
            let signature = key.map(|key| key.sign(now / 1_000, asked.method, &forward.target, &identity));
            let developer_url = serving.policy().developer_url();
            let announcement = accepted.retiring.map_or_else(Vec::new, |at| lifecycle::headers(at, developer_url));
            Step::Done(Outcome::Pass(Box::new(pass(forward, Some(identity), signature, announcement))))
        }
        Verdict::Preflight(forward) => {
            if let Some(worker) = worker {
                worker.preflight();
            }
            Step::Done(Outcome::Pass(Box::new(pass(forward, None, None, Vec::new()))))
        }
        Verdict::Deny(denial) if keys.only_open && denial.code == Code::SetStale && !last_word => Step::Wait,
        Verdict::Deny(denial) if denial.recently_issued && !last_word && shared.begin_probe(now) => Step::Probe,
        Verdict::Deny(denial) => {
            if denial.code == Code::SetCorrupt {
                // It is fetched anew at once, whatever the source is being asked meanwhile.
                shared.wanted.notify_one();
            }
            if let Some(worker) = worker {
                worker.denied(denial.code);
            }
            Step::Done(Outcome::Refuse(refuse(&denial, serving.policy().realm(), shared, asked)))
        }
    }
}

fn pass(
    forward: Forward<'_>,
    identity: Option<Identity>,
    signature: Option<String>,
    announcement: Vec<(&'static str, String)>,
) -> Pass {
    Pass {
        max_age: forward.route.max_connection_age().map(|seconds| Duration::from_secs(seconds.into())),
        keep_authorization: forward.keep_authorization,
        target: forward.target.into_owned(),
        identity,
        signature,
        announcement,
    }
}

fn unfit(shared: &Shared, worker: Option<&Worker>, reason: Unfit, asked: &Asked<'_>) -> Step {
    let denial = Denial::unfit(reason);
    if let Some(worker) = worker {
        worker.denied(denial.code);
    }
    Step::Done(Outcome::Refuse(refuse(&denial, "", shared, asked)))
}

fn refuse(denial: &Denial<'_>, realm: &str, shared: &Shared, asked: &Asked<'_>) -> Box<Refusal> {
    Box::new(Refusal {
        code: denial.code,
        status: StatusCode::from_u16(denial.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers: denial.headers(realm),
        body: denial.problem(&request_id(shared, asked.headers)),
    })
}

/// The answer where the origin did not answer.
pub(crate) fn unreachable(shared: &Shared, worker: &Worker, headers: &HeaderMap) -> Box<Refusal> {
    let denial = Denial::origin_unreachable();
    worker.denied(denial.code);
    refuse(&denial, "", shared, &Asked { method: "", target: "", headers, upgrade: false })
}

/// The answer where a connection would be upgraded that nobody here could end in time.
pub(crate) fn upgrade_refused(shared: &Shared, headers: &HeaderMap) -> Box<Refusal> {
    let code = Code::UpgradeUnsupported;
    Box::new(Refusal {
        code,
        status: StatusCode::from_u16(code.status()).unwrap_or(StatusCode::NOT_IMPLEMENTED),
        headers: vec![("content-type", problem::CONTENT_TYPE.into()), ("cache-control", "no-store".into())],
        body: problem::write(code, "Send the request without Upgrade.", &request_id(shared, headers)),
    })
}

/// What the client calls its request, as far as it can be shown, or a name of our own.
fn request_id(shared: &Shared, headers: &HeaderMap) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let shown: String = given.chars().filter(char::is_ascii_graphic).take(MAX_REQUEST_ID).collect();
    if !shown.is_empty() {
        return shown;
    }
    format!("{}-{}", shared.instance, NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A header's values as the gate takes them: joined, where there are several.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(Cow::Borrowed(first.as_bytes()));
    };
    let all: Vec<&[u8]> = [first, second].into_iter().chain(values).map(HeaderValue::as_bytes).collect();
    Some(Cow::Owned(all.join(&b", "[..])))
}

/// Whether a request asks for another protocol on its connection.
pub(crate) fn asks_for_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::CONNECT || headers.contains_key(UPGRADE) || names_upgrade(headers)
}

/// Whether `Connection` names `Upgrade`.
fn names_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

/// The headers that tell the origin who calls.
pub(crate) fn identity_headers(pass: &Pass) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
    let identity = pass.identity.iter().flat_map(|identity| identity.headers());
    let signature = pass.signature.iter().map(|signature| (headers::SIGNATURE, signature.as_str()));
    identity.chain(signature).filter_map(|(name, value)| {
        // Ids, scopes and digits have no character that a header may not.
        Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_are_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(joined(&headers, &X_API_KEY), None);
        headers.append(X_API_KEY, HeaderValue::from_static("a"));
        assert!(matches!(joined(&headers, &X_API_KEY), Some(Cow::Borrowed(b"a"))));
        headers.append(X_API_KEY, HeaderValue::from_static("b"));
        assert_eq!(joined(&headers, &X_API_KEY).as_deref(), Some(&b"a, b"[..]));
    }

    #[test]
    fn upgrades_are_seen() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive"));
        assert!(!asks_for_upgrade(&Method::GET, &headers));
        assert!(asks_for_upgrade(&Method::CONNECT, &headers));
        headers.append(CONNECTION, HeaderValue::from_static("close, UPGRADE"));
        assert!(asks_for_upgrade(&Method::GET, &headers));
    }
}
