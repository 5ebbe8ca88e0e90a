//! Which files the Worker goes by, and what it does where they are missing, broken or too many.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use nightlatch_keyset::{FileName, Status};
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(20);

/// Keys enough that a base is worth a rebase: at 21 bytes each, more than 1 MiB.
const MANY: u32 = 55_000;

fn as_it_is(_: &mut PublishedSet) -> Result<()> {
    Ok(())
}

#[tokio::test]
async fn broken_files_are_set_corrupt_and_fetched_again() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config).await?;
    let key = stand.set.issue(Key::default());
    stand.set.cut()?;
    let name = stand.set.head.base_name();
    let whole = stand.set.files[&name].clone();
    for broken in [&whole[..whole.len() - 1], &[], &[whole.as_slice(), b"x"].concat(), &vec![0; whole.len()]] {
        stand.set.files.insert(name, broken.to_vec());
        stand.source.take(&stand.set);
        let answer = stand.caller.get("/status", key.expose()).await?;
        // What is too long is not read to its end, so nothing is known of it.
        let code = if broken.len() > whole.len() { "set_stale" } else { "set_corrupt" };
        answer.expect(503, Some(code))?;
    }
    stand.set.files.insert(name, whole);
    stand.source.take(&stand.set);
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    Ok(())
}

/// Guarantee 3: a part that is damaged shows when it is touched. It is never a 401, and the next flight fetches it again,
/// although the head is the same.
#[tokio::test]
async fn a_damaged_part_is_set_corrupt_until_it_is_fetched_again() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config).await?;
    let key = stand.set.issue(Key::default());
    stand.set.cut()?;
    let name = stand.set.head.part_names().next().expect("a set with a key has a part");
    let whole = stand.set.files[&name].clone();
    let mut broken = whole.clone();
    broken[0] ^= 1;
    stand.set.files.insert(name, broken);
    stand.source.take(&stand.set);
    stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_corrupt"))?;
    stand.set.files.insert(name, whole);
    stand.source.take(&stand.set);
    eventually("the part is whole again", SOON, async || {
        let answer = stand.caller.get("/status", key.expose()).await?;
        ensure!(answer.status != 401, "{answer:?}");
        answer.allowed()
    })
    .await?;
    Ok(())
}

/// Guarantee 2 holds on every way: where the source lacks a delta, the base leads to the revocation.
#[tokio::test]
async fn a_missing_delta_leads_to_the_base() -> Result<()> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    let mut stand = Stand::start(prepare, |config| config.variable("NIGHTLATCH_POLL_SECONDS", "1")).await?;
    let Some(key) = key else { unreachable!("prepared above") };
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    for _ in 0..3 {
        stand.set.publish()?;
    }
    let (base, now) = (stand.set.head.base_version, stand.set.head.version);
    assert_eq!(now - base, 4);
    // From the first version on the way is 1–2–4, from the base it is 0–4.
    stand.set.files.remove(&stand.set.head.delta_name(base + 1, base + 2)).expect("a delta of every version");
    stand.source.take(&stand.set);
    eventually("the revoked key is refused", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await?;
    assert_eq!(stand.source.state().bases_asked(), 2);
    Ok(())
}

#[tokio::test]
async fn a_large_set_rebases_while_it_answers() -> Result<()> {
    let mut keys = Vec::new();
    let prepare = |set: &mut PublishedSet| {
        keys = (0..MANY).map(|_| set.issue(Key::default())).collect();
        set.cut()
    };
    let mut stand = Stand::start(prepare, |config| config.variable("NIGHTLATCH_POLL_SECONDS", "1")).await?;
    stand.caller.get("/status", keys[0].expose()).await?.allowed()?;

    stand.set.change(&keys[1], |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    stand.set.rebase()?;
    stand.set.change(&keys[2], |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    assert!(stand.set.head.rebase.is_some() && stand.set.head.base_bytes() > 1 << 20);
    stand.source.take(&stand.set);
    eventually("both revoked keys are refused", SOON, async || {
        // Whatever the Worker is at, it answers.
        let calls = (10..18).map(|index| stand.caller.get("/status", keys[index].expose()));
        for answer in try_join_all(calls).await? {
            answer.allowed()?;
        }
        stand.caller.get("/status", keys[1].expose()).await?.refused("key_revoked")?;
        stand.caller.get("/status", keys[2].expose()).await?.refused("key_revoked")
    })
    .await?;
    let state = stand.source.state();
    let record = stand.set.head.rebase_name().to_text();
    assert!(state.files_asked.contains(&record), "{:?}", state.files_asked);
    assert_eq!(state.bases_asked(), 1);
    Ok(())
}

#[tokio::test]
async fn a_set_beyond_memory_is_refused_before_it_is_fetched() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config).await?;
    stand.set.head.base_parts = vec![24 << 20; 4];
    stand.source.take(&stand.set);
    stand.caller.get("/status", "nl_live_x").await?.expect(503, Some("set_stale"))?;
    stand.worker.logged("set_too_large").await?;
    // How much it takes and how much there is.
    stand.worker.logged("97000000").await?;
    let state = stand.source.state();
    let fetched = |name: &String| !matches!(FileName::parse(name), Ok(FileName::Policy(_)));
    assert!(!state.files_asked.iter().any(fetched), "{:?}", state.files_asked);
    Ok(())
}
