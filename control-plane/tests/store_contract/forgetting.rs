//! A removed member who is to be forgotten: nothing says any more who it was or where it was.

use nightlatch::domain::{AccountId, Actor, ActorType, Authority, Member, MemberId, Name, Role, Scopes};
use nightlatch::signin::Email;
use nightlatch::store::attempts::{self, Attempt};
use nightlatch::store::audit::{self, Erased};
use nightlatch::store::enrolment::{self, Founder, Why};
use nightlatch::store::idempotency::{self, Answer, Secret, Slot};
use nightlatch::store::members::{self, Invitation};
use nightlatch::store::sessions::{self, Method, NewSession};
use nightlatch::store::tenancy::{self, NewWorkspace};
use nightlatch::store::{Context, accounts, os_random};
use nightlatch_key::{Brand, Digest};
use secrecy::SecretString;
use serde_json::json;

use crate::arena::{Arena, on_both};

on_both! {
    who_was_removed_is_forgotten_whole,
    an_account_that_is_used_elsewhere_stays,
    of_who_is_not_removed_the_log_alone_forgets,
}

const EMAIL: &str = "ada@example.org";
const OTHER_EMAIL: &str = "ada@example.net";
const SOURCE: &str = "198.51.100.7";

/// How many rows still know anything of her.
async fn traces(arena: &Arena) -> Vec<(&'static str, i64)> {
    let places = [
        ("member", format!("SELECT COUNT(*) FROM members WHERE email = '{EMAIL}' OR name = 'Ada'")),
        ("account", format!("SELECT COUNT(*) FROM accounts WHERE email = '{EMAIL}'")),
        ("session", format!("SELECT COUNT(*) FROM sessions WHERE source = '{SOURCE}'")),
        ("enrolment", "SELECT COUNT(*) FROM enrolments WHERE email IS NOT NULL".to_owned()),
        ("answer", format!("SELECT COUNT(*) FROM idempotency WHERE body LIKE '%{EMAIL}%' OR body LIKE '%Ada%'")),
        ("log", format!("SELECT COUNT(*) FROM audit WHERE source = '{SOURCE}'")),
        ("values", format!("SELECT COUNT(*) FROM audit_personal WHERE value IN ('{EMAIL}', 'Ada')")),
    ];
    let mut found = Vec::new();
    for (place, sql) in places {
        match arena.number(sql).await {
            0 => {}
            count => found.push((place, count)),
        }
    }
    found
}

/// Ada enrols, has an account, signs in, and fails to once.
async fn ada(arena: &Arena) -> (Member, AccountId) {
    let (workspace, digest) = (arena.workspace.clone(), Digest::of(b"enrolment"));
    let enrolled = arena.write(move |tx, _| {
        Box::pin(async move {
            // One that she did not use, and one that was made for another address of hers.
            let unused = Digest::of(b"unused");
            enrolment::open(tx, &workspace, unused, 60_000, Why::Enrolment).await?;
            enrolment::say_whose(tx, &unused, Some(OTHER_EMAIL)).await?;
            enrolment::open(tx, &workspace, digest, 60_000, Why::Enrolment).await?;
            enrolment::say_whose(tx, &digest, Some(OTHER_EMAIL)).await?;
            let email = Some(EMAIL.to_owned());
            let ada = Founder { name: Some(Name::new("Ada").unwrap()), email, ..Founder::default() };
            enrolment::exchange(tx, digest, ada, "req_1", Some(SOURCE), &mut os_random).await
        })
    });
    let enrolled = enrolled.await.unwrap();
    let (member, token) = (enrolled.member, enrolled.token);
    let id = member.id.clone();
    let account = arena.write(move |tx, context| {
        Box::pin(async move {
            let (email, hash) = (Email::parse(EMAIL).unwrap(), SecretString::from("$argon2id$"));
            let account = accounts::create(tx, &email, Some(&hash), None, &mut os_random).await?.unwrap();
            assert!(accounts::create(tx, &email, Some(&hash), None, &mut os_random).await?.is_none());
            let actor = Actor::new(ActorType::Member, id.as_str());
            let context = Context { actor, source: Some(SOURCE.to_owned()), ..context };
            let new = NewSession {
                account: account.clone(),
                member: id.clone(),
                method: Method::Password,
                digest: Digest::of(b"cookie"),
                signed_in_at: tx.now().await?,
                elevated_until: None,
            };
            let now = tx.now().await?;
            sessions::start(tx, &context, &new, now, &mut os_random).await?;
            let nobody = Context { source: context.source, ..Context::system(context.workspace, "req_2") };
            sessions::note_refused(tx, &nobody, &id, "session.refused", "password").await?;
            // A program of hers goes on calling when her token has ended.
            for authority in [Authority::Refused(Some(id.clone())), Authority::Edge] {
                let actor = Actor::new(ActorType::Token, token.id.as_str());
                let program = Context { actor, authority, ..nobody.clone() };
                let attempt = Attempt {
                    route: "GET /v1/keys".to_owned(),
                    target: None,
                    key: None,
                    code: "token_invalid".to_owned(),
                    status: 401,
                };
                attempts::note(tx, &program, &attempt).await?;
            }
            let body = json!({ "member": { "id": id.as_str(), "email": EMAIL, "name": "Ada" } }).to_string();
            let slot = Slot {
                workspace: nobody.workspace,
                caller: "tok_admin".to_owned(),
                route: "POST /v1/members",
                key_hash: [1; 32],
                request_hash: [2; 32],
            };
            idempotency::keep(tx, &slot, &Answer { status: 201, body, secret: Secret::None }).await?;
            Ok(account)
        })
    });
    let account = account.await.unwrap();
    arena.execute(format!("UPDATE members SET account_id = '{}' WHERE id = '{}'", account.as_str(), member.id)).await;
    let token = arena.write(|tx, context| {
        Box::pin(async move { members::found(tx, &context, None, None, None, &mut os_random).await.map(drop) })
    });
    token.await.unwrap();
    (member, account)
}

async fn remove(arena: &Arena, member: &MemberId) {
    let id = member.clone();
    let removed = arena.write(|tx, context| Box::pin(async move { members::remove(tx, &context, &id, None).await }));
    removed.await.unwrap();
}

async fn erase(arena: &Arena, member: &MemberId) -> Erased {
    let id = member.clone();
    arena.write(|tx, context| Box::pin(async move { audit::erase(tx, &context, id.as_str()).await })).await.unwrap()
}

/// S1-10.
async fn who_was_removed_is_forgotten_whole(arena: Arena) {
    let (member, account) = ada(&arena).await;
    let before: Vec<_> = traces(&arena).await.into_iter().map(|(place, _)| place).collect();
    assert_eq!(before, ["member", "account", "session", "answer", "log", "values"]);
    remove(&arena, &member.id).await;
    let erased = erase(&arena, &member.id).await;
    assert!(!erased.record_kept && erased.values >= 8, "{erased:?}");
    assert_eq!(traces(&arena).await, []);
    let kept = json!({ "member": { "id": member.id.as_str(), "email": null, "name": null } });
    assert_eq!(arena.number(format!("SELECT COUNT(*) FROM idempotency WHERE body = '{kept}'")).await, 1);
    let shown = members::get(&mut arena.read().await, &arena.workspace, &member.id).await.unwrap();
    assert_eq!((shown.email, shown.name, shown.account), (None, None, None));
    assert!(accounts::get(&mut arena.read().await, &account).await.is_err());
    assert_eq!(erase(&arena, &member.id).await, Erased { values: 0, record_kept: false });
}

/// S1-10: an account is a person's, not a workspace's.
async fn an_account_that_is_used_elsewhere_stays(arena: Arena) {
    let (member, account) = ada(&arena).await;
    let wanted = NewWorkspace {
        name: Name::new("Other").unwrap(),
        brand: Brand::new("other").unwrap(),
        owner_email: None,
        enrolment: Digest::of(b"other"),
        lifetime_ms: 60_000,
    };
    let made = arena
        .write(|tx, context| Box::pin(async move { tenancy::create(tx, &context, &wanted, &mut os_random).await }));
    let other = made.await.unwrap().workspace.id;
    let (code, of) = (Digest::of(b"code"), account.clone());
    let joined = arena.write(move |tx, _| {
        Box::pin(async move {
            let invitation = Invitation {
                email: EMAIL.to_owned(),
                name: None,
                role: Role::Viewer,
                partner: None,
                scopes: Scopes::default(),
                tier: None,
                code,
                lifetime_ms: 60_000,
            };
            members::invite(tx, &Context::system(other, "req_3"), invitation, &mut os_random).await?;
            members::accept(tx, &code, of.as_str(), None, "req_4", None).await
        })
    });
    let joined = joined.await.unwrap();
    remove(&arena, &member.id).await;
    erase(&arena, &member.id).await;
    let kept = accounts::get(&mut arena.read().await, &account).await.unwrap();
    assert_eq!((kept.email.as_str(), kept.password_hash.is_some()), (EMAIL, true));
    let there = members::get(&mut arena.read().await, &joined.workspace, &joined.id).await.unwrap();
    assert_eq!((there.email.as_deref(), there.account.as_deref()), (Some(EMAIL), Some(account.as_str())));
    let here = members::get(&mut arena.read().await, &arena.workspace, &member.id).await.unwrap();
    assert_eq!((here.email, here.account), (None, None));
    assert_eq!(arena.number(format!("SELECT COUNT(*) FROM sessions WHERE source = '{SOURCE}'")).await, 0);
}

/// S1-10.
async fn of_who_is_not_removed_the_log_alone_forgets(arena: Arena) {
    let (member, _) = ada(&arena).await;
    let erased = erase(&arena, &member.id).await;
    assert!(erased.record_kept && erased.values >= 6, "{erased:?}");
    let left: Vec<_> = traces(&arena).await.into_iter().map(|(place, _)| place).collect();
    assert_eq!(left, ["member", "account", "session", "answer"]);
    let nobody = MemberId::generate([9; 10]);
    assert_eq!(erase(&arena, &nobody).await, Erased { values: 0, record_kept: false });
}
