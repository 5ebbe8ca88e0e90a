//! `/v1/workspaces`, and a publisher for each.

use std::time::Duration;

use nightlatch::domain::Name;
use nightlatch::publisher::Role;
use nightlatch::secrets::Secrets;
use nightlatch::store::tenancy::{self, NewWorkspace};
use nightlatch::store::{Context, os_random, workspaces};
use nightlatch_key::{Brand, Digest};
use nightlatch_tests::wait::eventually;
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;
use crate::tenants::foreign;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

on_both!(s3_01_the_founders_make_workspaces_and_nobody_else);
async fn s3_01_the_founders_make_workspaces_and_nobody_else(app: TestApp) {
    let other = foreign(&app).await;
    let make = |brand: &str| app.post("/v1/workspaces", json!({ "name": "Acme", "brand": brand }));
    make("acme").token(&other.token).send().await.is_problem(403, "forbidden");
    make("acme").token(app.edge_token().await).send().await.is_problem(403, "forbidden");
    for taken in ["nl", "stranger", "nlm", "nle", "nlo", "nlc"] {
        make(taken).send().await.is_problem(409, "brand_taken");
    }
    for bad in ["", "A", "a", "acme_x", "1acme", "waytoolongbrand"] {
        make(bad).send().await.is_problem(422, "value_invalid");
    }
    let named = |name: &str| app.post("/v1/workspaces", json!({ "name": name, "brand": "acme" }));
    named("").send().await.is_problem(422, "value_invalid");
    for bad in ["ada", "@x", "a@", "a b@x", &format!("{}@x", "a".repeat(300))] {
        let body = json!({ "name": "Acme", "brand": "acme", "owner_email": bad });
        app.post("/v1/workspaces", body).send().await.is_problem(422, "value_invalid");
    }
    assert_eq!(app.number("SELECT COUNT(*) FROM sets").await, 2, "what was refused has made nothing");
    // Done once, answered twice; then another has the brand.
    let once = || make("acme").header("idempotency-key", "once").send();
    let (first, second) = (once().await, once().await);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201), "{first:?} {second:?}");
    assert_eq!(first.json(), second.json());
    make("acme").send().await.is_problem(409, "brand_taken");
    app.stop().await;
}

on_both!(s3_01_the_enrolment_token_of_a_workspace_is_good_once_and_there);
async fn s3_01_the_enrolment_token_of_a_workspace_is_good_once_and_there(app: TestApp) {
    // The founding workspace's own file stays whatever others do.
    let file = Secrets::enrolment_file(&app.config.data_dir, None);
    std::fs::write(&file, "not theirs").unwrap();
    let made =
        app.post("/v1/workspaces", json!({ "name": "Acme", "brand": "acme", "owner_email": "Ada@Acme.example" }));
    let made = made.send().await.json();
    let enrol = || app.post("/v1/enrol", json!({ "token": made["enrolment_token"] })).without_token().send();
    let enrolled = enrol().await;
    assert_eq!(enrolled.status, 201, "{enrolled:?}");
    enrol().await.is_problem(401, "enrolment_invalid");
    assert!(file.exists());
    let token = enrolled.json()["secret"].as_str().unwrap().to_owned();
    let sets = app.get("/v1/sets").token(&token).send().await.json();
    assert_eq!(sets["items"].as_array().unwrap().len(), 1);
    assert_eq!(sets["items"][0]["id"], made["set"]);
    // Nothing of it is in the log in plain text, and each workspace's log begins with its own creation.
    let secret = made["enrolment_token"].as_str().unwrap();
    for token in [&token, &app.token] {
        let audit = app.get("/v1/audit?action=workspace.created").token(token).send().await;
        assert_eq!(audit.json()["items"].as_array().unwrap().len(), 1, "{audit:?}");
        assert!(!audit.text.contains(secret));
    }
    let theirs = app.get("/v1/audit").token(&token).send().await.text;
    let own: Vec<_> = app.client.list_tokens(&Default::default()).await.unwrap().items;
    assert!(own.iter().all(|token| !theirs.contains(&token.id)), "who of the founders it was is not theirs to know");
    app.stop().await;
}

on_both!(g10_a_caller_sees_its_own_workspace_and_the_founders_the_names_of_all);
async fn g10_a_caller_sees_its_own_workspace_and_the_founders_the_names_of_all(app: TestApp) {
    let other = foreign(&app).await;
    let list = |token: &str| app.get("/v1/workspaces").token(token).send();
    let ours = list(&app.token).await.json();
    let ours = ours["items"].as_array().unwrap();
    assert_eq!(ours.len(), 2);
    assert_eq!(ours[0], json!({ "id": other.workspace, "name": "foreign", "brand": null, "created_at": null }));
    assert_eq!(ours[1]["brand"], "nl");
    let theirs = list(&other.token).await.json();
    assert_eq!(theirs["items"].as_array().unwrap().len(), 1);
    assert_eq!(theirs["items"][0]["brand"], "stranger");
    // Who may not make workspaces does not see others either.
    let narrow = json!({ "name": "narrow", "kind": "management", "scopes": ["workspaces:read"] });
    let narrow = app.post("/v1/tokens", narrow).send().await.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(list(&narrow).await.json()["items"].as_array().unwrap().len(), 1);
    let theirs_by_id = app.get(&format!("/v1/workspaces/{}", other.workspace));
    theirs_by_id.token(&narrow).send().await.is_problem(404, "not_found");
    let page = app.get("/v1/workspaces?limit=1").send().await.json();
    let next = format!("/v1/workspaces?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(app.get(&next).send().await.json()["items"][0], ours[1]);
    app.get(&next).token(&other.token).send().await.is_problem(400, "invalid_request");

    let founding = ours[1]["id"].as_str().unwrap();
    let path = format!("/v1/workspaces/{}", other.workspace);
    assert_eq!(app.get(&path).send().await.json(), ours[0]);
    app.get(&format!("/v1/workspaces/{founding}")).token(&other.token).send().await.is_problem(404, "not_found");
    let rename = |name: &str, etag: &str| {
        let call = app.call(reqwest::Method::PATCH, &path).json(&json!({ "name": name })).header("if-match", etag);
        call.token(&other.token)
    };
    rename("Acme", "*").token(&app.token).send().await.is_problem(404, "not_found");
    rename("Acme", "\"7\"").send().await.is_problem(412, "etag_stale");
    rename("", "*").send().await.is_problem(422, "value_invalid");
    let etag = app.get(&path).token(&other.token).send().await.header("etag").to_owned();
    let renamed = rename("Acme", &etag).send().await;
    assert_eq!((renamed.status.as_u16(), renamed.json()["name"].as_str()), (200, Some("Acme")));
    rename("Emca", &etag).send().await.is_problem(412, "etag_stale");
    assert_eq!(app.get("/v1/workspaces").send().await.json()["items"][0]["name"], "Acme");
    app.stop().await;
}

on_both!(s3_10_a_set_that_another_process_makes_is_published_too);
async fn s3_10_a_set_that_another_process_makes_is_published_too(app: TestApp) {
    let store = app.store().await;
    let (founding, _) = workspaces::first(&mut store.read().await.unwrap()).await.unwrap().unwrap();
    let context = Context::system(founding.id, "test");
    let wanted = NewWorkspace {
        name: Name::new("Acme").unwrap(),
        brand: Brand::new("acme").unwrap(),
        owner_email: None,
        enrolment: Digest::of(b"an enrolment token"),
        lifetime_ms: 1000,
    };
    let made = store
        .write(move |tx| Box::pin(async move { tenancy::create(tx, &context, &wanted, &mut os_random).await }))
        .await
        .unwrap();
    let publishers = app.server.publishers();
    let publisher = eventually("its publisher", SOON, async || {
        Ok(publishers.of(&made.set).ok_or_else(|| anyhow::anyhow!("not yet"))?.publisher().clone())
    })
    .await
    .unwrap();
    publisher.flush().await.unwrap();
    assert!(matches!(publisher.status().borrow().role, Role::Leading(_)));
    let ready = app.get("/readyz").without_token().send().await.json();
    assert_eq!(ready["sets"], json!({ "all": 2, "leading": 2, "failing": 0 }));
    let metrics = app.get("/metrics").send().await.text;
    assert!(metrics.contains(&format!("nightlatch_leading{{set=\"{}\"}} 1", made.set)), "{metrics}");
    app.stop().await;
}

on_both!(g10_the_trouble_of_one_set_is_no_others);
async fn g10_the_trouble_of_one_set_is_no_others(app: TestApp) {
    let other = foreign(&app).await;
    let id = nightlatch::domain::SetId::parse(&other.set).unwrap();
    let publishers = app.server.publishers();
    let theirs = eventually("its publisher", SOON, async || {
        Ok(publishers.of(&id).ok_or_else(|| anyhow::anyhow!("not yet"))?.publisher().clone())
    })
    .await
    .unwrap();
    theirs.flush().await.unwrap();
    let pepper = "SELECT CAST(SUBSTR(pepper_id, 2) AS BIGINT) FROM sets WHERE own_pepper = 1";
    let pepper = app.number(pepper).await;
    // A pepper that nobody holds: publishing is refused until somebody brings it.
    app.sql(&format!("UPDATE sets SET pepper_id = 'p0' WHERE id = '{}'", other.set)).await;
    theirs.wait(|status| status.refused).await.unwrap();
    app.issue("ours", &[]).await;
    app.server.publisher().flush().await.unwrap();
    let ready = app.get("/readyz").without_token().send().await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.json()["sets"], json!({ "all": 2, "leading": 2, "failing": 1 }));
    let metrics = app.get("/metrics").send().await.text;
    for (set, failing) in [(&other.set, 1), (&app.set.id, 0)] {
        assert!(metrics.contains(&format!("nightlatch_set_failing{{set=\"{set}\"}} {failing}")), "{metrics}");
    }
    app.sql(&format!("UPDATE sets SET pepper_id = 'p{pepper}' WHERE id = '{}'", other.set)).await;
    theirs.wait(|status| !status.refused && status.error.is_none()).await.unwrap();
    theirs.flush().await.unwrap();
    app.stop().await;
}
