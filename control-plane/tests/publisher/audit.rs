//! The audit log is chained where heads are signed.

use std::time::Duration;

use nightlatch::publisher::Publisher;
use nightlatch::store::audit::{self, AuditFilter};
use nightlatch::store::{Context, Error, PageRequest};
use nightlatch_audit::Fault;
use nightlatch_keyset::Head;
use sqlx::Connection as _;

use crate::log::{entries, entry_alone, export, member, proven, verify};
use crate::on_both;
use crate::reader::load;
use crate::world::{Change, World};

on_both! {
    /// S1-09, S1-10, guarantee 7.
    s1_09_every_entry_is_chained_with_the_next_head
    /// Guarantee 7: a row not yet chained is shown as such.
    g7_unchained_entries_are_shown_as_such
    /// S1-12, S1-14.
    s1_14_a_choice_of_entries_is_proven_one_by_one
    g7_erasing_keeps_the_chain
    g7_personal_values_that_were_destroyed_are_missed
    a_log_that_cannot_be_chained_holds_nothing_up
    a_damaged_log_is_exported_all_the_same
    entries_of_an_earlier_program_are_chained_too
    entries_are_chained_as_they_were_written_whatever_the_clock_says
    many_entries_are_chained_in_pieces
    leaders_of_two_sets_share_one_chain
}

pub(crate) fn head(world: &World) -> Head {
    load(&world.directory).head
}

/// A few entries, chained: issued keys and a change of one.
pub(crate) async fn some_entries(world: &World) -> Publisher {
    let publisher = world.publisher();
    let key = world.issue(&["a:read", "b:write"]).await;
    world.issue(&[]).await;
    let context = member(world, "mem_1");
    acted(world, &context, &key, Change::Tier("gold")).await;
    acted(world, &context, &key, Change::Revoke).await;
    entry_alone(world, "mem_9").await;
    publisher.flush().await.unwrap();
    publisher
}

async fn acted(world: &World, context: &Context, key: &nightlatch::domain::Key, how: Change) {
    let (context, key) = (context.clone(), nightlatch::domain::KeyRef::Id(key.id.clone()));
    world.store.write(move |tx| Box::pin(async move { how.apply(tx, &context, &key).await })).await.unwrap();
}

async fn s1_09_every_entry_is_chained_with_the_next_head(world: World) {
    let publisher = some_entries(&world).await;
    let first = head(&world);
    let written = world.count("SELECT COUNT(*) FROM audit").await;
    assert_eq!(first.audit.unwrap().count, written as u64);
    let whole = proven(&world, &[]).await.unwrap();
    assert_eq!((whole.entries, whole.unchained), (written as u64, 0));
    // Entries alone, without a change of a key: the next head has them.
    entry_alone(&world, "mem_1").await;
    publisher.flush().await.unwrap();
    let second = head(&world);
    assert_eq!((second.version, second.audit.unwrap().count), (first.version, written as u64 + 1));
    assert_eq!(proven(&world, &[first.clone(), second]).await.unwrap().earlier, 2);
    // A span that goes on where an export ended.
    let lines = export(&world, written as u64, None).await.unwrap();
    assert_eq!(verify(&lines, &[first]).unwrap().entries, 1);
    assert!(matches!(export(&world, 99, None).await, Err(Error::NotFound(_))));
    publisher.stop().await;
}

async fn g7_unchained_entries_are_shown_as_such(world: World) {
    let publisher = some_entries(&world).await;
    publisher.stop().await;
    entry_alone(&world, "mem_2").await;
    let page = PageRequest { limit: 100, after: None };
    let mut read = world.store.read().await.unwrap();
    let shown = audit::list(&mut read, &world.workspace, &AuditFilter::default(), &page).await.unwrap().items;
    drop(read);
    assert_eq!((shown[0].action.as_str(), shown[0].seq, shown[0].hash.as_ref()), ("audit.erased", None, None));
    assert!(shown[1].seq.is_some() && shown[1].hash.is_some() && shown[1].prev_hash.is_some());
    let lines = export(&world, 0, None).await.unwrap();
    assert_eq!(verify(&lines, &[]).unwrap().unchained, 1);
    let standing = audit::standing(&mut world.store.read().await.unwrap(), &world.workspace).await.unwrap();
    assert_eq!((standing.unchained, standing.chained), (1, shown.len() as u64 - 1));
}

async fn s1_14_a_choice_of_entries_is_proven_one_by_one(world: World) {
    let publisher = world.publisher();
    // Over two kept levels' bounds of leaves, and a ragged end.
    many(&world, 700).await;
    let key = world.issue(&["a:read"]).await;
    world.change(&key, Change::Revoke).await;
    publisher.flush().await.unwrap();
    publisher.stop().await;
    let some = AuditFilter { action: Some("many.done".into()), actor: Some("tok_7".into()), ..AuditFilter::default() };
    let lines = export(&world, 0, Some(some)).await.unwrap();
    let choice = verify(&lines, &[head(&world)]).unwrap();
    assert_eq!((choice.entries, choice.filtered), (70, true));
    let of_key = AuditFilter { key: Some(key.id.clone().into()), ..AuditFilter::default() };
    let lines = export(&world, 0, Some(of_key)).await.unwrap();
    let actions: Vec<_> = entries(&lines).into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["key.issued", "key.revoked"]);
    verify(&lines, &[]).unwrap();
    let of_principal = AuditFilter { principal: Some(format!("prn_{}", key.subject)), ..AuditFilter::default() };
    let lines = export(&world, 0, Some(of_principal)).await.unwrap();
    assert_eq!(verify(&lines, &[]).unwrap().entries, 2);
    let target = AuditFilter { target: Some("t_699".into()), ..AuditFilter::default() };
    assert_eq!(verify(&export(&world, 0, Some(target)).await.unwrap(), &[]).unwrap().entries, 1);
    // What was changed is not proven, whichever is chosen.
    world.execute("UPDATE audit SET reason = 'never said' WHERE target_id = 't_300'").await;
    let some = AuditFilter { target: Some("t_300".into()), ..AuditFilter::default() };
    let broken = verify(&export(&world, 0, Some(some)).await.unwrap(), &[]).unwrap_err();
    assert_eq!(broken.fault, Fault::Content);
}

/// Writes entries behind the program's back, as a program of before would: without commitments.
pub(crate) async fn many(world: &World, count: u64) {
    let rows: Vec<String> = (0..count)
        .map(|number| {
            format!(
                "('{}', {number}, 'token', 'tok_{}', 'many.done', 'workspace.updated', 'thing', 't_{number}', 'req')",
                world.workspace,
                number % 10
            )
        })
        .collect();
    let sql = "INSERT INTO audit (workspace_id, at, actor_type, actor_id, action, category, target_type, target_id, request_id)";
    world.execute(&format!("{sql} VALUES {}", rows.join(", "))).await;
}

async fn g7_erasing_keeps_the_chain(world: World) {
    let publisher = some_entries(&world).await;
    let sources = "SELECT COUNT(*) FROM audit WHERE source = '192.0.2.1' AND source_salt IS NOT NULL";
    assert_eq!(world.count(sources).await, 2);
    let before = proven(&world, &[]).await.unwrap();
    assert_eq!(before.erased, 0);
    assert_eq!(entry_alone(&world, "mem_2").await, 0);
    assert_eq!(entry_alone(&world, "mem_1").await, 2);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit WHERE source IS NOT NULL OR source_salt IS NOT NULL").await, 0);
    let kept = head(&world);
    publisher.flush().await.unwrap();
    let after = proven(&world, &[kept]).await.unwrap();
    assert_eq!((after.erased, after.earlier), (2, 1));
    let lines = export(&world, 0, None).await.unwrap();
    assert!(!lines.iter().any(|line| line.contains("192.0.2.1")));
    assert_eq!(entry_alone(&world, "mem_1").await, 0);
    publisher.stop().await;
}

async fn entries_of_an_earlier_program_are_chained_too(world: World) {
    many(&world, 3).await;
    world.execute("UPDATE audit SET source = '192.0.2.9' WHERE target_id = 't_1'").await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    assert_eq!(proven(&world, &[]).await.unwrap().erased, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit WHERE source_salt IS NOT NULL").await, 1);
    world.execute("UPDATE audit SET source = '192.0.2.8' WHERE target_id = 't_1'").await;
    assert_eq!(proven(&world, &[]).await.unwrap_err().fault, Fault::Personal("source".into()));
    publisher.stop().await;
}

async fn entries_are_chained_as_they_were_written_whatever_the_clock_says(world: World) {
    let publisher = some_entries(&world).await;
    let kept = head(&world);
    publisher.stop().await;
    // The clock was a day ahead when these were written, and is a day behind when the next are.
    many(&world, 2).await;
    let now = world.store.now().await.unwrap();
    world.execute(&format!("UPDATE audit SET at = {} WHERE action = 'many.done'", now + 86_400_000)).await;
    world.issue(&[]).await;
    many(&world, 1).await;
    let last = "(SELECT MAX(id) FROM audit)";
    world.execute(&format!("UPDATE audit SET at = {} WHERE id = {last}", now - 86_400_000)).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let lines = export(&world, kept.audit.unwrap().count, None).await.unwrap();
    let actions: Vec<_> = entries(&lines).into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["many.done", "many.done", "key.issued", "many.done"]);
    let whole = proven(&world, &[kept, head(&world)]).await.unwrap();
    assert_eq!((whole.unchained, whole.earlier), (0, 2));
    publisher.stop().await;
}

async fn many_entries_are_chained_in_pieces(mut world: World) {
    world.limits.max_audit = 60;
    many(&world, 300).await;
    let publisher = world.publisher();
    // One after the other, without waiting for the next heartbeat.
    publisher.wait(|_| head_count(&world) >= 300).await.unwrap();
    assert!(publisher.status().borrow().heads >= 5);
    assert_eq!(proven(&world, &[]).await.unwrap().entries, 300);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_nodes").await, 1);
    publisher.stop().await;
}

fn head_count(world: &World) -> u64 {
    let note = world.directory.head().unwrap();
    let head = note.and_then(|note| Head::open(&note, &World::verifiers()).ok());
    head.and_then(|head| head.audit).map_or(0, |audit| audit.count)
}

async fn leaders_of_two_sets_share_one_chain(world: World) {
    let columns = "workspace_id, heartbeat_ms, validity_ms, skew_ms, largest_validity_ms, pepper_id, accepts_foreign, \
                   incarnation, epoch, version, commitment, key_count, routes_revision, created_at";
    let sql = format!("INSERT INTO sets (id, name, {columns}) SELECT 'set_other', 'other', {columns} FROM sets");
    world.execute(&sql).await;
    let other = world.second_set("set_other");
    let (one, two) = (world.publisher(), other.publisher());
    let mut heads = Vec::new();
    for round in 0..12 {
        world.issue(&["a:read"]).await;
        let (first, second) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let both = tokio::join!(first.flush(), second.flush());
        both.0.unwrap();
        both.1.unwrap();
        heads.push(head(&world));
        heads.push(load(&other.directory).head);
    }
    // One that finds the other at it leaves entries to it, or to its own next head.
    for publisher in [&one, &two] {
        publisher.flush().await.unwrap();
    }
    for publisher in [one, two] {
        assert!(publisher.status().borrow().audit_broken.is_none());
        publisher.stop().await;
    }
    let whole = proven(&world, &heads).await.unwrap();
    assert_eq!((whole.unchained, whole.earlier), (0, heads.len() as u64));
}

async fn g7_personal_values_that_were_destroyed_are_missed(world: World) {
    let publisher = some_entries(&world).await;
    assert_eq!(entry_alone(&world, "mem_1").await, 2);
    // The erasure is not signed yet: that it accounts for what is gone, nobody vouches for.
    publisher.stop().await;
    let waiting = proven(&world, &[]).await.unwrap_err();
    assert_eq!(waiting.fault, Fault::ErasedLater { found: 2, accounted: 0 });
    let other = world.publisher();
    other.flush().await.unwrap();
    assert_eq!(proven(&world, &[]).await.unwrap().accounted, 2);
    many(&world, 1).await;
    world.execute("UPDATE audit SET source = '192.0.2.9' WHERE target_id = 't_0'").await;
    other.flush().await.unwrap();
    proven(&world, &[]).await.unwrap();
    world.execute("UPDATE audit SET source = NULL, source_salt = NULL WHERE target_id = 't_0'").await;
    let broken = proven(&world, &[]).await.unwrap_err();
    assert_eq!(broken.fault, Fault::ErasedUnaccounted { found: 3, accounted: 2 });
    other.stop().await;
}

/// DESIGN 3: a revocation does not wait for the log.
async fn a_log_that_cannot_be_chained_holds_nothing_up(world: World) {
    let publisher = some_entries(&world).await;
    let signed = head(&world);
    let left_over = format!(
        "INSERT INTO audit_nodes (workspace_id, level, place, hash) VALUES ('{}', 8, 0, {})",
        world.workspace,
        world.blob(&"ab".repeat(32))
    );
    world.execute(&left_over).await;
    many(&world, 300).await;
    let key = world.issue(&["a:read"]).await;
    world.change(&key, Change::Revoke).await;
    publisher.flush().await.unwrap();
    let broken = publisher.status().borrow().audit_broken.clone();
    assert!(broken.unwrap().contains("cannot be gone on with"));
    assert!(head(&world).version > signed.version);
    assert_eq!(head(&world).audit, signed.audit);
    assert_eq!(world.count("SELECT COUNT(*) FROM changes WHERE version IS NULL").await, 0);
    publisher.stop().await;
    // A hash that is none, and a leader that begins with it.
    let last = format!("seq = {}", signed.audit.unwrap().count);
    world.execute(&format!("UPDATE audit SET hash = {} WHERE {last}", world.blob("ab"))).await;
    world.execute("DELETE FROM audit_nodes").await;
    let publisher = world.publisher();
    world.change(&world.issue(&[]).await, Change::Disable).await;
    publisher.flush().await.unwrap();
    assert_eq!(head(&world).audit, signed.audit);
    assert!(publisher.status().borrow().audit_broken.is_some());
    publisher.stop().await;
}

async fn a_damaged_log_is_exported_all_the_same(world: World) {
    let publisher = some_entries(&world).await;
    publisher.stop().await;
    world.execute(&format!("UPDATE audit SET hash = {} WHERE seq = 2", world.blob("ab"))).await;
    let some = AuditFilter { action: Some("key.issued".into()), ..AuditFilter::default() };
    for (after, filter) in [(0, None), (2, None), (3, None), (0, Some(some))] {
        assert!(verify(&export(&world, after, filter).await.unwrap(), &[]).is_err(), "{after}");
    }
}

/// PostgreSQL only: SQLite has one writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_holds_the_chain_is_told_of() {
    let mut world = World::postgres().await;
    world.limits.audit_held = Duration::ZERO;
    let publisher = some_entries(&world).await;
    let before = head(&world).audit;
    let mut holder = sqlx::PgConnection::connect(&world.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM audit_chains FOR UPDATE").execute(&mut holder).await.unwrap();
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    assert_eq!(head(&world).audit, before);
    let broken = publisher.status().borrow().audit_broken.clone();
    assert!(broken.unwrap().contains("somebody holds the chain"));
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    assert_eq!(publisher.status().borrow().audit_broken, None);
    publisher.stop().await;
}
