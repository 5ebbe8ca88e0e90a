//! What a sidecar knows after a restart, and what it never forgets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_keyset::Status;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
use nightlatch_tests::wait::eventually;

use crate::stand::{SOON, Stand, config};

/// The set lies on the disk, deltas included: a sidecar that starts while nobody can be reached serves at once.
#[tokio::test]
async fn s3_12_a_warm_start_needs_nobody() -> Result<()> {
    let mut stand = Stand::plain().await?;
    let revoked = stand.set.issue(Key::default());
    for _ in 0..5 {
        stand.set.issue(Key::default());
        stand.publish()?;
        stand.says(&stand.key, 200, None).await?;
    }
    stand.set.change(&revoked, |key| key.status = Status::Revoked)?;
    stand.publish()?;
    stand.says(&revoked, 401, Some("key_revoked")).await?;
    stand.kept().await?;
    // A crash, not an orderly end.
    stand.sidecar.kill()?;
    stand.source.state().failing = Some(503);
    stand.sidecar.restart().await?;
    stand.caller.get("/status", stand.key.expose()).await?.allowed()?;
    stand.caller.get("/status", revoked.expose()).await?.refused("key_revoked")?;
    stand.sidecar.logged("started from the kept set").await
}

/// What was kept is no better than what a source sends: past its validity it is no ground for answers.
#[tokio::test]
async fn an_expired_set_is_kept_but_not_served() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.set.renew(1_500);
    stand.source.take(&stand.set);
    stand.kept().await?;
    stand.sidecar.stop()?;
    stand.source.state().failing = Some(503);
    let end = stand.set.head.valid_until;
    eventually("the head has run out", SOON, async || {
        ensure!(now_ms() > end);
        Ok(())
    })
    .await?;
    stand.sidecar.restart().await?;
    stand.caller.get("/status", stand.key.expose()).await?.expect(503, Some("set_stale"))?;
    // The base is still good: only a head is needed.
    let bases = stand.source.state().bases_asked();
    stand.set.renew(60_000);
    stand.source.take(&stand.set);
    stand.source.state().failing = None;
    stand.says(&stand.key, 200, None).await?;
    ensure!(stand.source.state().bases_asked() == bases, "{:?}", stand.source.state().files_asked);
    Ok(())
}

/// A revocation that was accepted is never taken back, by whatever is found at the source after a restart, even where
/// nothing but the mark is left on the disk.
#[tokio::test]
async fn an_older_set_is_refused_after_a_restart() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.set.renew(300_000);
    let older = stand.set.note();
    let key = stand.key.clone();
    stand.set.change(&key, |key| key.status = Status::Revoked)?;
    stand.publish()?;
    stand.says(&key, 401, Some("key_revoked")).await?;
    stand.kept().await?;

    for without_set in [false, true] {
        stand.sidecar.kill()?;
        if without_set {
            fs::remove_file(stand.sidecar.state_dir().join("head"))?;
            fs::remove_dir_all(stand.sidecar.state_dir().join("files"))?;
        }
        stand.source.state().head = Some(older.clone());
        stand.sidecar.restart().await?;
        let expected = if without_set { (503, Some("set_stale")) } else { (401, Some("key_revoked")) };
        for _ in 0..10 {
            stand.caller.get("/status", key.expose()).await?.expect(expected.0, expected.1)?;
        }
        stand.sidecar.logged("head_rollback").await?;
    }
    // The true source heals it.
    stand.set.renew(60_000);
    stand.source.take(&stand.set);
    stand.says(&key, 401, Some("key_revoked")).await
}

/// Damage costs a download, and is never served.
#[tokio::test]
async fn damaged_files_are_fetched_again() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.kept().await?;
    let files = stand.sidecar.state_dir().join("files");
    let read = || -> Result<BTreeMap<_, _>> {
        fs::read_dir(&files)?
            .map(|entry| entry.map_err(Into::into).and_then(|e| Ok((e.path(), fs::read(e.path())?))))
            .collect()
    };
    let good = read()?;
    ensure!(good.len() >= 3, "{:?}", good.keys());
    for (path, mut bytes) in good.clone() {
        stand.sidecar.kill()?;
        let at = bytes.len() / 2;
        *bytes.get_mut(at).context("an empty file")? ^= 1;
        fs::write(&path, bytes)?;
        stand.sidecar.restart().await?;
        stand.says(&stand.key, 200, None).await.with_context(|| path.display().to_string())?;
        eventually("all files are whole again", SOON, async || {
            ensure!(read()? == good, "{} is damaged", path.display());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Guarantee 3: a part that is damaged shows when it is touched. It is never a 401, and it is fetched again although the head
/// is the same and the disk has the file.
#[tokio::test]
async fn a_damaged_part_is_set_corrupt_until_it_is_fetched_again() -> Result<()> {
    let mut broken = None;
    let mut whole = None;
    let prepare = |set: &mut PublishedSet| {
        set.cut()?;
        let name = set.head.part_names().next().context("a set with a key has a part")?;
        whole = set.files.get(&name).cloned();
        let part = set.files.get_mut(&name).context("the part")?;
        *part.first_mut().context("an empty part")? ^= 1;
        broken = Some(name);
        Ok(())
    };
    let mut stand = Stand::start(prepare, |config| config.number("wait_ms", 100)).await?;
    let (name, whole) = (broken.context("prepared above")?, whole.context("prepared above")?);
    stand.kept().await?;
    stand.says(&stand.key, 503, Some("set_corrupt")).await?;
    stand.set.files.insert(name, whole.clone());
    stand.source.take(&stand.set);
    let kept = stand.sidecar.state_dir().join("files").join(name.to_text());
    mended(&stand, &kept, &whole).await?;

    // The same where the disk did it.
    let mut bytes = whole.clone();
    bytes[0] ^= 1;
    stand.sidecar.kill()?;
    fs::write(&kept, bytes)?;
    stand.sidecar.restart().await?;
    mended(&stand, &kept, &whole).await
}

/// Waits until a damaged file is whole, on the disk too; meanwhile, nothing may be a 401.
async fn mended(stand: &Stand, kept: &Path, whole: &[u8]) -> Result<()> {
    eventually("the file is whole again", SOON, async || {
        let answer = stand.caller.get("/status", stand.key.expose()).await?;
        ensure!(answer.status != 401, "{answer:?}");
        answer.allowed()?;
        ensure!(fs::read(kept)? == whole, "the disk has the damaged file");
        Ok(())
    })
    .await
}

/// A base that takes longer than a head is good for comes into force all the same: what has come is not fetched twice.
#[tokio::test]
async fn a_base_slower_than_its_heads_loads() -> Result<()> {
    let mut stand = Stand::start(|_| Ok(()), |config| config.number("wait_ms", 100)).await?;
    stand.says(&stand.key, 200, None).await?;
    stand.sidecar.kill()?;
    fs::remove_dir_all(stand.sidecar.state_dir())?;
    stand.source.state().files_asked.clear();
    // Policy, delta, index and part, one after the other: far longer than the head is good for.
    stand.source.state().delay = Duration::from_millis(600);
    let (mut issued, mut served) = (0, false);
    stand.set.renew(1_500);
    stand.source.take(&stand.set);
    stand.sidecar.restart().await?;
    let until = std::time::Instant::now() + SOON;
    while !served && std::time::Instant::now() < until {
        if now_ms() > issued + 500 {
            issued = now_ms();
            stand.set.renew(1_500);
            stand.source.take(&stand.set);
        }
        served = stand.caller.get("/status", stand.key.expose()).await?.status == 200;
    }
    ensure!(served, "it never serves: {:?}", stand.source.state().files_asked);
    ensure!(stand.sidecar.log().contains("head_expired"), "the head did not run out: {}", stand.sidecar.log());
    ensure!(stand.source.state().bases_asked() == 1, "{:?}", stand.source.state().files_asked);
    Ok(())
}

/// The mark is not thrown away by itself: without it an older set would be believed.
#[tokio::test]
async fn a_damaged_mark_keeps_it_from_starting() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.kept().await?;
    stand.sidecar.kill()?;
    let mark = stand.sidecar.state_dir().join("mark");
    let text = fs::read_to_string(&mark)?;
    fs::write(&mark, text.replacen("version ", "version 1", 1))?;
    let refused = stand.sidecar.restart().await.unwrap_err().to_string();
    ensure!(refused.contains("restore it, or remove it"), "{refused}");
    fs::write(&mark, text)?;
    stand.sidecar.restart().await?;
    stand.says(&stand.key, 200, None).await
}

/// A disk that takes nothing stops confirmations, not traffic.
#[tokio::test]
async fn what_cannot_be_kept_is_served_but_not_confirmed() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.kept().await?;
    let before = stand.set.head.version;
    // What stands in the way of the mark, for root too.
    fs::create_dir(stand.sidecar.state_dir().join("mark.draft"))?;
    let newer = stand.set.issue(Key::default());
    stand.publish()?;
    stand.says(&newer, 200, None).await?;
    stand.sidecar.logged("nothing is confirmed; serving goes on").await?;
    ensure!(stand.sidecar.metric("nightlatch_sidecar_state_kept").await? == 0.0);
    eventually("a report says so", SOON, async || {
        let state = stand.source.state();
        let report = state.reports.last().context("no report")?;
        ensure!(report["failure"] == "state_not_kept", "{report}");
        ensure!(report["applied"]["version"] == before, "{report}");
        Ok(())
    })
    .await?;
    ensure!(stand.source.state().reports.iter().all(|report| report["applied"]["version"] != before + 1));

    fs::remove_dir(stand.sidecar.state_dir().join("mark.draft"))?;
    stand.set.renew(60_000);
    stand.source.take(&stand.set);
    eventually("it is confirmed after all", SOON, async || {
        let state = stand.source.state();
        let report = state.reports.last().context("no report")?;
        ensure!(report["applied"]["version"] == before + 1, "{report}");
        Ok(())
    })
    .await
}

/// The set's own directory is a source too; a second sidecar on one state directory is none.
#[tokio::test]
async fn a_directory_is_a_source() -> Result<()> {
    let stand = Stand::plain().await?;
    let directory = tempfile::tempdir()?;
    publish_into(directory.path(), &stand.set)?;
    let config = |config: SidecarConfig| config.setting("source", directory.path().display().to_string());
    let other = Sidecar::start(config(crate::stand::config(&stand.set, &stand.source, &stand.origin))).await?;
    let caller = nightlatch_tests::caller::Caller::new(&other.url())?;
    caller.get("/status", stand.key.expose()).await?.allowed()?;

    let same = stand.sidecar.state_dir().display().to_string();
    let refused = Sidecar::start(config_of(&stand).setting("state_dir", same)).await;
    let refused = refused.err().context("two sidecars share a state directory")?.to_string();
    ensure!(refused.contains("is used by another sidecar"), "{refused}");
    Ok(())
}

fn config_of(stand: &Stand) -> SidecarConfig {
    config(&stand.set, &stand.source, &stand.origin)
}

/// Lays a set out as published sets are.
pub(crate) fn publish_into(directory: &Path, set: &PublishedSet) -> Result<()> {
    fs::create_dir_all(directory.join("files"))?;
    for (name, bytes) in &set.files {
        fs::write(directory.join("files").join(name.to_text()), bytes)?;
    }
    fs::write(directory.join("head"), set.note())?;
    Ok(())
}
