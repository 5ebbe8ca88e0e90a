//! Partner organisations: who manages their keys, and what linkage has to do with keys.

use anyhow::{Result, ensure};
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::deployment::{Deployment, Login, text};
use nightlatch_tests::on_both_databases;
use serde_json::json;

use crate::keys::{ids, issue, new, refused, revoke, rotate, sorted};

on_both_databases!(
    s0_13_s0_27_s0_28_s0_36_only_partner_owners_and_admins_manage_partner_keys,
    s0_07_s0_29_rotating_a_partner_key_leaves_its_links_and_permissions,
);

/// S0-13, S0-27, S0-28, S0-36: a picker within the ceiling, and the same scopes for the successor; owners and admins of the
/// partner alone issue, rotate and revoke; its staff see the list, and ask one of them, who uses the same calls.
async fn s0_13_s0_27_s0_28_s0_36_only_partner_owners_and_admins_manage_partner_keys(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let body = json!({ "name": "agency", "scopes": ["invoices:read", "invoices:write"] });
    let partner = text(&all.post(&owner, "partners", body).await?["id"])?;
    let of = |scopes: &[&str]| json!({ "principal": partner, "scopes": scopes });
    let first = all.join_partner(&owner, &partner, "partner_owner", "paula").await?;
    let second = all.join_partner(&first.token, &partner, "partner_admin", "anton").await?;
    let staff = all.join_partner(&second.token, &partner, "partner_staff", "stefan").await?;
    let outsiders = [
        all.join(&owner, "admin", "ana").await?,
        all.join(&owner, "operator", "olga").await?,
        all.join(&owner, "viewer", "vera").await?,
    ];
    let house = issue(&all, &owner, "the workspace's own", json!({})).await?;
    let overlap = json!({ "overlap_seconds": 600, "reason": "quarterly" });
    for who in [&first.token, &second.session] {
        let key = issue(&all, who, "sync", of(&["invoices:read"])).await?;
        gate.answers("GET", "/invoices", &key.secret, (200, "")).await?;
        gate.answers("POST", "/invoices", &key.secret, (403, "scope_insufficient")).await?;
        let beyond = all.try_post(who, "keys", new("beyond", of(&["invoices:read", "salaries:read"]))).await?;
        refused(beyond, 403, "beyond_own_scopes")?;
        let (_, successor) = rotate(&all, who, &key.id, overlap.clone()).await?;
        ensure!(successor.key["scopes"] == json!(["invoices:read"]), "{}", successor.key);
        gate.answers("GET", "/invoices", &successor.secret, (200, "")).await?;
        // Staff see the list, and nothing of the workspace's own; every control is read-only for them.
        let listed = ids(&all, &staff.token, "keys?state=active").await?;
        ensure!(listed.contains(&successor.id) && !listed.contains(&house.id), "{listed:?}");
        let path = format!("keys/{}", successor.id);
        for who in [&staff.session, &staff.token].into_iter().chain(outsiders.iter().map(|who| &who.token)) {
            all.get(who, &path).await?;
            refused(all.try_post(who, "keys", new("not theirs", of(&[]))).await?, 403, "forbidden")?;
            refused(all.try_post(who, &format!("{path}/rotations"), overlap.clone()).await?, 403, "forbidden")?;
            let revoke = all.try_post(who, &format!("{path}/revoke"), json!({ "reason": "r" })).await?;
            refused(revoke, 403, "forbidden")?;
            refused(all.try_patch(who, &path, json!({ "name": "n" })).await?, 403, "forbidden")?;
        }
        refused(all.try_post(&owner, "keys", new("not theirs", of(&[]))).await?, 403, "forbidden")?;
        gate.accepts(&successor.secret).await?;
        // S0-36: an admin does it for them.
        revoke(&all, &second.token, &key.id, "stefan asked: his laptop was lost").await?;
        gate.refuses(&key.secret, "key_revoked").await?;
        gate.accepts(&successor.secret).await?;
    }
    ensure!(ids(&all, &owner, "keys?kind=service_account").await? == sorted([&house]));
    // Staff who become admins may, from that moment on.
    let path = format!("partners/{partner}/staff/{}", staff.id);
    refused(all.try_patch(&staff.token, &path, json!({ "role": "partner_admin" })).await?, 403, "forbidden")?;
    all.patch(&second.token, &path, json!({ "role": "partner_admin" })).await?;
    let late = issue(&all, &staff.token, "late", of(&["invoices:write"])).await?;
    gate.answers("POST", "/invoices", &late.secret, (200, "")).await?;
    // The brake is the workspace's: all of the organisation's keys stop, and go on.
    all.post(&owner, &format!("partners/{partner}/suspend"), json!({ "reason": "unpaid" })).await?;
    gate.refuses(&late.secret, "key_disabled").await?;
    all.post(&owner, &format!("partners/{partner}/resume"), json!({})).await?;
    gate.accepts(&late.secret).await
}

/// S0-29, S0-07: who a partner is and what it may do at a client are two things. Its keys are replaced and revoked, and the
/// client sees the same link with the same permissions; only the end of a link ends the keys that are bound to it.
async fn s0_07_s0_29_rotating_a_partner_key_leaves_its_links_and_permissions(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let made = all.post(&owner, "workspaces", json!({ "name": "client", "brand": "client" })).await?;
    let enrolled = all.post(&Login::Nobody, "enrol", json!({ "token": made["enrolment_token"] })).await?;
    let client = Login::Token(text(&enrolled["secret"])?);
    let partner = all.post(&owner, "partners", json!({ "name": "agency", "scopes": ["invoices:read"] })).await?;
    let partner = text(&partner["id"])?;
    let paula = all.join_partner(&owner, &partner, "partner_owner", "paula").await?;
    let offered =
        all.post(&paula.token, &format!("partners/{partner}/links"), json!({ "client_name": "our best" })).await?;
    let accept = json!({ "code": offered["code"], "permissions": ["orders:place", "orders:see"] });
    let link = text(&all.post(&client, "links/accept", accept).await?["id"])?;
    let shown = async || all.get(&client, &format!("links/{link}")).await;
    let before = shown().await?;
    ensure!(before["permissions"] == json!(["orders:place", "orders:see"]), "{before}");
    let of = json!({ "principal": partner, "scopes": ["invoices:read"], "link": link });
    let old = issue(&all, &paula.token, "sync", of.clone()).await?;
    let other = issue(&all, &paula.token, "sync, same scopes", of.clone()).await?;
    let unbound = issue(&all, &paula.token, "unbound", json!({ "principal": partner })).await?;
    let (_, successor) =
        rotate(&all, &paula.token, &old.id, json!({ "overlap_seconds": 600, "reason": "quarterly" })).await?;
    ensure!(successor.key["link"] == link.as_str(), "{}", successor.key);
    for key in [&old, &successor, &other] {
        gate.answers("GET", "/invoices", &key.secret, (200, "")).await?;
    }
    revoke(&all, &paula.token, &old.id, "rotated").await?;
    gate.refuses(&old.secret, "key_revoked").await?;
    gate.accepts(&other.secret).await?;
    rotate(&all, &paula.token, &other.id, json!({ "order": "revoke_first", "reason": "leaked" })).await?;
    gate.refuses(&other.secret, "key_revoked").await?;
    ensure!(shown().await? == before, "rotating has touched the link");
    // What is earned at the client is changed there, and no key notices.
    all.patch(&client, &format!("links/{link}"), json!({ "permissions": ["orders:see"] })).await?;
    gate.accepts(&successor.secret).await?;
    all.post(&client, &format!("links/{link}/end"), json!({ "reason": "contract over" })).await?;
    gate.refuses(&successor.secret, "key_revoked").await?;
    gate.accepts(&unbound.secret).await
}
