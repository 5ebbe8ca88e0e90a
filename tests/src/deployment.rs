//! A control plane as people meet it: one process on SQLite, two replicas on one database on PostgreSQL. Calls go to its
//! replicas in turn, so that what is written at one is read at the other.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use reqwest::header::{IF_MATCH, SET_COOKIE};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::caller::Answer;
use crate::control_plane::{ControlPlane, ControlPlaneConfig, Database};
use crate::follower::Follower;
use crate::replicas::{self, TIMING};
use crate::wait::eventually;
use crate::world::{SOON, put_routes, routes};

/// The password everybody has here.
const PASSWORD: &str = "correct horse battery";

/// How a call proves who makes it.
#[derive(Clone)]
pub enum Login {
    /// Not at all.
    Nobody,
    /// With a management token.
    Token(String),
    /// With a session's cookie and what pages of the server's own send along.
    Session {
        /// `name=value`.
        cookie: String,
        /// The value of `X-Nightlatch-CSRF`.
        csrf: String,
    },
}

/// A member who has joined and signed in.
pub struct Person {
    /// `mem_…`.
    pub id: String,
    /// The principal of their own keys, `prn_…`.
    pub principal: String,
    /// Their session.
    pub session: Login,
    /// A token of theirs for everything that they may.
    pub token: Login,
}

/// A control plane of one replica or two.
pub struct Deployment {
    replicas: Vec<ControlPlane>,
    sets: TempDir,
    turn: AtomicUsize,
    http: reqwest::Client,
}

impl Deployment {
    /// Starts it, with the routes of [`crate::world`].
    ///
    /// # Errors
    /// When a replica does not start.
    pub async fn start(database: Database) -> Result<Self> {
        let (replicas, sets) = match database {
            Database::Postgres => {
                let (first, second, sets) = replicas::pair().await?;
                (vec![first, second], sets)
            }
            Database::Sqlite => {
                let sets = TempDir::with_prefix("nightlatch-sets-")?;
                let config = ControlPlaneConfig::new(database).timing(TIMING).argument("--sets-dir");
                (vec![ControlPlane::start(config.argument(sets.path().display().to_string())).await?], sets)
            }
        };
        put_routes(replicas[0].client(), &routes()).await?;
        // A connection that a killed replica had must not be reused.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
        let all = Self { replicas, sets, turn: AtomicUsize::new(0), http };
        let head = all.published(&all.replicas[0].set().id).join("head");
        eventually("the set is published", SOON, async || Ok(std::fs::metadata(&head).map(drop)?)).await?;
        Ok(all)
    }

    /// Its replicas.
    #[must_use]
    pub fn replicas(&self) -> &[ControlPlane] {
        &self.replicas
    }

    /// The same, to be killed and started again.
    pub fn replicas_mut(&mut self) -> &mut [ControlPlane] {
        &mut self.replicas
    }

    /// The replica whose turn it is.
    pub fn next(&self) -> &ControlPlane {
        &self.replicas[self.turn.fetch_add(1, Ordering::Relaxed) % self.replicas.len()]
    }

    /// The founding workspace's first owner.
    #[must_use]
    pub fn owner(&self) -> Login {
        Login::Token(self.replicas[0].token().to_owned())
    }

    /// Where a set is published.
    #[must_use]
    pub fn published(&self, set: &str) -> PathBuf {
        self.sets.path().join(set)
    }

    /// Sends a request as it is built to the replica whose turn it is.
    ///
    /// # Errors
    /// When no answer comes back.
    pub async fn send(
        &self,
        who: &Login,
        method: Method,
        path: &str,
        build: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> reqwest::Result<Answer> {
        self.send_to(&self.next().url(), who, method, path, build).await
    }

    /// The same to the replica of this URL.
    ///
    /// # Errors
    /// When no answer comes back.
    pub async fn send_to(
        &self,
        url: &str,
        who: &Login,
        method: Method,
        path: &str,
        build: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> reqwest::Result<Answer> {
        let request = self.http.request(method, format!("{url}/v1/{path}"));
        let request = match who {
            Login::Nobody => request,
            Login::Token(token) => request.bearer_auth(token),
            Login::Session { cookie, csrf } => request
                .header("cookie", cookie)
                .header("x-nightlatch-csrf", csrf)
                .header("sec-fetch-site", "same-origin"),
        };
        Answer::to(build(request)).await
    }

    /// Reads something.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn get(&self, who: &Login, path: &str) -> Result<Value> {
        done(path, &self.send(who, Method::GET, path, |request| request).await?)
    }

    /// Does something.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn post(&self, who: &Login, path: &str, body: Value) -> Result<Value> {
        done(path, &self.try_post(who, path, body).await?)
    }

    /// Does something, or not.
    ///
    /// # Errors
    /// When no answer comes back.
    pub async fn try_post(&self, who: &Login, path: &str, body: Value) -> Result<Answer> {
        Ok(self.send(who, Method::POST, path, |request| request.json(&body)).await?)
    }

    /// Replaces something.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn put(&self, who: &Login, path: &str, body: Value) -> Result<Value> {
        done(path, &self.send(who, Method::PUT, path, |request| request.json(&body)).await?)
    }

    /// Changes something as it was read, at the other replica where there is one.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn patch(&self, who: &Login, path: &str, body: Value) -> Result<Value> {
        done(path, &self.try_patch(who, path, body).await?)
    }

    /// The same, or not.
    ///
    /// # Errors
    /// When no answer comes back, or it cannot be read.
    pub async fn try_patch(&self, who: &Login, path: &str, body: Value) -> Result<Answer> {
        let read = self.send(who, Method::GET, path, |request| request).await?.allowed()?;
        let build = |request: RequestBuilder| request.json(&body).header(IF_MATCH, read.header("etag"));
        Ok(self.send(who, Method::PATCH, path, build).await?)
    }

    /// Everything of a list of at most 200.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn list(&self, who: &Login, path: &str) -> Result<Vec<Value>> {
        let path = format!("{path}{}limit=200", if path.contains('?') { '&' } else { '?' });
        let page = self.get(who, &path).await?;
        ensure!(page["next_cursor"].is_null(), "{path} has more");
        page["items"].as_array().cloned().context("items")
    }

    /// Invites somebody to the workspace; they join and sign in, each at another replica.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn join(&self, inviter: &Login, role: &str, name: &str) -> Result<Person> {
        self.join_at(inviter, "members", role, name).await
    }

    /// Invites somebody to a partner organisation.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn join_partner(&self, inviter: &Login, partner: &str, role: &str, name: &str) -> Result<Person> {
        self.join_at(inviter, &format!("partners/{partner}/staff"), role, name).await
    }

    async fn join_at(&self, inviter: &Login, path: &str, role: &str, name: &str) -> Result<Person> {
        let email = format!("{name}@example.com");
        let invited = self.post(inviter, path, json!({ "email": email, "name": name, "role": role })).await?;
        let accept = json!({ "code": invited["code"], "password": PASSWORD });
        self.post(&Login::Nobody, "invites/accept", accept).await?;
        let session = self.sign_in(&email).await?;
        let made = self.post(&session, "tokens", json!({ "name": name, "kind": "management" })).await?;
        let member = &invited["member"];
        Ok(Person {
            id: text(&member["id"])?,
            principal: text(&member["principal"])?,
            session,
            token: Login::Token(text(&made["secret"])?),
        })
    }

    /// Signs somebody in.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn sign_in(&self, email: &str) -> Result<Login> {
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = self.try_post(&Login::Nobody, "session", body).await?.allowed()?;
        session_of(&answer)
    }

    /// An edge of the founding workspace's set.
    ///
    /// # Errors
    /// When nothing is published.
    pub fn gate(&self) -> Result<Gate> {
        self.gate_beside(self.next())
    }

    /// The same with what this replica tells edges to begin with.
    ///
    /// # Errors
    /// When nothing is published.
    pub fn gate_beside(&self, replica: &ControlPlane) -> Result<Gate> {
        let directory = self.published(&replica.set().id);
        Ok(Gate { follower: Follower::beside(replica, &directory)?, directory })
    }
}

/// An edge that follows the published files.
pub struct Gate {
    /// Its state.
    pub follower: Follower,
    directory: PathBuf,
}

impl Gate {
    /// Takes over what is published, if it is news.
    ///
    /// # Errors
    /// What it refuses.
    pub fn poll(&mut self) -> Result<()> {
        Ok(self.follower.poll(&self.directory)?)
    }

    /// Waits until it answers so: 200, or the status and the code of a refusal.
    ///
    /// # Errors
    /// What it answers instead, when it does not come to it in time.
    pub async fn answers(&mut self, method: &str, path: &str, key: &str, wanted: (u16, &str)) -> Result<()> {
        eventually(&format!("{method} {path} is answered {wanted:?}"), SOON, async || {
            self.poll()?;
            ensure!(self.follower.edge.loaded().is_some(), "nothing is published");
            let answer = self.follower.verdict(method, path, key, 0);
            ensure!(answer == wanted, "it is answered {answer:?}");
            Ok(())
        })
        .await
    }

    /// Waits until it lets a key through on `GET /status`.
    ///
    /// # Errors
    /// What it answers instead.
    pub async fn accepts(&mut self, key: &str) -> Result<()> {
        self.answers("GET", "/status", key, (200, "")).await
    }

    /// Waits until it refuses a key itself, with this code.
    ///
    /// # Errors
    /// What it answers instead.
    pub async fn refuses(&mut self, key: &str, code: &str) -> Result<()> {
        self.answers("GET", "/status", key, (401, code)).await
    }

    /// Waits until it refuses a key whose member was removed. For a while edges know of that by the member's profile alone,
    /// which says no more than that its keys do not work.
    ///
    /// # Errors
    /// What it answers instead.
    pub async fn refuses_with_its_member(&mut self, key: &str) -> Result<()> {
        eventually("the key is refused", SOON, async || {
            self.poll()?;
            let answer = self.follower.verdict("GET", "/status", key, 0);
            ensure!([(401, "key_revoked"), (401, "key_disabled")].contains(&answer), "it is answered {answer:?}");
            Ok(())
        })
        .await
    }
}

/// The session that an answer to `POST /v1/session` has made.
///
/// # Errors
/// When it has made none.
pub fn session_of(answer: &Answer) -> Result<Login> {
    let cookie = answer.headers.get(SET_COOKIE).and_then(|value| value.to_str().ok()).context("a cookie")?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let signed_in: Value = serde_json::from_str(&answer.body)?;
    ensure!(signed_in["needs"] == json!([]), "{signed_in}");
    Ok(Login::Session { cookie, csrf: text(&signed_in["csrf"])? })
}

/// A field that must be text.
///
/// # Errors
/// When it is not.
pub fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("{value} is no text"))
}

fn done(path: &str, answer: &Answer) -> Result<Value> {
    ensure!((200..300).contains(&answer.status), "{path}: {answer:?}");
    if answer.body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&answer.body)?) }
}
