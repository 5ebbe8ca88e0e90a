//! The audit log.

use nightlatch::domain::{Actor, ActorType, Authority, KeyPatch, KeyRef, MemberId, Name, Standing};
use nightlatch::store::audit::{self, AuditFilter, Entry};
use nightlatch::store::{Context, PageRequest, keys, os_random};

use crate::arena::{Arena, on_both, overlap, request};

on_both! {
    s1_10_an_entry_says_who_did_what_to_which_key,
    s1_12_entries_are_found_by_every_filter,
    pages_of_entries_neither_repeat_nor_skip,
    s1_12_what_a_member_did_includes_what_its_tokens_did,
}

async fn list(arena: &Arena, filter: AuditFilter) -> Vec<Entry> {
    let page = PageRequest { limit: 100, after: None };
    audit::list(&mut arena.read().await, &arena.workspace, &filter, &page).await.unwrap().items
}

async fn rename(arena: &Arena, key: &KeyRef, name: &str) {
    let (key, patch) = (key.clone(), KeyPatch { name: Some(Name::new(name).unwrap()), ..KeyPatch::default() });
    arena
        .write(move |tx, context| Box::pin(async move { keys::patch(tx, &context, &key, None, patch).await }))
        .await
        .unwrap();
}

async fn s1_10_an_entry_says_who_did_what_to_which_key(arena: Arena) {
    let issued = arena.issue(request("billing")).await.unwrap();
    rename(&arena, &KeyRef::Id(issued.key.id.clone()), "billing 2").await;
    arena.revoke(&issued.key.id).await;
    let entries = list(&arena, AuditFilter::default()).await;
    let [revoked, updated, first] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((first.action.as_str(), first.actor.id.as_str()), ("key.issued", "tok_admin"));
    assert_eq!(first.actor.kind, "token");
    assert_eq!(first.target_id, issued.key.id.as_str());
    assert_eq!(first.prefix.as_deref(), Some(issued.key.prefix.as_str()));
    assert_eq!(first.short_prefix.as_deref(), Some(&issued.key.id.tail()[..8]));
    // S0-34: the scopes it carried.
    assert_eq!(first.scopes.as_ref().unwrap(), &["invoices:read", "invoices:write"]);
    assert_eq!(first.source.as_deref(), Some("192.0.2.1"));
    assert_eq!(first.request_id, "req_1");
    assert_eq!(first.category, "user.updated");
    assert_eq!((first.seq, &first.prev_hash, &first.hash), (None, &None, &None));
    assert_eq!(updated.before.as_deref(), Some(r#"{"name":"billing"}"#));
    assert_eq!(updated.after.as_deref(), Some(r#"{"name":"billing 2"}"#));
    assert_eq!(revoked.reason.as_deref(), Some("leaked"));
    assert_eq!(revoked.after.as_deref(), Some(r#"{"state":"revoked"}"#));
    // S1-11: never the key itself.
    let secret = &issued.secret.expose()[issued.key.prefix.len()..];
    assert!(!format!("{entries:?}").contains(secret));
}

async fn s1_12_entries_are_found_by_every_filter(arena: Arena) {
    let one = arena.issue(request("one")).await.unwrap();
    let two = arena.issue(request("two")).await.unwrap();
    arena.rotate(&one.key.id, overlap(3600)).await.unwrap();
    let now = arena.store.now().await.unwrap();
    let none = AuditFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let count = async |filter: AuditFilter| list(&arena, filter).await.len();
    assert_eq!(count(none()).await, 4);
    assert_eq!(count(AuditFilter { action: text("key.issued"), ..none() }).await, 3);
    assert_eq!(count(AuditFilter { category: text("user.updated"), ..none() }).await, 4);
    assert_eq!(count(AuditFilter { category: text("workspace.updated"), ..none() }).await, 0);
    assert_eq!(count(AuditFilter { actor: text("tok_admin"), ..none() }).await, 4);
    assert_eq!(count(AuditFilter { actor: text("tok_other"), ..none() }).await, 0);
    assert_eq!(count(AuditFilter { actor_type: text("token"), ..none() }).await, 4);
    assert_eq!(count(AuditFilter { key: Some(one.key.id.clone().into()), ..none() }).await, 2);
    assert_eq!(count(AuditFilter { key: Some(KeyRef::Number(two.key.number)), ..none() }).await, 1);
    assert_eq!(count(AuditFilter { key: Some(KeyRef::Number(99)), ..none() }).await, 0);
    assert_eq!(count(AuditFilter { from: Some(one.key.created_at), to: Some(now + 1), ..none() }).await, 4);
    assert_eq!(count(AuditFilter { to: Some(one.key.created_at), ..none() }).await, 0);
    assert_eq!(count(AuditFilter { from: Some(now + 1), ..none() }).await, 0);
}

async fn pages_of_entries_neither_repeat_nor_skip(arena: Arena) {
    let issues = (0..7).map(|_| arena.issue(request("k")));
    futures::future::join_all(issues).await;
    let whole: Vec<_> = list(&arena, AuditFilter::default()).await.into_iter().map(|entry| entry.id).collect();
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = PageRequest { limit: 2, after };
        let page =
            audit::list(&mut arena.read().await, &arena.workspace, &AuditFilter::default(), &page).await.unwrap();
        paged.extend(page.items.into_iter().map(|entry| entry.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, whole);
}

async fn s1_12_what_a_member_did_includes_what_its_tokens_did(arena: Arena) {
    let member = |id: &str| MemberId::parse(id).unwrap();
    for (id, subject) in [("mem_1", 11), ("mem_2", 12)] {
        let workspace = &arena.workspace;
        arena
            .execute(format!(
                "INSERT INTO members (id, workspace_id, subject, role, state, scopes, invited_by_type, invited_by_id, \
                 created_at, revision) VALUES ('{id}', '{workspace}', {subject}, 'owner', 'active', '', 'system', 'test', 0, 1)"
            ))
            .await;
    }
    let of = |kind, actor: &str, id: &str| Context {
        actor: Actor::new(kind, actor),
        authority: Authority::of(Standing { member: Some(member(id)), ..Standing::founder() }),
        ..arena.context.clone()
    };
    let (itself, token, other) = (
        of(ActorType::Member, "mem_1", "mem_1"),
        of(ActorType::Token, "tok_1", "mem_1"),
        of(ActorType::Token, "tok_2", "mem_2"),
    );
    let mut wanted = Vec::new();
    for (place, context) in [&itself, &token, &other, &token, &itself, &other, &token].into_iter().enumerate() {
        let own = context.clone();
        let issue = request(&format!("key {place}"));
        let issued = arena
            .store
            .write(|tx| Box::pin(async move { keys::issue(tx, &own, issue, &mut os_random).await }))
            .await
            .unwrap();
        if context.actor.id != "tok_2" {
            wanted.insert(0, issued.key.id.to_string());
        }
    }
    let filter = || AuditFilter { actor: Some("mem_1".to_owned()), ..AuditFilter::default() };
    for limit in 1..=6 {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = PageRequest { limit, after };
            let page = audit::list(&mut arena.read().await, &arena.workspace, &filter(), &page).await.unwrap();
            paged.extend(page.items.into_iter().map(|entry| entry.target_id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paged, wanted, "by {limit}");
    }
    // Every other condition holds of both ways to be its.
    let count = async |filter: AuditFilter| list(&arena, filter).await.len();
    assert_eq!(count(AuditFilter { actor_type: Some("token".to_owned()), ..filter() }).await, 3);
    assert_eq!(count(AuditFilter { actor_type: Some("member".to_owned()), ..filter() }).await, 2);
    assert_eq!(count(AuditFilter { target: Some(wanted[0].clone()), ..filter() }).await, 1);
    assert_eq!(count(AuditFilter { principal: Some("prn_1".to_owned()), ..filter() }).await, 5);
    assert_eq!(count(AuditFilter { action: Some("key.revoked".to_owned()), ..filter() }).await, 0);
    assert_eq!(count(AuditFilter { actor: Some("tok_1".to_owned()), ..filter() }).await, 3);
    assert_eq!(count(AuditFilter { actor: Some("mem_3".to_owned()), ..filter() }).await, 0);
}
