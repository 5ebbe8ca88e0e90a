//! How the sidecar gets its set, how long it relies on it, and what it refuses to believe.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Deny, FileName, Status, Trust};
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;
use reqwest::Method;

use crate::durability::publish_into;
use crate::stand::{SOON, Stand, signer};

#[tokio::test]
async fn cold_without_a_head_is_503_and_recovers() -> Result<()> {
    let stand = Stand::start(|_| Ok(()), |config| config.number("wait_ms", 300)).await?;
    stand.source.state().head = None;
    let mut stand = stand;
    stand.sidecar.kill()?;
    std::fs::remove_dir_all(stand.sidecar.state_dir())?;
    stand.sidecar.restart().await?;
    let refused = stand.caller.get("/status", stand.key.expose()).await?.expect(503, Some("set_stale"))?;
    ensure!(refused.header("retry-after") == "2" && refused.header("www-authenticate").is_empty());
    // Without a set nothing is said about anything, not even that a key is missing.
    stand.caller.send(Method::GET, "/status", None).await?.expect(503, Some("set_stale"))?;
    ensure!(stand.sidecar.admin("/readyz").await?.0 == 503);
    ensure!(stand.sidecar.admin("/healthz").await?.0 == 200);
    stand.source.take(&stand.set);
    stand.says(&stand.key, 200, None).await?;
    ensure!(stand.sidecar.admin("/readyz").await?.0 == 200);
    Ok(())
}

/// Requests that come before the set has, wait for it, and share one fetch.
#[tokio::test]
async fn a_cold_crowd_waits_for_one_fetch() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.sidecar.kill()?;
    std::fs::remove_dir_all(stand.sidecar.state_dir())?;
    stand.source.state().files_asked.clear();
    stand.source.state().delay = Duration::from_millis(150);
    stand.sidecar.restart().await?;
    let calls = (0..40).map(|_| stand.caller.get("/status", stand.key.expose()));
    for answer in try_join_all(calls).await? {
        answer.allowed()?;
    }
    ensure!(stand.source.state().bases_asked() == 1, "{:?}", stand.source.state().files_asked);
    Ok(())
}

/// S3-10: a revoked key stops at the next look, not at the end of anything.
#[tokio::test]
async fn s3_10_a_revocation_is_taken_over_by_polling() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    let key = stand.key.clone();
    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.publish()?;
    stand.says(&key, 401, Some("key_revoked")).await?;
    // One delta led there, not another base.
    ensure!(stand.source.state().bases_asked() == 1);
    Ok(())
}

/// A partition: every request succeeds before `valid_until`, every closed one is 503 from then on, and an open route goes
/// on until `open_until`, for keys known good only.
#[tokio::test]
async fn a_partition_ends_in_503_at_valid_until_and_not_before() -> Result<()> {
    let mut stand = Stand::start(|_| Ok(()), |config| config.number("wait_ms", 100)).await?;
    let revoked = stand.set.issue(Key::default().status(Status::Revoked));
    stand.set.publish()?;
    stand.set.renew(3_000);
    stand.set.head.open_until = Some(stand.set.head.valid_until + 3_000);
    stand.source.take(&stand.set);
    stand.says(&revoked, 401, Some("key_revoked")).await?;
    stand.kept().await?;
    stand.source.state().failing = Some(503);
    let (end, open_end) = (stand.set.head.valid_until, stand.set.head.open_until.context("set above")?);
    let stranger = stand.set.mint(now_ms() / 1_000 - 3_600);
    let (mut served, mut refused, mut open) = (0, 0, 0);
    loop {
        let answer = stand.caller.get("/status", stand.key.expose()).await?;
        let (sent, received) = (answer.sent.as_millisecond() as u64, answer.received.as_millisecond() as u64);
        if answer.status == 200 {
            ensure!(sent < end, "served beyond {end}: {answer:?}");
            served += 1;
        } else {
            ensure!(received >= end, "refused before {end}: {answer:?}");
            answer.expect(503, Some("set_stale"))?;
            refused += 1;
        }
        let answer = stand.caller.get("/open", stand.key.expose()).await?;
        let (sent, received) = (answer.sent.as_millisecond() as u64, answer.received.as_millisecond() as u64);
        if answer.status == 200 {
            ensure!(sent < open_end, "open beyond {open_end}: {answer:?}");
            open += usize::from(sent >= end);
        } else {
            ensure!(received >= open_end, "closed before {open_end}: {answer:?}");
            answer.expect(503, Some("set_stale"))?;
        }
        if sent >= end && received < open_end {
            stand.caller.get("/open", revoked.expose()).await?.refused("key_revoked")?;
            // It may have been issued meanwhile: no false 401.
            stand.caller.get("/open", stranger.expose()).await?.expect(503, Some("set_stale"))?;
        }
        if sent > open_end + 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(served > 0 && refused > 0 && open > 0, "{served} {refused} {open}");
    stand.source.state().failing = None;
    stand.set.renew(60_000);
    stand.set.head.open_until = None;
    stand.source.take(&stand.set);
    stand.says(&stand.key, 200, None).await
}

/// Whatever a source makes of the files: the sidecar serves what was signed, or nothing.
#[tokio::test]
async fn hostile_files_are_never_served() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    let revoked = stand.set.issue(Key::default().status(Status::Revoked));
    stand.set.publish()?;
    let head = &stand.set.head;
    let delta = head.delta_name(head.version - 1, head.version).to_text();
    let good = stand.set.files[&head.delta_name(head.version - 1, head.version)].clone();
    let flipped: Vec<u8> = good.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == good.len() - 1)).collect();
    let other = stand.set.files.values().next().context("a file")?.clone();
    for bad in [Vec::new(), good[..good.len() - 1].to_vec(), flipped, other, vec![0; 17 << 20]] {
        stand.source.take(&stand.set);
        stand.source.state().files.insert(delta.clone(), bad);
        // Nor does the base help: its files are of other lengths than the head says.
        let names: Vec<_> = stand.source.state().files.keys().cloned().collect();
        for name in names.iter().filter(|name| matches!(FileName::parse(name), Ok(FileName::BasePart { .. }))) {
            stand.source.state().files.insert(name.clone(), vec![7; 100]);
        }
        let asked = stand.source.state().heads_asked;
        eventually("the sidecar has tried a few times", SOON, async || {
            stand.caller.get("/status", stand.key.expose()).await?.allowed()?;
            let answer = stand.caller.get("/status", revoked.expose()).await?;
            ensure!(answer.status == 401 || answer.status == 503, "{answer:?}");
            ensure!(stand.source.state().heads_asked > asked + 3);
            Ok(())
        })
        .await?;
    }
    for head in ["", "nightlatch.head/4\n", &"x".repeat(20_000), &stand.set.note().replace("keys 2", "keys 3")] {
        let asked = stand.source.state().heads_asked;
        stand.source.state().head = Some(head.to_owned());
        eventually("the sidecar has looked", SOON, async || {
            stand.caller.get("/status", stand.key.expose()).await?.allowed()?;
            ensure!(stand.source.state().heads_asked > asked + 2);
            Ok(())
        })
        .await?;
    }
    stand.source.take(&stand.set);
    stand.says(&revoked, 401, Some("key_revoked")).await
}

/// The control plane is down, a key must die: a note beside the head does it, and survives a restart.
#[tokio::test]
async fn a_deny_note_ends_a_key_while_the_control_plane_is_down() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().display().to_string();
    let prepare = |set: &mut PublishedSet| {
        // The last that was heard is long enough ago.
        set.head.issued = now_ms() - 20_000;
        set.head.valid_until = now_ms() + 40_000;
        publish_into(directory.path(), set)
    };
    let mut stand = Stand::start(prepare, |config| config.setting("source", path)).await?;
    stand.says(&stand.key, 200, None).await?;
    let note = |number, keys: &[&nightlatch_key::KeyText]| -> Result<String> {
        let mut digests: Vec<_> = keys.iter().map(|key| key.digest()).collect();
        digests.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        let set = stand.set.head.set.clone();
        Ok(Deny { set, number, issued: now_ms(), digests }.sign(&signer()?))
    };
    // A note that nobody trusted signed ends nothing.
    let stranger = Signer::new("nightlatch/stranger", &[9; 32])?;
    let forged = Deny { set: stand.set.head.set.clone(), number: 1, issued: 1, digests: vec![stand.key.digest()] };
    std::fs::write(directory.path().join("deny"), forged.sign(&stranger))?;
    stand.sidecar.logged("the deny note is not taken").await?;
    stand.caller.get("/status", stand.key.expose()).await?.allowed()?;

    let real = note(1, &[&stand.key])?;
    std::fs::write(directory.path().join("deny"), &real)?;
    stand.says(&stand.key, 401, Some("key_revoked")).await?;
    eventually("the note is kept", SOON, async || {
        ensure!(std::fs::read_to_string(stand.sidecar.state_dir().join("deny"))? == real);
        Ok(())
    })
    .await?;
    stand.sidecar.kill()?;
    std::fs::remove_file(directory.path().join("deny"))?;
    stand.sidecar.restart().await?;
    stand.says(&stand.key, 401, Some("key_revoked")).await
}

/// Roots are pinned, heads are signed by whom their note lists; a signer that is no longer listed is believed no more, and
/// no restart changes that.
#[tokio::test]
async fn a_trust_note_replaces_a_signer_without_a_restart() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().display().to_string();
    let root = Signer::new("nightlatch/root", &[5; 32])?;
    let trust = |version, signers: Vec<&Signer>| {
        let signers = signers.into_iter().map(Signer::verifier).collect();
        let set = "set_0123456789".to_owned();
        Trust { set, version, issued: 1, floor: [0, 0, 0], roots: vec![root.verifier()], signers }.sign(&root)
    };
    let (old, new) = (signer()?, Signer::new("nightlatch/new", &[6; 32])?);
    std::fs::write(directory.path().join("trust"), trust(1, vec![&old]))?;
    let vkey = root.verifier().to_vkey();
    let prepare = |set: &mut PublishedSet| {
        // Deltas are signed too: a base alone needs no signer of the past.
        set.cut()?;
        set.head.trust = Some(1);
        publish_into(directory.path(), set)
    };
    let configure = |config: nightlatch_tests::sidecar::SidecarConfig| {
        config.setting("source", path).without("verifiers").root(vkey)
    };
    let mut stand = Stand::start(prepare, configure).await?;
    stand.says(&stand.key, 200, None).await?;

    std::fs::write(directory.path().join("trust"), trust(2, vec![&new]))?;
    stand.set.head.trust = Some(2);
    stand.set.renew(60_000);
    std::fs::write(directory.path().join("head"), stand.set.head.sign(&new))?;
    eventually("the new trust note is kept", SOON, async || {
        stand.caller.get("/status", stand.key.expose()).await?.allowed()?;
        let kept = std::fs::read_to_string(stand.sidecar.state_dir().join("trust"))?;
        ensure!(kept == trust(2, vec![&new]), "{kept}");
        Ok(())
    })
    .await?;
    // The old key, perhaps stolen, signs no more heads here.
    stand.set.renew(600_000);
    stand.set.head.trust = Some(1);
    std::fs::write(directory.path().join("head"), stand.set.note())?;
    stand.sidecar.kill()?;
    std::fs::remove_file(stand.sidecar.state_dir().join("head"))?;
    stand.sidecar.restart().await?;
    stand.caller.get("/status", stand.key.expose()).await?.expect(503, Some("set_stale"))?;

    // Nor where the trust note on the disk is lost, and the source has gone back to the old one.
    stand.sidecar.kill()?;
    std::fs::remove_file(stand.sidecar.state_dir().join("trust"))?;
    std::fs::write(directory.path().join("trust"), trust(1, vec![&old]))?;
    stand.sidecar.restart().await?;
    stand.sidecar.logged("the last trust note is lost").await?;
    for _ in 0..5 {
        stand.caller.get("/status", stand.key.expose()).await?.expect(503, Some("set_stale"))?;
    }
    // The true ones heal it.
    std::fs::write(directory.path().join("trust"), trust(2, vec![&new]))?;
    stand.set.head.trust = Some(2);
    stand.set.renew(60_000);
    std::fs::write(directory.path().join("head"), stand.set.head.sign(&new))?;
    stand.says(&stand.key, 200, None).await
}

/// Which key signed the greatest head is known after a restart too: that another one leaves the list takes nothing back.
#[tokio::test]
async fn a_removed_signer_takes_only_its_own_mark_along() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().display().to_string();
    std::fs::write(directory.path().join("trust"), trusted(1, &[1, 2])?)?;
    let prepare = |set: &mut PublishedSet| {
        set.cut()?;
        set.head.trust = Some(1);
        publish_into(directory.path(), set)
    };
    let vkey = PublishedSet::root(1)?.verifier().to_vkey();
    let configure = |config: nightlatch_tests::sidecar::SidecarConfig| {
        config.setting("source", path).without("verifiers").root(vkey).number("wait_ms", 300)
    };
    let mut stand = Stand::start(prepare, configure).await?;
    stand.says(&stand.key, 200, None).await?;
    // What a source may hold back for later, by the note that is to come.
    stand.set.head.trust = Some(2);
    stand.set.renew(600_000);
    let older = stand.set.note();
    stand.set.head.trust = Some(1);
    let key = stand.key.clone();
    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    publish_into(directory.path(), &stand.set)?;
    stand.says(&key, 401, Some("key_revoked")).await?;
    stand.kept().await?;
    stand.sidecar.kill()?;
    std::fs::remove_file(stand.sidecar.state_dir().join("head"))?;
    std::fs::write(directory.path().join("trust"), trusted(2, &[1])?)?;
    std::fs::write(directory.path().join("head"), &older)?;
    stand.sidecar.restart().await?;
    stand.sidecar.logged("head_rollback").await?;
    for _ in 0..5 {
        stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    }
    Ok(())
}

/// A trust note of the set of every stand, by the first root.
fn trusted(version: u64, signers: &[u8]) -> Result<String> {
    let signers = signers.iter().map(|number| Ok(PublishedSet::signer(*number)?.verifier())).collect::<Result<_>>()?;
    let root = PublishedSet::root(1)?;
    let (set, roots) = ("set_0123456789".to_owned(), vec![root.verifier()]);
    Ok(Trust { set, version, issued: 1, floor: [0, 0, 0], roots, signers }.sign(&root))
}

#[tokio::test]
async fn a_key_newer_than_the_set_is_looked_for() -> Result<()> {
    let mut stand = Stand::start(|_| Ok(()), |config| config.number("poll_ms", 600_000)).await?;
    stand.says(&stand.key, 200, None).await?;
    let key = stand.set.issue_at(Key::default(), now_ms() / 1_000);
    stand.publish()?;
    // The next poll is ten minutes away.
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    Ok(())
}

/// Another id, or the right id with other bytes: either way every good key would look unknown.
#[tokio::test]
async fn without_its_pepper_the_sidecar_says_so() -> Result<()> {
    for peppers in
        ["other:KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=", "p1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
    {
        let stand = Stand::start(|_| Ok(()), |config| config.secret("peppers_file", peppers)).await?;
        stand.says(&stand.key, 503, Some("pepper_missing")).await?;
    }
    Ok(())
}

/// A head from the future: one of the clocks is wrong. It is refused, and reports say so.
#[tokio::test]
async fn a_clock_that_breaks_the_assumption_is_reported() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.set.head.issued = now_ms() + 60_000;
    stand.set.head.valid_until = now_ms() + 120_000;
    stand.source.take(&stand.set);
    eventually("a report says so", SOON, async || {
        let state = stand.source.state();
        let report = state.reports.last().context("no report")?;
        ensure!(report["clock_refused"] == true && report["failure"] == "head_from_future", "{report}");
        Ok(())
    })
    .await?;
    stand.caller.get("/status", stand.key.expose()).await?.allowed()?;
    Ok(())
}
