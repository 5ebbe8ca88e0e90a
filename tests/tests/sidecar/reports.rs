//! What the sidecar tells the control plane.

use anyhow::{Context as _, Result, ensure};
use nightlatch_tests::published::Key;
use nightlatch_tests::wait::eventually;

use crate::stand::{SOON, Stand};

/// A version is told of once it is on the disk, and with it what the control plane wants to know of a durable edge.
#[tokio::test]
async fn s3_10_a_new_version_is_confirmed_when_it_is_kept() -> Result<()> {
    let mut stand = Stand::plain().await?;
    for _ in 0..3 {
        stand.set.issue(Key::default());
        stand.publish()?;
        let version = stand.set.head.version;
        eventually("the version is confirmed", SOON, async || {
            let report = stand.source.state().reports.last().cloned().context("no report")?;
            ensure!(report["applied"]["version"] == version, "{report}");
            let kept = std::fs::read_to_string(stand.sidecar.state_dir().join("mark"))?;
            ensure!(kept.contains(&format!("\nversion {version}\n")), "{kept}");
            Ok(())
        })
        .await?;
    }
    let reports = stand.source.state().reports.clone();
    let last = reports.last().context("a report")?;
    ensure!(last["runtime"] == "sidecar" && last["set"] == stand.set.head.set.as_str(), "{last}");
    let formats = serde_json::json!(["head/4", "head/3", "base/3", "base/2", "delta/3", "delta/2", "rebase/1"]);
    ensure!(last["formats"] == formats, "{last}");
    ensure!(last["peppers"] == serde_json::json!(["p1"]), "{last}");
    ensure!(last["data_age_ms"].is_u64() && last["sent_at"].is_u64() && last["clock_refused"] == false, "{last}");
    ensure!(reports.iter().all(|report| report["instance"] == last["instance"]));
    ensure!(reports.is_sorted_by_key(|report| report["sequence"].as_u64()), "{reports:?}");
    Ok(())
}

/// Keys are told of once, by id and never by secret; what does not arrive goes with the next report.
#[tokio::test]
async fn sightings_arrive_and_survive_a_failed_report() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.source.state().failing = Some(500);
    let id = format!("key_{}", stand.key.parts().id());
    stand.sidecar.logged("a report did not arrive").await?;
    stand.source.state().failing = None;
    stand.set.issue(Key::default());
    stand.publish()?;
    eventually("the key is reported", SOON, async || {
        let state = stand.source.state();
        let seen = state.reports.iter().flat_map(|report| report["seen"].as_array().cloned().unwrap_or_default());
        ensure!(seen.filter(|sighting| sighting["key"] == id.as_str()).count() == 1, "{:?}", state.reports);
        Ok(())
    })
    .await?;
    ensure!(!format!("{:?}", stand.source.state().reports).contains(stand.key.expose()));
    Ok(())
}
