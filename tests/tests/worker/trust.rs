//! Whom the Worker believes, and how that changes while it serves: trust notes and deny notes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_key::KeyText;
use nightlatch_keyset::Status;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::workerd::WorkerConfig;

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(20);

/// A stand whose Worker goes by a root alone, and a key of its set. The trust note of version 1 lists the first signer.
async fn start(configure: impl FnOnce(WorkerConfig) -> WorkerConfig) -> Result<(Stand, KeyText)> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        set.head.trust = Some(1);
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    let root = PublishedSet::root(1)?.verifier().to_vkey();
    let stand = Stand::start(prepare, |config| {
        configure(config.without("NIGHTLATCH_VERIFIER").variable("NIGHTLATCH_ROOT", root))
    })
    .await?;
    stand.source.state().trust = Some(stand.set.trust(1, &[1])?);
    Ok((stand, key.context("prepared above")?))
}

fn every_second(config: WorkerConfig) -> WorkerConfig {
    config.variable("NIGHTLATCH_POLL_SECONDS", "1")
}

/// Publishes the next head and waits until the Worker goes by it. Meanwhile no request may fail.
async fn next(stand: &mut Stand, key: &KeyText, trust: Option<(u64, &[u8])>) -> Result<()> {
    if let Some((version, signers)) = trust {
        stand.source.state().trust = Some(stand.set.trust(version, signers)?);
        stand.set.head.trust = Some(version);
    }
    let new = stand.set.issue(Key::default());
    stand.set.publish()?;
    stand.source.take(&stand.set);
    eventually("the Worker goes by the new head", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.allowed()?;
        stand.caller.get("/status", new.expose()).await?.allowed()
    })
    .await?;
    Ok(())
}

/// The key that signs heads is replaced while requests come without a break: no 503 and no 401, before, between or after.
#[tokio::test]
async fn s3_12_a_rotation_of_the_signing_key_is_followed_without_a_failed_request() -> Result<()> {
    let (mut stand, key) = start(every_second).await?;
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    assert_eq!(stand.source.state().heads_asked, 1, "head and trust note came at once");
    next(&mut stand, &key, None).await?;
    assert_eq!(stand.source.state().trusts_asked, 1);

    next(&mut stand, &key, Some((2, &[1, 2]))).await?;
    stand.set.sign_with(2)?;
    next(&mut stand, &key, None).await?;
    next(&mut stand, &key, Some((3, &[2]))).await?;
    assert_eq!(stand.source.state().trusts_asked, 3);

    // What the new key signs counts, what the old one signs does not.
    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    stand.source.take(&stand.set);
    let caller = &stand.caller;
    eventually("the revoked key is refused", SOON, async || {
        caller.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await?;
    Ok(())
}

/// A stolen signing key: once a trust note no longer lists it, its heads are refused, running and cold. What it had signed
/// before, however far ahead, is in nobody's way.
#[tokio::test]
async fn heads_of_a_removed_signer_are_refused() -> Result<()> {
    let (mut stand, key) = start(every_second).await?;
    stand.caller.get("/status", key.expose()).await?.allowed()?;

    // The thief's head is far ahead of every honest one, and says that the key is revoked.
    let mut thief = PublishedSet::new(&crate::stand::policy()?)?;
    (thief.head.incarnation, thief.head.trust) = (7, Some(1));
    thief.cut()?;
    stand.source.take(&thief);
    eventually("the thief's head is in force", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.expect(401, Some("key_invalid"))
    })
    .await?;

    stand.set.sign_with(2)?;
    stand.source.state().trust = Some(stand.set.trust(2, &[2])?);
    stand.set.head.trust = Some(2);
    stand.set.cut()?;
    stand.source.take(&stand.set);
    eventually("the honest head is in force", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.allowed()
    })
    .await?;

    thief.head.incarnation = 8;
    thief.renew(60_000);
    stand.source.take(&thief);
    eventually("the thief's head is refused", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.allowed()?;
        ensure!(stand.worker.log().contains("trust_missing"), "not yet");
        Ok(())
    })
    .await?;

    let root = PublishedSet::root(1)?.verifier().to_vkey();
    let config = crate::stand::config(&stand.set, &stand.source, &stand.origin).variable("NIGHTLATCH_ROOT", root);
    let cold = nightlatch_tests::workerd::Worker::start(&config.without("NIGHTLATCH_VERIFIER")).await?;
    let caller = nightlatch_tests::caller::Caller::new(cold.url())?;
    caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    stand.source.take(&stand.set);
    caller.get("/status", key.expose()).await?.allowed()?;
    Ok(())
}

#[tokio::test]
async fn without_a_trust_note_no_head_is_believed() -> Result<()> {
    let (stand, key) = start(|config| config).await?;
    let trust = stand.source.state().trust.take();
    stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    stand.worker.logged("trust_missing").await?;
    // Nor one that another root has signed.
    let mut stranger = nightlatch_keyset::Trust::parse(trust.as_deref().and_then(text).context("a note")?)?;
    stranger.roots = vec![PublishedSet::root(9)?.verifier()];
    stand.source.state().trust = Some(stranger.sign(&PublishedSet::root(9)?));
    stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    stand.source.state().trust = trust;
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    Ok(())
}

/// A note's text, without what stands beneath.
fn text(note: &str) -> Option<&str> {
    Some(&note[..=note.rfind("\n\n")?])
}

/// The control plane is gone and its head stands still: a deny note ends a key all the same, at a running isolate and at one
/// that starts cold, before it answers anything.
#[tokio::test]
async fn s2_14_a_deny_note_ends_a_key_while_the_head_stands_still() -> Result<()> {
    let (mut stand, key) = start(every_second).await?;
    let other = stand.set.issue(Key::default());
    stand.set.publish()?;
    stand.set.renew(30_000);
    stand.source.take(&stand.set);
    stand.caller.get("/status", key.expose()).await?.allowed()?;

    // One that nobody trusted has signed says nothing.
    let ours = stand.set.deny(1, &[&key])?;
    let stranger = nightlatch_keyset::Deny::open(&ours, &[PublishedSet::root(1)?.verifier()])?;
    stand.source.state().deny = Some(stranger.sign(&PublishedSet::root(9)?));
    eventually("the stranger's note is refused", SOON, async || {
        stand.caller.get("/status", key.expose()).await?.allowed()?;
        ensure!(stand.worker.log().contains("a deny note is refused"), "not yet");
        Ok(())
    })
    .await?;

    let asked = stand.source.state().files_asked.len();
    stand.source.state().deny = Some(ours);
    eventually("the denied key is refused", SOON, async || {
        stand.caller.get("/status", other.expose()).await?.allowed()?;
        stand.caller.get("/status", key.expose()).await?.refused("key_revoked")
    })
    .await?;
    stand.source.state().deny = None;
    stand.caller.get("/status", key.expose()).await?.refused("key_revoked")?;
    assert_eq!(stand.source.state().files_asked.len(), asked, "the head stood still");

    stand.source.state().deny = Some(stand.set.deny(1, &[&key])?);
    stand.set.head.issued = now_ms() - 30_000;
    stand.set.head.valid_until = now_ms() + 30_000;
    stand.source.take(&stand.set);
    let root = PublishedSet::root(1)?.verifier().to_vkey();
    let config = crate::stand::config(&stand.set, &stand.source, &stand.origin).variable("NIGHTLATCH_ROOT", root);
    let cold = nightlatch_tests::workerd::Worker::start(&config.without("NIGHTLATCH_VERIFIER")).await?;
    let caller = nightlatch_tests::caller::Caller::new(cold.url())?;
    caller.get("/status", key.expose()).await?.refused("key_revoked")?;
    caller.get("/status", other.expose()).await?.allowed()?;
    Ok(())
}
