//! Every row of the gate's table, through the real Worker.

use anyhow::Result;
use nightlatch_key::Environment;
use nightlatch_keyset::Status;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::published::Key;
use reqwest::Method;

use crate::stand::Stand;

#[tokio::test]
async fn s0_08_every_refusal_of_the_table() -> Result<()> {
    let now = now_ms() / 1_000;
    let mut keys = None;
    let stand = Stand::start(
        |set| {
            let mut test_key = Key::default();
            test_key.profile.environment = Environment::Test;
            keys = Some([
                set.issue(Key::with_scopes(&["invoices:read"])),
                set.issue(Key::default().status(Status::Revoked)),
                set.issue(Key::default().status(Status::Disabled)),
                set.issue(Key::default().deadline(now - 10)),
                set.issue(Key::default().status(Status::Retiring).deadline(now - 10)),
                set.issue(test_key),
                set.issue(Key::default().status(Status::Retiring).deadline(now + 3_600)),
            ]);
            set.publish()
        },
        |config| config,
    )
    .await?;
    let keys = keys.unwrap_or_else(|| unreachable!("prepared above"));
    let [good, revoked, disabled, expired, retired, test, retiring] = keys.each_ref().map(|key| key.expose());
    let caller = &stand.caller;

    // No credential: which realm, and nothing more.
    let missing = caller.send(Method::GET, "/status", None).await?.refused("key_missing")?;
    assert_eq!(missing.header("www-authenticate"), "Bearer realm=\"test\"");
    assert_eq!(missing.header("content-type"), "application/problem+json");
    assert_eq!(missing.header("cache-control"), "no-store");
    let problem: serde_json::Value = serde_json::from_str(&missing.body)?;
    assert_eq!(problem["status"], 401);
    assert!(problem["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{problem}");

    // Strangers are told nothing; holders of a secret what is wrong with their key.
    let unknown = caller.get("/status", "nl_live_not-a-key").await?.refused("key_invalid")?;
    assert_eq!(unknown.header("www-authenticate"), "Bearer realm=\"test\", error=\"invalid_token\"");
    let mut stranger = good.to_owned();
    stranger.replace_range(0..2, "xx");
    caller.get("/status", &stranger).await?.refused("key_invalid")?;
    for (key, code) in [
        (revoked, "key_revoked"),
        (disabled, "key_disabled"),
        (expired, "key_expired"),
        (retired, "key_retired_grace_over"),
    ] {
        let refused = caller.get("/status", key).await?.refused(code)?;
        assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"test\", error=\"invalid_token\"");
        assert!(!refused.body.contains(key), "a refusal repeats the key");
    }
    caller.get("/live", test).await?.refused("key_env_mismatch")?;
    caller.get("/status", test).await?.allowed()?;

    // Allowed, but not this.
    let narrow = caller.send(Method::POST, "/invoices", Some(good)).await?.expect(403, Some("scope_insufficient"))?;
    let challenge = "Bearer realm=\"test\", error=\"insufficient_scope\", scope=\"invoices:write\"";
    assert_eq!(narrow.header("www-authenticate"), challenge);
    caller.get("/partners", good).await?.expect(403, Some("principal_not_allowed"))?;
    caller.get("/nowhere", good).await?.expect(404, Some("route_not_found"))?;
    caller.get("/STATUS", good).await?.expect(404, Some("route_not_found"))?;

    // A retiring key passes and says so.
    let passed = caller.get("/status", retiring).await?.allowed()?;
    assert_eq!(passed.header("deprecation"), format!("@{}", now + 3_600));
    assert!(passed.header("sunset").ends_with(" GMT"), "{passed:?}");
    assert_eq!(passed.header("link"), "<https://example.com/rotate>; rel=\"successor-version\"");
    let passed = caller.get("/status", good).await?.allowed()?;
    assert_eq!(passed.header("deprecation"), "");
    Ok(())
}
