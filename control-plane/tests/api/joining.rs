//! Members of the tests: somebody with a role and a token.

use nightlatch::domain::{MemberId, Name, WorkspaceId};
use nightlatch::store::tokens::{self, NewManagement};
use nightlatch::store::{Context, os_random};
use serde_json::json;

use crate::app::TestApp;

/// A member and a token of theirs.
pub(crate) struct Person {
    pub(crate) id: String,
    /// The principal of their own keys.
    pub(crate) principal: String,
    pub(crate) token: String,
}

/// Invites somebody, lets them join and makes a token of theirs.
pub(crate) async fn join(app: &TestApp, name: &str, role: &str) -> Person {
    let body = json!({ "email": format!("{name}@example.com"), "name": name, "role": role });
    let invited = app.post("/v1/members", body).send().await;
    assert_eq!(invited.status, 201, "{invited:?}");
    let member = &invited.json()["member"];
    let id = member["id"].as_str().unwrap().to_owned();
    app.sql(&format!("UPDATE members SET state = 'active', joined_at = 1 WHERE id = '{id}'")).await;
    let token = token_of(app, &id).await;
    Person { id, principal: member["principal"].as_str().unwrap().to_owned(), token }
}

/// Makes another token of somebody.
pub(crate) async fn token_of(app: &TestApp, member: &str) -> String {
    let store = app.store().await;
    let workspace = app.text("SELECT id FROM workspaces WHERE kind = 'tenant'").await;
    let context = Context::system(WorkspaceId::parse(&workspace).unwrap(), "test");
    let new = NewManagement {
        name: Name::new("a token").unwrap(),
        rights: None,
        expires_at: None,
        member: MemberId::parse(member),
        service_account: None,
    };
    let made = store
        .write(|tx| Box::pin(async move { tokens::create_management(tx, &context, new, &mut os_random).await }))
        .await;
    let (_, secret) = made.unwrap();
    store.close().await;
    secret.expose().to_owned()
}
