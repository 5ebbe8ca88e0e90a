//! Members and their own keys: no scope picker, live scopes, any number of keys.

use anyhow::{Result, ensure};
use nightlatch_api::{RouteDocument, RouteRule};
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::deployment::Deployment;
use nightlatch_tests::on_both_databases;
use nightlatch_tests::world::put_routes;
use serde_json::json;

use crate::keys::{entry, ids, issue, new, refused, revoke, rotate, sorted};

on_both_databases!(
    s0_14_keys_of_a_user_have_its_members_live_scopes,
    s0_25_s0_26_reading_changes_nothing_and_what_is_sensitive_is_granted_knowingly,
    s0_01_s0_02_s0_06_s0_12_s0_18_keys_of_two_families_are_told_apart_and_by_label,
    s3_21_members_keep_their_own_keys_and_admins_have_the_brake,
);

/// S0-14: no picker; what becomes of the member is in force at the edge for all of its keys. The session is opened at one
/// replica and used at the other.
async fn s0_14_keys_of_a_user_have_its_members_live_scopes(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let ada = all.join(&owner, "operator", "ada").await?;
    let member = format!("members/{}", ada.id);
    let own = json!({ "principal": ada.principal });
    let first = issue(&all, &ada.session, "laptop", own.clone()).await?;
    let second = issue(&all, &ada.session, "ci", own.clone()).await?;
    for key in [&first, &second] {
        gate.accepts(&key.secret).await?;
        gate.answers("GET", "/invoices", &key.secret, (403, "scope_insufficient")).await?;
    }
    // What the member is given, its keys have: those that were there before, too.
    all.patch(&owner, &member, json!({ "scopes": ["invoices:read"] })).await?;
    for key in [&first, &second] {
        gate.answers("GET", "/invoices", &key.secret, (200, "")).await?;
        let shown = all.get(&ada.session, &format!("keys/{}", key.id)).await?;
        ensure!(shown["scopes"] == json!(["invoices:read"]), "{shown}");
    }
    // There is nothing to pick, not even what it has.
    for (field, value) in [("scopes", json!(["invoices:read"])), ("tier", json!("gold"))] {
        let mut picked = new("picked", own.clone());
        picked[field] = value;
        refused(all.try_post(&ada.session, "keys", picked).await?, 422, "scopes_inherited")?;
    }
    // What its role brings comes and goes with the role.
    all.put(&owner, "roles/operator", json!({ "scopes": ["invoices:write"] })).await?;
    gate.answers("POST", "/invoices", &first.secret, (200, "")).await?;
    all.patch(&owner, &member, json!({ "role": "viewer", "scopes": [] })).await?;
    gate.answers("POST", "/invoices", &first.secret, (403, "scope_insufficient")).await?;
    gate.answers("GET", "/invoices", &second.secret, (403, "scope_insufficient")).await?;
    // Suspended it may do nothing, its session and token neither; resumed it may, and signs in anew.
    all.post(&owner, &format!("{member}/suspend"), json!({ "reason": "on leave" })).await?;
    gate.refuses(&first.secret, "key_disabled").await?;
    refused(all.try_post(&ada.session, "keys", new("late", own.clone())).await?, 401, "session_invalid")?;
    refused(all.try_post(&ada.token, "keys", new("late", own.clone())).await?, 401, "token_invalid")?;
    all.post(&owner, &format!("{member}/resume"), json!({})).await?;
    gate.accepts(&first.secret).await?;
    let session = all.sign_in("ada@example.com").await?;
    let third = issue(&all, &session, "new laptop", own).await?;
    // Removed, it and its keys are gone for ever, the last one as well.
    all.post(&owner, &format!("{member}/remove"), json!({ "reason": "left" })).await?;
    for key in [&first, &second, &third] {
        let shown = all.get(&owner, &format!("keys/{}", key.id)).await?;
        ensure!(shown["state"] == "revoked", "{shown}");
        gate.refuses_with_its_member(&key.secret).await?;
    }
    Ok(())
}

/// S0-25, S0-26: a key that may only read cannot change anything; a sensitive scope is granted only to who says that it is
/// meant, and the log says so.
async fn s0_25_s0_26_reading_changes_nothing_and_what_is_sensitive_is_granted_knowingly(
    database: Database,
) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let routes = vec![
        RouteRule::new("GET", "/accounts").scopes(["READ_ACCOUNTS"]),
        RouteRule::new("POST", "/accounts").scopes(["WRITE_ACCOUNTS"]),
        RouteRule::new("DELETE", "/accounts").scopes(["WRITE_ACCOUNTS"]),
        RouteRule::new("GET", "/salaries").scopes(["READ_SENSITIVE"]),
    ];
    put_routes(all.next().client(), &RouteDocument { routes, ..RouteDocument::default() }).await?;
    all.put(&owner, "scopes/READ_*", json!({ "description": "changes nothing" })).await?;
    all.put(&owner, "scopes/READ_SENSITIVE", json!({ "description": "salaries", "sensitive": true })).await?;
    let reader = issue(&all, &owner, "reader", json!({ "scopes": ["READ_ACCOUNTS"] })).await?;
    gate.answers("GET", "/accounts", &reader.secret, (200, "")).await?;
    for (method, path) in [("POST", "/accounts"), ("DELETE", "/accounts"), ("GET", "/salaries")] {
        gate.answers(method, path, &reader.secret, (403, "scope_insufficient")).await?;
    }
    // The switch in the danger zone, for keys and for people alike.
    let sensitive = json!({ "scopes": ["READ_ACCOUNTS", "READ_SENSITIVE"] });
    let answer = all.try_post(&owner, "keys", new("payroll", sensitive.clone())).await?;
    ensure!(answer.body.contains("READ_SENSITIVE") && !answer.body.contains("READ_ACCOUNTS"), "{answer:?}");
    refused(answer, 422, "sensitive_unacknowledged")?;
    let mut meant = sensitive.clone();
    meant["acknowledge_sensitive"] = json!(true);
    let payroll = issue(&all, &owner, "payroll", meant.clone()).await?;
    gate.answers("GET", "/salaries", &payroll.secret, (200, "")).await?;
    let told = entry(&all, &owner, &format!("action=key.issued&key={}", payroll.id)).await?;
    ensure!(told["after"]["acknowledged_sensitive"] == json!(["READ_SENSITIVE"]), "{told}");
    let ada = all.join(&owner, "operator", "ada").await?;
    let member = format!("members/{}", ada.id);
    refused(all.try_patch(&owner, &member, sensitive).await?, 422, "sensitive_unacknowledged")?;
    all.patch(&owner, &member, meant).await?;
    let own = issue(&all, &ada.token, "own", json!({ "principal": ada.principal })).await?;
    gate.answers("GET", "/salaries", &own.secret, (200, "")).await
}

/// S0-01, S0-02, S0-06, S0-12, S0-18: one brand leads the texts of both families, lists tell them apart, an owner has any
/// number of active keys, and a row is told by its prefix and label.
async fn s0_01_s0_02_s0_06_s0_12_s0_18_keys_of_two_families_are_told_apart_and_by_label(
    database: Database,
) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let ada = all.join(&owner, "operator", "ada").await?;
    let partner = all.post(&owner, "partners", json!({ "name": "agency", "scopes": ["invoices:read"] })).await?;
    let bo = all.join_partner(&owner, partner["id"].as_str().unwrap_or_default(), "partner_owner", "bo").await?;
    let label = "deploy (rotated 2026-11-21, replaces deploy issued 2026-05-20)";
    let own = json!({ "principal": ada.principal });
    let named = issue(&all, &ada.token, label, own.clone()).await?;
    let mut keys = vec![named];
    for number in 0..4 {
        keys.push(issue(&all, &ada.token, &format!("number {number}"), own.clone()).await?);
    }
    let theirs = issue(&all, &bo.token, "theirs", json!({ "principal": partner["id"] })).await?;
    for key in keys.iter().chain([&theirs]) {
        let prefix = key.key["prefix"].as_str().unwrap_or_default();
        ensure!(prefix.starts_with("nl_live_") && key.secret.starts_with(prefix), "{}", key.key);
        gate.accepts(&key.secret).await?;
    }
    // Two panels.
    let mut of_users: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
    of_users.sort();
    ensure!(ids(&all, &owner, "keys?kind=user&state=active").await? == of_users);
    ensure!(ids(&all, &owner, "keys?kind=partner").await? == sorted([&theirs]));
    ensure!(ids(&all, &bo.token, "keys").await? == sorted([&theirs]));
    // A row is found by label and by prefix, and the log names it by both.
    let named = &keys[0];
    let prefix = named.key["prefix"].as_str().unwrap_or_default();
    for asked in ["replaces deploy", prefix] {
        let path = format!("keys?q={}", asked.replace(' ', "%20"));
        ensure!(ids(&all, &owner, &path).await? == sorted([named]), "{asked}");
    }
    let told = entry(&all, &owner, &format!("action=key.issued&key={}", named.id)).await?;
    ensure!(told["prefix"] == prefix && told["after"]["name"] == label, "{told}");
    // One goes, and none of the others notices.
    revoke(&all, &ada.token, &named.id, "scheduled").await?;
    gate.refuses(&named.secret, "key_revoked").await?;
    for key in keys[1..].iter().chain([&theirs]) {
        gate.accepts(&key.secret).await?;
    }
    Ok(())
}

/// S3-21: every member of the workspace keeps its own keys, admins stop and end those of others, and nobody issues for
/// somebody else.
async fn s3_21_members_keep_their_own_keys_and_admins_have_the_brake(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let admin = all.join(&owner, "admin", "admin").await?;
    for role in ["owner", "admin", "operator", "viewer"] {
        let member = all.join(&owner, role, &format!("some-{role}")).await?;
        let own = json!({ "principal": member.principal });
        let key = issue(&all, &member.token, "own", own.clone()).await?;
        let path = format!("keys/{}", key.id);
        all.patch(&member.token, &path, json!({ "name": "renamed" })).await?;
        let overlap = json!({ "overlap_seconds": 600, "reason": "scheduled" });
        let (_, successor) = rotate(&all, &member.token, &key.id, overlap).await?;
        revoke(&all, &member.token, &key.id, "scheduled").await?;
        gate.accepts(&successor.secret).await?;
        gate.refuses(&key.secret, "key_revoked").await?;
        // Nobody else makes keys that act for them, owners neither.
        for other in [&owner, &admin.token] {
            refused(all.try_post(other, "keys", new("not theirs", own.clone())).await?, 403, "forbidden")?;
        }
        all.post(&admin.token, &format!("keys/{}/disable", successor.id), json!({})).await?;
        gate.refuses(&successor.secret, "key_disabled").await?;
        let enable = format!("keys/{}/enable", successor.id);
        if ["operator", "viewer"].contains(&role) {
            // What an admin has stopped, its holder does not let go.
            let still = all.post(&member.token, &enable, json!({})).await?;
            ensure!(still["state"] == "disabled" && still["disabled_by"] == json!(["admin"]), "{still}");
        }
        all.post(&admin.token, &enable, json!({})).await?;
        gate.accepts(&successor.secret).await?;
        revoke(&all, &admin.token, &successor.id, "found in a repository").await?;
        gate.refuses(&successor.secret, "key_revoked").await?;
    }
    Ok(())
}
