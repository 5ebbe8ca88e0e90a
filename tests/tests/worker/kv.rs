//! Sets that are read from Workers KV.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_keyset::{FileName, Status};
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::workerd::WorkerConfig;

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(20);

async fn start(prepare: impl FnOnce(&mut PublishedSet) -> Result<()>) -> Result<Stand> {
    Stand::start(prepare, from_kv).await
}

fn from_kv(config: WorkerConfig) -> WorkerConfig {
    config.namespace("SETS").variable("NIGHTLATCH_SOURCE", "kv:SETS/a").variable("NIGHTLATCH_POLL_SECONDS", "1")
}

/// KV with a cache as Cloudflare's network has it: what a read has found is the answer to every later one that takes what is
/// that old, and a read that does not renews it. The least it keeps, 30 s, is nothing here, so that nobody has to wait.
fn with_cache(config: WorkerConfig) -> WorkerConfig {
    let read = "store.get(key,{type:\"stream\",cacheTtl})";
    let cached = "(async()=>{const kept=globalThis.kept??=new Map;\
        let bytes=cacheTtl>30?kept.get(key):undefined;\
        if(!bytes){bytes=await store.get(key,\"arrayBuffer\");if(bytes)kept.set(key,bytes)}\
        return bytes&&new Response(bytes).body})()";
    config.sabotage(read, cached)
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

/// What came damaged and was repaired is not served from KV's cache for a day. A base's index and a delta show at once, a part
/// when a key in it is asked for.
#[tokio::test]
async fn what_kv_gave_damaged_is_read_past_its_cache() -> Result<()> {
    for is_index in [true, false] {
        let mut stand = Stand::start(|_| Ok(()), |config| with_cache(from_kv(config))).await?;
        let key = stand.set.issue(Key::default());
        stand.set.cut()?;
        let part = stand.set.head.part_names().next().context("a set with a key has a part")?;
        let name = if is_index { stand.set.head.base_name() } else { part };
        let whole = damage(&mut stand.set, name)?;
        put(&stand, |_| false).await?;
        stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_corrupt"))?;
        repair(&mut stand, name, whole).await?;
        let caller = &stand.caller;
        eventually("the base is whole", SOON, async || caller.get("/status", key.expose()).await?.allowed()).await?;
        if is_index {
            continue;
        }

        stand.set.change(&key, |key| key.status = Status::Revoked)?;
        stand.set.publish()?;
        let version = stand.set.head.version;
        let deltas = stand.set.files.keys().filter(|name| matches!(name, FileName::Delta { to, .. } if *to == version));
        let mut wholes = Vec::new();
        for name in deltas.copied().collect::<Vec<_>>() {
            wholes.push((name, damage(&mut stand.set, name)?));
        }
        put(&stand, |_| false).await?;
        eventually("the delta is refused", SOON, async || {
            stand.caller.get("/status", key.expose()).await?.allowed()?;
            ensure!(stand.worker.log().matches("files_refused").count() == 1, "not yet");
            Ok(())
        })
        .await?;
        for (name, whole) in wholes {
            repair(&mut stand, name, whole).await?;
        }
        let caller = &stand.caller;
        eventually("the revoked key is refused", SOON, async || {
            caller.get("/status", key.expose()).await?.refused("key_revoked")
        })
        .await?;
    }
    Ok(())
}

/// Damages a file of the set; what it was before.
fn damage(set: &mut PublishedSet, name: FileName) -> Result<Vec<u8>> {
    let bytes = set.files.get_mut(&name).context("the set has the file")?;
    let whole = bytes.clone();
    bytes[0] ^= 1;
    Ok(whole)
}

async fn repair(stand: &mut Stand, name: FileName, whole: Vec<u8>) -> Result<()> {
    stand.set.files.insert(name, whole);
    put(stand, |other| *other != name).await
}
