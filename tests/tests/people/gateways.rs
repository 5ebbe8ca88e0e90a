//! Gateways: their keys come and go with pairing.

use anyhow::{Result, ensure};
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::deployment::{Deployment, Login, text};
use nightlatch_tests::on_both_databases;
use serde_json::json;

use crate::keys::{entry, refused};

on_both_databases!(s1_18_s1_19_keys_of_gateways_come_and_go_with_pairing_alone);

/// S1-18, S1-19: paired at one replica, refused by the keys API of the other, which names the way; paired again, and
/// unpaired.
async fn s1_18_s1_19_keys_of_gateways_come_and_go_with_pairing_alone(database: Database) -> Result<()> {
    let all = Deployment::start(database).await?;
    let (owner, mut gate) = (all.owner(), all.gate()?);
    let admin = all.join(&owner, "admin", "ana").await?;
    let operator = all.join(&owner, "operator", "olga").await?;
    let body = json!({ "name": "gate, Ulm", "environment": "live", "scopes": ["invoices:read"] });
    refused(all.try_post(&operator.token, "gateways", body.clone()).await?, 403, "forbidden")?;
    let made = all.post(&admin.token, "gateways", body).await?;
    let gateway = text(&made["gateway"]["id"])?;
    let pair = json!({ "code": made["code"] });
    let paired = all.post(&Login::Nobody, "gateways/pair", pair.clone()).await?;
    // A code is good once, wherever it was used.
    for _ in 0..2 {
        refused(all.try_post(&Login::Nobody, "gateways/pair", pair.clone()).await?, 401, "pairing_code_invalid")?;
    }
    let (key, secret) = (text(&paired["key"]["id"])?, text(&paired["secret"])?);
    gate.answers("GET", "/invoices", &secret, (200, "")).await?;
    // Whoever may try is told which call does it, at either replica.
    let unpair = format!("gateways/{gateway}/unpair");
    for _ in 0..2 {
        for (call, body) in [
            ("revoke", json!({ "reason": "leaked" })),
            ("disable", json!({})),
            ("rotations", json!({ "overlap_seconds": 600, "reason": "scheduled" })),
        ] {
            let answer = all.try_post(&admin.token, &format!("keys/{key}/{call}"), body).await?;
            let named = if call == "rotations" { "pairing-code" } else { "unpair" };
            ensure!(answer.body.contains(&format!("gateways/{gateway}/{named}")), "{call}: {answer:?}");
            refused(answer, 409, "not_revocable_here")?;
        }
    }
    gate.accepts(&secret).await?;
    // Pairing again changes the key.
    let code = format!("gateways/{gateway}/pairing-code");
    let offer = all.post(&admin.token, &code, json!({ "order": "revoke_first" })).await?;
    let again = all.post(&Login::Nobody, "gateways/pair", json!({ "code": offer["code"] })).await?;
    gate.refuses(&secret, "key_revoked").await?;
    let second = text(&again["secret"])?;
    gate.accepts(&second).await?;
    // Unpairing ends it.
    refused(all.try_post(&operator.token, &unpair, json!({ "reason": "r" })).await?, 403, "forbidden")?;
    all.post(&admin.token, &unpair, json!({ "reason": "sold" })).await?;
    gate.refuses(&second, "key_revoked").await?;
    let told = entry(&all, &owner, &format!("action=gateway.unpaired&target={gateway}")).await?;
    ensure!(told["reason"] == "sold" && told["on_behalf_of"] == admin.id.as_str(), "{told}");
    let id = text(&again["key"]["id"])?;
    entry(&all, &owner, &format!("action=key.revoked&key={id}")).await?;
    Ok(())
}
