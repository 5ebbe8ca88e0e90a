//! The life of a key as the edge sees it: issued, narrowed, disabled, expired, revoked, and never back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::{
    CancelRotation, Code, DisableKey, EnableKey, Environment, ImportOptions, IssueKey, KeyState, RotationOrder,
    StartRotation, SuccessorFate, UpdateKey,
};
use nightlatch_tests::clock::{after, between, now, until};
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::import;
use nightlatch_tests::on_both_databases;
use nightlatch_tests::world::World;
use reqwest::Method;

on_both_databases!(
    s0_17_s4_02_a_key_does_what_its_scopes_say_and_no_more,
    s0_06_s0_07_keys_of_the_same_scopes_live_and_die_apart,
    s1_15_s1_16_s1_17_an_expiry_can_be_set_later_and_holds,
    a_disabled_key_rests_until_it_is_enabled,
    s1_13_s2_10_in_an_emergency_the_old_key_dies_first,
    s3_18_s2_17_s2_16_a_revoked_key_never_works_again,
);

/// One real call confirms a new key; what its scopes do not say is a 403 that names what is missing.
async fn s0_17_s4_02_a_key_does_what_its_scopes_say_and_no_more(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let reader = world.issue_and_use("reader", &["invoices:read"]).await?;
    let key = reader.secret.expose();
    world.caller.get("/invoices", key).await?.allowed()?;
    let refused = world.caller.send(Method::POST, "/invoices", Some(key)).await?;
    let refused = refused.expect(403, Some("scope_insufficient"))?;
    let challenge = refused.header("www-authenticate");
    ensure!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    ensure!(challenge.contains("scope=\"invoices:write\""), "{challenge}");

    let test = IssueKey::new("trial", Environment::Test);
    let test = world.api().issue_key(&test).await?;
    world.refused_soon(test.secret.expose(), "key_env_mismatch").await?;
    Ok(())
}

/// Any number of keys at once; revoking one of two alike leaves the other alone.
async fn s0_06_s0_07_keys_of_the_same_scopes_live_and_die_apart(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let first = world.issue_and_use("first", &["invoices:read"]).await?;
    let second = world.issue_and_use("second", &["invoices:read"]).await?;
    world.caller.get("/invoices", first.secret.expose()).await?.allowed()?;
    world.revoke(&first.key.id).await?;
    world.refused_soon(first.secret.expose(), "key_revoked").await?;
    world.caller.get("/invoices", second.secret.expose()).await?.allowed()?;
    Ok(())
}

/// An existing key gets an expiry seven days out and works on; a nearer expiry, and it works until then and no longer.
async fn s1_15_s1_16_s1_17_an_expiry_can_be_set_later_and_holds(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let issued = world.issue_and_use("scheduled", &[]).await?;
    let (id, key) = (&issued.key.id, issued.secret.expose());
    let set_expiry = async |from_now: Duration| {
        let etag = world.api().key(id).await?.etag;
        let change = UpdateKey { expires_at: Some(Some(after(now(), from_now))), ..UpdateKey::default() };
        let changed = world.api().update_key(id, &etag, &change).await?.value;
        changed.expires_at.context("an expiry was set")
    };

    let week = Duration::from_secs(7 * 24 * 3600);
    let expires_at = set_expiry(week).await?;
    ensure!(between(now(), expires_at) > week - Duration::from_secs(60));
    world.caller.get("/status", key).await?.allowed()?;

    let expires_at = set_expiry(world.timing.bound() + Duration::from_secs(2)).await?;
    let skew = Duration::from_secs(world.timing.skew);
    while now() < nightlatch_tests::clock::before(expires_at, skew) {
        world.caller.get("/status", key).await?.allowed().context("within the window")?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until(after(expires_at, skew)).await;
    world.caller.get("/status", key).await?.refused("key_expired")?;

    ensure!(world.api().key(id).await?.value.state == KeyState::Expired);
    let later = UpdateKey { expires_at: Some(Some(after(now(), week))), ..UpdateKey::default() };
    let refused = world.api().update_key(id, &world.api().key(id).await?.etag, &later).await.unwrap_err();
    ensure!(refused.is(Code::KeyExpired) || refused.is(Code::TooLate), "{refused}");
    world.caller.get("/status", key).await?.refused("key_expired")?;
    Ok(())
}

/// Disabling is a 401 with a reason of its own, and enabling takes it back.
async fn a_disabled_key_rests_until_it_is_enabled(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let issued = world.issue_and_use("resting", &[]).await?;
    let (id, key) = (&issued.key.id, issued.secret.expose());
    let disabled = world.api().disable_key(id, &DisableKey { reason: Some("under suspicion".into()) }).await?;
    ensure!(disabled.state == KeyState::Disabled && disabled.disabled_by == ["admin"], "{disabled:?}");
    world.refused_soon(key, "key_disabled").await?;
    let enabled = world.api().enable_key(id, &EnableKey { reason: None }).await?;
    ensure!(enabled.state == KeyState::Active && enabled.disabled_by.is_empty(), "{enabled:?}");
    world.allowed_soon(key).await?;
    Ok(())
}

/// `revoke_first`: the leaked key is dead before its successor is deployed, with no grace; the successor has the same
/// scopes.
async fn s1_13_s2_10_in_an_emergency_the_old_key_dies_first(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let leaked = world.issue_and_use("leaked", &["invoices:read"]).await?;
    let request = StartRotation {
        overlap_seconds: None,
        reason: "leak".into(),
        name: Some("replaces the leaked one".into()),
        scopes: None,
        order: RotationOrder::RevokeFirst,
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    };
    let started = world.api().start_rotation(&leaked.key.id, &request).await?;
    ensure!(world.api().key(&leaked.key.id).await?.value.state == KeyState::Revoked);
    ensure!(started.key.scopes == ["invoices:read"], "{:?}", started.key);
    world.refused_soon(leaked.secret.expose(), "key_revoked").await?;
    world.allowed_soon(started.secret.expose()).await?;
    world.caller.get("/invoices", started.secret.expose()).await?.allowed()?;
    Ok(())
}

/// No sequence of calls brings a revoked key back: not enable, not an expiry, not cancelling its rotation, not importing
/// its text. It stays on record, with its name.
async fn s3_18_s2_17_s2_16_a_revoked_key_never_works_again(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let api = world.api();
    let issued = world.issue_and_use("finished", &[]).await?;
    let (id, key) = (&issued.key.id, issued.secret.expose());
    let request = StartRotation {
        overlap_seconds: Some(3600),
        reason: "scheduled".into(),
        name: None,
        scopes: None,
        order: RotationOrder::IssueFirst,
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    };
    let rotation = api.start_rotation(id, &request).await?.rotation;
    world.revoke(id).await?;
    world.refused_soon(key, "key_revoked").await?;

    let refused = api.enable_key(id, &EnableKey::default()).await.unwrap_err();
    ensure!(refused.is(Code::KeyRevoked), "{refused}");
    let refused = api.disable_key(id, &DisableKey::default()).await.unwrap_err();
    ensure!(refused.is(Code::KeyRevoked), "{refused}");
    let etag = api.key(id).await?.etag;
    let change = UpdateKey { expires_at: Some(None), ..UpdateKey::default() };
    let refused = api.update_key(id, &etag, &change).await.unwrap_err();
    ensure!(refused.is(Code::KeyRevoked), "{refused}");
    let cancel = CancelRotation { successor: SuccessorFate::Revoke, reason: None };
    let refused = api.cancel_rotation(&rotation.id, &cancel).await.unwrap_err();
    ensure!(refused.is(Code::RotationClosed), "{refused}");
    let again = world.revoke(id).await?;
    ensure!(again.key.state == KeyState::Revoked);

    for line in [import::by_text("once more", key), import::by_digest("once more", key)] {
        let report = api.import_keys(ImportOptions::default(), import::lines(&[line])?).await?;
        ensure!((report.created, report.existing) == (0, 1), "{report:?}");
    }
    // A sign that everything above has reached the edge.
    world.issue_and_use("afterwards", &[]).await?;
    world.caller.get("/status", key).await?.refused("key_revoked")?;

    let kept = api.key(id).await?.value;
    ensure!(kept.state == KeyState::Revoked && kept.name == "finished", "{kept:?}");
    ensure!(kept.revoke_reason.is_some(), "{kept:?}");
    Ok(())
}
