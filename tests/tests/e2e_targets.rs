//! What `nightlatch sync` copies serves an edge as well as the control plane does: from any web server, from R2, and from KV.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::client::Client;
use nightlatch_api::{Environment, IssueKey, RevokeKey};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::fake_kv_api::{FakeKvApi, MiniflareNamespace, TOKEN as KV_TOKEN};
use nightlatch_tests::moto::{ACCESS_KEY, Moto};
use nightlatch_tests::origin::Origin;
use nightlatch_tests::static_files::StaticFiles;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::workerd::Worker;
use nightlatch_tests::world::{SOON, put_routes, routes};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Heads stay valid while files are carried from one place to the next by hand.
const TIMING: Timing = Timing { heartbeat: 1, validity: 60, skew: 2 };
/// The shortest that may be copied to KV.
const KV_TIMING: Timing = Timing { heartbeat: 1, validity: 120, skew: 2 };
/// What a Worker asks of whoever pushes.
const PUSH_TOKEN: &str = "a token of some length";

/// A continuous sync job keeps a directory up to date; the Worker reads it through a web server that knows nothing.
/// Issue, revoke, and a restart of the job all come through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_origin_fed_by_the_sync_job_serves_the_worker() -> Result<()> {
    let control_plane = start().await?;
    let api = control_plane.client();
    let (directory, origin) = (TempDir::new()?, Origin::start().await?);
    let mut job = follow(&control_plane, directory.path())?;
    let web = StaticFiles::serve(directory.path().to_owned()).await?;
    let config = control_plane.worker(&origin.url()).await?;
    // The web server asks for no token, and must not be shown one.
    let config =
        config.variable("NIGHTLATCH_SOURCE", web.url()).without("NIGHTLATCH_TOKEN").without("NIGHTLATCH_REPORT_URL");
    let worker = Worker::start(&config).await?;
    let caller = Caller::new(worker.url())?;

    let first = issue(api, "first").await?;
    eventually("a key arrives", SOON, async || caller.get("/status", &first.1).await?.allowed()).await?;
    job.kill().await?;
    let second = issue(api, "second").await?;
    api.revoke_key(&first.0, &RevokeKey::new("the test says so")).await?;
    job = follow(&control_plane, directory.path())?;
    eventually("a revocation arrives", SOON, async || caller.get("/status", &first.1).await?.refused("key_revoked"))
        .await?;
    caller.get("/status", &second.1).await?.allowed()?;
    drop(job);
    Ok(())
}

/// Passes of the job into an S3 store; its objects are carried into Miniflare's R2, from where the Worker reads them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_fed_through_s3_serves_the_worker() -> Result<()> {
    let control_plane = start().await?;
    let api = control_plane.client();
    let moto = Moto::start().await?;
    moto.create_bucket("keys").await?;
    let target = "s3://keys/edge/eu";

    let first = issue(api, "first").await?;
    published(&control_plane, 1).await?;
    pass(&control_plane, &moto, target).await?;

    let origin = Origin::start().await?;
    let config = control_plane.worker(&origin.url()).await?.bucket("SETS");
    let config = config
        .variable("NIGHTLATCH_SOURCE", "r2:SETS/edge/eu")
        .without("NIGHTLATCH_TOKEN")
        .without("NIGHTLATCH_REPORT_URL");
    let mut worker = Worker::start(&config).await?;
    carry(&moto, &mut worker).await?;
    let caller = Caller::new(worker.url())?;
    eventually("the set is there", SOON, async || caller.get("/status", &first.1).await?.allowed()).await?;

    api.revoke_key(&first.0, &RevokeKey::new("the test says so")).await?;
    let second = issue(api, "second").await?;
    published(&control_plane, 2).await?;
    pass(&control_plane, &moto, target).await?;
    carry(&moto, &mut worker).await?;
    eventually("the change is there", SOON, async || caller.get("/status", &second.1).await?.allowed()).await?;
    caller.get("/status", &first.1).await?.refused("key_revoked")?;
    Ok(())
}

/// Through the REST API of Workers KV into a namespace of Miniflare, from which the Worker reads: issue, revoke, and a
/// restart of the job all come through, and heads do not come faster than KV takes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_fed_through_its_api_serves_the_worker() -> Result<()> {
    let control_plane = start_with(KV_TIMING).await?;
    let api = control_plane.client();
    let origin = Origin::start().await?;
    let config = control_plane.worker(&origin.url()).await?.namespace("SETS");
    let config = config
        .variable("NIGHTLATCH_SOURCE", "kv:SETS/edge/eu")
        .without("NIGHTLATCH_TOKEN")
        .without("NIGHTLATCH_REPORT_URL");
    let worker = Worker::start(&config).await?;
    let kv = FakeKvApi::over(MiniflareNamespace::at(worker.namespace_url("SETS"))).await?;
    let caller = Caller::new(worker.url())?;

    let mut job = follow_to_kv(&control_plane, &kv)?;
    let first = issue(api, "first").await?;
    eventually("a key arrives", SOON, async || caller.get("/status", &first.1).await?.allowed()).await?;
    job.kill().await?;
    let second = issue(api, "second").await?;
    api.revoke_key(&first.0, &RevokeKey { reason: "the test says so".into(), wait: None }).await?;
    job = follow_to_kv(&control_plane, &kv)?;
    eventually("a revocation arrives", SOON, async || caller.get("/status", &first.1).await?.refused("key_revoked"))
        .await?;
    caller.get("/status", &second.1).await?.allowed()?;
    drop(job);
    let written = kv.state().written.clone();
    let at = |name: &str| written.iter().position(|key| key.ends_with(name));
    ensure!(at("/files/base-0-1") < at("/head"), "{written:?}");
    Ok(())
}

/// A job that asks once an hour is told of a change at once, because the control plane holds its answer back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sync_job_follows_what_the_control_plane_holds_back() -> Result<()> {
    let control_plane = start().await?;
    let directory = TempDir::new()?;
    // The first head, and with it the first answer that can be held back, is there before the job begins, and so is the trust
    // note that names its root.
    issue(control_plane.client(), "first").await?;
    published(&control_plane, 1).await?;
    let mut job = Command::from(command(&control_plane)?);
    job.args(["--poll-seconds", "3600", "--json", "--target"]).arg(directory.path());
    let mut job = job.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut reports = BufReader::new(job.stdout.take().context("standard output")?).lines();
    let mut version = 0;
    for _ in 0..3 {
        issue(control_plane.client(), "another").await?;
        let before = version;
        while version <= before {
            let line = timeout(SOON, reports.next_line()).await??.context("the job goes on")?;
            version = serde_json::from_str::<Value>(&line)?["version"].as_u64().context("a version")?;
        }
    }
    Ok(())
}

/// What the sync job pushes, a Worker that asks seldom has at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_the_sync_job_pushes_reach_the_worker_before_it_asks() -> Result<()> {
    let control_plane = start().await?;
    let api = control_plane.client();
    let (directory, origin) = (TempDir::new()?, Origin::start().await?);
    let web = StaticFiles::serve(directory.path().to_owned()).await?;
    let first = issue(api, "first").await?;
    published(&control_plane, 1).await?;
    let config = control_plane.worker(&origin.url()).await?.heads();
    let config = config
        .variable("NIGHTLATCH_SOURCE", web.url())
        .variable("NIGHTLATCH_POLL_SECONDS", "600")
        .variable("NIGHTLATCH_PUSH_TOKEN", PUSH_TOKEN)
        .without("NIGHTLATCH_TOKEN")
        .without("NIGHTLATCH_REPORT_URL");
    let worker = Worker::start(&config).await?;
    let caller = Caller::new(worker.url())?;
    let path = format!("/.well-known/nightlatch/push/{}", control_plane.set().id);
    let address = format!("{}{path}", worker.url().replace("http://", "ws://"));
    let mut job = Command::from(command(&control_plane)?);
    job.args(["--poll-seconds", "0.2", "--push", &address, "--target"]).arg(directory.path());
    let _job = job.env("NIGHTLATCH_PUSH_TOKEN", PUSH_TOKEN).stdin(Stdio::null()).kill_on_drop(true).spawn()?;
    eventually("a key arrives", SOON, async || caller.get("/status", &first.1).await?.allowed()).await?;
    api.revoke_key(&first.0, &RevokeKey { reason: "the test says so".into(), wait: None }).await?;
    eventually("a revocation is pushed", SOON, async || caller.get("/status", &first.1).await?.refused("key_revoked"))
        .await?;
    Ok(())
}

async fn start() -> Result<ControlPlane> {
    start_with(TIMING).await
}

async fn start_with(timing: Timing) -> Result<ControlPlane> {
    let control_plane = ControlPlane::start(ControlPlaneConfig::new(Database::Sqlite).timing(timing)).await?;
    put_routes(control_plane.client(), &routes()).await?;
    Ok(control_plane)
}

/// Issues a key; its id and text.
async fn issue(api: &Client, name: &str) -> Result<(String, String)> {
    let issued = api.issue_key(&IssueKey::new(name, Environment::Live)).await?;
    Ok((issued.key.id, issued.secret.expose().to_owned()))
}

/// Waits until that many keys are published.
async fn published(control_plane: &ControlPlane, keys: u64) -> Result<()> {
    let set = &control_plane.set().id;
    eventually("the keys are published", SOON, async || {
        let set = control_plane.client().set(set).await?;
        ensure!(set.keys == keys, "{set:?}");
        Ok(())
    })
    .await
}

/// `nightlatch sync` from the control plane.
fn command(control_plane: &ControlPlane) -> Result<std::process::Command> {
    let mut command = control_plane.command()?;
    command.arg("sync").arg("--root").arg(control_plane.root()?);
    command.arg("--source").arg(format!("{}/v1/sets/{}", control_plane.url(), control_plane.set().id));
    Ok(command)
}

/// A continuous job into a directory. It ends when dropped.
fn follow(control_plane: &ControlPlane, directory: &Path) -> Result<Child> {
    let mut command = Command::from(command(control_plane)?);
    command.args(["--poll-seconds", "0.2"]).arg("--target").arg(directory);
    Ok(command.stdin(Stdio::null()).kill_on_drop(true).spawn()?)
}

/// A continuous job into Workers KV. It ends when dropped.
fn follow_to_kv(control_plane: &ControlPlane, kv: &FakeKvApi) -> Result<Child> {
    let mut command = Command::from(command(control_plane)?);
    command.args(["--poll-seconds", "0.2", "--target", &kv.target("edge/eu"), "--kv-api-url", kv.url()]);
    command.env("NIGHTLATCH_KV_TOKEN", KV_TOKEN);
    Ok(command.stdin(Stdio::null()).kill_on_drop(true).spawn()?)
}

/// One pass into a store.
async fn pass(control_plane: &ControlPlane, moto: &Moto, target: &str) -> Result<()> {
    let (id, secret) = ACCESS_KEY;
    let mut command = Command::from(command(control_plane)?);
    command.args(["--once", "--target", target, "--s3-endpoint", moto.url(), "--s3-access-key-id", id]);
    let output = command.env("AWS_SECRET_ACCESS_KEY", secret).output().await?;
    ensure!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), control_plane.log());
    Ok(())
}

/// Copies every object into the Worker's bucket, the head last.
async fn carry(moto: &Moto, worker: &mut Worker) -> Result<()> {
    let mut names = moto.keys("keys").await?;
    names.sort_by_key(|name| name.ends_with("/head"));
    for name in names {
        let bytes = moto.get("keys", &name).await?.context("a listed object is there")?;
        worker.put_object("SETS", &name, &bytes).await?;
    }
    Ok(())
}
