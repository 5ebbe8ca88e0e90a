//! Several control planes on one PostgreSQL database: one leads, another takes over, and none that was deposed publishes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use nightlatch_key::Digest;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Head, Status};
use nightlatch_tests::clock::{between, now};
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database};
use nightlatch_tests::follower::Follower;
use nightlatch_tests::replicas::{MASTER_KEY, TIMING, await_role, pair};
use nightlatch_tests::wait::eventually;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A master key that nobody has sealed anything under.
const OTHER_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
/// Far longer than a takeover takes.
const SOON: Duration = Duration::from_secs(60);

/// An edge that pins the root, and reads what the two share.
fn follower(control_plane: &ControlPlane, sets: &TempDir) -> Result<(Follower, PathBuf)> {
    let directory = sets.path().join(&control_plane.set().id);
    Ok((Follower::beside(control_plane, &directory)?, directory))
}

/// Calls the API with a management token, or, where it is empty, with none.
async fn post(url: &str, token: &str, path: &str, body: Value) -> Result<Value> {
    let mut request = reqwest::Client::new().post(format!("{url}{path}"));
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let answer = request.header("content-type", "application/json").body(body.to_string()).send().await?;
    ensure!(answer.status().is_success(), "{path}: {}", answer.status());
    Ok(serde_json::from_slice(&answer.bytes().await?)?)
}

/// Issues a key: its id and its text's digest.
async fn issue(url: &str, token: &str) -> Result<(String, Digest)> {
    let issued = post(url, token, "/v1/keys", json!({"name": "a key", "environment": "live"})).await?;
    let secret = issued["secret"].as_str().context("a secret")?;
    Ok((issued["key"]["id"].as_str().context("an id")?.to_owned(), Digest::of(secret.as_bytes())))
}

/// S3-10, guarantee 9: the leader is killed while keys are issued at both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_10_a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() -> Result<()> {
    let (mut first, second, sets) = pair().await?;
    let (mut edge, directory) = follower(&first, &sets)?;
    let term = await_role(&first, "leading").await?;
    // At the first until it is gone, at the second for as long as there is no leader.
    let (urls, token) = ([first.url(), second.url()], first.token().to_owned());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers = urls.map(|url| {
        let (stopped, token) = (stopped.clone(), token.clone());
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            while !*stopped.borrow() {
                match issue(&url, &token).await {
                    Ok((_, digest)) => acknowledged.push(digest),
                    Err(_) => break,
                }
            }
            acknowledged
        })
    });
    eventually("keys are published", SOON, async || {
        edge.poll(&directory)?;
        ensure!(edge.edge.loaded().is_some_and(|serving| serving.head().keys > 20));
        Ok(())
    })
    .await?;
    let killed = now();
    first.kill()?;
    let next = await_role(&second, "leading").await?;
    println!("another leads {} ms after the leader was killed", between(killed, now()).as_millis());
    assert!(next > term);
    let head = std::fs::read_to_string(directory.join("head"))?;
    stop.send(true)?;
    let mut acknowledged = Vec::new();
    for written in join_all(writers).await {
        acknowledged.extend(written?);
    }
    assert!(acknowledged.len() > 20);
    eventually("everything acknowledged is published", SOON, async || {
        edge.poll(&directory)?;
        for digest in &acknowledged {
            ensure!(edge.status(digest) == Some(Status::Active), "a key is missing");
        }
        ensure!(std::fs::read_to_string(directory.join("head"))? != head, "no head of the new leader");
        Ok(())
    })
    .await?;
    // The one that was killed comes back, and stands by.
    first.restart().await?;
    await_role(&first, "standby").await?;
    assert_eq!(await_role(&second, "leading").await?, next);
    Ok(())
}

/// How many sets it knows, and how many of them it leads.
async fn sets(control_plane: &ControlPlane) -> Result<(u64, u64)> {
    let answer = reqwest::get(format!("{}/readyz", control_plane.url())).await?;
    let ready: Value = serde_json::from_slice(&answer.bytes().await?)?;
    let count = |name: &str| ready["sets"][name].as_u64().context("a count");
    ensure!(count("failing")? == 0, "{ready}");
    Ok((count("all")?, count("leading")?))
}

/// S3-10, guarantee 10: two control planes share the leading of several workspaces' sets; one of them is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_10_when_one_of_those_that_share_the_leading_is_killed_the_other_leads_all() -> Result<()> {
    let (mut first, second, directory) = pair().await?;
    // Whoever makes a set is the first to ask for its lease.
    let mut tenants = vec![(first.token().to_owned(), first.set().id.clone())];
    for (at, brand) in [(&first, "acme"), (&second, "emca"), (&first, "mace"), (&second, "came")] {
        let made = post(&at.url(), at.token(), "/v1/workspaces", json!({"name": brand, "brand": brand})).await?;
        let code = made["enrolment_token"].as_str().context("a token")?;
        // Enrolled at the other: they are one control plane.
        let other = if at.url() == first.url() { &second } else { &first };
        let enrolled = post(&other.url(), "", "/v1/enrol", json!({"token": code})).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
        tenants.push((text(&enrolled["secret"])?, text(&made["set"])?));
    }
    let (led_first, led_second) = eventually("every set is led", SOON, async || {
        let ((all, one), (other_all, other)) = (sets(&first).await?, sets(&second).await?);
        ensure!((all, other_all, one + other) == (5, 5, 5), "{one} and {other} of {all} and {other_all}");
        Ok((one, other))
    })
    .await?;
    println!("the first leads {led_first} sets, the second {led_second}");
    assert!(led_first > 0 && led_second > 0, "both lead");
    let mut acknowledged = Vec::new();
    for (token, set) in &tenants {
        acknowledged.push((set, issue(&first.url(), token).await?.1));
    }
    first.kill()?;
    for (token, set) in &tenants {
        acknowledged.push((set, issue(&second.url(), token).await?.1));
    }
    eventually("the other leads all", SOON, async || {
        ensure!(sets(&second).await? == (5, 5));
        Ok(())
    })
    .await?;
    // Every tenant's set goes on, with what either has acknowledged.
    for (token, set) in &tenants {
        let client = nightlatch_api::client::Client::new(&second.url())?.with_token(token.clone());
        let keys = acknowledged.iter().filter(|(of, _)| of == &set).count() as u64;
        eventually("everything acknowledged is published", SOON, async || {
            let head = std::fs::read_to_string(directory.path().join(set).join("head"))?;
            let stated = head.lines().find_map(|line| line.strip_prefix("keys ")).context("a count")?;
            ensure!(stated.parse::<u64>()? == keys, "{stated} of {keys}");
            let trust = client.trust(set).await;
            ensure!(trust.is_ok() && client.head(set, None).await?.is_some());
            Ok(())
        })
        .await?;
    }
    first.restart().await?;
    eventually("the first stands by", SOON, async || {
        ensure!(sets(&first).await? == (5, 0));
        Ok(())
    })
    .await?;
    assert_eq!(sets(&second).await?, (5, 5));
    Ok(())
}

/// S2-14, S3-12: the leader stands still across a revoke, and goes on later as if nothing had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_14_a_leader_that_stalls_across_a_revoke_is_deposed() -> Result<()> {
    let (first, second, sets) = pair().await?;
    let (mut edge, directory) = follower(&first, &sets)?;
    let (leaked, digest) = issue(&second.url(), second.token()).await?;
    eventually("the key works", SOON, async || {
        edge.poll(&directory)?;
        ensure!(edge.edge.loaded().is_some() && edge.status(&digest) == Some(Status::Active));
        Ok(())
    })
    .await?;
    let term = await_role(&first, "leading").await?;

    first.pause(true)?;
    let paused = now();
    post(&second.url(), second.token(), &format!("/v1/keys/{leaked}/revoke"), json!({"reason": "leaked"})).await?;
    let next = await_role(&second, "leading").await?;
    println!("another leads {} ms after the leader was stopped", between(paused, now()).as_millis());
    assert!(next > term);
    eventually("the revoke is published", SOON, async || {
        edge.poll(&directory)?;
        ensure!(edge.status(&digest) == Some(Status::Revoked));
        Ok(())
    })
    .await?;
    let mark = edge.edge.mark().context("a mark")?;

    first.pause(false)?;
    await_role(&first, "standby").await?;
    // Whatever the deposed one still wrote, an edge that saw the new leader's head takes nothing older, and the next
    // heartbeats mend the directory.
    let (_, later) = issue(&second.url(), second.token()).await?;
    eventually("the set goes on", SOON, async || {
        let polled = edge.poll(&directory);
        assert!(edge.edge.mark() >= Some(mark));
        assert_eq!(edge.status(&digest), Some(Status::Revoked));
        polled?;
        ensure!(edge.status(&later) == Some(Status::Active));
        Ok(())
    })
    .await?;
    // Both answer writes; the second goes on leading.
    issue(&first.url(), first.token()).await?;
    assert_eq!(await_role(&second, "leading").await?, next);
    let verifier = Verifier::from_vkey(&second.client().set(&first.set().id).await?.verifier);
    let verifier = verifier.map_err(|_| anyhow::anyhow!("a verifier"))?;
    Head::open(&std::fs::read_to_string(directory.join("head"))?, &[verifier])
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(())
}

/// Secrets are shared through the database under one master key, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_replica_needs_the_master_key_of_the_first() -> Result<()> {
    let sets = TempDir::with_prefix("nightlatch-sets-")?;
    let bare = |key: Option<&str>| {
        let config = ControlPlaneConfig::new(Database::Postgres).timing(TIMING);
        match key {
            Some(key) => config.environment("NIGHTLATCH_MASTER_KEY", key),
            None => config,
        }
    };
    let refused = async |first: &ControlPlane, config| match ControlPlane::join(first, config).await {
        Ok(_) => anyhow::bail!("it has started"),
        Err(error) => Ok(format!("{error:#}")),
    };
    // The first keeps its secrets to itself.
    let mut first = ControlPlane::start(bare(None)).await?;
    for key in [None, Some(MASTER_KEY)] {
        let text = refused(&first, bare(key)).await?;
        assert!(text.contains("NIGHTLATCH_MASTER_KEY"), "{text}");
    }
    // Given a master key, it shares them: what was published stays good.
    first.stop()?;
    let mut command = first.host_command()?;
    command.env("NIGHTLATCH_MASTER_KEY", MASTER_KEY).args(["serve", "--listen", "127.0.0.1:0"]);
    let ready = sets.path().join("ready");
    let mut child = command.arg("--ready-file").arg(&ready).spawn()?;
    let up = eventually("it listens", SOON, async || Ok(std::fs::read(&ready)?)).await;
    child.kill()?;
    child.wait()?;
    up?;
    let text = refused(&first, bare(None)).await?;
    assert!(text.contains("master key of the others"), "{text}");
    let text = refused(&first, bare(Some(OTHER_KEY))).await?;
    assert!(text.contains("not the one that sealed"), "{text}");
    let second = ControlPlane::join(&first, bare(Some(MASTER_KEY))).await?;
    assert_eq!(second.client().set(&first.set().id).await?.verifier, first.set().verifier);
    assert_eq!(second.client().set(&first.set().id).await?.pepper, first.set().pepper);
    // The root key stays where it was made.
    assert!(first.data_dir().join("secrets/root.key").exists());
    assert!(!second.data_dir().join("secrets").exists());
    Ok(())
}
