//! Whoever writes to the audit log behind the program's back is caught.

use nightlatch::domain::Role;
use nightlatch::store::audit::AuditFilter;
use nightlatch_audit::Fault;

use crate::audit::{head, many, some_entries};
use crate::log::{export, proven, rewrite, verify};
use crate::on_both;
use crate::world::World;

on_both! {
    /// Guarantee 7.
    g7_any_changed_column_is_caught
    g7_entries_deleted_moved_or_cut_off_are_caught
    g7_a_recomputed_chain_is_caught_and_keys_go_on
    g7_a_chain_recomputed_with_its_nodes_is_caught_entry_by_entry
    g7_a_log_that_was_cut_off_is_not_signed
    g7_personal_values_that_were_changed_are_caught
}

async fn g7_any_changed_column_is_caught(world: World) {
    let publisher = some_entries(&world).await;
    publisher.stop().await;
    proven(&world, &[]).await.unwrap();
    world.execute("CREATE TABLE kept AS SELECT * FROM audit").await;
    let sqlite = world.url.starts_with("sqlite:");
    if !sqlite {
        // As its owner could.
        world.execute("ALTER TABLE audit ALTER COLUMN id DROP IDENTITY").await;
    }
    let columns = if sqlite {
        "SELECT COUNT(*) FROM pragma_table_info('audit')"
    } else {
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_name = 'audit'"
    };
    let salt = world.blob(&"ab".repeat(16));
    let hash = world.blob(&"ab".repeat(32));
    let changes = [
        ("id", "id + 100"),
        ("workspace_id", "'ws_other'"),
        ("at", "at + 1"),
        ("actor_type", "'system'"),
        ("actor_id", "'mem_2'"),
        ("action", "'key.enabled'"),
        ("category", "'workspace.updated'"),
        ("target_type", "'token'"),
        ("target_id", "'key_other'"),
        ("prefix", "NULL"),
        ("short_prefix", "NULL"),
        ("scopes", "scopes || ' c:admin'"),
        ("before", "NULL"),
        ("after", "'{\"state\":\"active\"}'"),
        ("reason", "'never said'"),
        ("source", "'198.51.100.1'"),
        ("request_id", "'other'"),
        ("seq", "seq + 100"),
        ("prev_hash", hash.as_str()),
        ("hash", hash.as_str()),
        ("on_behalf_of", "'mem_2'"),
        ("source_salt", salt.as_str()),
        ("commitments", "NULL"),
    ];
    assert_eq!(world.count(columns).await, changes.len() as i64, "a new column: is it chained, and tried here?");
    let other = "INSERT INTO workspaces (id, name, brand, next_key_number, next_subject, created_at) \
                 VALUES ('ws_other', 'n', 'ot', 1, 1, 0)";
    world.execute(other).await;
    // An entry in the middle, with something in most columns.
    let at = "seq = 3";
    for (column, value) in changes {
        world.execute(&format!("UPDATE audit SET {column} = {value} WHERE {at}")).await;
        let broken = proven(&world, &[]).await.unwrap_err();
        let seq = broken.seq.unwrap();
        // Where the row is no longer in its place, the next one shows it.
        let gone = matches!(column, "workspace_id" | "seq");
        assert_eq!(seq, if gone { 4 } else { 3 }, "{column}: {broken}");
        let kept = "(SELECT k.id FROM kept k WHERE k.seq = 3)";
        let back = format!("UPDATE audit SET {column} = (SELECT k.{column} FROM kept k WHERE k.seq = 3)");
        let there = match column {
            "id" => format!("id = {kept} + 100"),
            _ => format!("id = {kept}"),
        };
        world.execute(&format!("{back} WHERE {there}")).await;
        proven(&world, &[]).await.unwrap_or_else(|broken| panic!("{column} is back: {broken}"));
    }
}

async fn g7_entries_deleted_moved_or_cut_off_are_caught(world: World) {
    let publisher = some_entries(&world).await;
    publisher.stop().await;
    let kept = head(&world);
    let last = kept.audit.unwrap().count;
    world.execute("CREATE TABLE kept AS SELECT * FROM audit").await;
    let place = |expected| Fault::Place { expected };
    world.execute("UPDATE audit SET seq = NULL WHERE seq = 2").await;
    let broken = proven(&world, &[]).await.unwrap_err();
    assert_eq!((broken.seq, broken.fault), (Some(3), place(2)));
    world.execute("UPDATE audit SET seq = 2 WHERE seq IS NULL").await;
    // Two change places.
    for (from, to) in [(2, 1_000), (3, 2), (1_000, 3)] {
        world.execute(&format!("UPDATE audit SET seq = {to} WHERE seq = {from}")).await;
    }
    assert_eq!(proven(&world, &[]).await.unwrap_err().seq, Some(2));
    for (from, to) in [(2, 1_000), (3, 2), (1_000, 3)] {
        world.execute(&format!("UPDATE audit SET seq = {to} WHERE seq = {from}")).await;
    }
    proven(&world, &[]).await.unwrap();
    world.execute(&format!("DELETE FROM audit WHERE seq = {last}")).await;
    let broken = proven(&world, &[]).await.unwrap_err();
    assert_eq!((broken.seq, broken.fault), (Some(last), place(last)));
    world.execute("DELETE FROM audit WHERE seq = 1").await;
    assert_eq!(proven(&world, &[]).await.unwrap_err().fault, place(1));
    world.execute("DELETE FROM audit").await;
    assert_eq!(proven(&world, &[]).await.unwrap_err().fault, place(1));
}

async fn g7_a_recomputed_chain_is_caught_and_keys_go_on(world: World) {
    let publisher = some_entries(&world).await;
    let kept = head(&world);
    rewrite(&world, 2, "never.done").await;
    // The export shows it under the head that was signed before,
    let broken = proven(&world, &[]).await.unwrap_err();
    assert_eq!(broken.fault, Fault::Root { confirmed: 0 });
    // and the leader signs nothing else; keys are published all the same.
    let key = world.issue(&["a:read"]).await;
    let status = publisher.wait(|status| status.audit_broken.is_some()).await.unwrap();
    assert!(status.error.is_none() && status.readiness(0).is_ok());
    publisher.published(key.number).await.unwrap();
    assert_eq!(head(&world).audit, kept.audit);
    assert!(head(&world).version > kept.version);
    publisher.stop().await;
    // The next start, too, and across the end of an epoch.
    let publisher = world.publisher();
    for _ in 0..6 {
        world.issue(&[]).await;
        publisher.flush().await.unwrap();
    }
    assert!(publisher.status().borrow().audit_broken.is_some());
    assert!(head(&world).epoch > kept.epoch);
    assert_eq!(head(&world).audit, kept.audit);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit WHERE seq IS NULL").await, 7);
    // Taken back, the log goes on.
    rewrite(&world, 2, "key.issued").await;
    publisher.flush().await.unwrap();
    publisher.wait(|status| status.audit_broken.is_none()).await.unwrap();
    let whole = proven(&world, &[kept]).await.unwrap();
    assert_eq!((whole.unchained, whole.earlier), (0, 1));
    publisher.stop().await;
}

async fn g7_a_chain_recomputed_with_its_nodes_is_caught_entry_by_entry(world: World) {
    many(&world, 700).await;
    let publisher = world.publisher();
    publisher.flush().await.unwrap();
    let kept = head(&world);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_nodes").await, 2);
    let nodes = "SELECT COUNT(*) FROM audit_nodes n JOIN kept k ON k.level = n.level AND k.place = n.place \
                 WHERE k.hash = n.hash";
    world.execute("CREATE TABLE kept AS SELECT * FROM audit_nodes").await;
    rewrite(&world, 300, "never.done").await;
    assert_eq!(world.count(nodes).await, 1, "the second 256 entries have another root now");
    let some = |place: u64| {
        let filter = AuditFilter { target: Some(format!("t_{place}")), ..AuditFilter::default() };
        export(&world, 0, Some(filter))
    };
    // Neither the whole, nor what was rewritten, nor what stands far from it is what was signed.
    assert_eq!(proven(&world, &[]).await.unwrap_err().fault, Fault::Root { confirmed: 0 });
    for place in [3, 299, 699] {
        verify(&some(place).await.unwrap(), &[]).unwrap_err();
    }
    world.issue(&[]).await;
    publisher.flush().await.unwrap();
    assert!(publisher.status().borrow().audit_broken.is_some());
    assert_eq!(head(&world).audit, kept.audit);
    // Taken back, it is what it was.
    rewrite(&world, 300, "many.done").await;
    assert_eq!(world.count(nodes).await, 2);
    for place in [3, 299, 699] {
        verify(&some(place).await.unwrap(), std::slice::from_ref(&kept)).unwrap();
    }
    publisher.flush().await.unwrap();
    assert_eq!(publisher.status().borrow().audit_broken, None);
    publisher.stop().await;
}

async fn g7_a_log_that_was_cut_off_is_not_signed(world: World) {
    let publisher = some_entries(&world).await;
    let kept = head(&world);
    let last = kept.audit.unwrap().count;
    world.execute(&format!("DELETE FROM audit WHERE seq = {last}")).await;
    publisher.flush().await.unwrap();
    assert!(publisher.status().borrow().audit_broken.is_some());
    // Nor where the state of the chain is cut back with it, or gone altogether.
    rewrite(&world, 0, "").await;
    publisher.flush().await.unwrap();
    assert!(publisher.status().borrow().audit_broken.as_ref().unwrap().contains("signed"));
    world.execute("DELETE FROM audit_chains").await;
    publisher.flush().await.unwrap();
    assert_eq!(head(&world).audit, kept.audit);
    publisher.stop().await;
    // Nor where the database says that there was a recovery.
    let state =
        "UPDATE sets SET head = NULL, incarnation = incarnation + 1, epoch = epoch + 1, version = version + 100";
    world.execute(state).await;
    let publisher = world.publisher();
    publisher.wait(|status| status.incarnation == 1 && status.issued.is_some()).await.unwrap();
    assert!(publisher.status().borrow().audit_broken.is_some());
    assert_eq!((head(&world).incarnation, head(&world).audit), (1, kept.audit));
    publisher.stop().await;
}

async fn g7_personal_values_that_were_changed_are_caught(world: World) {
    world.member(2, Role::Viewer, "").await;
    let publisher = some_entries(&world).await;
    publisher.stop().await;
    assert_eq!(proven(&world, &[]).await.unwrap().erased, 0);
    let of = "FROM audit_personal WHERE field = 'email'";
    assert_eq!(world.count(&format!("SELECT COUNT(*) {of}")).await, 1);
    world.execute("CREATE TABLE kept AS SELECT * FROM audit_personal").await;
    let salt = world.blob(&"ab".repeat(16));
    for (column, value) in [("value", "'eve@example.com'"), ("salt", salt.as_str())] {
        world.execute(&format!("UPDATE audit_personal SET {column} = {value} WHERE field = 'email'")).await;
        let broken = proven(&world, &[]).await.unwrap_err();
        assert_eq!(broken.fault, Fault::Personal("email".into()), "{column}");
        let kept = format!("(SELECT k.{column} FROM kept k WHERE k.field = 'email')");
        world.execute(&format!("UPDATE audit_personal SET {column} = {kept} WHERE field = 'email'")).await;
        proven(&world, &[]).await.unwrap();
    }
    // As another field, or of another entry, it is none of the chain's.
    for (column, value) in [("field", "'name'"), ("audit_id", "audit_id + 1")] {
        world.execute(&format!("UPDATE audit_personal SET {column} = {value}")).await;
        proven(&world, &[]).await.unwrap_err();
        world.execute("DELETE FROM audit_personal").await;
        world.execute("INSERT INTO audit_personal SELECT * FROM kept").await;
        proven(&world, &[]).await.unwrap();
    }
    world.execute(&format!("DELETE {of}")).await;
    assert_eq!(proven(&world, &[]).await.unwrap_err().fault, Fault::ErasedUnaccounted { found: 1, accounted: 0 });
}
