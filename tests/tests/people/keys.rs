//! Keys as people make and read them, and one way of saying what is wanted.

use anyhow::{Result, ensure};
use nightlatch_tests::caller::Answer;
use nightlatch_tests::deployment::{Deployment, Login, text};
use serde_json::{Value, json};

/// A key and its text.
pub(crate) struct Issued {
    pub(crate) id: String,
    pub(crate) key: Value,
    pub(crate) secret: String,
}

/// Issues a live key of a principal's; of the workspace's own service account where `body` names none.
pub(crate) async fn issue(deployment: &Deployment, who: &Login, name: &str, body: Value) -> Result<Issued> {
    let issued = deployment.post(who, "keys", new(name, body)).await?;
    let (key, secret) = (issued["key"].clone(), text(&issued["secret"])?);
    Ok(Issued { id: text(&key["id"])?, key, secret })
}

/// What to send for a live key.
pub(crate) fn new(name: &str, mut body: Value) -> Value {
    body["name"] = json!(name);
    body["environment"] = json!("live");
    body
}

/// Replaces a key by another.
pub(crate) async fn rotate(deployment: &Deployment, who: &Login, key: &str, body: Value) -> Result<(Value, Issued)> {
    let started = deployment.post(who, &format!("keys/{key}/rotations"), body).await?;
    let (key, secret) = (started["key"].clone(), text(&started["secret"])?);
    Ok((started, Issued { id: text(&key["id"])?, key, secret }))
}

/// Ends a key.
pub(crate) async fn revoke(deployment: &Deployment, who: &Login, key: &str, reason: &str) -> Result<Value> {
    deployment.post(who, &format!("keys/{key}/revoke"), json!({ "reason": reason })).await
}

/// Checks that a call was refused so.
pub(crate) fn refused(answer: Answer, status: u16, code: &str) -> Result<Answer> {
    answer.expect(status, Some(code))
}

/// The ids of a list.
pub(crate) async fn ids(deployment: &Deployment, who: &Login, path: &str) -> Result<Vec<String>> {
    let mut ids = deployment.list(who, path).await?.iter().map(|item| text(&item["id"])).collect::<Result<Vec<_>>>()?;
    ids.sort();
    Ok(ids)
}

/// Ids in the order in which [`ids`] has them.
pub(crate) fn sorted<const N: usize>(keys: [&Issued; N]) -> Vec<String> {
    let mut ids: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
    ids.sort();
    ids
}

/// The entries of the audit log about a key with this action, oldest first.
pub(crate) async fn entries(deployment: &Deployment, who: &Login, filter: &str) -> Result<Vec<Value>> {
    let mut entries = deployment.list(who, &format!("audit?{filter}")).await?;
    entries.reverse();
    Ok(entries)
}

/// The only entry that the filter finds.
pub(crate) async fn entry(deployment: &Deployment, who: &Login, filter: &str) -> Result<Value> {
    let mut found = entries(deployment, who, filter).await?;
    ensure!(found.len() == 1, "{filter} finds {found:#?}");
    Ok(found.remove(0))
}
