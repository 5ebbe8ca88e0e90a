//! Sets that are read from Workers KV.

use std::time::Duration;

use anyhow::{Result, ensure};
use nightlatch_keyset::{FileName, Status};
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(20);

async fn start(prepare: impl FnOnce(&mut PublishedSet) -> Result<()>) -> Result<Stand> {
    Stand::start(prepare, |config| {
        config.namespace("SETS").variable("NIGHTLATCH_SOURCE", "kv:SETS/a").variable("NIGHTLATCH_POLL_SECONDS", "1")
    })
    .await
}

/// Copies the set into the namespace, head last, but for files that are left out.
async fn put(stand: &Stand, left_out: impl Fn(&FileName) -> bool) -> Result<()> {
    let http = reqwest::Client::new();
    let url = |key: &str| format!("{}/a/{key}", stand.worker.namespace_url("SETS"));
    for (name, bytes) in stand.set.files.iter().filter(|(name, _)| !left_out(name)) {
        http.put(url(&format!("files/{name}"))).body(bytes.clone()).send().await?.error_for_status()?;
    }
    http.put(url("head")).body(stand.set.note()).send().await?.error_for_status()?;
    Ok(())
}

#[tokio::test]
async fn sets_are_read_from_kv() -> Result<()> {
    let mut stand = start(|_| Ok(())).await?;
    let key = stand.set.issue(Key::default());
    stand.set.publish()?;
    stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    put(&stand, |_| false).await?;
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    // A head from KV may be a minute old when it comes.
    stand.worker.logged("use the KV timing").await?;

    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    put(&stand, |_| false).await?;
    let caller = &stand.caller;
    eventually("the revoked key is refused", SOON, async || {
        caller.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await?;
    assert_eq!(stand.source.state().heads_asked, 0);
    Ok(())
}

/// KV delivers in any order: a head may come before its delta, and the delta may be said to be missing for a while. The base
/// leads there meanwhile, and where it is missing too, the head before stays in force.
#[tokio::test]
async fn what_kv_has_not_delivered_yet_is_asked_for_again() -> Result<()> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    let mut stand = start(prepare).await?;
    let Some(key) = key else { unreachable!("prepared above") };
    put(&stand, |_| false).await?;
    stand.caller.get("/status", key.expose()).await?.allowed()?;

    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    let version = stand.set.head.version;
    let is_late = |name: &FileName| matches!(name, FileName::Delta { to, .. } if *to == version);
    put(&stand, is_late).await?;
    eventually("the Worker misses it", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.allowed()?;
        ensure!(stand.worker.log().contains("the source has no"), "not yet");
        Ok(())
    })
    .await?;
    put(&stand, |_| false).await?;
    let caller = &stand.caller;
    eventually("the revoked key is refused", SOON, async || {
        caller.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await?;
    Ok(())
}
