//! The two-key procedure: a program that holds its new and its old key falls back on a 401 and on nothing else.

use std::time::Duration;

use anyhow::{Result, ensure};
use nightlatch_api::{RotationOrder, RouteDocument, RouteRule, StartRotation};
use nightlatch_tests::caller::{TwoKeyClient, Used};
use nightlatch_tests::clock::{between, now};
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::on_both_databases;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, World, put_routes};

on_both_databases!(
    s3_05_to_07_one_deploy_brings_the_new_key_in_while_the_old_one_works,
    s3_05_s3_06_only_a_401_makes_a_client_fall_back,
);

/// The new key is deployed the moment it is issued, before every edge knows it: calls get through with the old one until
/// they get through with the new one, from `usable_from` on always, and after the old one's end as before.
///
/// S3-04 (the key travels as a bearer token), S3-05, S3-06, S3-07.
async fn s3_05_to_07_one_deploy_brings_the_new_key_in_while_the_old_one_works(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let old = world.issue_and_use("nightly export", &[]).await?;
    let request = StartRotation {
        overlap_seconds: Some(world.timing.bound().as_secs() + 2),
        reason: "scheduled".into(),
        name: None,
        scopes: None,
        order: RotationOrder::IssueFirst,
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    };
    let started = world.api().start_rotation(&old.key.id, &request).await?;
    let client = TwoKeyClient::deploy(world.caller.clone(), &started.secret, &old.secret);

    let mut used_new = false;
    while now() < started.key.usable_from {
        let used = client.get("/status").await?;
        ensure!(!used_new || used == Used::New, "one edge forgot the new key");
        used_new = used == Used::New;
    }
    ensure!(client.get("/status").await? == Used::New);

    let revoked = world.revoke(&old.key.id).await?;
    world.refused_soon(old.secret.expose(), "key_revoked").await?;
    ensure!(now() < revoked.in_force_by);
    ensure!(client.get("/status").await? == Used::New);
    Ok(())
}

/// A revoked, unknown or malformed key is a 401, so that the client falls back; a scope that is missing and data that
/// are too old are not, so that it raises them, although its old key would do.
async fn s3_05_s3_06_only_a_401_makes_a_client_fall_back(database: Database) -> Result<()> {
    let mut world = World::start(database).await?;
    let good = world.issue_and_use("good", &["invoices:read"]).await?;
    let narrow = world.issue_and_use("narrow", &[]).await?;
    let revoked = world.issue_and_use("revoked", &["invoices:read"]).await?;
    world.revoke(&revoked.key.id).await?;
    world.refused_soon(revoked.secret.expose(), "key_revoked").await?;

    let fall_back = |new: &nightlatch_api::Secret| TwoKeyClient::deploy(world.caller.clone(), new, &good.secret);
    ensure!(fall_back(&revoked.secret).get("/invoices").await? == Used::Old);
    ensure!(fall_back(&"not even a key".into()).get("/invoices").await? == Used::Old);
    let raised = fall_back(&narrow.secret).get("/invoices").await.unwrap_err();
    ensure!(raised.to_string().starts_with("403"), "{raised}");
    let raised = fall_back(&narrow.secret).get("/nowhere").await.unwrap_err();
    ensure!(raised.to_string().starts_with("404"), "{raised}");

    // 401s fell back to a key that works; two that do not work are a 401, and which is said in the body.
    let both = TwoKeyClient::deploy(world.caller.clone(), &revoked.secret, &revoked.secret);
    let raised = both.get("/invoices").await.unwrap_err();
    ensure!(raised.to_string().contains("key_revoked"), "{raised}");

    let client = fall_back(&good.secret);
    world.control_plane.kill()?;
    let down = now();
    let raised = eventually("the edge's data are too old", SOON, async || match client.get("/status").await {
        Ok(_) => anyhow::bail!("still served"),
        Err(raised) => Ok(raised.to_string()),
    })
    .await?;
    ensure!(raised.starts_with("503") && raised.contains("set_stale"), "{raised}");
    ensure!(between(down, now()) < world.timing.bound() + Duration::from_secs(5));
    Ok(())
}

/// A route that does not exist yet is a 404, which no client should take for a bad key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_06_a_key_is_distinguishable_from_a_route() -> Result<()> {
    let world = World::start(Database::Sqlite).await?;
    let key = world.issue_and_use("early", &[]).await?;
    world.caller.get("/reports", key.secret.expose()).await?.expect(404, Some("route_not_found"))?;
    let routes = vec![RouteRule::new("GET", "/reports"), RouteRule::new("GET", "/status")];
    put_routes(world.api(), &RouteDocument { routes, ..RouteDocument::default() }).await?;
    eventually("the new route is in force", SOON, async || {
        world.caller.get("/reports", key.secret.expose()).await?.allowed()
    })
    .await?;
    Ok(())
}
