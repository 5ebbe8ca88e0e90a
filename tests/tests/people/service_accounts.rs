//! Service accounts: whose keys programs carry.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use nightlatch_tests::clock::now;
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::deployment::{Deployment, text};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::SOON;
use serde_json::json;

use crate::keys::{entries, entry, ids, issue, new, refused, revoke, rotate, sorted};

on_both_databases!(
    s1_01_s1_02_s1_03_s1_04_only_owners_and_admins_keep_keys_of_service_accounts,
    s1_05_s1_23_s0_09_a_narrower_successor_is_refused_where_the_old_key_was_not,
    s1_15_s1_16_s1_17_an_expiry_is_set_and_changed_on_a_key_that_is_there,
);

/// S1-01 to S1-04: keys belong to an account; owners and admins issue and revoke, an operator gets 403, which the log
/// keeps; a key has the name and the scopes asked for.
async fn s1_01_s1_02_s1_03_s1_04_only_owners_and_admins_keep_keys_of_service_accounts(
    database: Database,
) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let account = all.post(&owner, "service-accounts", json!({ "name": "exporter" })).await?;
    let of = json!({ "principal": account["id"], "scopes": ["invoices:read"] });
    let admin = all.join(&owner, "admin", "ana").await?;
    let operator = all.join(&owner, "operator", "olga").await?;
    let viewer = all.join(&owner, "viewer", "vera").await?;
    for who in [&owner, &admin.token, &admin.session] {
        let key = issue(&all, who, "exporter", of.clone()).await?;
        ensure!(key.key["principal"] == account["id"] && key.key["kind"] == "service_account", "{}", key.key);
        ensure!(key.key["name"] == "exporter" && key.key["scopes"] == json!(["invoices:read"]), "{}", key.key);
        gate.answers("GET", "/invoices", &key.secret, (200, "")).await?;
        for other in [&operator, &viewer] {
            for login in [&other.token, &other.session] {
                refused(all.try_post(login, "keys", new("theirs", of.clone())).await?, 403, "forbidden")?;
                let path = format!("keys/{}/revoke", key.id);
                refused(all.try_post(login, &path, json!({ "reason": "r" })).await?, 403, "forbidden")?;
            }
            // They see it.
            let seen = all.get(&other.token, &format!("keys/{}", key.id)).await?;
            ensure!(seen["state"] == "active", "{seen}");
        }
        // A refused attempt changed nothing at any edge.
        gate.accepts(&key.secret).await?;
        revoke(&all, who, &key.id, "scheduled").await?;
        gate.refuses(&key.secret, "key_revoked").await?;
    }
    let attempts = entries(&all, &owner, "action=request.refused").await?;
    for who in [&operator, &viewer] {
        let theirs: Vec<_> = attempts
            .iter()
            .filter(|attempt| attempt["on_behalf_of"] == who.id.as_str() || attempt["actor"]["id"] == who.id.as_str())
            .collect();
        ensure!(theirs.len() == 12, "{} attempts of {}", theirs.len(), who.id);
        ensure!(theirs.iter().all(|attempt| attempt["after"]["code"] == "forbidden"), "{theirs:?}");
    }
    // What becomes of the account becomes of its keys.
    let (one, two) =
        (issue(&all, &owner, "one", of.clone()).await?, issue(&all, &admin.token, "two", of.clone()).await?);
    let path = format!("service-accounts/{}", text(&account["id"])?);
    all.post(&admin.token, &format!("{path}/suspend"), json!({ "reason": "looking into it" })).await?;
    for key in [&one, &two] {
        gate.refuses(&key.secret, "key_disabled").await?;
    }
    all.post(&admin.token, &format!("{path}/resume"), json!({})).await?;
    gate.accepts(&one.secret).await?;
    refused(
        all.try_post(&operator.token, &format!("{path}/remove"), json!({ "reason": "r" })).await?,
        403,
        "forbidden",
    )?;
    all.post(&owner, &format!("{path}/remove"), json!({ "reason": "replaced" })).await?;
    for key in [&one, &two] {
        gate.refuses(&key.secret, "key_revoked").await?;
    }
    refused(all.try_post(&owner, "keys", new("late", of)).await?, 409, "principal_removed")?;
    Ok(())
}

/// S1-05, S1-21, S1-23, S0-09: a successor with fewer scopes is warned of and gets 403 where the old key got through; every
/// rotation says why it was.
async fn s1_05_s1_23_s0_09_a_narrower_successor_is_refused_where_the_old_key_was_not(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let wide = json!({ "scopes": ["invoices:read", "invoices:write"] });
    let old = issue(&all, &owner, "bridge", wide.clone()).await?;
    let narrower = json!({ "overlap_seconds": 600, "reason": "quarterly", "scopes": ["invoices:read"] });
    let (started, new) = rotate(&all, &owner, &old.id, narrower).await?;
    let warning = started["warnings"].as_array().into_iter().flatten().find(|warning| warning["scopes"] != json!(null));
    ensure!(warning.is_some_and(|warning| warning["scopes"] == json!(["invoices:write"])), "{started}");
    ensure!(started["warnings"].to_string().contains("/invoices"), "{started}");
    for (method, of_new) in [("GET", (200, "")), ("POST", (403, "scope_insufficient"))] {
        gate.answers(method, "/invoices", &new.secret, of_new).await?;
        gate.answers(method, "/invoices", &old.secret, (200, "")).await?;
    }
    // S1-21: reissued with the right scope; the one with the wrong scope goes.
    let right = issue(&all, &owner, "bridge, right scopes", wide.clone()).await?;
    revoke(&all, &owner, &new.id, "wrong scope").await?;
    gate.answers("POST", "/invoices", &right.secret, (200, "")).await?;
    gate.refuses(&new.secret, "key_revoked").await?;
    // Three triggers, and what was said of them.
    for reason in ["exposed in a repository", "contractor left", "compliance calendar, quarterly"] {
        let key = issue(&all, &owner, reason, wide.clone()).await?;
        rotate(&all, &owner, &key.id, json!({ "order": "revoke_first", "reason": reason })).await?;
        gate.refuses(&key.secret, "key_revoked").await?;
        for action in ["rotation.started", "key.revoked"] {
            let told = entry(&all, &owner, &format!("action={action}&key={}", key.id)).await?;
            ensure!(told["reason"] == reason, "{told}");
        }
    }
    Ok(())
}

/// S1-15 to S1-17: the old key is given a week, then less, then more; it works through its window and not past it.
async fn s1_15_s1_16_s1_17_an_expiry_is_set_and_changed_on_a_key_that_is_there(database: Database) -> Result<()> {
    const DAY: i64 = 86_400;
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let operator = all.join(&owner, "operator", "olga").await?;
    let key = issue(&all, &owner, "old", json!({})).await?;
    let path = format!("keys/{}", key.id);
    gate.accepts(&key.secret).await?;
    let started = now().as_second();
    for days in [7, 3, 10] {
        let end = Timestamp::from_second(started + days * DAY)?;
        refused(all.try_patch(&operator.token, &path, json!({ "expires_at": end })).await?, 403, "forbidden")?;
        let changed = all.patch(&owner, &path, json!({ "expires_at": end })).await?;
        ensure!(changed["expires_at"] == json!(end), "{changed}");
        let told = entries(&all, &owner, &format!("action=key.updated&key={}", key.id)).await?;
        ensure!(told.last().is_some_and(|told| told["after"]["expires_at"] == end.as_second()), "{told:?}");
        // The clock of the question is set forward, not the machine's.
        let before = (days * DAY - 3_600) as u64 * 1_000;
        let after = (days * DAY + 3_600) as u64 * 1_000;
        eventually("the edge knows the end", SOON, async || {
            gate.poll()?;
            ensure!(gate.follower.verdict("GET", "/status", &key.secret, before) == (200, ""));
            ensure!(gate.follower.verdict("GET", "/status", &key.secret, after) == (401, "key_expired"));
            Ok(())
        })
        .await?;
    }
    // Those that end soon are found.
    let kept = issue(&all, &owner, "kept", json!({})).await?;
    let soon = Timestamp::from_second(started + 30 * DAY)?;
    ensure!(ids(&all, &owner, &format!("keys?expires_before={soon}")).await? == sorted([&key]));
    let cleared = all.patch(&owner, &path, json!({ "expires_at": null })).await?;
    ensure!(cleared["expires_at"].is_null(), "{cleared}");
    ensure!(ids(&all, &owner, &format!("keys?expires_before={soon}")).await?.is_empty());
    gate.accepts(&kept.secret).await
}
