//! What SECURITY.md says to do when something is lost or stolen, done with the commands it names, on both databases.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_key::Digest;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Pepper, Status};
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::follower::Follower;
use nightlatch_tests::on_both_databases;
use nightlatch_tests::wait::eventually;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

const TIMING: Timing = Timing { heartbeat: 1, validity: 60, skew: 5 };
const SOON: Duration = Duration::from_secs(60);

on_both_databases!(
    a_database_restored_from_a_backup_recovers,
    a_stolen_head_signing_key_is_replaced,
    a_stolen_pepper_is_replaced,
    a_lost_management_token_is_replaced_from_the_host,
    a_key_dies_while_the_control_plane_is_down,
);

struct Stage {
    control_plane: ControlPlane,
    edge: Follower,
    directory: PathBuf,
}

impl Stage {
    async fn new(database: Database) -> Result<Self> {
        let control_plane = ControlPlane::start(ControlPlaneConfig::new(database).timing(TIMING)).await?;
        let directory = control_plane.published();
        eventually("the set is published", SOON, async || Ok(fs::metadata(directory.join("trust"))?)).await?;
        let edge = edge(&control_plane, true)?;
        Ok(Self { control_plane, edge, directory })
    }

    async fn issue(&self) -> Result<(String, Digest)> {
        let issued = self.post("/v1/keys", json!({"name": "a key", "environment": "live"})).await?;
        let secret = issued["secret"].as_str().context("a secret")?;
        Ok((issued["key"]["id"].as_str().context("an id")?.to_owned(), Digest::of(secret.as_bytes())))
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let request = reqwest::Client::new().post(format!("{}{path}", self.control_plane.url()));
        let request = request.bearer_auth(self.control_plane.token()).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    async fn revoke(&self, key: &str) -> Result<()> {
        self.post(&format!("/v1/keys/{key}/revoke"), json!({"reason": "a test"})).await.map(drop)
    }

    /// Polls until the edge says that of a key; it refuses nothing meanwhile, and answers all the time.
    async fn await_status(&mut self, digest: &Digest, wanted: Option<Status>) -> Result<()> {
        let (edge, directory) = (&mut self.edge, &self.directory);
        eventually("what the edge says of a key", SOON, async || {
            edge.poll(directory)?;
            ensure!(edge.answers() && edge.status(digest) == wanted);
            Ok(())
        })
        .await
    }

    /// Runs a command on the control plane's machine and reads what it prints.
    fn host(&self, arguments: &[&str]) -> Result<Value> {
        let output = run(self.control_plane.host_command()?.args(arguments).arg("--json"))?;
        ensure!(output.0, "{arguments:?}: {}", output.2);
        Ok(serde_json::from_str(&output.1)?)
    }
}

fn run(command: &mut Command) -> Result<(bool, String, String)> {
    let output = command.output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.success(), text(output.stdout), text(output.stderr)))
}

/// An edge with the peppers there are; pinning the root, or the key that signs now.
fn edge(control_plane: &ControlPlane, by_root: bool) -> Result<Follower> {
    let set = &control_plane.set().id;
    let shown = run(control_plane.host_command()?.args(["trust", "show", "--json"]))?;
    ensure!(shown.0, "trust show: {}", shown.2);
    let shown: Value = serde_json::from_str(&shown.1)?;
    let keys = |field: &str| -> Result<Vec<Verifier>> {
        let keys = shown["trust"][field].as_array().context("keys")?;
        let vkey =
            |key: &Value| Verifier::from_vkey(key.as_str().unwrap_or_default()).map_err(|e| anyhow::anyhow!("{e}"));
        keys.iter().map(vkey).collect()
    };
    let mut peppers = Vec::new();
    for entry in fs::read_dir(control_plane.data_dir().join("secrets"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pepper")) {
            peppers.push(pepper(&fs::read_to_string(path)?, set)?);
        }
    }
    let (roots, verifiers) = if by_root { (keys("roots")?, Vec::new()) } else { (Vec::new(), keys("signers")?) };
    Ok(Follower::new(set, roots, verifiers, peppers))
}

fn pepper(text: &str, set: &str) -> Result<Pepper> {
    let (id, encoded) = text.trim_end().split_once(':').context("a pepper is id:base64")?;
    let bytes = <base64ct::Base64 as base64ct::Encoding>::decode_vec(encoded).map_err(|_| anyhow::anyhow!("base64"))?;
    let secret: [u8; Pepper::LEN] = bytes.as_slice().try_into()?;
    Pepper::new(id, set, &secret).map_err(|_| anyhow::anyhow!("a pepper"))
}

/// Copies a stopped control plane's database, or puts the copy back.
async fn copy_database(control_plane: &ControlPlane, back: bool) -> Result<()> {
    let Some(url) = control_plane.database_url() else {
        let (live, copy) = (control_plane.data_dir().join("nightlatch.db"), control_plane.data_dir().join("backup.db"));
        let (from, to) = if back { (&copy, &live) } else { (&live, &copy) };
        for suffix in ["-wal", "-shm"] {
            let log = PathBuf::from(format!("{}{suffix}", live.display()));
            ensure!(!log.exists() || back || fs::metadata(&log)?.len() == 0, "the database was not closed");
            drop(fs::remove_file(log));
        }
        fs::copy(from, to)?;
        return Ok(());
    };
    let (server, name) = url.rsplit_once('/').context("a URL")?;
    let (live, copy) = (name.to_owned(), format!("{name}_backup"));
    let (from, to) = if back { (copy, live) } else { (live, copy) };
    let mut connection = PgConnection::connect(&format!("{server}/postgres")).await?;
    connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {to}"))).await?;
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {to} TEMPLATE {from}"))).await?;
    Ok(())
}

async fn ready(control_plane: &ControlPlane) -> Result<(bool, String)> {
    let answer = reqwest::get(format!("{}/readyz", control_plane.url())).await?;
    Ok((answer.status().is_success(), answer.text().await?))
}

async fn a_database_restored_from_a_backup_recovers(database: Database) -> Result<()> {
    let mut stage = Stage::new(database).await?;
    let (kept, kept_digest) = stage.issue().await?;
    let (revoked, revoked_digest) = stage.issue().await?;
    stage.await_status(&revoked_digest, Some(Status::Active)).await?;
    stage.control_plane.stop()?;
    copy_database(&stage.control_plane, false).await?;
    stage.control_plane.restart().await?;
    stage.revoke(&revoked).await?;
    let (_, lost) = stage.issue().await?;
    stage.await_status(&revoked_digest, Some(Status::Revoked)).await?;
    stage.await_status(&lost, Some(Status::Active)).await?;
    // A server that runs is in the way.
    let (done, _, error) = run(stage.control_plane.host_command()?.arg("recover"))?;
    assert!(!done && error.contains("in use by another process"), "{error}");
    stage.control_plane.kill()?;
    copy_database(&stage.control_plane, true).await?;

    // Refused, and says what to run.
    let head = fs::read(stage.directory.join("head"))?;
    stage.control_plane.restart().await?;
    let refused = eventually("publishing is refused", SOON, async || {
        let (ready, text) = ready(&stage.control_plane).await?;
        ensure!(!ready && text.contains("nightlatch recover"), "{text}");
        Ok(())
    });
    refused.await?;
    assert_eq!(fs::read(stage.directory.join("head"))?, head);
    stage.control_plane.stop()?;

    let planned = stage.host(&["recover", "--dry-run"])?;
    assert_eq!(planned["revoked"], json!([{"key": revoked, "why": "revoked"}]));
    assert_eq!(planned["unknown"].as_array().map(Vec::len), Some(1));
    assert_eq!(fs::read(stage.directory.join("head"))?, head);
    let done = stage.host(&["recover"])?;
    assert_eq!(done["now"]["incarnation"], 1);
    stage.control_plane.restart().await?;
    stage.await_status(&lost, None).await?;
    assert_eq!(stage.edge.status(&revoked_digest), Some(Status::Revoked));
    assert_eq!(stage.edge.status(&kept_digest), Some(Status::Active));
    let (_, fresh) = stage.issue().await?;
    stage.await_status(&fresh, Some(Status::Active)).await?;
    stage.revoke(&kept).await?;
    stage.await_status(&kept_digest, Some(Status::Revoked)).await?;
    let again = stage.control_plane.client().key(&revoked).await?.value;
    assert_eq!(serde_json::to_value(&again)?["state"], "revoked");
    Ok(())
}

async fn a_stolen_head_signing_key_is_replaced(database: Database) -> Result<()> {
    let mut stage = Stage::new(database).await?;
    let (_, digest) = stage.issue().await?;
    stage.await_status(&digest, Some(Status::Active)).await?;
    let mut pinned = edge(&stage.control_plane, false)?;
    pinned.poll(&stage.directory)?;
    // Routine first, with the root key away: asked for here, signed there, brought back. The server runs all the time.
    let host = |arguments: &[&str]| -> Result<Command> {
        let mut command = stage.control_plane.host_command()?;
        command.args(arguments);
        Ok(command)
    };
    let (kept, away) = (stage.control_plane.data_dir().join("secrets/root.key"), stage.directory.join("away.key"));
    fs::rename(&kept, &away)?;
    let (done, _, error) = run(&mut host(&["trust", "rotate-signer"])?)?;
    assert!(!done && error.contains("trust request"), "{error}");
    let (done, unsigned, error) = run(&mut host(&["trust", "request", "rotate-signer"])?)?;
    ensure!(done, "{error}");
    let scratch = tempfile::tempdir()?;
    let (request, signed) = (scratch.path().join("unsigned"), scratch.path().join("signed"));
    fs::write(&request, unsigned)?;
    let mut sign = nightlatch_tests::program::nightlatch()?;
    sign.args(["trust", "sign", "--root-key"]).arg(&away).stdin(fs::File::open(&request)?);
    let (done, note, error) = run(&mut sign)?;
    ensure!(done, "{error}");
    fs::write(&signed, note)?;
    let (done, _, error) = run(host(&["trust", "import"])?.arg(&signed))?;
    ensure!(done, "{error}");
    await_trust(&mut stage, 2).await?;
    assert_eq!(stage.edge.edge.trust().context("a note")?.signers.len(), 2);

    // Then the key is stolen, and the root key is at hand.
    fs::rename(&away, &kept)?;
    stage.host(&["trust", "rotate-signer", "--compromised", "--dry-run"]).err();
    stage.host(&["trust", "rotate-signer", "--compromised"])?;
    await_trust(&mut stage, 3).await?;
    let trust = stage.edge.edge.trust().context("a note")?.clone();
    assert_eq!(trust.signers.len(), 1);
    assert!(trust.floor[1] > 1);
    // An edge that pins the stolen key itself has to be told.
    assert!(pinned.poll(&stage.directory).is_err());
    // The root key is replaced by co-signing; edges that pin either go on.
    stage.host(&["root", "rotate"])?;
    await_trust(&mut stage, 4).await?;
    stage.host(&["root", "retire"])?;
    await_trust(&mut stage, 5).await?;
    let (_, later) = stage.issue().await?;
    stage.await_status(&later, Some(Status::Active)).await?;
    stage.control_plane.stop()?;
    stage.control_plane.restart().await?;
    let (_, later) = stage.issue().await?;
    stage.await_status(&later, Some(Status::Active)).await
}

async fn await_trust(stage: &mut Stage, version: u64) -> Result<()> {
    let (edge, directory) = (&mut stage.edge, &stage.directory);
    eventually("the edge has the trust note", SOON, async || {
        edge.poll(directory)?;
        ensure!(edge.answers(), "it does not answer");
        let head = edge.edge.loaded().context("a head")?.head();
        ensure!(head.trust == Some(version), "the head names {:?}", head.trust);
        Ok(())
    })
    .await
}

async fn a_stolen_pepper_is_replaced(database: Database) -> Result<()> {
    let mut stage = Stage::new(database).await?;
    let (_, digest) = stage.issue().await?;
    stage.await_status(&digest, Some(Status::Active)).await?;
    let made = stage.host(&["pepper", "next"])?["pepper"].as_str().context("an id")?.to_owned();
    let status = stage.host(&["pepper", "status"])?;
    assert_eq!(status["others"], json!([made]));
    // Edges get both before the switch.
    stage.edge = edge(&stage.control_plane, true)?;
    stage.await_status(&digest, Some(Status::Active)).await?;
    stage.host(&["pepper", "switch"])?;
    let (edge, directory) = (&mut stage.edge, &stage.directory);
    eventually("the set is made with the next pepper", SOON, async || {
        edge.poll(directory)?;
        ensure!(edge.status(&digest) == Some(Status::Active));
        ensure!(edge.edge.loaded().is_some_and(|serving| serving.head().pepper == made));
        Ok(())
    })
    .await?;
    let (_, later) = stage.issue().await?;
    stage.await_status(&later, Some(Status::Active)).await
}

async fn a_lost_management_token_is_replaced_from_the_host(database: Database) -> Result<()> {
    let stage = Stage::new(database).await?;
    let made = stage.host(&["enrolment-token"])?;
    let file = made["file"].as_str().context("a file")?;
    let mut enrol = nightlatch_tests::program::nightlatch()?;
    enrol.env("NIGHTLATCH_URL", stage.control_plane.url()).args(["enrol", "--json", "--enrolment-file", file]);
    let (done, printed, error) = run(&mut enrol)?;
    ensure!(done, "{error}");
    let enrolled: Value = serde_json::from_str(&printed)?;
    let token = enrolled["secret"].as_str().context("a token")?;
    // With the new one, the lost one is ended.
    let mut list = nightlatch_tests::program::nightlatch()?;
    list.env("NIGHTLATCH_URL", stage.control_plane.url())
        .env("NIGHTLATCH_TOKEN", token)
        .args(["tokens", "list", "--json"]);
    let (done, printed, error) = run(&mut list)?;
    ensure!(done, "{error}");
    let ours = enrolled["token"]["id"].as_str().context("an id")?;
    let mut ids = printed.split('"').filter(|word| word.starts_with("tok_") && *word != ours);
    let lost = ids.next_back().context("the lost token")?.to_owned();
    let mut revoke = nightlatch_tests::program::nightlatch()?;
    revoke
        .env("NIGHTLATCH_URL", stage.control_plane.url())
        .env("NIGHTLATCH_TOKEN", token)
        .args(["tokens", "revoke", &lost, "--yes"]);
    let (done, _, error) = run(&mut revoke)?;
    ensure!(done, "{error}");
    assert!(stage.issue().await.is_err(), "the lost token is worth nothing");
    assert!(!Path::new(file).exists(), "the one-time token is used");
    Ok(())
}

async fn a_key_dies_while_the_control_plane_is_down(database: Database) -> Result<()> {
    let mut stage = Stage::new(database).await?;
    let issued = stage.post("/v1/keys", json!({"name": "leaked", "environment": "live"})).await?;
    let text = issued["secret"].as_str().context("a secret")?.to_owned();
    let digest = Digest::of(text.as_bytes());
    let (other, other_digest) = stage.issue().await?;
    stage.await_status(&other_digest, Some(Status::Active)).await?;
    stage.control_plane.kill()?;
    if stage.control_plane.database_url().is_none() {
        // The database is gone, too.
        fs::rename(stage.control_plane.data_dir().join("nightlatch.db"), stage.directory.join("db"))?;
    }
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("leaked");
    fs::write(&file, format!("{text}\n"))?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let set = stage.control_plane.data_dir().join("secrets");
    let deny = |arguments: &[&str]| -> Result<(bool, String, String)> {
        let mut command = nightlatch_tests::program::nightlatch()?;
        command.args(["emergency-deny", "--json", "--set-dir"]).arg(&stage.directory).args(arguments);
        run(&mut command)
    };
    let (head_key, root_key) = (set.join("head.key"), set.join("root.key"));
    let (head_key, root_key) = (head_key.display().to_string(), root_key.display().to_string());
    let (done, printed, error) = deny(&["--signing-key", &head_key, "--key-file", &file.display().to_string()])?;
    ensure!(done, "{error}");
    let number = serde_json::from_str::<Value>(&printed)?["number"].as_u64().context("a number")?;
    assert!(number > 1_700_000_000, "above whatever other notes there were: {number}");
    assert!(stage.edge.poll_deny(&stage.directory)?);
    assert_eq!(stage.edge.status(&digest), Some(Status::Revoked));
    // Another, by digest, signed by the root: the first stays denied.
    let hex: String = other_digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let (done, printed, error) = deny(&["--signing-key", &root_key, "--digest", &hex])?;
    ensure!(done, "{error}");
    let printed: Value = serde_json::from_str(&printed)?;
    assert_eq!(printed["denied"], 2);
    assert!(printed["number"].as_u64() > Some(number), "{printed}");
    assert!(stage.edge.poll_deny(&stage.directory)?);
    assert_eq!(stage.edge.status(&other_digest), Some(Status::Revoked));
    assert_eq!(stage.edge.status(&digest), Some(Status::Revoked));

    if stage.control_plane.database_url().is_none() {
        fs::rename(stage.directory.join("db"), stage.control_plane.data_dir().join("nightlatch.db"))?;
    }
    stage.control_plane.restart().await?;
    stage.await_status(&digest, Some(Status::Revoked)).await?;
    eventually("the database has it, too", SOON, async || {
        let key = stage.control_plane.client().key(&other).await?.value;
        ensure!(serde_json::to_value(&key)?["state"] == "revoked");
        Ok(())
    })
    .await?;
    // Whoever starts now has it from the set alone.
    let mut cold = edge(&stage.control_plane, true)?;
    eventually("the set says so", SOON, async || {
        cold.poll(&stage.directory)?;
        ensure!(cold.status(&digest) == Some(Status::Revoked));
        ensure!(cold.status(&other_digest) == Some(Status::Revoked));
        Ok(())
    })
    .await
}
