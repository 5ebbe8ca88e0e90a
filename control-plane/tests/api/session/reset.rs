//! People who cannot prove any more who they are, let in again by who has the server's machine.

use nightlatch::signin::{Email, Hashing, Password};
use nightlatch::store::Error;
use nightlatch::store::account_reset::{self, Lost, Reset};
use serde_json::{Value, json};

use super::browser::invite_as;
use super::{Browser, PASSWORD, join, second_factor};
use crate::app::TestApp;
use crate::on_both;

/// Does it to Ada as the command does, beside the server.
pub(super) async fn reset(app: &TestApp, lost: Lost) -> Result<Reset, Error> {
    let (store, ada) = (app.store().await, Email::parse("ada@example.com").unwrap());
    let done = store
        .write(move |tx| Box::pin(async move { account_reset::reset(tx, &ada, lost, "nightlatch admin test").await }))
        .await;
    store.close().await;
    done
}

/// The entries of an action in the log of a token's workspace.
async fn noted(app: &TestApp, token: &str, action: &str) -> Vec<Value> {
    let page = app.get(&format!("/v1/audit?action={action}")).token(token).send().await.json();
    page["items"].as_array().unwrap().clone()
}

on_both!(a_second_factor_is_reset_and_every_workspace_knows);
async fn a_second_factor_is_reset_and_every_workspace_knows(app: TestApp) {
    join(&app, "bob@example.com", "owner").await;
    let mut bob = Browser::new(&app).signed_in("bob@example.com").await;
    assert!(matches!(reset(&app, Lost::SecondFactor).await, Err(Error::NotFound("account"))));
    let foreign = crate::tenants::foreign(&app).await;
    let mut ada = second_factor::person(&app).await;
    let code = invite_as(&app, &foreign.token, "ada@example.com", "viewer").await;
    assert_eq!(ada.browser.post("/v1/invites/accept", json!({ "code": code })).await.status, 201);
    app.sql("UPDATE members SET state = 'suspended' WHERE email = 'ada@example.com' AND role = 'viewer'").await;
    let done = reset(&app, Lost::SecondFactor).await.unwrap();
    assert_eq!(done.workspaces.len(), 2, "also where the member is suspended");
    assert!(done.sessions >= 1 && !ada.browser.is_signed_in().await);
    assert!(bob.is_signed_in().await, "nobody else's");
    for token in [&app.token, &foreign.token] {
        let entries = noted(&app, token, "admin.second_factor_reset").await;
        assert_eq!(entries.len(), 1);
        assert_eq!((&entries[0]["actor"]["type"], &entries[0]["source"]), (&json!("system"), &json!(null)));
    }
    // The password alone signs in; the codes of then are worth nothing, and a reset finds nothing to do.
    Browser::new(&app).signed_in("ada@example.com").await;
    assert_eq!(app.number("SELECT COUNT(*) FROM recovery_codes").await, 0);
    assert!(matches!(reset(&app, Lost::SecondFactor).await, Err(Error::NotFound("second factor"))));
    app.stop().await;
}

on_both!(a_password_is_replaced_and_the_second_factor_stays);
async fn a_password_is_replaced_and_the_second_factor_stays(app: TestApp) {
    let mut ada = second_factor::person(&app).await;
    let email = Email::parse("ada@example.com").unwrap();
    let hash = Hashing::default().hash(Password::new("drawn on the machine", &email).unwrap()).await.unwrap();
    let done = reset(&app, Lost::Password(hash)).await.unwrap();
    assert!(done.sessions >= 1 && !ada.browser.is_signed_in().await);
    let mut browser = Browser::new(&app);
    browser.sign_in("ada@example.com", PASSWORD).await.is_problem(401, "sign_in_failed");
    let answer = browser.sign_in("ada@example.com", "drawn on the machine").await.json();
    assert_eq!(answer["needs"], json!(["totp"]), "{answer}");
    let entries = noted(&app, &app.token, "admin.password_reset").await;
    assert!(entries.len() == 1 && !entries[0].to_string().contains("argon2"), "{entries:?}");
    app.stop().await;
}
