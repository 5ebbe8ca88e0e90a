//! Keys of a member at real edges, on both databases: what becomes of the member reaches the sidecar and the Worker as one
//! change, within the bound.

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::client::Client;
use nightlatch_api::{CreateToken, Environment, IssueKey, Secret, TokenKind};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::clock::now;
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::origin::Origin;
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::workerd::Worker;
use nightlatch_tests::world::{SOON, put_routes, routes};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

on_both_databases!(s0_14_s2_14_s0_25_what_becomes_of_a_member_is_in_force_at_the_edge);

/// A control plane, and a sidecar and a Worker that forward to an origin.
struct World {
    control_plane: ControlPlane,
    /// Of each edge, by its name.
    callers: [(&'static str, Caller); 2],
    http: reqwest::Client,
    _sidecar: Sidecar,
    _worker: Worker,
    _origin: Origin,
}

impl World {
    async fn start(database: Database) -> Result<Self> {
        let control_plane = ControlPlane::start(ControlPlaneConfig::new(database).timing(Timing::SHORT)).await?;
        put_routes(control_plane.client(), &routes()).await?;
        let origin = Origin::start().await?;
        let config = control_plane.worker(&origin.url()).await?;
        let worker = Worker::start(&config).await?;
        let config =
            SidecarConfig::beside(&config)?.setting("mode", "proxy").number("threads", 1).number("poll_ms", 250);
        let sidecar = Sidecar::start(config).await?;
        let callers = [("sidecar", Caller::new(&sidecar.url())?), ("Worker", Caller::new(worker.url())?)];
        for (edge, caller) in &callers {
            eventually("the edge serves the routes", SOON, async || {
                caller.send(Method::GET, "/status", None).await?.refused("key_missing")
            })
            .await
            .with_context(|| format!("{edge}: {} {}", sidecar.log(), worker.log()))?;
        }
        let http = reqwest::Client::new();
        Ok(Self { control_plane, callers, http, _sidecar: sidecar, _worker: worker, _origin: origin })
    }

    /// Calls the API as the owner, who has read what is to be changed.
    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let url = format!("{}/v1/{path}", self.control_plane.url());
        let request = |method| self.http.request(method, &url).bearer_auth(self.control_plane.token());
        let mut call = request(method.clone()).json(&body);
        if method == Method::PATCH {
            let read = request(Method::GET).send().await?.error_for_status()?;
            call = call.header("if-match", read.headers().get("etag").context("an ETag")?);
        }
        let answer = call.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Runs a statement in the control plane's database.
    async fn execute(&self, sql: String) -> Result<()> {
        let sql = AssertSqlSafe(sql);
        match self.control_plane.database_url() {
            Some(url) => PgConnection::connect(url).await?.execute(sql).await.map(|_| ())?,
            None => {
                let path = self.control_plane.data_dir().join("nightlatch.db");
                let url = format!("sqlite:{}", path.display());
                SqliteConnection::connect(&url).await?.execute(sql).await.map(|_| ())?;
            }
        }
        Ok(())
    }

    /// A member that has joined, and its own client. Nobody is waited for to open a letter: the database is told.
    async fn member(&self, scopes: &[&str]) -> Result<(String, String, Client)> {
        let invited = json!({ "email": "someone@example.com", "role": "operator", "scopes": scopes });
        let invited = self.call(Method::POST, "members", invited).await?;
        let text = |field: &str| invited["member"][field].as_str().map(str::to_owned).context("a member");
        let (id, principal) = (text("id")?, text("principal")?);
        let request = CreateToken {
            name: "theirs".into(),
            kind: TokenKind::Management,
            set: None,
            scopes: None,
            service_account: None,
            expires_at: None,
        };
        let created = self.control_plane.client().create_token(&request).await?;
        self.execute(format!("UPDATE members SET state = 'active', joined_at = created_at WHERE id = '{id}'")).await?;
        self.execute(format!("UPDATE tokens SET member_id = '{id}' WHERE id = '{}'", created.token.id)).await?;
        let client = Client::new(&self.control_plane.url())?.with_token(created.secret.expose());
        Ok((id, principal, client))
    }

    /// Every edge comes to let the key through.
    async fn allows(&self, path: &str, key: &Secret) -> Result<()> {
        for (edge, caller) in &self.callers {
            let allowed = async || caller.get(path, key.expose()).await?.allowed();
            eventually("the key is let through", SOON, allowed).await.context(*edge)?;
        }
        Ok(())
    }

    /// Every edge comes to refuse the keys, now that something has been done about them, and none lets a request through
    /// that is sent when the bound has passed.
    async fn refuses(&self, path: &str, keys: &[&Secret], codes: &[&str]) -> Result<()> {
        let done = now();
        let bound = jiff::SignedDuration::try_from(Timing::SHORT.bound())?;
        for (edge, caller) in &self.callers {
            for key in keys {
                let mut late = None;
                eventually("the key is refused", SOON, async || {
                    let answer = caller.get(path, key.expose()).await?;
                    if answer.clone().allowed().is_ok() && answer.sent > done + bound {
                        late = Some(answer.clone());
                    }
                    ensure!(
                        late.is_some() || answer.code.as_deref().is_some_and(|code| codes.contains(&code)),
                        "{answer:?}"
                    );
                    Ok(())
                })
                .await
                .context(*edge)?;
                ensure!(late.is_none(), "{edge}: let through past the bound of what was done at {done}: {late:?}");
            }
        }
        Ok(())
    }

    /// What the control plane itself says, at once.
    async fn verdict(&self, key: &Secret) -> Result<Value> {
        self.call(Method::POST, "verify", json!({ "key": key.expose(), "method": "GET", "path": "/invoices" })).await
    }
}

async fn s0_14_s2_14_s0_25_what_becomes_of_a_member_is_in_force_at_the_edge(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let (member, principal, client) = world.member(&[]).await?;
    let request = IssueKey { principal: Some(principal), ..IssueKey::new("mine", Environment::Live) };
    // No scope picker: the key has what its member has.
    let picked = IssueKey { tier: Some("gold".into()), ..request.clone() };
    let refused = format!("{:?}", client.issue_key(&picked).await.err().context("a tier was taken")?);
    ensure!(refused.contains("scopes_inherited") || refused.contains("ScopesInherited"), "{refused}");
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(client.issue_key(&request).await?);
    }
    for issued in &keys {
        world.allows("/status", &issued.secret).await?;
    }
    let secret = &keys[0].secret;
    world.refuses("/invoices", &[secret], &["scope_insufficient"]).await?;

    // Its own scopes change.
    let path = format!("members/{member}");
    world.call(Method::PATCH, &path, json!({ "scopes": ["invoices:read"] })).await?;
    ensure!(world.verdict(secret).await?["allowed"] == true);
    for issued in &keys {
        world.allows("/invoices", &issued.secret).await?;
    }
    let shown = world.control_plane.client().key(&keys[0].key.id).await?;
    ensure!(shown.value.scopes == ["invoices:read"], "{shown:?}");
    world.call(Method::PATCH, &path, json!({ "scopes": [] })).await?;
    ensure!(world.verdict(secret).await?["allowed"] == false);
    world.refuses("/invoices", &[secret], &["scope_insufficient"]).await?;

    // Its role brings some, and then it has another role.
    world.call(Method::PUT, "roles/operator", json!({ "scopes": ["invoices:read"] })).await?;
    world.allows("/invoices", secret).await?;
    world.call(Method::PATCH, &path, json!({ "role": "viewer" })).await?;
    world.refuses("/invoices", &[secret], &["scope_insufficient"]).await?;
    world.allows("/status", secret).await?;

    // It is suspended, and resumed.
    world.call(Method::POST, &format!("{path}/suspend"), json!({ "reason": "on leave" })).await?;
    ensure!(world.verdict(secret).await?["code"] == "key_disabled");
    let secrets: Vec<_> = keys.iter().map(|issued| &issued.secret).collect();
    world.refuses("/status", &secrets, &["key_disabled"]).await?;
    world.call(Method::POST, &format!("{path}/resume"), json!({})).await?;
    for issued in &keys {
        world.allows("/status", &issued.secret).await?;
    }

    // It goes for ever: the control plane knows its keys as revoked at once, each with a receipt. Edges refuse them by their
    // profile, and come to know them as revoked.
    world.call(Method::POST, &format!("{path}/remove"), json!({ "reason": "left" })).await?;
    for issued in &keys {
        let verdict = world.verdict(&issued.secret).await?;
        ensure!(verdict["code"] == "key_revoked", "{verdict}");
        let url = format!("{}/v1/keys/{}/receipt", world.control_plane.url(), issued.key.id);
        let receipt = world.http.get(url).bearer_auth(world.control_plane.token()).send().await?;
        ensure!(receipt.status().is_success(), "{receipt:?}");
    }
    world.refuses("/status", &secrets, &["key_disabled", "key_revoked"]).await?;
    for (edge, caller) in &world.callers {
        let revoked = async || caller.get("/status", secret.expose()).await?.refused("key_revoked");
        eventually("the key is known as revoked", SOON, revoked).await.context(*edge)?;
    }
    Ok(())
}
