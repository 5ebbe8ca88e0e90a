//! Lists of keys, held against filtering all of them by hand.

use nightlatch::domain::authority::Standing;
use nightlatch::domain::rotation::Start;
use nightlatch::domain::{
    Actor, ActorType, Authority, Issue, Key, KeyId, KeyPatch, KeyRef, LabelMatch, Labels, MemberId, Owner,
    PrincipalKind, Scope, Scopes, State,
};
use nightlatch::store::audit::{self, AuditFilter, Entry};
use nightlatch::store::keys::KeyFilter;
use nightlatch::store::touched::Person;
use nightlatch::store::walk::LOOKED_AT;
use nightlatch::store::{Cursor, PageRequest, keys, os_random};
use nightlatch_key::Environment;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::arena::{Arena, on_both, overlap, request};

on_both! {
    s4_01_s3_20_every_filter_finds_what_it_says,
    pages_neither_repeat_nor_skip,
    a_cursor_of_another_list_is_harmless,
    s4_01_a_page_looks_at_few_keys_whatever_is_asked_for,
    the_audit_trail_is_filtered_alike_however_few_entries_a_page_looks_at,
    s4_01_labels_are_followed_as_they_change,
}

const OWNERS: [&str; 2] = ["ada", "grace"];
const SCOPES: [&str; 3] = ["invoices:read", "invoices:write", "READ_SENSITIVE"];
const NAMES: [&str; 4] = ["Billing EAST", "billing 100%", "reports_daily", "Überweisung"];

const LABELS: [&str; 2] = ["team", "cost:center"];
const VALUES: [&str; 2] = ["", "a=b \"ü\""];

/// The members of the arena, and the subjects of their own keys.
const MEMBERS: [(&str, u32); 3] = [("mem_ana", 11), ("mem_bo", 12), ("mem_cy", 13)];

fn member(random: &mut StdRng) -> MemberId {
    MemberId::parse(MEMBERS[random.random_range(0..MEMBERS.len())].0).unwrap()
}

async fn enter_members(arena: &Arena) {
    let workspace = &arena.workspace;
    for (id, subject) in MEMBERS {
        arena
            .execute(format!(
                "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
                 VALUES ('{workspace}', {subject}, 'user', '{id}', 0)"
            ))
            .await;
        arena
            .execute(format!(
                "INSERT INTO members (id, workspace_id, subject, role, state, scopes, invited_by_type, invited_by_id, \
                 created_at, revision) \
                 VALUES ('{id}', '{workspace}', {subject}, 'owner', 'active', '', 'system', 'test', 0, 1)"
            ))
            .await;
    }
}

fn labels(random: &mut StdRng) -> Labels {
    let pick = |name: &str| {
        let value = VALUES[random.random_range(0..2)];
        random.random_bool(0.4).then(|| (name.to_owned(), value.to_owned()))
    };
    Labels::new(LABELS.into_iter().filter_map(pick).collect()).unwrap()
}

/// Sixty keys of every kind.
async fn populate(arena: &Arena, random: &mut StdRng) {
    enter_members(arena).await;
    let now = arena.second().await;
    for round in 0..60_i64 {
        let scopes: Vec<_> = SCOPES.into_iter().filter(|_| random.random_bool(0.4)).collect();
        let issue = Issue {
            environment: if random.random_bool(0.3) { Environment::Test } else { Environment::Live },
            scopes: Scopes::new(scopes).unwrap(),
            owner: random.random_bool(0.6).then(|| Owner::new(OWNERS[random.random_range(0..2)]).unwrap()),
            expires_at: random.random_bool(0.4).then(|| now + 1000 + random.random_range(0..5)),
            rotate_by: random.random_bool(0.4).then(|| now + random.random_range(-5..5)),
            owner_member: random.random_bool(0.3).then(|| member(random)),
            labels: labels(random),
            ..request(NAMES[random.random_range(0..NAMES.len())])
        };
        let mut context = arena.context.clone();
        context.actor = Actor::new(ActorType::Token, format!("tok_{}", round % 3));
        let issuer = random.random_bool(0.5).then(|| MEMBERS[random.random_range(0..MEMBERS.len())]);
        let issue = match issuer {
            Some((id, subject)) => {
                let standing = Standing { member: MemberId::parse(id), subject: Some(subject), ..Standing::founder() };
                context.authority = Authority::of(standing);
                // Now and then a key of their own, which has no scopes of its own.
                match random.random_bool(0.4) {
                    true => Issue { subject: Some(subject), scopes: Scopes::default(), ..issue },
                    false => issue,
                }
            }
            None => issue,
        };
        let issued = arena
            .store
            .write(move |tx| Box::pin(async move { keys::issue(tx, &context, issue, &mut os_random).await }))
            .await
            .unwrap();
        let id = issued.key.id;
        match random.random_range(0..8) {
            0 => drop(arena.revoke(&id).await),
            1 => {
                let key = KeyRef::Id(id.clone());
                arena
                    .write(move |tx, context| Box::pin(async move { keys::disable(tx, &context, &key, None).await }))
                    .await
                    .unwrap();
            }
            2 => drop(arena.rotate(&id, Start { overlap_seconds: 300, ..overlap(300) }).await.unwrap()),
            3 => arena.execute(format!("UPDATE keys SET expires_at = {} WHERE id = '{id}'", now - 10)).await,
            4 => {
                // An overlap that has ended, recorded or not.
                let started = arena.rotate(&id, overlap(300)).await.unwrap();
                for table in ["keys", "rotations"] {
                    let key = if table == "keys" { id.as_str() } else { started.rotation.id.as_str() };
                    arena.execute(format!("UPDATE {table} SET deadline = {} WHERE id = '{key}'", now - 5)).await;
                }
            }
            _ => {}
        }
        if random.random_bool(0.5) {
            let seen = now * 1000 - random.random_range(0..10_000);
            arena.execute(format!("UPDATE keys SET last_used_at = {seen} WHERE id = '{id}'")).await;
        }
        if random.random_bool(0.5) {
            // Several keys of one moment: the id decides their order.
            let created = now * 1000 - random.random_range(0..20);
            arena.execute(format!("UPDATE keys SET created_at = {created} WHERE id = '{id}'")).await;
            for table in ["key_scopes", "key_labels"] {
                arena.execute(format!("UPDATE {table} SET created_at = {created} WHERE key_id = '{id}'")).await;
            }
        }
    }
}

fn filter(random: &mut StdRng, now: i64) -> KeyFilter {
    let mut filter = KeyFilter::default();
    let states = [State::Active, State::Retiring, State::Disabled, State::Revoked, State::Expired];
    let mut sometimes = || random.random_bool(0.2);
    let chosen: [bool; 18] = std::array::from_fn(|_| sometimes());
    if chosen[0] {
        filter.state = Some(states[random.random_range(0..5)]);
    }
    filter.owner = chosen[1].then(|| OWNERS[random.random_range(0..2)].to_owned());
    filter.issued_by = chosen[2].then(|| format!("tok_{}", random.random_range(0..4)));
    filter.subject = chosen[3].then(|| [1, 2, 11, 12][random.random_range(0..4)]);
    filter.owner_member = chosen[10].then(|| member(random));
    filter.issuer_member = chosen[11].then(|| member(random));
    filter.kind = chosen[12].then(|| [PrincipalKind::User, PrincipalKind::ServiceAccount][random.random_range(0..2)]);
    filter.created_after = chosen[13].then(|| now * 1000 - random.random_range(0..20));
    filter.created_before = chosen[14].then(|| now * 1000 - random.random_range(0..20));
    filter.never_used = chosen[15];
    filter.not_final = chosen[16];
    filter.scope = chosen[4].then(|| Scope::new(SCOPES[random.random_range(0..3)]).unwrap());
    if chosen[17] {
        let name = LABELS[random.random_range(0..2)];
        let texts = [name.to_owned(), format!("{name}="), format!("{name}={}", VALUES[1]), format!("{name}=x")];
        filter.label = LabelMatch::parse(&texts[random.random_range(0..4)]);
        assert!(filter.label.is_some());
    }
    filter.environment = chosen[5].then(|| [Environment::Live, Environment::Test][random.random_range(0..2)]);
    filter.last_used_before = chosen[6].then(|| now * 1000 - random.random_range(0..10_000));
    filter.expires_before = chosen[7].then(|| now + random.random_range(-20..1010));
    filter.rotate_by_before = chosen[8].then(|| now + random.random_range(-6..6));
    let parts = ["bill", "BILLING", "100%", "_daily", "s_d", "%", "Überw", "nl_test", "zzz"];
    filter.q = chosen[9].then(|| parts[random.random_range(0..parts.len())].to_owned());
    filter
}

fn fits(key: &Key, filter: &KeyFilter, now: i64) -> bool {
    let part = filter.q.as_ref().map(|part| part.to_ascii_lowercase());
    let holds = |text: &str| part.as_ref().is_none_or(|part| text.to_ascii_lowercase().contains(part));
    filter.state.is_none_or(|state| key.state(now) == state)
        && filter.owner.as_ref().is_none_or(|owner| key.owner.as_ref() == Some(owner))
        && filter.issued_by.as_ref().is_none_or(|id| key.issued_by.id == *id)
        && filter.subject.is_none_or(|subject| key.subject == subject)
        && filter.scope.as_ref().is_none_or(|scope| key.scopes.iter().any(|has| has == scope))
        && filter.label.as_ref().is_none_or(|label| {
            let value = key.labels.as_map().get(label.name());
            value.is_some_and(|value| label.value().is_none_or(|wanted| wanted == value))
        })
        && filter.environment.is_none_or(|environment| key.environment == environment)
        && filter.owner_member.as_ref().is_none_or(|id| key.owner_member.as_ref() == Some(id))
        && filter.issuer_member.as_ref().is_none_or(|id| key.issuer_member.as_ref() == Some(id))
        && filter.kind.is_none_or(|kind| key.kind == kind)
        && filter.created_after.is_none_or(|time| key.created_at >= time)
        && filter.created_before.is_none_or(|time| key.created_at < time)
        && (!filter.never_used || key.last_used_at.is_none())
        && (!filter.not_final || !matches!(key.state(now), State::Revoked | State::Expired))
        && filter.touched_by.as_ref().is_none_or(|person| !person.touches(key).is_empty())
        && filter.last_used_before.is_none_or(|time| key.last_used_at.unwrap_or(key.created_at) < time)
        && filter.expires_before.is_none_or(|time| key.expires_at.is_some_and(|at| at < time))
        && filter.rotate_by_before.is_none_or(|time| key.rotate_by.is_some_and(|at| at < time))
        && (holds(&key.name) || holds(&key.prefix))
}

/// All pages of a list.
async fn all(arena: &Arena, filter: &KeyFilter, limit: u32) -> Vec<Key> {
    all_within(arena, filter, limit, LOOKED_AT).await
}

/// All pages of a list whose pages look at about so many keys.
async fn all_within(arena: &Arena, filter: &KeyFilter, limit: u32, looks: u32) -> Vec<Key> {
    let mut read = arena.read().await;
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let page = PageRequest { limit, after };
        let page = keys::list_within(&mut read, &arena.workspace, filter, &page, looks).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        keys.extend(page.items.into_iter().map(|view| view.key));
        match page.next {
            // As a client sends it back.
            Some(cursor) => after = Some(Cursor::parse(&cursor.encode()).unwrap()),
            None => return keys,
        }
    }
}

async fn s4_01_s3_20_every_filter_finds_what_it_says(arena: Arena) {
    let mut random = StdRng::seed_from_u64(1);
    populate(&arena, &mut random).await;
    let everything = all(&arena, &KeyFilter::default(), 1000).await;
    assert!(everything.len() > 60);
    assert!(everything.is_sorted_by(|a, b| (a.created_at, a.id.as_str()) > (b.created_at, b.id.as_str())));
    let now = arena.store.now().await.unwrap();
    let mut found = 0;
    for _ in 0..300 {
        let mut filter = filter(&mut random, now / 1000);
        if random.random_bool(0.3) {
            let who = member(&mut random);
            filter.touched_by = Some(Person::find(&mut arena.read().await, &arena.workspace, who).await.unwrap());
        }
        let limit = random.random_range(1..8);
        let looks = [1, 3, 10, LOOKED_AT][random.random_range(0..4)];
        let listed = all_within(&arena, &filter, limit, looks).await;
        let ids = |keys: &[Key]| keys.iter().map(|key| key.id.clone()).collect::<Vec<KeyId>>();
        let wanted: Vec<_> = everything.iter().filter(|key| fits(key, &filter, now)).cloned().collect();
        let (mut left, mut right) = (ids(&listed), ids(&wanted));
        if filter.touched_by.is_some()
            || filter.last_used_before.is_none()
                && filter.expires_before.is_none()
                && filter.rotate_by_before.is_none()
                && filter.state != Some(State::Expired)
        {
            assert_eq!(left, right, "{filter:?}");
        }
        left.sort();
        right.sort();
        assert_eq!(left, right, "{filter:?}");
        found += left.len();
    }
    assert!(found > 500, "the filters find something: {found}");
}

async fn pages_neither_repeat_nor_skip(arena: Arena) {
    for number in 0..10 {
        arena.issue(request(&format!("k{number}"))).await.unwrap();
    }
    let whole = all(&arena, &KeyFilter::default(), 100).await;
    for limit in 1..12 {
        assert_eq!(all(&arena, &KeyFilter::default(), limit).await, whole);
    }
    // A key issued meanwhile does not move what follows.
    let mut read = arena.read().await;
    let page = PageRequest { limit: 5, after: None };
    let first = keys::list(&mut read, &arena.workspace, &KeyFilter::default(), &page).await.unwrap();
    drop(read);
    arena.issue(request("meanwhile")).await.unwrap();
    let page = PageRequest { limit: 5, after: first.next };
    let second = keys::list(&mut arena.read().await, &arena.workspace, &KeyFilter::default(), &page).await.unwrap();
    let second: Vec<_> = second.items.into_iter().map(|view| view.key).collect();
    assert_eq!(second, whole[5..]);
}

async fn a_cursor_of_another_list_is_harmless(arena: Arena) {
    arena.issue(request("k")).await.unwrap();
    let after = Some(Cursor { at: i64::MAX, id: "key_zzz".to_owned() });
    let page = PageRequest { limit: 5, after };
    let mut read = arena.read().await;
    keys::list(&mut read, &arena.workspace, &KeyFilter::default(), &page).await.unwrap();
    audit::list(&mut read, &arena.workspace, &AuditFilter::default(), &page).await.unwrap();
    assert!(Cursor::parse("not a cursor").is_none());
}

async fn s4_01_a_page_looks_at_few_keys_whatever_is_asked_for(arena: Arena) {
    for number in 0..20 {
        let owner = Owner::new(if number == 0 { "ada" } else { "grace" }).unwrap();
        arena.issue(nightlatch::domain::Issue { owner: Some(owner), ..request(&format!("k{number}")) }).await.unwrap();
    }
    let part = |part: &str| KeyFilter { q: Some(part.to_owned()), ..KeyFilter::default() };
    let page = |after| PageRequest { limit: 5, after };
    let mut read = arena.read().await;
    let first = keys::list_within(&mut read, &arena.workspace, &part("k0"), &page(None), 8).await.unwrap();
    assert!(first.items.is_empty(), "it is the oldest");
    let next = first.next.expect("the list goes on");
    let second = keys::list_within(&mut read, &arena.workspace, &part("k0"), &page(Some(next)), 20).await.unwrap();
    assert_eq!(second.items.len(), 1);
    assert_eq!(second.next, None);
    // Of two conditions, the one that leaves few keys is the way in, and the page is whole.
    let both =
        KeyFilter { owner: Some("ada".to_owned()), environment: Some(Environment::Live), ..KeyFilter::default() };
    let found = keys::list_within(&mut read, &arena.workspace, &both, &page(None), 8).await.unwrap();
    assert_eq!((found.items.len(), found.next), (1, None));
}

async fn the_audit_trail_is_filtered_alike_however_few_entries_a_page_looks_at(arena: Arena) {
    let mut random = StdRng::seed_from_u64(2);
    populate(&arena, &mut random).await;
    let everything = entries(&arena, &AuditFilter::default(), 100, LOOKED_AT).await;
    let owned = all(&arena, &KeyFilter { subject: Some(11), ..KeyFilter::default() }, 100).await;
    assert!(!owned.is_empty());
    let mut found = 0;
    for _ in 0..200 {
        let example = everything[random.random_range(0..everything.len())].clone();
        let mut sometimes = || random.random_bool(0.3);
        let chosen: [bool; 8] = std::array::from_fn(|_| sometimes());
        let filter = AuditFilter {
            action: chosen[0].then(|| example.action.clone()),
            category: chosen[1].then(|| example.category.clone()),
            actor: chosen[2].then(|| example.actor.id.clone()),
            actor_type: chosen[3].then(|| example.actor.kind.clone()),
            target: chosen[4].then(|| example.target_id.clone()),
            principal: chosen[5].then(|| "prn_11".to_owned()),
            from: chosen[6].then_some(example.at),
            to: chosen[7].then_some(example.at + 1),
            key: None,
        };
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let of_principal = |id: &str| id == "prn_11" || owned.iter().any(|key| key.id.as_str() == id);
        let wanted = everything.iter().filter(|entry| {
            is(&filter.action, &entry.action)
                && is(&filter.category, &entry.category)
                && is(&filter.actor, &entry.actor.id)
                && is(&filter.actor_type, &entry.actor.kind)
                && is(&filter.target, &entry.target_id)
                && (filter.principal.is_none() || of_principal(&entry.target_id))
                && filter.from.is_none_or(|from| entry.at >= from)
                && filter.to.is_none_or(|to| entry.at < to)
        });
        let wanted: Vec<_> = wanted.map(|entry| entry.id).collect();
        let looks = [1, 3, 10, LOOKED_AT][random.random_range(0..4)];
        let listed = entries(&arena, &filter, random.random_range(1..8), looks).await;
        assert_eq!(listed.iter().map(|entry| entry.id).collect::<Vec<_>>(), wanted, "{filter:?}");
        found += wanted.len();
    }
    assert!(found > 500, "the filters find something: {found}");
}

/// All pages of the audit trail.
async fn entries(arena: &Arena, filter: &AuditFilter, limit: u32, looks: u32) -> Vec<Entry> {
    let (mut read, mut entries, mut after) = (arena.read().await, Vec::new(), None);
    loop {
        let page = PageRequest { limit, after };
        let page = audit::list_within(&mut read, &arena.workspace, filter, &page, looks).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        entries.extend(page.items);
        match page.next {
            Some(cursor) => after = Some(Cursor::parse(&cursor.encode()).unwrap()),
            None => return entries,
        }
    }
}

async fn s4_01_labels_are_followed_as_they_change(arena: Arena) {
    let labels = |pairs: &[(&str, &str)]| {
        Labels::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).unwrap()
    };
    let one = Issue { labels: labels(&[("team", "a"), ("tier", "x")]), ..request("one") };
    let one = arena.issue(one).await.unwrap().key.id;
    arena.issue(Issue { labels: labels(&[("team", "b")]), ..request("two") }).await.unwrap();
    arena.issue(request("three")).await.unwrap();
    let found = async |text: &str| {
        let filter = KeyFilter { label: LabelMatch::parse(text), ..KeyFilter::default() };
        all(&arena, &filter, 10).await.len()
    };
    assert_eq!((found("team").await, found("team=a").await, found("tier=x").await, found("x").await), (2, 1, 1, 0));
    let patch = KeyPatch { labels: Some(labels(&[("team", "b"), ("new", "")])), ..KeyPatch::default() };
    let key = KeyRef::Id(one.clone());
    arena
        .write(move |tx, context| Box::pin(async move { keys::patch(tx, &context, &key, None, patch).await }))
        .await
        .unwrap();
    assert_eq!((found("team=a").await, found("team=b").await, found("tier").await, found("new=").await), (0, 2, 0, 1));
    // Its successor has the same labels; one that loses all is found by none.
    arena.rotate(&one, overlap(300)).await.unwrap();
    assert_eq!((found("team=b").await, found("new").await), (3, 2));
    let (key, patch) = (KeyRef::Id(one), KeyPatch { labels: Some(labels(&[])), ..KeyPatch::default() });
    arena
        .write(move |tx, context| Box::pin(async move { keys::patch(tx, &context, &key, None, patch).await }))
        .await
        .unwrap();
    assert_eq!((found("team").await, found("new").await), (2, 1));
    let rows = arena.number("SELECT COUNT(*) FROM key_labels").await;
    assert_eq!(rows, 3, "no label stays behind");
    for nothing in ["", "=", "=a", "1team", "team=\u{7}", "team= a"] {
        assert!(LabelMatch::parse(nothing).is_none(), "{nothing:?}");
    }
}
