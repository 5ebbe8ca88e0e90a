//! Whom keys act for: service accounts, partners with their links, gateways.

mod gateways;
mod links;
mod partners;
mod property;
mod service_accounts;

use nightlatch::domain::{MemberId, Name, WorkspaceId};
use nightlatch::store::tokens::NewManagement;
use nightlatch::store::{Context, Error, members, os_random, tokens};
use nightlatch_key::Digest;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

/// One of everything, as ids.
pub(crate) struct Whole {
    pub(crate) service_account: String,
    pub(crate) partner: String,
    /// One of the partner's people.
    pub(crate) staff: String,
    pub(crate) link: String,
    pub(crate) gateway: String,
}

impl Whole {
    /// Makes one of everything with this token. The link is to the token's own workspace.
    pub(crate) async fn make(app: &TestApp, token: &str) -> Self {
        let make = async |path: &str, body: Value| {
            let answer = app.post(path, body).token(token).send().await;
            assert!(answer.status.is_success(), "{path}: {answer:?}");
            answer.json()
        };
        let service_account = make("/v1/service-accounts", json!({ "name": "exporter" })).await;
        let partner = id(&make("/v1/partners", json!({ "name": "agency" })).await);
        let body = json!({ "email": format!("{partner}@staff.example.org"), "role": "partner_staff" });
        let staff = make(&format!("/v1/partners/{partner}/staff"), body).await;
        let link = make(&format!("/v1/partners/{partner}/links"), json!({ "client_name": "ourselves" })).await;
        let accepted = make("/v1/links/accept", json!({ "code": link["code"] })).await;
        let gateway = make("/v1/gateways", json!({ "name": "gate", "environment": "live" })).await;
        Self {
            service_account: id(&service_account),
            partner,
            staff: id(&staff["member"]),
            link: id(&accepted),
            gateway: id(&gateway["gateway"]),
        }
    }
}

/// The id of a thing.
pub(crate) fn id(thing: &Value) -> String {
    thing["id"].as_str().unwrap_or_else(|| panic!("{thing} has no id")).to_owned()
}

impl TestApp {
    /// The token of a new member of this role; of a partner's staff where there is one.
    pub(crate) async fn member_token(&self, role: &str, partner: Option<&str>) -> String {
        self.member(role, partner).await.1
    }

    /// A new member of this role, and a token of its own.
    pub(crate) async fn member(&self, role: &str, partner: Option<&str>) -> (String, String) {
        let count = self.number("SELECT COUNT(*) FROM members").await;
        let body = json!({ "email": format!("m{count}@example.org"), "role": role });
        let path = partner.map_or_else(|| "/v1/members".to_owned(), |partner| format!("/v1/partners/{partner}/staff"));
        let invited = self.post(&path, body).send().await;
        assert_eq!(invited.status, 201, "{invited:?}");
        let invited = invited.json();
        let code = Digest::of(invited["code"].as_str().unwrap().as_bytes());
        let member = id(&invited["member"]);
        let workspace = WorkspaceId::parse(&self.workspace().await).unwrap();
        let store = self.store().await;
        let of = MemberId::parse(&member).unwrap();
        let token = store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    members::accept(tx, &code, "acc_test", None, "req_test", None).await?;
                    let new = NewManagement {
                        name: Name::new("a test's").unwrap(),
                        rights: None,
                        expires_at: None,
                        member: Some(of),
                        service_account: None,
                    };
                    let context = Context::system(workspace, "req_test");
                    Ok(tokens::create_management(tx, &context, new, &mut os_random).await?.1)
                })
            })
            .await
            .unwrap();
        store.close().await;
        (member, token.expose().to_owned())
    }

    /// The id of the workspace that the management token is for.
    pub(crate) async fn workspace(&self) -> String {
        let store = self.store().await;
        let sets = nightlatch::store::workspaces::all_sets(&mut store.read().await.unwrap()).await.unwrap();
        let own = sets.into_iter().find(|set| set.id.as_str() == self.set.id).unwrap();
        store.close().await;
        own.workspace.to_string()
    }

    /// A call that has to succeed, with the management token.
    #[track_caller]
    pub(crate) fn done(&self, path: &str, body: Value) -> impl Future<Output = Value> {
        let call = self.post(path, body);
        let path = path.to_owned();
        async move {
            let answer = call.send().await;
            assert!(answer.status.is_success(), "{path}: {answer:?}");
            answer.json()
        }
    }

    /// Issues a key for a principal, as whoever holds the token.
    pub(crate) async fn issue_for(&self, token: &str, principal: &str, scopes: &[&str]) -> Answer {
        let body = json!({ "name": "k", "environment": "live", "principal": principal, "scopes": scopes });
        self.post("/v1/keys", body).token(token).send().await
    }

    /// What `/v1/verify` says of a key's text: `None` where it is let through.
    pub(crate) async fn refused(&self, secret: &Value) -> Option<String> {
        let verdict = self.verify(&secret.as_str().unwrap().into()).await;
        verdict.code.filter(|_| !verdict.allowed)
    }

    /// How many audit entries there are of this action.
    pub(crate) async fn told(&self, action: &str) -> usize {
        let page = self.get(&format!("/v1/audit?action={action}&limit=200")).send().await.json();
        page["items"].as_array().unwrap().len()
    }
}
