//! `Idempotency-Key`: a create that is sent again is done once and answered again.
//!
//! The answer is kept in the transaction of what it answers, without its secret. The secret is kept beside it for 15
//! minutes, sealed under a key derived from the server key and the caller's raw `Idempotency-Key`. Of that only a keyed
//! hash is kept, so the database and the server key together open nothing without the caller.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::future::BoxFuture;
use nightlatch_api::Code;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::App;
use super::caller::Caller;
use super::refused::Refused;
use crate::secrets::{Secrets, open, seal};
use crate::store::idempotency::{self, Answer, Found, Secret, Slot};
use crate::store::{Error, Tx};

const HEADER: &str = "idempotency-key";
/// Says that the answer is of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in bytes.
const MAX_LEN: usize = 255;

/// The caller's `Idempotency-Key`, if it sent one.
#[derive(Debug, Clone)]
pub(super) struct Once(Option<SecretString>);

impl<S: Send + Sync> FromRequestParts<S> for Once {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let text = value.to_str().unwrap_or_default();
        if values.next().is_some() || !(1..=MAX_LEN).contains(&text.len()) {
            let shape = format!("must be sent once, 1 to {MAX_LEN} visible characters");
            return Err(Refused::invalid("Idempotency-Key", shape));
        }
        Ok(Self(Some(text.into())))
    }
}

/// What a create answers: a body and, apart from it, its secret.
pub(super) struct Created {
    pub(super) status: StatusCode,
    /// The body without its secret.
    pub(super) body: Value,
    /// What goes into the body under a name of the caller's choice.
    pub(super) secret: Option<SecretString>,
}

impl Created {
    /// 201 with this body, which holds no secret.
    pub(super) fn new(body: &impl serde::Serialize) -> Self {
        // The API's own types always serialise: their maps have text keys.
        let body = serde_json::to_value(body).expect("an answer serialises");
        Self { status: StatusCode::CREATED, body, secret: None }
    }

    /// The same with a secret.
    pub(super) fn with_secret(self, secret: impl Into<SecretString>) -> Self {
        Self { secret: Some(secret.into()), ..self }
    }

    /// The answer, with the secret as the field of this name.
    pub(super) fn into_response(self, field: &str) -> Response {
        self.into_response_and(field, None)
    }

    /// The same with another secret beside it. It is the only place where a secret enters a response.
    pub(super) fn into_response_and(self, field: &str, other: Option<&(&str, SecretString)>) -> Response {
        let Value::Object(mut body) = self.body else {
            return (self.status, axum::Json(self.body)).into_response();
        };
        if let Some(secret) = self.secret {
            body.insert(field.to_owned(), Value::String(secret.expose_secret().to_owned()));
        }
        if let Some((name, secret)) = other {
            body.insert((*name).to_owned(), Value::String(secret.expose_secret().to_owned()));
        }
        let response = (self.status, axum::Json(&body)).into_response();
        erase(&mut body, field);
        if let Some((name, _)) = other {
            erase(&mut body, name);
        }
        response
    }
}

/// Overwrites the secret in a body that has been sent.
fn erase(body: &mut Map<String, Value>, field: &str) {
    if let Some(Value::String(secret)) = body.remove(field) {
        drop(Zeroizing::new(secret));
    }
}

/// A create as the store runs it.
pub(super) type Work<T> = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>> + Send>;

/// A create: what it is, what it does and how it is answered.
pub(super) struct Create<T> {
    /// The route's name, part of the key's scope.
    pub(super) route: &'static str,
    /// What its secret is called in the answer.
    pub(super) secret: &'static str,
    /// The hash of path, query and body.
    pub(super) request_hash: [u8; 32],
    /// The mutation.
    pub(super) work: Work<T>,
    /// The answer as it is kept.
    pub(super) answer: fn(&T) -> Created,
}

/// What became of a create.
pub(super) enum Done<T> {
    /// It was done now.
    Fresh(T),
    /// It had been done before: the answer of then.
    Replayed(Response),
}

/// The hash of everything that makes a request what it is.
pub(super) fn request_hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Runs creates once.
pub(super) struct Replays {
    secrets: Arc<Secrets>,
    /// What this process is working on: token, route, hash of the key.
    running: Mutex<HashSet<Running>>,
}

type Running = (String, &'static str, [u8; 32]);

/// Marks a create as being worked on until it is dropped.
struct Working<'a> {
    replays: &'a Replays,
    running: Running,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.replays.lock().remove(&self.running);
    }
}

impl Replays {
    pub(super) fn new(secrets: Arc<Secrets>) -> Self {
        Self { secrets, running: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Running>> {
        // The set is whole whatever panicked while it was held.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, slot: &Slot) -> Result<Working<'_>, Refused> {
        let running = (slot.caller.clone(), slot.route, slot.key_hash);
        if self.lock().insert(running.clone()) {
            Ok(Working { replays: self, running })
        } else {
            Err(Code::IdempotencyInProgress.into())
        }
    }

    /// The hash of a key within its scope: the same key of somebody else is another, and nobody waits for it.
    fn hash_of(&self, caller: &str, route: &str, raw: &SecretString) -> [u8; 32] {
        let parts = [caller, route, raw.expose_secret()];
        let scoped = Zeroizing::new(parts.map(|part| format!("{}:{part}", part.len())).concat());
        *self.secrets.server_key().derive("idempotency hash", scoped.as_bytes())
    }

    fn seal_key(&self, raw: &SecretString) -> Zeroizing<[u8; 32]> {
        self.secrets.server_key().derive("idempotency seal", raw.expose_secret().as_bytes())
    }
}

/// The outcome of one mutation.
enum Step<T> {
    Fresh(T),
    Again(Answer),
    Mismatch,
}

/// Runs a create, or answers as it was answered before.
pub(super) async fn create<T: Send + 'static>(
    app: &App,
    caller: &Caller,
    once: Once,
    create: Create<T>,
) -> Result<Done<T>, Refused> {
    let Create { route, secret: field, request_hash, work, answer } = create;
    let Once(Some(raw)) = once else {
        return Ok(Done::Fresh(app.store().write(work).await?));
    };
    let slot = Slot {
        workspace: caller.workspace().clone(),
        caller: caller.id().to_owned(),
        route,
        key_hash: app.replays().hash_of(caller.id(), route, &raw),
        request_hash,
    };
    let _working = app.replays().start(&slot)?;
    let key = app.replays().seal_key(&raw);
    let bound_to = bound_to(&slot);
    let step = {
        let (key, bound_to, slot) = (key.clone(), bound_to.clone(), slot);
        app.store()
            .write::<Step<T>, Error, _>(move |tx| {
                Box::pin(async move {
                    match idempotency::find(tx, &slot).await? {
                        Found::Mismatch => return Ok(Step::Mismatch),
                        Found::Answer(kept) => return Ok(Step::Again(kept)),
                        Found::Nothing => {}
                    }
                    let done = work(tx).await?;
                    let created = answer(&done);
                    let secret = match created.secret {
                        Some(secret) => Secret::Sealed(seal(&key, &bound_to, secret.expose_secret().as_bytes())),
                        None => Secret::None,
                    };
                    let kept = Answer { status: created.status.as_u16(), body: created.body.to_string(), secret };
                    idempotency::keep(tx, &slot, &kept).await?;
                    Ok(Step::Fresh(done))
                })
            })
            .await?
    };
    match step {
        Step::Fresh(done) => Ok(Done::Fresh(done)),
        Step::Mismatch => Err(Code::IdempotencyMismatch.into()),
        Step::Again(kept) => replay(&kept, field, &key, &bound_to).map(Done::Replayed),
    }
}

/// Whose secret a sealed one is: it opens for the same token, route, key and request only.
fn bound_to(slot: &Slot) -> Vec<u8> {
    let parts: [&[u8]; 4] = [slot.caller.as_bytes(), slot.route.as_bytes(), &slot.key_hash, &slot.request_hash];
    request_hash(&parts).to_vec()
}

fn replay(kept: &Answer, field: &str, key: &[u8; 32], bound_to: &[u8]) -> Result<Response, Refused> {
    let broken = || {
        tracing::error!("a kept answer cannot be read");
        Refused::new(Code::Internal)
    };
    let body: Value = serde_json::from_str(&kept.body).map_err(|_| broken())?;
    let status = StatusCode::from_u16(kept.status).map_err(|_| broken())?;
    let secret = match &kept.secret {
        Secret::Sealed(sealed) => {
            let plain = open(key, bound_to, sealed).ok_or_else(broken)?;
            Some(SecretString::from(std::str::from_utf8(&plain).map_err(|_| broken())?))
        }
        Secret::None => None,
        Secret::Erased => {
            let id = body.pointer("/key/id").or_else(|| body.pointer("/token/id"));
            let id = id.or_else(|| body.pointer("/gateway/id")).or_else(|| body.pointer("/link/id"));
            let id = id.or_else(|| body.pointer("/edge/id")).or_else(|| body.pointer("/member/id"));
            let id = id.cloned().unwrap_or_default();
            return Err(Refused::new(Code::SecretNoLongerAvailable).with("id", id));
        }
    };
    let mut response = Created { status, body, secret }.into_response(field);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
