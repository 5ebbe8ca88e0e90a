//! The day an engineer leaves, and keys that nobody uses any more.

use anyhow::{Context as _, Result, ensure};
use jiff::SignedDuration;
use nightlatch_tests::clock::now;
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::deployment::{Deployment, Login, text};
use nightlatch_tests::on_both_databases;
use serde_json::{Value, json};

use crate::keys::{entries, entry, ids, issue, refused, rotate, sorted};

on_both_databases!(
    s3_14_s3_19_s3_20_s0_09_every_key_a_person_could_reach_is_found_and_ended,
    s0_10_s0_11_s0_22_abandoned_keys_are_found_by_their_last_use,
    s3_16_s3_22_a_rotation_is_on_record_and_an_end_is_confirmed,
);

/// S3-14, S3-19, S3-20, S0-09: what somebody issued, rotated, looks after or has is found in one call at one replica, and
/// ended by one at the other; what others have stays.
async fn s3_14_s3_19_s3_20_s0_09_every_key_a_person_could_reach_is_found_and_ended(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let (ana, bo) = (all.join(&owner, "admin", "ana").await?, all.join(&owner, "admin", "bo").await?);
    let issued = issue(&all, &ana.session, "issued", json!({})).await?;
    let by_token = issue(&all, &ana.token, "issued with a token", json!({})).await?;
    let owned = issue(&all, &bo.token, "looked after", json!({ "owner_member": ana.id })).await?;
    let own = issue(&all, &ana.token, "own", json!({ "principal": ana.principal })).await?;
    let of_bo = issue(&all, &bo.token, "of bo", json!({})).await?;
    let (_, rotated) =
        rotate(&all, &ana.token, &of_bo.id, json!({ "overlap_seconds": 600, "reason": "scheduled" })).await?;
    let mut kept = vec![of_bo, issue(&all, &bo.token, "kept", json!({})).await?];
    kept.push(issue(&all, &bo.token, "own of bo", json!({ "principal": bo.principal })).await?);
    // S3-19: the issuer is known, and is the person whichever way they came.
    let theirs = format!("keys?issued_by={}", ana.id);
    ensure!(ids(&all, &owner, &theirs).await? == sorted([&issued, &by_token, &own, &rotated]));
    let reach = [&issued, &by_token, &owned, &own, &rotated];
    for _ in all.replicas() {
        let found = all.list(&owner, &format!("keys?touched_by={}", ana.id)).await?;
        ensure!(found.iter().all(|key| !key["touched"].as_array().is_none_or(Vec::is_empty)), "{found:?}");
        ensure!(ids(&all, &owner, &format!("keys?touched_by={}", ana.id)).await? == sorted(reach));
    }
    for key in reach.into_iter().chain(&kept) {
        gate.accepts(&key.secret).await?;
    }
    // Seen first, at one replica; done as it was seen, at the other.
    let end = |dry_run: bool, expect: Option<&Value>| {
        let filter = json!({ "touched_by": ana.id });
        json!({ "filter": filter, "reason": "personnel change: ana left", "dry_run": dry_run, "expect": expect })
    };
    let planned = all.post(&owner, "keys:revoke-many", end(true, None)).await?;
    ensure!((planned["matched"].as_u64(), planned["revoked"].as_u64()) == (Some(5), Some(0)), "{planned}");
    gate.accepts(&issued.secret).await?;
    let late = issue(&all, &ana.token, "made meanwhile", json!({})).await?;
    let stale = all.try_post(&owner, "keys:revoke-many", end(false, Some(&planned["plan"]))).await?;
    refused(stale, 409, "plan_changed")?;
    let planned = all.post(&owner, "keys:revoke-many", end(true, None)).await?;
    let ended = all.post(&owner, "keys:revoke-many", end(false, Some(&planned["plan"]))).await?;
    ensure!((ended["revoked"].as_u64(), ended["remaining"].as_u64()) == (Some(6), Some(0)), "{ended}");
    for key in reach.into_iter().chain([&late]) {
        gate.refuses(&key.secret, "key_revoked").await?;
        let told = entry(&all, &owner, &format!("action=key.revoked&key={}", key.id)).await?;
        ensure!(told["reason"] == "personnel change: ana left", "{told}");
    }
    for key in &kept {
        gate.accepts(&key.secret).await?;
    }
    // And the person: whatever was forgotten goes with them, and they come in no more.
    all.post(&owner, &format!("members/{}/remove", ana.id), json!({ "reason": "left" })).await?;
    for login in [&ana.session, &ana.token] {
        let answer = all.send(login, reqwest::Method::GET, "keys", |request| request).await?;
        ensure!(answer.status == 401, "{answer:?}");
    }
    Ok(())
}

/// S0-10, S0-11, S0-22: what an edge has seen at one replica is read at the other; keys nobody uses are found by it, and
/// after an end the log and the key still say when it was used last and what it could do.
async fn s0_10_s0_11_s0_22_abandoned_keys_are_found_by_their_last_use(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let owner = all.owner();
    let used = issue(&all, &owner, "used", json!({ "scopes": ["invoices:read", "invoices:write"] })).await?;
    let abandoned = issue(&all, &owner, "abandoned", json!({})).await?;
    let never = issue(&all, &owner, "never used", json!({})).await?;
    let set = all.replicas()[0].set().id.clone();
    let made = all.post(&owner, "tokens", json!({ "name": "edge", "kind": "edge", "set": set })).await?;
    let edge = Login::Token(text(&made["secret"])?);
    let (moment, month) = (now(), now() - SignedDuration::from_hours(24 * 30));
    let seen = |key: &str, at: jiff::Timestamp| json!({ "key": key, "at": at.as_millisecond() });
    for (sequence, seen) in [seen(&abandoned.id, month), seen(&used.id, moment)].into_iter().enumerate() {
        let report = json!({
            "set": set, "instance": "edge-1", "sequence": sequence + 1, "runtime": "test", "version": "0",
            "applied": null, "seen": [seen],
        });
        let accepted = all.post(&edge, "edges/reports", report).await?;
        ensure!(accepted["accepted"] == true, "{accepted}");
    }
    let last_used = async |key: &str| -> Result<Value> {
        Ok(all.get(&owner, &format!("keys/{key}")).await?["last_used_at"].clone())
    };
    for _ in all.replicas() {
        let at = text(&last_used(&used.id).await?)?;
        ensure!(at.parse::<jiff::Timestamp>()?.as_second() == moment.as_second(), "{at}");
        ensure!(last_used(&never.id).await?.is_null());
        ensure!(ids(&all, &owner, "keys?never_used=true").await? == sorted([&never]));
        let week = now() - SignedDuration::from_hours(24 * 7);
        let found = ids(&all, &owner, &format!("keys?state=active&last_used_before={week}")).await?;
        ensure!(found == sorted([&abandoned]), "{found:?}");
    }
    // A leak: the key goes first, and how it was used is looked up then.
    crate::keys::revoke(&all, &owner, &used.id, "leaked").await?;
    let shown = all.get(&owner, &format!("keys/{}", used.id)).await?;
    ensure!(shown["state"] == "revoked" && shown["last_used_at"].is_string(), "{shown}");
    for told in entries(&all, &owner, &format!("key={}", used.id)).await? {
        ensure!(told["scopes"] == json!(["invoices:read", "invoices:write"]), "{told}");
    }
    Ok(())
}

/// S3-16, S3-22: the log says which key was rotated when by whom; the command line ends no key that nobody has confirmed.
async fn s3_16_s3_22_a_rotation_is_on_record_and_an_end_is_confirmed(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let ana = all.join(&owner, "admin", "ana").await?;
    let key = issue(&all, &owner, "billing 2025", json!({})).await?;
    let before = now() - SignedDuration::from_secs(1);
    let body = json!({ "overlap_seconds": 600, "reason": "yearly", "name": "billing 2026" });
    let (started, successor) = rotate(&all, &ana.session, &key.id, body).await?;
    let told = entry(&all, &owner, &format!("action=rotation.started&key={}", key.id)).await?;
    ensure!(told["actor"] == json!({ "type": "member", "id": ana.id }), "{told}");
    ensure!(told["target"]["id"] == key.id.as_str() && told["prefix"] == key.key["prefix"], "{told}");
    ensure!(told["after"]["rotation"] == started["rotation"]["id"], "{told}");
    let at: jiff::Timestamp = text(&told["at"])?.parse()?;
    ensure!(before <= at && at <= now() + SignedDuration::from_secs(1), "{told}");
    // Without anybody to ask, nothing is done.
    let command = |yes: &[&str]| -> Result<std::process::Output> {
        let mut command = all.next().command()?;
        command.args(["keys", "revoke", &key.id, "--reason", "rotated"]).args(yes);
        Ok(command.stdin(std::process::Stdio::null()).output()?)
    };
    let asked = command(&[])?;
    ensure!(!asked.status.success(), "it has not asked");
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    ensure!(said.contains("--yes"), "{said}");
    gate.accepts(&key.secret).await?;
    let done = command(&["--yes"])?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    gate.refuses(&key.secret, "key_revoked").await?;
    gate.accepts(&successor.secret).await?;
    let told = entry(&all, &owner, &format!("action=key.revoked&key={}", key.id)).await?;
    told["on_behalf_of"].as_str().context("the owner whose token it was")?;
    Ok(())
}
