//! Whoever was identified before they were removed, suspended or given another role does nothing any more afterwards: a
//! mutation may have waited for just that.

use std::collections::BTreeSet;

use nightlatch::domain::ids::principal_id;
use nightlatch::domain::{
    Action, Actor, ActorType, Authority, Member, MemberId, MemberPatch, Name, PrincipalKind, PrincipalState, Role,
    SessionId,
};
use nightlatch::signin::Email;
use nightlatch::store::principals::{self, NewPrincipal};
use nightlatch::store::sessions::{self, Method, NewSession, Which};
use nightlatch::store::tokens::{self, NewManagement};
use nightlatch::store::{Context, Error, Shown, accounts, keys, members, os_random};
use nightlatch_key::Digest;
use secrecy::SecretString;

use crate::arena::{Arena, on_both, refusal, request};

on_both! {
    a_role_that_was_lost_meanwhile_allows_nothing,
    a_suspended_or_removed_member_finishes_nothing,
    a_revoked_token_finishes_nothing,
    a_revoked_token_of_a_service_account_finishes_nothing_while_its_others_do,
    a_session_that_was_ended_finishes_nothing,
    who_ends_themselves_may,
    a_service_account_that_ends_itself_may,
}

async fn owner(arena: &Arena) -> Member {
    arena
        .write(|tx, context| {
            Box::pin(async move { members::found(tx, &context, None, None, None, &mut os_random).await })
        })
        .await
        .unwrap()
}

/// What a member is identified as now.
async fn identified(arena: &Arena, member: &MemberId) -> Context {
    let standing = members::standing(&mut arena.read().await, &arena.workspace, member).await.unwrap().unwrap();
    let actor = Actor::new(ActorType::Member, member.as_str());
    Context { actor, authority: Authority::of(standing), ..arena.context.clone() }
}

async fn issue(arena: &Arena, context: &Context) -> Result<(), Error> {
    let context = context.clone();
    let issue = arena.write(move |tx, _| {
        Box::pin(async move { keys::issue(tx, &context, request("billing"), &mut os_random).await })
    });
    issue.await.map(drop)
}

async fn rename(arena: &Arena, context: &Context, member: &MemberId) -> Result<(), Error> {
    let (context, member) = (context.clone(), member.clone());
    let patch = MemberPatch { name: Some(Name::new("Ada").unwrap()), ..MemberPatch::default() };
    let change = arena.write(move |tx, _| {
        Box::pin(async move { members::patch(tx, &context, &member, None, patch).await.map(drop) })
    });
    change.await
}

/// Tries what an owner may, with what was found out about it before.
async fn finishes_nothing(arena: &Arena, before: &Context, other: &MemberId) {
    let entries = arena.actions().await.len();
    assert_eq!(refusal(issue(arena, before).await), "authority_changed");
    assert_eq!(refusal(rename(arena, before, other).await), "authority_changed");
    assert_eq!(arena.actions().await.len(), entries, "nothing was done");
    assert_eq!(arena.number("SELECT COUNT(*) FROM keys").await, 0);
}

/// S1-02, S1-03.
async fn a_role_that_was_lost_meanwhile_allows_nothing(arena: Arena) {
    let (first, second) = (owner(&arena).await, owner(&arena).await);
    let before = identified(&arena, &second.id).await;
    let id = second.id.clone();
    let patch = MemberPatch { role: Some(Role::Viewer), ..MemberPatch::default() };
    arena
        .write(|tx, context| Box::pin(async move { members::patch(tx, &context, &id, None, patch).await }))
        .await
        .unwrap();
    finishes_nothing(&arena, &before, &first.id).await;
}

/// S3-14.
async fn a_suspended_or_removed_member_finishes_nothing(arena: Arena) {
    let (first, second) = (owner(&arena).await, owner(&arena).await);
    let before = identified(&arena, &second.id).await;
    let id = second.id.clone();
    let suspend = arena.write(|tx, context| Box::pin(async move { members::suspend(tx, &context, &id, None).await }));
    suspend.await.unwrap();
    finishes_nothing(&arena, &before, &first.id).await;
    let id = second.id.clone();
    let resume = arena.write(|tx, context| Box::pin(async move { members::resume(tx, &context, &id, None).await }));
    resume.await.unwrap();
    rename(&arena, &before, &first.id).await.unwrap();
    let id = second.id.clone();
    let remove = arena.write(|tx, context| Box::pin(async move { members::remove(tx, &context, &id, None).await }));
    remove.await.unwrap();
    finishes_nothing(&arena, &before, &first.id).await;
}

/// What the holder of a fresh token is identified as.
async fn by_token(arena: &Arena, of: NewManagement) -> Context {
    let made = arena.write(move |tx, context| {
        Box::pin(
            async move { tokens::create_management(tx, &context, of, &mut os_random).await.map(|(token, _)| token) },
        )
    });
    let digest = made.await.unwrap().digest;
    let (holder, _) = tokens::by_digest(&mut arena.read().await, &digest).await.unwrap().unwrap();
    let actor = match holder.token.service_account {
        Some(subject) => Actor::new(ActorType::ServiceAccount, principal_id(subject)),
        None => Actor::new(ActorType::Token, holder.token.id.as_str()),
    };
    let authority = Authority::of(holder.standing.unwrap());
    Context { actor, shown: Some(Shown::Token(holder.token.id)), authority, ..arena.context.clone() }
}

/// Revokes the token of `of`, as `context`.
async fn revoke(arena: &Arena, context: &Context, of: &Context) {
    let Some(Shown::Token(token)) = of.shown.clone() else { panic!("it was no token") };
    let context = context.clone();
    let revoke = arena.write(move |tx, _| Box::pin(async move { tokens::revoke(tx, &context, &token).await }));
    revoke.await.unwrap();
}

/// S3-14.
async fn a_revoked_token_finishes_nothing(arena: Arena) {
    let (first, second) = (owner(&arena).await, owner(&arena).await);
    let name = Name::new("laptop").unwrap();
    let new = NewManagement { name, rights: None, expires_at: None, member: Some(second.id), service_account: None };
    let before = by_token(&arena, new).await;
    rename(&arena, &before, &first.id).await.unwrap();
    // A token may be the one that revokes itself.
    revoke(&arena, &before, &before).await;
    let entries = arena.actions().await.len();
    assert_eq!(refusal(issue(&arena, &before).await), "authority_changed");
    assert_eq!(arena.actions().await.len(), entries);
}

async fn account(arena: &Arena) -> u32 {
    let kind = PrincipalKind::ServiceAccount;
    let account = NewPrincipal { kind, name: Name::new("exporter").unwrap(), description: None, ceiling: None };
    let made =
        arena.write(move |tx, context| Box::pin(async move { principals::create(tx, &context, &account).await }));
    made.await.unwrap().subject
}

/// S1-14.
async fn a_revoked_token_of_a_service_account_finishes_nothing_while_its_others_do(arena: Arena) {
    let subject = account(&arena).await;
    let new = || NewManagement {
        name: Name::new("nightly").unwrap(),
        rights: Some(BTreeSet::from([Action::KeysIssue])),
        expires_at: None,
        member: None,
        service_account: Some(subject),
    };
    let (one, other) = (by_token(&arena, new()).await, by_token(&arena, new()).await);
    issue(&arena, &one).await.unwrap();
    revoke(&arena, &arena.context, &one).await;
    let entries = arena.actions().await.len();
    assert_eq!(refusal(issue(&arena, &one).await), "authority_changed");
    assert_eq!(arena.actions().await.len(), entries);
    issue(&arena, &other).await.unwrap();
}

async fn who_ends_themselves_may(arena: Arena) {
    let (first, _) = (owner(&arena).await, owner(&arena).await);
    let context = identified(&arena, &first.id).await;
    let id = first.id.clone();
    let remove = arena.write(move |tx, _| Box::pin(async move { members::remove(tx, &context, &id, None).await }));
    remove.await.unwrap();
    assert_eq!(arena.actions().await.last().unwrap(), "member.removed");
}

/// S1-15: also of what is one's own, where the table is not asked.
async fn a_session_that_was_ended_finishes_nothing(arena: Arena) {
    let member = owner(&arena).await;
    let context = identified(&arena, &member.id).await;
    let (starting, id) = (context.clone(), member.id.clone());
    let started = arena.write(move |tx, _| {
        Box::pin(async move {
            let (email, hash) = (Email::parse("ada@example.com").unwrap(), SecretString::from("$argon2id$"));
            let account = accounts::create(tx, &email, Some(&hash), None, &mut os_random).await?.unwrap();
            let now = tx.now().await?;
            let new = NewSession {
                account: account.clone(),
                member: id,
                method: Method::Password,
                digest: Digest::of(b"cookie"),
                signed_in_at: now,
                elevated_until: None,
            };
            Ok((account, sessions::start(tx, &starting, &new, now, &mut os_random).await?))
        })
    });
    let (account, session) = started.await.unwrap();
    let before = Context { shown: Some(Shown::Session(session.clone())), ..context };
    issue(&arena, &before).await.unwrap();
    let own = async |session: SessionId| {
        arena.write(move |tx, _| Box::pin(async move { sessions::confirm(tx, &session).await })).await
    };
    own(session.clone()).await.unwrap();
    let ended = session.clone();
    let end = arena.write(move |tx, context| {
        Box::pin(async move { sessions::end(tx, &context, Which::One(&account, &ended), "signed out").await })
    });
    assert_eq!(end.await.unwrap(), 1);
    assert_eq!(refusal(issue(&arena, &before).await), "authority_changed");
    assert_eq!(refusal(own(session).await), "authority_changed");
}

/// S1-14: its brake works from inside, too.
async fn a_service_account_that_ends_itself_may(arena: Arena) {
    let (subject, name) = (account(&arena).await, Name::new("manager").unwrap());
    let rights = Some(BTreeSet::from([Action::ServiceAccountsManage]));
    let new = || NewManagement {
        name: name.clone(),
        rights: rights.clone(),
        expires_at: None,
        member: None,
        service_account: Some(subject),
    };
    let context = by_token(&arena, new()).await;
    let suspending = context.clone();
    let suspend = arena
        .write(move |tx, _| Box::pin(async move { principals::suspend_because(tx, &suspending, subject, None).await }));
    assert_eq!(suspend.await.unwrap().principal.state, PrincipalState::Suspended);
    let resume = arena.write(move |tx, context| {
        Box::pin(async move { principals::resume_because(tx, &context, subject, None).await })
    });
    resume.await.unwrap();
    let remove = arena
        .write(move |tx, _| Box::pin(async move { principals::remove_because(tx, &context, subject, None).await }));
    assert_eq!(remove.await.unwrap().principal.state, PrincipalState::Removed);
}
