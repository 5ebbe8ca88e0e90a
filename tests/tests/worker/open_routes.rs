//! Routes that stay open while the data behind them is missing, and those that do not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_keyset::Status;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(20);

/// A partition outlasts the head: an open route goes on for keys known good until `open_until`, everything else is 503; a
/// revoked key is refused on both, and an unknown one is never a false 401.
#[tokio::test]
async fn an_open_route_serves_through_a_partition_and_a_closed_one_does_not() -> Result<()> {
    let (mut good, mut revoked) = (None, None);
    let prepare = |set: &mut PublishedSet| {
        good = Some(set.issue(Key::default()));
        revoked = Some(set.issue(Key::default().status(Status::Revoked)));
        set.publish()
    };
    let mut stand = Stand::start(prepare, |config| config.variable("NIGHTLATCH_POLL_SECONDS", "1")).await?;
    let (good, revoked) = (good.context("prepared")?, revoked.context("prepared")?);
    let unknown = stand.set.issue(Key::default());
    stand.set.renew(3_000);
    stand.set.head.open_until = Some(stand.set.head.valid_until + 5_000);
    let (valid_until, open_until) = (stand.set.head.valid_until, stand.set.head.valid_until + 5_000);
    stand.source.take(&stand.set);
    stand.caller.get("/open", good.expose()).await?.allowed()?;
    stand.caller.get("/status", good.expose()).await?.allowed()?;
    stand.caller.get("/open", unknown.expose()).await?.refused("key_invalid")?;

    stand.source.state().failing = Some(500);
    eventually("the closed route is closed", SOON, async || {
        stand.caller.get("/open", good.expose()).await?.allowed()?;
        let answer = stand.caller.get("/status", good.expose()).await?;
        ensure!(answer.status == 200 || answer.sent.as_millisecond() as u64 + 50 >= valid_until, "early: {answer:?}");
        answer.expect(503, Some("set_stale"))
    })
    .await?;
    // The answer does not wait for the source.
    stand.source.state().delay = Duration::from_secs(60);
    stand.caller.get("/open", good.expose()).await?.allowed()?;
    stand.caller.get("/open", revoked.expose()).await?.refused("key_revoked")?;
    stand.source.state().delay = Duration::ZERO;
    eventually("an unknown key is told nothing", SOON, async || {
        let answer = stand.caller.get("/open", unknown.expose()).await?;
        ensure!(answer.status != 401, "{answer:?}");
        answer.expect(503, Some("set_stale"))
    })
    .await?;
    eventually("the open route is closed, too", SOON, async || {
        let answer = stand.caller.get("/open", good.expose()).await?;
        ensure!(answer.status == 200 || answer.sent.as_millisecond() as u64 + 50 >= open_until, "early: {answer:?}");
        answer.expect(503, Some("set_stale"))
    })
    .await?;

    stand.source.state().failing = None;
    stand.set.head.open_until = None;
    stand.set.publish()?;
    stand.source.take(&stand.set);
    stand.caller.get("/status", unknown.expose()).await?.allowed()?;
    stand.caller.get("/open", good.expose()).await?.allowed()?;
    Ok(())
}
