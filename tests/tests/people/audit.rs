//! What the audit log says of keys, what it never says, and that it proves itself.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use nightlatch_tests::clock::now;
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::deployment::{Deployment, Login, text};
use nightlatch_tests::on_both_databases;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::keys::{entries, entry, issue, refused, revoke, rotate};
use crate::proof;

on_both_databases!(
    s0_15_s1_06_s1_11_a_secret_is_shown_once_and_is_in_no_log,
    s0_34_s1_09_s1_10_s1_12_issue_and_revoke_are_told_with_actor_prefix_and_scopes,
    s1_14_what_somebody_did_in_a_span_of_time_is_found_and_proven,
    s1_14_what_a_service_account_did_until_its_token_was_revoked,
);

/// S1-06, S1-11, S0-15: the answer that made a key shows its text; no other answer, list, export or log of the program does.
async fn s0_15_s1_06_s1_11_a_secret_is_shown_once_and_is_in_no_log(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let key = issue(&all, &owner, "shown once", json!({ "scopes": ["invoices:read"] })).await?;
    let (_, successor) =
        rotate(&all, &owner, &key.id, json!({ "overlap_seconds": 600, "reason": "scheduled" })).await?;
    gate.accepts(&successor.secret).await?;
    // Refused attempts that carry it leave nothing of it either.
    for path in [format!("keys/{}/revoke", key.secret), format!("keys/{}/rotations", successor.secret)] {
        let answer = all.try_post(&owner, &path, json!({ "reason": "pasted into the wrong place" })).await?;
        ensure!((400..500).contains(&answer.status), "{answer:?}");
    }
    revoke(&all, &owner, &key.id, "scheduled").await?;
    for at in all.replicas() {
        proof::settled(&all, at).await?;
    }
    let mut said = String::new();
    for path in [
        format!("keys/{}", key.id),
        format!("keys/{}", successor.id),
        "keys?limit=200".into(),
        "keys/export?format=ndjson".into(),
        "keys/export?format=csv".into(),
        "rotations".into(),
        "audit?limit=200".into(),
        "audit/export".into(),
    ] {
        for _ in all.replicas() {
            let answer = all.send(&owner, Method::GET, &path, |request| request).await?.allowed()?;
            said.push_str(&answer.body);
        }
    }
    said.extend(all.replicas().iter().map(|replica| replica.log()));
    ensure!(said.contains(&key.id) && said.contains(&successor.id), "nothing was looked at");
    for key in [&key, &successor] {
        let prefix = text(&key.key["prefix"])?;
        let rest = key.secret.strip_prefix(&prefix).context("a key begins with its prefix")?;
        ensure!(said.contains(&prefix) && !said.contains(rest), "the text of {prefix} is shown again");
    }
    Ok(())
}

/// S0-34, S1-09, S1-10, S1-12: an entry for every issue and every end, by both names of the event, with the member who did
/// it, the key's prefix and the scopes it carried.
async fn s0_34_s1_09_s1_10_s1_12_issue_and_revoke_are_told_with_actor_prefix_and_scopes(
    database: Database,
) -> Result<()> {
    let all = Deployment::start(database).await?;
    let owner = all.owner();
    let ana = all.join(&owner, "admin", "ana").await?;
    let scopes = json!(["invoices:read", "invoices:write"]);
    let first = issue(&all, &ana.session, "by a session", json!({ "scopes": scopes })).await?;
    let second = issue(&all, &ana.token, "by a token", json!({ "scopes": scopes })).await?;
    for (key, login, actor) in [(&first, &ana.session, "member"), (&second, &ana.token, "token")] {
        revoke(&all, login, &key.id, "leaked").await?;
        let both = entries(&all, &owner, &format!("category=user.updated&key={}", key.id)).await?;
        let actions: Vec<_> = both.iter().map(|told| told["action"].clone()).collect();
        ensure!(actions == [json!("key.issued"), json!("key.revoked")], "{actions:?}");
        for told in &both {
            let action = text(&told["action"])?;
            // Not word for word: it may have been chained meanwhile.
            let found = entry(&all, &owner, &format!("action={action}&key={}", key.id)).await?;
            ensure!(found["id"] == told["id"], "{found}");
            ensure!(told["actor"]["type"] == actor, "{told}");
            // Who it was, whichever way they came.
            let who = if actor == "member" { &told["actor"]["id"] } else { &told["on_behalf_of"] };
            ensure!(*who == ana.id.as_str(), "{told}");
            ensure!(told["prefix"] == key.key["prefix"] && told["scopes"] == scopes, "{told}");
            let short = text(&told["short_prefix"])?;
            ensure!(short.len() == 8 && text(&key.key["prefix"])?.ends_with(&text(&key.key["id"])?[4..]), "{told}");
            ensure!(told["short_prefix"] == key.key["short_prefix"], "{told}");
            ensure!(told["source"].is_string() && told["request_id"].is_string(), "{told}");
        }
        ensure!(both[1]["reason"] == "leaked" && both[1]["after"]["state"] == "revoked", "{}", both[1]);
    }
    // The log of what was done by a member, and by whoever used a token of theirs.
    let by_session = entries(&all, &owner, &format!("actor={}&action=key.revoked", ana.id)).await?;
    ensure!(by_session.iter().any(|told| told["target"]["id"] == first.id.as_str()), "{by_session:?}");
    Ok(())
}

/// S1-14: from the suspected leak to the revoke, what actors of one type did is found; a choice of entries and the whole
/// log are proven offline, whichever replica exports them.
async fn s1_14_what_somebody_did_in_a_span_of_time_is_found_and_proven(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let owner = all.owner();
    let ana = all.join(&owner, "admin", "ana").await?;
    let operator = all.join(&owner, "operator", "olga").await?;
    let before = issue(&all, &ana.session, "before", json!({})).await?;
    let moment = |told: &Value| -> Result<Timestamp> { Ok(text(&told["at"])?.parse()?) };
    // By the database's clock, which is the log's.
    let from = moment(&entry(&all, &owner, &format!("action=key.issued&key={}", before.id)).await?)?;
    let from = from + SignedDuration::from_millis(1);
    nightlatch_tests::clock::until(from + SignedDuration::from_millis(2)).await;
    let leaked = issue(&all, &ana.session, "leaked", json!({})).await?;
    issue(&all, &ana.token, "by a token", json!({})).await?;
    let revoked = revoke(&all, &ana.session, &leaked.id, "leaked").await?;
    let to: Timestamp = text(&revoked["revoked_at"])?.parse()?;
    let to = to + SignedDuration::from_millis(1);
    nightlatch_tests::clock::until(to + SignedDuration::from_millis(2)).await;
    issue(&all, &ana.session, "after", json!({})).await?;
    let span = format!("actor_type=member&from={from}&to={to}&category=user.updated");
    for _ in all.replicas() {
        let found = entries(&all, &owner, &span).await?;
        let found: Vec<_> = found.iter().map(|told| (&told["action"], &told["target"]["id"])).collect();
        let wanted = json!(leaked.id);
        ensure!(found == [(&json!("key.issued"), &wanted), (&json!("key.revoked"), &wanted)], "{found:?}");
    }
    // Not everybody takes it away.
    let answer = all.send(&operator.token, Method::GET, "audit/export", |request| request).await?;
    refused(answer, 403, "forbidden")?;
    let scratch = TempDir::with_prefix("nightlatch-audit-")?;
    let kept = scratch.path().join("head");
    for (number, at) in all.replicas().iter().enumerate() {
        proof::settled(&all, at).await?;
        if number == 0 {
            proof::checkpoint(at, &kept)?;
        }
        let file = scratch.path().join(format!("log-{number}.ndjson"));
        let told = proof::proven(&all, at, &file, std::slice::from_ref(&kept))?;
        let of_leaked: Vec<_> = told.iter().filter(|entry| entry["target_id"] == leaked.id.as_str()).collect();
        ensure!(of_leaked.len() == 2, "{of_leaked:?}");
        // One word changed is found.
        let changed = fs::read_to_string(&file)?.replace("\"leaked\"", "\"expired\"");
        fs::write(&file, changed)?;
        let output = proof::verify(&all, at, &file, &[])?;
        ensure!(output.status.code() == Some(1), "a changed entry is taken for good");
    }
    ensure!(now() > to);
    Ok(())
}

/// S1-14: the token of an integration leaked; what was done and tried with it is what its account did.
async fn s1_14_what_a_service_account_did_until_its_token_was_revoked(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let owner = all.owner();
    let account = all.post(&owner, "service-accounts", json!({ "name": "ticket bridge" })).await?;
    let account = text(&account["id"])?;
    let new = json!({ "name": "bridge", "kind": "management", "service_account": account, "scopes": ["keys:read", "keys:issue"] });
    let made = all.post(&owner, "tokens", new).await?;
    let bridge = Login::Token(text(&made["secret"])?);
    let issued = issue(&all, &bridge, "by a program", json!({ "principal": account })).await?;
    refused(
        all.try_post(&bridge, &format!("keys/{}/revoke", issued.id), json!({ "reason": "x" })).await?,
        403,
        "forbidden",
    )?;
    all.post(&owner, &format!("tokens/{}/revoke", text(&made["token"]["id"])?), json!({})).await?;
    let answer = all.try_post(&bridge, "keys", json!({ "name": "late", "environment": "live" })).await?;
    refused(answer, 401, "token_invalid")?;
    let by_owner = entry(&all, &owner, "action=token.revoked").await?;
    let to: Timestamp = text(&by_owner["at"])?.parse()?;
    let span = format!("actor_type=service_account&to={}", to + SignedDuration::from_millis(1));
    for _ in all.replicas() {
        let found = entries(&all, &owner, &span).await?;
        let actions: Vec<_> = found.iter().map(|told| told["action"].clone()).collect();
        ensure!(actions == [json!("key.issued"), json!("request.refused")], "{found:?}");
        ensure!(found.iter().all(|told| told["actor"]["id"] == account.as_str()), "{found:?}");
    }
    ensure!(issued.key["issued_by"]["type"] == "service_account", "{}", issued.key);
    Ok(())
}
