//! Ways around a limit that are none: nobody comes by more than their own.

use nightlatch_api::PutScope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::joining::join;
use crate::on_both;
use crate::principals::id;

/// An admin who may grant nothing but `a:read`.
async fn narrowed(app: &TestApp) -> String {
    let token = app.member_token("admin", None).await;
    let narrowed = app.put("/v1/roles/admin", json!({ "scopes": ["a:read"] })).send().await;
    assert_eq!(narrowed.status, 200, "{narrowed:?}");
    token
}

on_both!(codes_are_grants_of_what_they_bring);
async fn codes_are_grants_of_what_they_bring(app: TestApp) {
    let wide = json!({ "name": "gate", "environment": "live", "scopes": ["b:write"] });
    let gate = id(&app.done("/v1/gateways", wide).await["gateway"]);
    let guest = json!({ "email": "guest@example.org", "role": "viewer", "scopes": ["b:write"] });
    let guest = id(&app.done("/v1/members", guest).await["member"]);
    let admin = narrowed(&app).await;
    let before = app.footprint().await;
    for path in [format!("/v1/gateways/{gate}/pairing-code"), format!("/v1/members/{guest}/invite")] {
        let refused = app.post(&path, json!({})).token(&admin).send().await;
        assert_eq!(refused.is_problem(403, "beyond_own_scopes")["scopes"], json!(["b:write"]), "{path}");
    }
    let open = json!({ "name": "without a ceiling" });
    app.post("/v1/service-accounts", open).token(&admin).send().await.is_problem(403, "beyond_own_scopes");
    assert_eq!(app.footprint().await, before, "nothing was changed");
    app.stop().await;
}

on_both!(a_gateway_with_a_sensitive_scope_is_made_knowingly_and_pairs);
async fn a_gateway_with_a_sensitive_scope_is_made_knowingly_and_pairs(app: TestApp) {
    app.client.put_scope("cash:read", &PutScope { description: None, sensitive: Some(true) }).await.unwrap();
    let mut body = json!({ "name": "gate", "environment": "live", "scopes": ["cash:read"] });
    app.post("/v1/gateways", body.clone()).send().await.is_problem(422, "sensitive_unacknowledged");
    body["acknowledge_sensitive"] = json!(true);
    let made = app.done("/v1/gateways", body).await;
    let pair = json!({ "code": made["code"] });
    let paired = app.post("/v1/gateways/pair", pair).without_token().send().await;
    assert_eq!(paired.status, 201, "{paired:?}");
    app.stop().await;
}

on_both!(a_scope_is_found_in_the_keys_of_members);
async fn a_scope_is_found_in_the_keys_of_members(app: TestApp) {
    let ana = join(&app, "ana", "admin").await;
    let own = json!({ "name": "own", "environment": "live", "principal": ana.principal });
    let own = id(&app.post("/v1/keys", own).token(&ana.token).send().await.json()["key"]);
    let given = app.issue("given", &["m:read"]).await.key.id;
    app.issue("other", &["m:reader"]).await;
    let found = async |query: &str| {
        let page = app.get(&format!("/v1/keys?scope=m:read{query}")).send().await.json();
        let mut ids: Vec<_> = page["items"].as_array().unwrap().iter().map(id).collect();
        ids.sort();
        ids
    };
    assert_eq!(found("").await, [given.as_str()]);
    let mut both = vec![own.clone(), given.clone()];
    both.sort();
    for (path, none) in [("/v1/roles/admin", json!({ "scopes": ["*"] })), ("", json!({ "scopes": [] }))] {
        let some = json!({ "scopes": ["m:read", "m:write"] });
        let set = async |body: &Value| match path {
            "" => app.call(Method::PATCH, &format!("/v1/members/{}", ana.id)).header("if-match", "*").json(body),
            path => app.put(path, body.clone()),
        };
        assert_eq!(set(&some).await.send().await.status, 200);
        for query in ["", "&state=active", "&last_used_before=2100-01-01T00:00:00Z"] {
            assert_eq!(found(query).await, both, "{path} {query}");
        }
        assert_eq!(found(&format!("&touched_by={}", ana.id)).await, [own.as_str()]);
        // Page by page: each once.
        let first = app.get("/v1/keys?scope=m:read&limit=1").send().await.json();
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = app.get(&format!("/v1/keys?scope=m:read&limit=1&cursor={cursor}")).send().await.json();
        let mut pages = vec![id(&first["items"][0]), id(&second["items"][0])];
        pages.sort();
        assert_eq!((pages, &second["next_cursor"]), (both.clone(), &json!(null)));
        let survey = json!({ "filter": { "scope": "m:read" }, "reason": "r", "dry_run": true });
        assert_eq!(app.done("/v1/keys:revoke-many", survey).await["matched"], 2);
        // m:write is no key's own.
        app.put("/v1/scopes/m:write", json!({ "description": "writes" })).send().await;
        app.call(Method::DELETE, "/v1/scopes/m:write").send().await.is_problem(409, "scope_in_use");
        assert_eq!(set(&none).await.send().await.status, 200);
    }
    assert_eq!(app.call(Method::DELETE, "/v1/scopes/m:write").send().await.status, 204);
    let revoke = json!({ "filter": { "scope": "m:read" }, "reason": "r" });
    assert_eq!(app.done("/v1/keys:revoke-many", revoke).await["revoked"], 1);
    app.stop().await;
}

on_both!(who_is_braked_does_not_lift_the_brake);
async fn who_is_braked_does_not_lift_the_brake(app: TestApp) {
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency", "scopes": ["a:read"] })).await);
    let owner = app.member_token("partner_owner", Some(&partner)).await;
    let key = format!("/v1/keys/{}", id(&app.issue_for(&owner, &partner, &["a:read"]).await.json()["key"]));
    let turn = async |token: &str, verb: &str| {
        let turned = app.post(&format!("{key}/{verb}"), json!({})).token(token).send().await;
        assert_eq!(turned.status, 200, "{turned:?}");
        turned.json()["disabled_by"].clone()
    };
    assert_eq!(turn(&owner, "disable").await, json!(["holder"]));
    assert_eq!(turn(&app.token, "disable").await, json!(["admin", "holder"]));
    assert_eq!(turn(&owner, "enable").await, json!(["admin"]));
    let emergency = json!({ "order": "revoke_first", "reason": "r" });
    for dry_run in [true, false] {
        let mut body = emergency.clone();
        body["dry_run"] = json!(dry_run);
        let refused = app.post(&format!("{key}/rotations"), body).token(&owner).send().await;
        refused.is_problem(409, "key_disabled");
    }
    assert_eq!(turn(&app.token, "enable").await, json!([]));
    assert_eq!(turn(&owner, "disable").await, json!(["holder"]));
    let replaced = app.post(&format!("{key}/rotations"), emergency).token(&owner).send().await;
    assert_eq!(replaced.status, 201, "{replaced:?}");
    app.stop().await;
}

on_both!(a_token_makes_none_that_outlives_it);
async fn a_token_makes_none_that_outlives_it(app: TestApp) {
    let (day, week) = ("2100-01-01T00:00:00Z", "2100-01-07T00:00:00Z");
    let make = async |by: &str, expires_at: Value| {
        let body = json!({ "name": "t", "kind": "management", "expires_at": expires_at });
        app.post("/v1/tokens", body).token(by).send().await
    };
    let made = make(&app.token, json!(day)).await.json();
    let short = made["secret"].as_str().unwrap();
    for longer in [json!(week), json!(null)] {
        let problem = make(short, longer).await.is_problem(422, "value_invalid");
        assert_eq!(problem["errors"][0]["field"], "expires_at");
    }
    assert_eq!(make(short, json!(day)).await.status, 201);
    // Neither has what replaces it, however often.
    let body = json!({ "overlap_seconds": 3600, "reason": "r" });
    let path = format!("/v1/tokens/{}/rotations", id(&made["token"]));
    let next = app.post(&path, body.clone()).token(short).send().await;
    assert_eq!(next.json()["token"]["expires_at"], day, "{next:?}");
    let path = format!("/v1/tokens/{}/rotations", id(&next.json()["token"]));
    let last = app.post(&path, body).send().await;
    assert_eq!(last.json()["token"]["expires_at"], day, "{last:?}");
    let path = format!("/v1/tokens/{}/rotations", id(&last.json()["token"]));
    let beyond = json!({ "overlap_seconds": 31_536_000, "reason": "r" });
    let soon = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 7200).unwrap().to_string();
    let soon = make(&app.token, json!(soon)).await.json();
    let path_of_soon = format!("/v1/tokens/{}/rotations", id(&soon["token"]));
    app.post(&path_of_soon, beyond.clone()).send().await.is_problem(409, "too_late");
    assert_eq!(app.post(&path, beyond).send().await.status, 201);
    app.stop().await;
}

on_both!(a_partners_people_choose_no_tier_name_no_stranger_and_see_no_routes);
async fn a_partners_people_choose_no_tier_name_no_stranger_and_see_no_routes(app: TestApp) {
    let routes = json!({ "routes": [{ "method": "GET", "path": "/hidden", "scopes": ["a:read"] }] });
    app.call(Method::PUT, "/v1/routes").header("if-match", "*").json(&routes).send().await;
    let partner = id(&app.done("/v1/partners", json!({ "name": "agency", "scopes": ["a:read"] })).await);
    let (colleague, owner) = app.member("partner_owner", Some(&partner)).await;
    let (stranger, _) = app.member("viewer", None).await;
    let issue = async |field: &str, value: &str| {
        let mut body = json!({ "name": "k", "environment": "live", "principal": partner, "scopes": ["a:read"] });
        body[field] = json!(value);
        app.post("/v1/keys", body).token(&owner).send().await
    };
    let problem = issue("tier", "unlimited").await.is_problem(422, "value_invalid");
    assert_eq!(problem["errors"][0]["field"], "tier");
    issue("owner_member", &stranger).await.is_problem(422, "member_unknown");
    let made = issue("owner_member", &colleague).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/keys/{}", id(&made.json()["key"]));
    let patch = async |body: Value| {
        let call = app.call(Method::PATCH, &path).header("if-match", "*").json(&body);
        call.token(&owner).send().await
    };
    patch(json!({ "tier": "unlimited" })).await.is_problem(422, "value_invalid");
    patch(json!({ "owner_member": stranger })).await.is_problem(422, "member_unknown");
    let all = json!({ "filter": { "state": "active" }, "reason": "r", "dry_run": true });
    let survey = app.post("/v1/keys:revoke-many", all).token(&owner).send().await.json();
    assert_eq!((&survey["matched"], &survey["routes"]), (&json!(1), &json!([])));
    let narrower = json!({ "overlap_seconds": 3600, "reason": "r", "scopes": [], "dry_run": true });
    let plan = app.post(&format!("{path}/rotations"), narrower).token(&owner).send().await;
    assert_eq!(plan.json()["warnings"][0]["code"], "scopes_lost", "{plan:?}");
    assert!(!plan.text.contains("hidden") && !survey.to_string().contains("hidden"));
    app.stop().await;
}

on_both!(a_secret_in_a_filter_is_not_noted);
async fn a_secret_in_a_filter_is_not_noted(app: TestApp) {
    let issued = app.issue("pasted", &[]).await;
    let secret = issued.secret.expose();
    let exported = app.get(&format!("/v1/keys/export?format=ndjson&q={secret}")).send().await;
    assert!(exported.text.contains(&issued.key.id), "its prefix finds it: {exported:?}");
    for field in ["q", "owner"] {
        let body = json!({ "filter": { field: secret }, "reason": "leaked" });
        assert_eq!(app.post("/v1/keys:revoke-many", body).send().await.status, 200);
    }
    let log = app.get("/v1/audit?limit=200").send().await.text;
    assert!(log.contains("key.exported") && log.contains("key.revoked_many") && !log.contains(secret));
    app.stop().await;
}
