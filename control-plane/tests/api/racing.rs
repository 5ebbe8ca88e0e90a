//! Calls that take the same things in different orders, at once: both are answered, and what holds then is right.

use futures::future::join;
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;
use crate::principals::id;

/// How often each pair is run.
const ROUNDS: usize = 12;

on_both!(a_token_is_rotated_while_its_member_is_removed);
async fn a_token_is_rotated_while_its_member_is_removed(app: TestApp) {
    for round in 0..ROUNDS {
        let (member, token) = app.member("admin", None).await;
        let own = app.get("/v1/tokens").token(&token).send().await.json();
        let own = own["items"].as_array().unwrap().iter().find(|one| one["member"] == member).unwrap().clone();
        let body = json!({ "overlap_seconds": 3600, "reason": "race" });
        let rotate = app.post(&format!("/v1/tokens/{}/rotations", id(&own)), body).token(&token).send();
        let remove = app.post(&format!("/v1/members/{member}/remove"), json!({ "reason": "left" })).send();
        let (rotated, removed) = join(rotate, remove).await;
        assert_eq!(removed.status, 200, "round {round}: {removed:?}");
        assert!([201, 401, 403, 404, 409].contains(&rotated.status.as_u16()), "round {round}: {rotated:?}");
        // Whichever was first: nothing of theirs opens anything.
        let mut texts = vec![token];
        if rotated.status == 201 {
            texts.push(rotated.json()["secret"].as_str().unwrap().to_owned());
        }
        for text in texts {
            app.get("/v1/keys").token(&text).send().await.is_problem(401, "token_invalid");
        }
        let open = format!("SELECT COUNT(*) FROM tokens WHERE member_id = '{member}' AND revoked_at IS NULL");
        assert_eq!(app.number(&open).await, 0, "round {round}");
    }
    let keys = "SELECT COUNT(*) FROM keys k JOIN tokens t ON t.key_id = k.id JOIN members m ON m.id = t.member_id \
                WHERE m.state = 'removed' AND k.state <> 'revoked'";
    assert_eq!(app.number(keys).await, 0);
    app.stop().await;
}

on_both!(a_link_is_accepted_while_its_partner_is_suspended);
async fn a_link_is_accepted_while_its_partner_is_suspended(app: TestApp) {
    for round in 0..ROUNDS {
        let partner = id(&app.done("/v1/partners", json!({ "name": format!("agency {round}") })).await);
        let path = format!("/v1/partners/{partner}");
        let link = app.done(&format!("{path}/links"), json!({ "client_name": "c" })).await;
        let code = json!({ "code": link["code"] });
        let accept = app.post("/v1/links/accept", code.clone()).send();
        let suspend = app.post(&format!("{path}/suspend"), json!({ "reason": "race" })).send();
        let (accepted, suspended) = join(accept, suspend).await;
        assert_eq!(suspended.status, 200, "round {round}: {suspended:?}");
        let state = app.get(&path).send().await.json()["state"].clone();
        assert_eq!(state, "suspended", "round {round}");
        if !accepted.status.is_success() {
            // The code was not used up by what was refused.
            accepted.is_problem(422, "link_code_invalid");
            app.done(&format!("{path}/resume"), json!({})).await;
            app.done("/v1/links/accept", code).await;
        }
        let active =
            format!("SELECT COUNT(*) FROM partner_links WHERE id = '{}' AND state = 'active'", id(&link["link"]));
        assert_eq!(app.number(&active).await, 1, "round {round}");
    }
    app.stop().await;
}
