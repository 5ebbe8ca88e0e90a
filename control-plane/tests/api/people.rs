//! People of every role, principals of every kind, and their keys, made beside the API: what the table of authority says
//! is not asked for making them.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use nightlatch::domain::rotation::{Order, Start};
use nightlatch::domain::{
    Action, Issue, Key, KeyRef, Labels, Member, Name, PrincipalKind, Reason, Role, RotationId, Scopes, WorkspaceId,
};
use nightlatch::store::members::{self, Invitation};
use nightlatch::store::tokens::{self, NewManagement, Token};
use nightlatch::store::{Context, Error, Store, Tx, keys, os_random, rotations, workspaces};
use nightlatch_key::{Digest, Environment, KeyText};

use crate::app::TestApp;

/// The service account that every workspace has.
pub(crate) const SERVICE_ACCOUNT: u32 = 1;

/// Somebody, and a token for everything that they may.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) member: Member,
    pub(crate) token: Token,
    pub(crate) text: String,
}

/// A workspace, as somebody fills it who has the database in hand.
#[derive(Clone, Debug)]
pub(crate) struct People {
    pub(crate) store: Store,
    pub(crate) workspace: WorkspaceId,
}

impl People {
    /// Those of the test's own workspace.
    pub(crate) async fn of(app: &TestApp) -> Self {
        Self::of_set(app, &app.set.id).await
    }

    /// Those of the workspace of this set.
    pub(crate) async fn of_set(app: &TestApp, set: &str) -> Self {
        let store = app.store().await;
        let workspace = workspaces::all_sets(&mut store.read().await.unwrap()).await.unwrap();
        let workspace = workspace.into_iter().find(|known| known.id.as_str() == set).unwrap().workspace;
        Self { store, workspace }
    }

    /// Runs a mutation as the program itself.
    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx, Context) -> BoxFuture<'t, Result<T, Error>> + Send + 'static,
    {
        let context = Context::system(self.workspace.clone(), "test");
        self.store.write(move |tx| work(tx, context)).await
    }

    /// A principal that is not a member: its subject.
    pub(crate) async fn principal(&self, app: &TestApp, kind: PrincipalKind, name: &str) -> u32 {
        let ws = self.workspace.as_str();
        let next = app.number(&format!("SELECT next_subject FROM workspaces WHERE id = '{ws}'")).await;
        app.sql(&format!("UPDATE workspaces SET next_subject = {} WHERE id = '{ws}'", next + 1)).await;
        app.sql(&format!(
            "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
             VALUES ('{ws}', {next}, '{}', '{name}', 0)",
            kind.as_str()
        ))
        .await;
        u32::try_from(next).unwrap()
    }

    /// Somebody who is invited; the code is the address.
    pub(crate) async fn invite(&self, role: Role, partner: Option<u32>, email: &str) -> Member {
        let invitation = Invitation {
            email: email.to_owned(),
            name: Some(Name::new(format!("name of {email}")).unwrap()),
            role,
            partner,
            scopes: Scopes::default(),
            tier: None,
            code: Digest::of(email.as_bytes()),
            lifetime_ms: 3_600_000,
        };
        self.write(|tx, context| {
            Box::pin(async move { members::invite(tx, &context, invitation, &mut os_random).await })
        })
        .await
        .unwrap()
    }

    /// Somebody who is here.
    pub(crate) async fn member(&self, role: Role, partner: Option<u32>, email: &str) -> Member {
        self.invite(role, partner, email).await;
        let code = Digest::of(email.as_bytes());
        self.write(move |tx, _| {
            Box::pin(async move { members::accept(tx, &code, "acc_test", None, "test", None).await })
        })
        .await
        .unwrap()
    }

    /// Somebody who is here, with a token.
    pub(crate) async fn person(&self, role: Role, partner: Option<u32>, email: &str) -> Person {
        let member = self.member(role, partner, email).await;
        let (token, text) = self.token(&member).await;
        Person { member, token, text }
    }

    /// A token of a member's for everything that it may.
    pub(crate) async fn token(&self, member: &Member) -> (Token, String) {
        let new = NewManagement {
            name: Name::new(format!("token of {}", member.id)).unwrap(),
            rights: None,
            expires_at: None,
            member: Some(member.id.clone()),
            service_account: None,
        };
        let made: (Token, KeyText) = self
            .write(|tx, context| {
                Box::pin(async move { tokens::create_management(tx, &context, new, &mut os_random).await })
            })
            .await
            .unwrap();
        (made.0, made.1.expose().to_owned())
    }

    /// A token of a service account's.
    pub(crate) async fn account_token(&self, subject: u32, rights: BTreeSet<Action>) -> (Token, String) {
        let new = NewManagement {
            name: Name::new(format!("token of {subject}")).unwrap(),
            rights: Some(rights),
            expires_at: None,
            member: None,
            service_account: Some(subject),
        };
        let made: (Token, KeyText) = self
            .write(|tx, context| {
                Box::pin(async move { tokens::create_management(tx, &context, new, &mut os_random).await })
            })
            .await
            .unwrap();
        (made.0, made.1.expose().to_owned())
    }

    /// A key of a principal's.
    pub(crate) async fn key(&self, subject: u32) -> (Key, String) {
        let issue = Issue {
            name: Name::new(format!("key of {subject} in {}", self.workspace.as_str())).unwrap(),
            environment: Environment::Live,
            subject: Some(subject),
            scopes: Scopes::default(),
            tier: None,
            owner_member: None,
            owner: None,
            labels: Labels::default(),
            expires_at: None,
            rotate_by: None,
            link: None,
        };
        let issued = self
            .write(|tx, context| Box::pin(async move { keys::issue(tx, &context, issue, &mut os_random).await }))
            .await
            .unwrap();
        (issued.key, issued.secret.expose().to_owned())
    }

    /// Disables a key.
    pub(crate) async fn disable(&self, key: &Key) {
        let key = KeyRef::Id(key.id.clone());
        let disabled =
            self.write(move |tx, context| Box::pin(async move { keys::disable(tx, &context, &key, None).await }));
        disabled.await.unwrap();
    }

    /// An open rotation of a key.
    pub(crate) async fn rotation(&self, key: &Key) -> RotationId {
        let start = Start {
            order: Order::IssueFirst,
            overlap_seconds: 86_400,
            reason: Reason::new("test").unwrap(),
            name: None,
            scopes: None,
            expires_at: None,
        };
        let key = KeyRef::Id(key.id.clone());
        let started = self.write(|tx, context| {
            Box::pin(async move { rotations::start(tx, &context, &key, start, &mut os_random).await })
        });
        started.await.unwrap().rotation.id
    }
}
