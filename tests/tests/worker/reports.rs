//! What the Worker tells the control plane.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use nightlatch_api::EdgeReport;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(10);

fn reports(stand: &Stand) -> Result<Vec<EdgeReport>> {
    let seen = stand.source.state().reports.clone();
    seen.into_iter().map(|report| serde_json::from_value(report).context("a report")).collect()
}

#[tokio::test]
async fn s1_07_the_first_use_of_a_key_is_reported_at_once_and_once() -> Result<()> {
    let mut keys = Vec::new();
    let prepare = |set: &mut PublishedSet| {
        keys.extend((0..20).map(|_| set.issue(Key::default())));
        set.head.accepts_foreign = true;
        set.import("an old key of another system", Key::default());
        set.publish()
    };
    let stand = Stand::start(prepare, |config| config).await?;
    let start = now_ms();
    stand.caller.get("/status", "an old key of another system").await?.allowed()?;
    let first = eventually("a report", SOON, async || {
        let found = reports(&stand)?.into_iter().find(|report| !report.seen.is_empty());
        found.context("no report yet")
    })
    .await?;
    assert_eq!(first.set, stand.set.head.set);
    assert_eq!(first.seen[0].key, "kn_21");
    assert!((start..=now_ms()).contains(&first.seen[0].at), "{first:?}");
    let applied = first.applied.context("a set is applied")?;
    assert_eq!((applied.version, applied.issued), (stand.set.head.version, stand.set.head.issued));
    // What an operator wants to know of an edge before changing a format, a pepper or a root.
    assert!(first.formats.iter().any(|format| format == "head/4"), "{:?}", first.formats);
    assert_eq!((first.peppers.as_slice(), first.trust, &first.failure), (["p1".to_owned()].as_slice(), None, &None));
    let sent_at = first.sent_at.context("it says when it was sent")?;
    assert!((start..=now_ms()).contains(&sent_at), "{sent_at}");
    assert_eq!(first.data_age_ms, Some(sent_at - applied.issued));

    // A crowd of keys goes in few reports, each key once.
    for _ in 0..3 {
        for answer in try_join_all(keys.iter().map(|key| stand.caller.get("/status", key.expose()))).await? {
            answer.allowed()?;
        }
    }
    eventually("all keys are reported", SOON, async || {
        let seen: usize = reports(&stand)?.iter().map(|report| report.seen.len()).sum();
        ensure!(seen >= 21, "{seen}");
        Ok(())
    })
    .await?;
    let all = reports(&stand)?;
    let mut names: Vec<_> = all.iter().flat_map(|report| &report.seen).map(|seen| seen.key.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 21);
    assert!(all.len() <= 8, "{} reports", all.len());
    assert!(all.iter().all(|report| report.instance == all[0].instance));
    assert!(all.is_sorted_by(|a, b| a.sequence < b.sequence), "{all:?}");
    // No secret is in any.
    let texts = format!("{:?}", stand.source.state().reports);
    assert!(keys.iter().all(|key| !texts.contains(key.expose())));
    Ok(())
}

#[tokio::test]
async fn reports_that_fail_go_with_the_next() -> Result<()> {
    let mut keys = Vec::new();
    let prepare = |set: &mut PublishedSet| {
        keys.extend((0..2).map(|_| set.issue(Key::default())));
        set.publish()
    };
    let stand = Stand::start(prepare, |config| config).await?;
    stand.caller.send(reqwest::Method::GET, "/status", None).await?.refused("key_missing")?;
    stand.source.state().failing = Some(500);
    stand.caller.get("/status", keys[0].expose()).await?.allowed()?;
    stand.worker.logged("a report did not arrive").await?;
    stand.source.state().failing = None;
    stand.caller.get("/status", keys[1].expose()).await?.allowed()?;
    eventually("both are reported", SOON, async || {
        let seen: usize = reports(&stand)?.iter().map(|report| report.seen.len()).sum();
        ensure!(seen == 2, "{seen}");
        Ok(())
    })
    .await
}
