//! How the Worker gets its set, how long it relies on it, and what it refuses to believe.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use nightlatch_keyset::Status;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;
use reqwest::Method;

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(20);

/// Longer than the fetch timeout that stands configure.
const TOO_LONG: Duration = Duration::from_secs(4);

fn as_it_is(_: &mut PublishedSet) -> Result<()> {
    Ok(())
}

#[tokio::test]
async fn cold_without_a_head_is_503_and_recovers() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config).await?;
    stand.source.state().head = None;
    let key = stand.set.issue(Key::default());
    stand.set.publish()?;
    let refused = stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(refused.header("www-authenticate"), "");
    // Without a set nothing is said about anything, not even that a key is missing.
    stand.caller.send(Method::GET, "/status", None).await?.expect(503, Some("set_stale"))?;

    stand.source.take(&stand.set);
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    Ok(())
}

#[tokio::test]
async fn a_cold_crowd_is_answered_by_one_fetch() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config).await?;
    let key = stand.set.issue(Key::default());
    stand.set.publish()?;
    stand.source.take(&stand.set);
    stand.source.state().delay = Duration::from_millis(150);
    let calls = (0..40).map(|_| stand.caller.get("/status", key.expose()));
    for answer in try_join_all(calls).await? {
        answer.allowed()?;
    }
    let state = stand.source.state();
    assert_eq!(state.heads_asked, 1);
    assert_eq!(state.bases_asked(), 1, "{:?}", state.files_asked);
    Ok(())
}

#[tokio::test]
async fn a_cold_crowd_shares_one_failure() -> Result<()> {
    let stand = Stand::start(as_it_is, |config| config).await?;
    stand.source.state().failing = Some(500);
    stand.source.state().delay = Duration::from_millis(150);
    let calls = (0..40).map(|_| stand.caller.get("/status", "nl_live_x"));
    for answer in try_join_all(calls).await? {
        answer.expect(503, Some("set_stale"))?;
    }
    // Those who came while the first one failed try once more, together.
    assert!(stand.source.state().heads_asked <= 3, "{}", stand.source.state().heads_asked);
    Ok(())
}

#[tokio::test]
async fn a_source_that_hangs_costs_the_timeout_and_nothing_after() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config).await?;
    let key = stand.set.issue(Key::default());
    stand.set.publish()?;
    stand.source.take(&stand.set);
    stand.source.state().delay = TOO_LONG;
    let refused = stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    let took = refused.received.duration_since(refused.sent).as_millis();
    assert!((1_500..3_800).contains(&took), "{took} ms");
    stand.source.state().delay = Duration::ZERO;
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    Ok(())
}

#[tokio::test]
async fn soft_stale_serves_and_refreshes_behind_the_answer() -> Result<()> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    let mut stand = Stand::start(prepare, |config| config.variable("NIGHTLATCH_POLL_SECONDS", "1")).await?;
    let Some(key) = key else { unreachable!("prepared above") };
    stand.caller.get("/status", key.expose()).await?.allowed()?;

    // While the source fails, the head's validity carries.
    stand.source.state().failing = Some(503);
    let asked = stand.source.state().heads_asked;
    eventually("the Worker polls", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.allowed()?;
        ensure!(stand.source.state().heads_asked > asked + 1, "no poll");
        Ok(())
    })
    .await?;

    // And a head that says the same as before is asked for without its text.
    stand.source.state().failing = None;
    eventually("an unchanged head", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.allowed()?;
        ensure!(stand.source.state().heads_unchanged > 0, "none yet");
        Ok(())
    })
    .await?;

    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    stand.source.take(&stand.set);
    eventually("the revoked key is refused", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await?;
    // One delta led there, not another base.
    assert_eq!(stand.source.state().bases_asked(), 1);
    Ok(())
}

#[tokio::test]
async fn polls_keep_their_pace_under_load() -> Result<()> {
    let stand = Stand::start(as_it_is, |config| config.variable("NIGHTLATCH_POLL_SECONDS", "1")).await?;
    stand.caller.send(Method::GET, "/status", None).await?.refused("key_missing")?;
    stand.source.state().failing = Some(500);
    let (asked, start) = (stand.source.state().heads_asked, now_ms());
    while now_ms() < start + 3_000 {
        let calls = (0..8).map(|_| stand.caller.send(Method::GET, "/status", None));
        for answer in try_join_all(calls).await? {
            answer.refused("key_missing")?;
        }
    }
    let polls = stand.source.state().heads_asked - asked;
    assert!((2..=4).contains(&polls), "{polls} polls in 3 s");
    Ok(())
}

#[tokio::test]
async fn hard_stale_asks_first_and_refuses_without_an_answer() -> Result<()> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()?;
        set.renew(2_000);
        Ok(())
    };
    let mut stand = Stand::start(prepare, |config| config).await?;
    stand.set.renew(2_000);
    stand.source.take(&stand.set);
    let Some(key) = key else { unreachable!("prepared above") };
    stand.caller.get("/status", key.expose()).await?.allowed()?;

    // Past its validity the set is no ground for an answer, whatever the source says.
    let end = stand.set.head.valid_until;
    stand.source.state().failing = Some(500);
    eventually("the head has run out", SOON, async || {
        let answer = stand.caller.get("/status", key.expose()).await?;
        ensure!(answer.status == 200 || answer.sent.as_millisecond() + 50 >= end as i64, "too early: {answer:?}");
        answer.expect(503, Some("set_stale"))
    })
    .await?;
    stand.source.state().failing = None;
    // The same head again is no help.
    stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    // A new one is fetched by the very request that needs it.
    stand.set.renew(60_000);
    stand.source.take(&stand.set);
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    Ok(())
}

#[tokio::test]
async fn a_head_that_nobody_trusted_signed_is_not_believed() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config).await?;
    let good = stand.set.note();
    stand.source.state().head = Some(good.replace("keys 0", "keys 1"));
    stand.caller.get("/status", "nl_live_x").await?.expect(503, Some("set_stale"))?;
    stand.worker.logged("note_signature").await?;

    stand.set.head.issued = now_ms() + 60_000;
    stand.set.head.valid_until = now_ms() + 120_000;
    stand.source.take(&stand.set);
    stand.caller.get("/status", "nl_live_x").await?.expect(503, Some("set_stale"))?;
    stand.worker.logged("head_from_future").await?;
    Ok(())
}

#[tokio::test]
async fn an_older_head_never_takes_a_revocation_back() -> Result<()> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    let mut stand = Stand::start(prepare, |config| config.variable("NIGHTLATCH_POLL_SECONDS", "1")).await?;
    let Some(key) = key else { unreachable!("prepared above") };
    stand.set.renew(300_000);
    let older = stand.set.note();
    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    stand.set.renew(5_000);
    let end = stand.set.head.valid_until;
    stand.source.take(&stand.set);
    stand.caller.get("/status", key.expose()).await?.refused("key_revoked")?;

    stand.source.state().head = Some(older);
    eventually("only the older head is left", SOON, async || {
        let answer = stand.caller.get("/status", key.expose()).await?;
        ensure!(answer.status != 200, "the older head was taken");
        if answer.sent.as_millisecond() as u64 + 50 < end {
            answer.clone().refused("key_revoked")?;
        }
        answer.expect(503, Some("set_stale"))
    })
    .await?;
    stand.worker.logged("head_rollback").await?;
    Ok(())
}

/// Another id, or the right id with other bytes: either way every good key would look unknown.
#[tokio::test]
async fn without_its_pepper_the_worker_says_so() -> Result<()> {
    for peppers in
        ["other:KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=", "p1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
    {
        let stand = Stand::start(as_it_is, |config| config.variable("NIGHTLATCH_PEPPERS", peppers)).await?;
        let refused = stand.caller.get("/status", "nl_live_x").await?.expect(503, Some("pepper_missing"))?;
        assert_eq!(refused.header("retry-after"), "30");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_newer_than_the_set_is_looked_for_once() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config).await?;
    stand.caller.send(Method::GET, "/status", None).await?.refused("key_missing")?;
    let key = stand.set.issue_at(Key::default(), now_ms() / 1_000);
    stand.set.publish()?;
    stand.source.take(&stand.set);
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    assert_eq!(stand.source.state().heads_asked, 2);

    // Unknown keys cannot make the Worker ask more than once a second.
    let asked = stand.source.state().heads_asked;
    let start = now_ms();
    for _ in 0..20 {
        let unknown = stand.set.mint(now_ms() / 1_000);
        stand.caller.get("/status", unknown.expose()).await?.refused("key_invalid")?;
    }
    let budget = (now_ms() - start) / 1_000 + 1;
    assert!(u64::from(stand.source.state().heads_asked - asked) <= budget);
    // Old ones never.
    let asked = stand.source.state().heads_asked;
    let old = stand.set.mint(now_ms() / 1_000 - 3_600);
    stand.caller.get("/status", old.expose()).await?.refused("key_invalid")?;
    assert_eq!(stand.source.state().heads_asked, asked);
    Ok(())
}

#[tokio::test]
async fn isolates_have_a_replica_each() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| config.isolates(3)).await?;
    let key = stand.set.issue(Key::default());
    stand.set.publish()?;
    stand.source.take(&stand.set);
    for url in stand.worker.urls() {
        nightlatch_tests::caller::Caller::new(url)?.get("/status", key.expose()).await?.allowed()?;
    }
    assert_eq!(stand.source.state().heads_asked, 3);
    Ok(())
}

#[tokio::test]
async fn sets_are_read_from_r2() -> Result<()> {
    let mut stand = Stand::start(as_it_is, |config| {
        config.bucket("SETS").variable("NIGHTLATCH_SOURCE", "r2:SETS/a").variable("NIGHTLATCH_POLL_SECONDS", "1")
    })
    .await?;
    let key = stand.set.issue(Key::default());
    stand.set.publish()?;
    stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    put(&mut stand).await?;
    stand.caller.get("/status", key.expose()).await?.allowed()?;

    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    put(&mut stand).await?;
    let caller = &stand.caller;
    eventually("the revoked key is refused", SOON, async || {
        caller.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await?;
    assert_eq!(stand.source.state().heads_asked, 0);
    Ok(())
}

/// Copies the set into the bucket, head last.
async fn put(stand: &mut Stand) -> Result<()> {
    for (name, bytes) in &stand.set.files {
        stand.worker.put_object("SETS", &format!("a/files/{name}"), bytes).await?;
    }
    stand.worker.put_object("SETS", "a/head", stand.set.note().as_bytes()).await
}
