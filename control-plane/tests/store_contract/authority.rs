//! Whoever was identified before they were removed, suspended or given another role does nothing any more afterwards: a
//! mutation may have waited for just that.

use nightlatch::domain::{Actor, ActorType, Authority, Member, MemberId, MemberPatch, Name, Role};
use nightlatch::store::tokens::{self, NewManagement};
use nightlatch::store::{Context, Error, keys, members, os_random};

use crate::arena::{Arena, on_both, refusal, request};

on_both! {
    a_role_that_was_lost_meanwhile_allows_nothing,
    a_suspended_or_removed_member_finishes_nothing,
    a_revoked_token_finishes_nothing,
    who_ends_themselves_may,
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

/// S3-14.
async fn a_revoked_token_finishes_nothing(arena: Arena) {
    let (first, second) = (owner(&arena).await, owner(&arena).await);
    let context = identified(&arena, &second.id).await;
    let member = Some(second.id.clone());
    let new = NewManagement {
        name: Name::new("laptop").unwrap(),
        rights: None,
        expires_at: None,
        member,
        service_account: None,
    };
    let make = context.clone();
    let made = arena.write(move |tx, _| {
        Box::pin(async move { tokens::create_management(tx, &make, new, &mut os_random).await.map(|(token, _)| token) })
    });
    let token = made.await.unwrap();
    let before = Context { actor: Actor::new(ActorType::Token, token.id.as_str()), ..context };
    rename(&arena, &before, &first.id).await.unwrap();
    // A token may be the one that revokes itself.
    let itself = before.clone();
    let revoke = arena.write(move |tx, _| Box::pin(async move { tokens::revoke(tx, &itself, &token.id).await }));
    revoke.await.unwrap();
    let entries = arena.actions().await.len();
    assert_eq!(refusal(issue(&arena, &before).await), "authority_changed");
    assert_eq!(arena.actions().await.len(), entries);
}

async fn who_ends_themselves_may(arena: Arena) {
    let (first, _) = (owner(&arena).await, owner(&arena).await);
    let context = identified(&arena, &first.id).await;
    let id = first.id.clone();
    let remove = arena.write(move |tx, _| Box::pin(async move { members::remove(tx, &context, &id, None).await }));
    remove.await.unwrap();
    assert_eq!(arena.actions().await.last().unwrap(), "member.removed");
}
