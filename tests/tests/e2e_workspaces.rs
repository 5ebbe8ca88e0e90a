//! Two workspaces of one deployment, each with a real sidecar, made with the program's own commands.

use std::path::Path;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::client::Client;
use nightlatch_api::{Environment, IssueKey, RevokeKey};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::origin::Origin;
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, put_routes, routes};
use serde_json::Value;
use tempfile::TempDir;

on_both_databases!(g10_two_tenants_share_a_deployment_and_nothing_else);

/// Runs a command that works on the control plane's things.
fn host(control_plane: &ControlPlane, arguments: &[&str]) -> Result<Output> {
    Ok(control_plane.host_command()?.args(arguments).output()?)
}

fn done(output: &Output) -> Result<Value> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Makes a workspace and takes charge of it: its id, its set and its management token.
fn found(control_plane: &ControlPlane, scratch: &Path) -> Result<(String, String, String)> {
    let (code, token) = (scratch.join("enrolment-token"), scratch.join("token"));
    let mut command = control_plane.command()?;
    command.args(["workspaces", "create", "Acme", "--brand", "acme", "--owner-email", "ada@acme.example", "--json"]);
    let made = done(&command.arg("--secret-out").arg(&code).output()?)?;
    ensure!(made.get("enrolment_token").is_none(), "the secret is in the file alone: {made}");
    let mut command = control_plane.command()?;
    command.args(["enrol", "--json", "--enrolment-file"]).arg(&code).arg("--secret-out").arg(&token);
    done(&command.output()?)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    Ok((text(&made["workspace"]["id"])?, text(&made["set"])?, std::fs::read_to_string(&token)?.trim().to_owned()))
}

async fn gate(control_plane: &ControlPlane, token: &str, origin: &Origin) -> Result<(Sidecar, Caller)> {
    let config = SidecarConfig::beside(&control_plane.worker_as(token, &origin.url()).await?)?;
    let config = config.number("threads", 2).number("poll_ms", 250).setting("mode", "proxy");
    let sidecar = Sidecar::start(config).await?;
    let caller = Caller::new(&sidecar.url())?;
    eventually("the edge serves the routes", SOON, async || {
        caller.send(reqwest::Method::GET, "/status", None).await?.refused("key_missing")
    })
    .await
    .with_context(|| sidecar.log())?;
    Ok((sidecar, caller))
}

async fn passes(caller: &Caller, key: &str) -> Result<()> {
    eventually("the key passes", SOON, async || caller.get("/status", key).await?.expect(200, None).map(drop)).await
}

async fn g10_two_tenants_share_a_deployment_and_nothing_else(database: Database) -> Result<()> {
    let control_plane = ControlPlane::start(ControlPlaneConfig::new(database).timing(Timing::DEFAULT)).await?;
    let scratch = TempDir::with_prefix("nightlatch-tenants-")?;
    let (workspace, set, token) = found(&control_plane, scratch.path())?;
    let theirs = Client::new(&control_plane.url())?.with_token(token.clone());
    let ours = control_plane.client();
    for client in [ours, &theirs] {
        put_routes(client, &routes()).await?;
    }
    eventually("the set is published", SOON, async || {
        let set = theirs.set(&set).await?;
        ensure!(set.published.is_some() && theirs.trust(&set.id).await.is_ok());
        Ok(())
    })
    .await?;
    let origin = Origin::start().await?;
    let (_our_edge, our_gate) = gate(&control_plane, control_plane.token(), &origin).await?;
    let (_their_edge, their_gate) = gate(&control_plane, &token, &origin).await?;
    let our_key = ours.issue_key(&IssueKey::new("ours", Environment::Live)).await?;
    let their_key = theirs.issue_key(&IssueKey::new("theirs", Environment::Live)).await?;
    assert!(their_key.secret.expose().starts_with("acme_live_"));
    passes(&our_gate, our_key.secret.expose()).await?;
    passes(&their_gate, their_key.secret.expose()).await?;
    our_gate.get("/status", their_key.secret.expose()).await?.refused("key_invalid")?;
    their_gate.get("/status", our_key.secret.expose()).await?.refused("key_invalid")?;
    // What ends in one workspace ends there.
    ours.revoke_key(&our_key.key.id, &RevokeKey::new("leaked")).await?;
    eventually("the key is refused", SOON, async || {
        our_gate.get("/status", our_key.secret.expose()).await?.refused("key_revoked")
    })
    .await?;
    passes(&their_gate, their_key.secret.expose()).await?;

    // Commands beside the server ask which set is meant, and each has a pepper of its own under one id.
    let asked = host(&control_plane, &["pepper", "status"])?;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(2), "{said}");
    assert!([&set, &control_plane.set().id, &workspace].iter().all(|id| said.contains(id.as_str())), "{said}");
    let export = |name: &str| -> Result<Value> {
        done(&host(&control_plane, &["pepper", "export", "--json", "--workspace", name])?)
    };
    let (first, second) = (export(&control_plane.set().workspace)?, export(&workspace)?);
    assert_eq!(first["ids"], second["ids"]);
    assert_ne!(first["peppers"], second["peppers"]);
    assert_eq!(first["peppers"], control_plane.pepper()?.as_str());
    // The pepper of one is replaced without the other.
    done(&host(&control_plane, &["pepper", "next", "--json", "--set", &set])?)?;
    let switched = done(&host(&control_plane, &["pepper", "switch", "--json", "--force", "--set", &set])?)?;
    eventually("the set is made with the next pepper", SOON, async || {
        let now = theirs.set(&set).await?;
        ensure!(now.pepper == switched["to"].as_str().context("an id")? && now.epoch > 1);
        Ok(())
    })
    .await?;
    assert_eq!(ours.set(&control_plane.set().id).await?.pepper, control_plane.set().pepper);
    let trust = done(&host(&control_plane, &["trust", "show", "--json", "--workspace", &workspace])?)?;
    assert_eq!(trust["trust"]["set"], set.as_str());
    Ok(())
}
