//! The sidecar with a real control plane, on both databases: alone and behind a real nginx.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::{Environment, IssueKey, IssuedKey, RevokeKey, RotationOrder, StartRotation};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::clock::{after, before, between, until};
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::load::{Consumer, Load};
use nightlatch_tests::nginx::Nginx;
use nightlatch_tests::on_both_databases;
use nightlatch_tests::origin::Origin;
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, put_routes, routes};

/// Requests a second.
const PACE: u32 = 100;

on_both_databases!(
    s0_08_s2_14_s3_10_a_revoked_key_is_refused_within_the_bound,
    s0_04_s0_05_s3_12_a_rotation_under_traffic_has_no_failed_request,
    s3_12_a_sidecar_outlives_the_control_plane_and_its_own_restart,
);

/// A control plane, a sidecar that proxies, one behind nginx, and the origin behind both.
struct World {
    control_plane: ControlPlane,
    proxy: Sidecar,
    _beside_nginx: Sidecar,
    _nginx: Nginx,
    _origin: Origin,
    /// Calls the proxying sidecar, then nginx.
    callers: Vec<Caller>,
}

impl World {
    async fn start(database: Database, timing: Timing) -> Result<Self> {
        let control_plane = ControlPlane::start(ControlPlaneConfig::new(database).timing(timing)).await?;
        put_routes(control_plane.client(), &routes()).await?;
        let origin = Origin::start().await?;
        let config = SidecarConfig::beside(&control_plane.worker(&origin.url()).await?)?
            .number("threads", 2)
            .number("poll_ms", 250);
        let proxy = Sidecar::start(config.clone().setting("mode", "proxy")).await?;
        let beside_nginx = Sidecar::start(config.setting("mode", "auth_request")).await?;
        let nginx = Nginx::start(&beside_nginx.address(), &origin.address().to_string()).await?;
        let callers = vec![Caller::new(&proxy.url())?, Caller::new(&nginx.url())?];
        for caller in &callers {
            eventually("the edge serves the routes", SOON, async || {
                caller.send(reqwest::Method::GET, "/status", None).await?.refused("key_missing")
            })
            .await
            .with_context(|| format!("{}\n{}\n{}", proxy.log(), beside_nginx.log(), nginx.log()))?;
        }
        Ok(Self { control_plane, proxy, _beside_nginx: beside_nginx, _nginx: nginx, _origin: origin, callers })
    }

    async fn issue_and_use(&self, name: &str) -> Result<IssuedKey> {
        let request = IssueKey::new(name, Environment::Live);
        let issued = self.control_plane.client().issue_key(&request).await?;
        for caller in &self.callers {
            eventually("the key is let through", SOON, async || {
                caller.get("/status", issued.secret.expose()).await?.allowed()
            })
            .await?;
        }
        Ok(issued)
    }

    async fn revoke(&self, id: &str) -> Result<nightlatch_api::RevokedKey> {
        let request = serde_json::from_value::<RevokeKey>(serde_json::json!({ "reason": "the test says so" }))?;
        Ok(self.control_plane.client().revoke_key(id, &request).await?)
    }
}

/// S0-08, S2-14, S3-10: after a revoke every edge refuses within the bound, and for ever.
async fn s0_08_s2_14_s3_10_a_revoked_key_is_refused_within_the_bound(database: Database) -> Result<()> {
    let world = World::start(database, Timing::SHORT).await?;
    let mut delays = Vec::new();
    for number in 0..5 {
        let issued = world.issue_and_use(&format!("short-lived {number}")).await?;
        let revoked = world.revoke(&issued.key.id).await?;
        for caller in &world.callers {
            let refused = eventually("the key is refused", SOON, async || {
                caller.get("/status", issued.secret.expose()).await?.refused("key_revoked")
            })
            .await?;
            ensure!(refused.sent < revoked.in_force_by, "refused first at {}, {revoked:?}", refused.sent);
            delays.push(between(revoked.revoked_at, refused.received));
            for _ in 0..5 {
                caller.get("/status", issued.secret.expose()).await?.refused("key_revoked")?;
            }
        }
    }
    println!("{}: revoke to 401, worst of {}: {:?}", database.as_str(), delays.len(), delays.iter().max());
    Ok(())
}

/// S0-04, S0-05, S3-12: both keys work from `usable_from` to the deadline, consumers swap at any moment in between, and no
/// request fails; afterwards the old key is refused everywhere.
async fn s0_04_s0_05_s3_12_a_rotation_under_traffic_has_no_failed_request(database: Database) -> Result<()> {
    let timing = Timing::SHORT;
    let world = World::start(database, timing).await?;
    let old = world.issue_and_use("rotated").await?;
    let old_secret = Arc::new(old.secret);
    let consumers: Vec<_> = (0..8).map(|_| Consumer::new("/status", &old_secret)).collect();
    let load = Load::start(&world.callers, consumers.clone(), PACE)?;
    let request = StartRotation {
        overlap_seconds: Some(timing.bound().as_secs() + 6),
        reason: "scheduled".into(),
        name: None,
        scopes: None,
        order: RotationOrder::IssueFirst,
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    };
    let started = world.control_plane.client().start_rotation(&old.key.id, &request).await?;
    let deadline = started.rotation.deadline.context("a planned rotation has a deadline")?;
    let new_secret = Arc::new(started.secret);
    let last = before(deadline, Duration::from_secs(timing.skew));
    let choice = between(started.key.usable_from, last);
    for (place, consumer) in consumers.iter().enumerate() {
        let share = place as f64 / consumers.len() as f64;
        consumer.swap_at(after(started.key.usable_from, choice.mul_f64(share)), &new_secret);
    }
    until(started.key.usable_from).await;
    for caller in &world.callers {
        caller.get("/status", new_secret.expose()).await?.allowed()?;
        let retiring = caller.get("/status", old_secret.expose()).await?.allowed()?;
        ensure!(retiring.header("deprecation") == format!("@{}", deadline.as_second()), "{:?}", retiring.headers);
    }
    until(after(deadline, Duration::from_secs(timing.skew))).await;
    for caller in &world.callers {
        caller.get("/status", old_secret.expose()).await?.refused("key_retired_grace_over")?;
        caller.get("/status", new_secret.expose()).await?.allowed()?;
    }
    let report = load.finish().await?;
    println!("{}: {report}", database.as_str());
    report.without_failure()
}

/// S3-12: a planned restart of the control plane, and one of the sidecar meanwhile, cost nothing but the sidecar's own
/// moment; the last used time arrives afterwards.
async fn s3_12_a_sidecar_outlives_the_control_plane_and_its_own_restart(database: Database) -> Result<()> {
    let mut world = World::start(database, Timing { validity: 60, ..Timing::SHORT }).await?;
    let issued = world.issue_and_use("through the outage").await?;
    let revoked = world.issue_and_use("revoked before").await?;
    world.revoke(&revoked.key.id).await?;
    eventually("the key is refused", SOON, async || {
        world.callers[0].get("/status", revoked.secret.expose()).await?.refused("key_revoked")
    })
    .await?;
    let version = world.proxy.metric("nightlatch_sidecar_set_version").await?;
    eventually("the set is kept", SOON, async || {
        let head = std::fs::read_to_string(world.proxy.state_dir().join("head"))?;
        ensure!(head.contains(&format!("\nversion {version}\n")), "{head}");
        Ok(())
    })
    .await?;
    world.control_plane.kill()?;
    world.proxy.kill()?;
    world.proxy.restart().await?;
    world.callers[0].get("/status", issued.secret.expose()).await?.allowed()?;
    world.callers[0].get("/status", revoked.secret.expose()).await?.refused("key_revoked")?;
    world.control_plane.restart().await?;
    let later = world.issue_and_use("after the outage").await?;
    world.callers[1].get("/status", later.secret.expose()).await?.allowed()?;
    Ok(())
}
