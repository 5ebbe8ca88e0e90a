//! Keys made elsewhere.

use std::collections::BTreeMap;

use nightlatch::domain::import::{ImportLine, Material, RawLine};
use nightlatch::domain::{KeyRef, Labels, Name, Owner, Refusal, Scopes, State, Tier};
use nightlatch::store::import::{self, Import, Imported};
use nightlatch::store::{Error, keys, os_random};
use nightlatch_key::{Digest, Environment};

use crate::arena::{Arena, on_both, request};

on_both! {
    imported_keys_are_there_with_their_changes_and_one_audit_entry,
    repeating_an_import_is_resuming_it,
    refused_lines_are_named_and_the_rest_imported,
    strict_imports_all_or_nothing,
    a_dry_run_changes_nothing,
    s2_17_a_revoked_key_imported_again_stays_revoked,
    a_key_of_ours_is_recognised,
    the_same_file_twice_at_once_is_imported_once,
    imports_and_issues_at_once_take_different_numbers,
}

fn text(number: u32) -> String {
    format!("legacy-secret-{number:08}")
}

fn line(number: u32) -> ImportLine {
    ImportLine {
        digest: Digest::of(text(number).as_bytes()),
        name: Name::new(format!("legacy {number}")).unwrap(),
        environment: if number.is_multiple_of(3) { Environment::Test } else { Environment::Live },
        subject: None,
        scopes: Scopes::new(["READ_CASH", "WRITE_CASH"].into_iter().take(number as usize % 3)).unwrap(),
        tier: number.is_multiple_of(2).then(|| Tier::new("bulk").unwrap()),
        owner: number.is_multiple_of(5).then(|| Owner::new("ada").unwrap()),
        labels: Labels::new(BTreeMap::new()).unwrap(),
        expires_at: None,
        rotate_by: Some(1_900_000_000),
        weak: number.is_multiple_of(7),
    }
}

fn file(numbers: impl IntoIterator<Item = u32>) -> Import {
    let lines = (1..).zip(numbers.into_iter().map(line)).collect();
    Import { lines, rejected: Vec::new(), strict: false, dry_run: false, body_hash: [7; 32], peppers: Vec::new() }
}

async fn run(arena: &Arena, import: Import) -> Result<Imported, Error> {
    arena
        .write(move |tx, context| Box::pin(async move { import::run(tx, &context, import, &mut os_random).await }))
        .await
}

async fn counts(arena: &Arena) -> [i64; 3] {
    [
        arena.number("SELECT COUNT(*) FROM keys WHERE workspace_id <> 'ws_management'").await,
        arena.number("SELECT COUNT(*) FROM changes").await,
        arena.number("SELECT COUNT(*) FROM audit").await,
    ]
}

async fn imported_keys_are_there_with_their_changes_and_one_audit_entry(arena: Arena) {
    let done = run(&arena, file(0..1000)).await.unwrap();
    assert_eq!(done, Imported { created: 1000, existing: 0, errors: Vec::new() });
    assert_eq!(counts(&arena).await, [1000, 1000, 1]);
    let mut read = arena.read().await;
    for number in [0, 1, 35, 999] {
        let digest = Digest::of(text(number).as_bytes());
        let view = keys::by_digest(&mut read, &arena.workspace, &digest).await.unwrap().unwrap();
        let wanted = line(number);
        assert_eq!(view.key.number, number + 1);
        assert_eq!(view.key.name, wanted.name.as_str());
        assert_eq!(view.key.scopes, wanted.scopes);
        assert_eq!(view.key.tier, wanted.tier);
        assert_eq!(view.key.owner.as_deref(), wanted.owner.as_ref().map(|owner| owner.as_str()));
        assert_eq!(view.key.environment, wanted.environment);
        assert_eq!((view.key.imported, view.key.weak), (true, wanted.weak));
        assert_eq!(view.key.rotate_by, wanted.rotate_by);
        assert_eq!(view.key.lineage, view.key.id);
        assert_eq!(view.key.state(view.now), State::Active);
        assert_eq!(keys::get(&mut read, &arena.workspace, &KeyRef::Number(number + 1)).await.unwrap().key, view.key);
    }
    drop(read);
    // The bulk path writes what the single one would.
    let same = "SELECT COUNT(*) FROM changes c JOIN keys k ON k.number = c.key_number AND k.digest = c.digest \
                AND k.scopes = c.scopes AND k.environment = c.environment AND k.subject = c.subject \
                AND COALESCE(k.tier, '') = COALESCE(c.tier, '') \
                WHERE c.imported = 1 AND c.is_new = 1 AND c.status = 0 AND c.deadline IS NULL AND c.version IS NULL";
    assert_eq!(arena.number(same).await, 1000);
    let scopes = "SELECT COUNT(*) FROM key_scopes s JOIN keys k ON k.id = s.key_id AND k.created_at = s.created_at";
    assert_eq!(arena.number(scopes).await, 999);
    assert_eq!(arena.number("SELECT COUNT(*) FROM scopes").await, 2);
    // And a key imported can be changed like any other.
    let key = keys::get(&mut arena.read().await, &arena.workspace, &KeyRef::Number(5)).await.unwrap().key;
    assert!(arena.revoke(&key.id).await.changed);
}

async fn repeating_an_import_is_resuming_it(arena: Arena) {
    run(&arena, file(0..300)).await.unwrap();
    let done = run(&arena, file(200..400)).await.unwrap();
    assert_eq!((done.created, done.existing), (100, 100));
    let done = run(&arena, file(0..400)).await.unwrap();
    assert_eq!((done.created, done.existing), (0, 400));
    assert_eq!(counts(&arena).await, [400, 400, 3]);
    // Repeating takes no numbers.
    assert_eq!(arena.issue(request("next")).await.unwrap().key.number, 401);
}

fn faulty() -> Import {
    let mut import = file([1, 2, 3, 3, 4]);
    import.lines[0].1.expires_at = Some(1_000_000_000);
    import.lines[4].1.subject = Some(9);
    import.rejected.push((6, Refusal::RotateByRequired));
    import
}

async fn refused_lines_are_named_and_the_rest_imported(arena: Arena) {
    let done = run(&arena, faulty()).await.unwrap();
    assert_eq!((done.created, done.existing), (2, 1));
    let codes: Vec<_> = done.errors.iter().map(|(line, refusal)| (*line, refusal.code())).collect();
    assert_eq!(codes, [(1, "expiry_in_past"), (5, "principal_unknown"), (6, "rotate_by_required")]);
}

async fn strict_imports_all_or_nothing(arena: Arena) {
    let done = run(&arena, Import { strict: true, ..faulty() }).await.unwrap();
    assert_eq!((done.created, done.errors.len()), (0, 3));
    assert_eq!(counts(&arena).await, [0, 0, 0]);
    let done = run(&arena, Import { strict: true, ..file(0..10) }).await.unwrap();
    assert_eq!(done.created, 10);
}

async fn a_dry_run_changes_nothing(arena: Arena) {
    run(&arena, file(0..3)).await.unwrap();
    let before = counts(&arena).await;
    let done = run(&arena, Import { dry_run: true, ..file(0..10) }).await.unwrap();
    assert_eq!((done.created, done.existing), (7, 3));
    assert_eq!(counts(&arena).await, before);
    assert_eq!(arena.number("SELECT next_key_number FROM workspaces WHERE kind = 'tenant'").await, 4);
}

async fn s2_17_a_revoked_key_imported_again_stays_revoked(arena: Arena) {
    run(&arena, file([1])).await.unwrap();
    let digest = Digest::of(text(1).as_bytes());
    let view = keys::by_digest(&mut arena.read().await, &arena.workspace, &digest).await.unwrap().unwrap();
    arena.revoke(&view.key.id).await;
    let done = run(&arena, file([1])).await.unwrap();
    assert_eq!((done.created, done.existing), (0, 1));
    let view = keys::by_digest(&mut arena.read().await, &arena.workspace, &digest).await.unwrap().unwrap();
    assert_eq!(view.key.state(view.now), State::Revoked);
}

async fn a_key_of_ours_is_recognised(arena: Arena) {
    let issued = arena.issue(request("ours")).await.unwrap();
    let raw = RawLine {
        material: Material::Text(issued.secret.expose().to_owned().into()),
        name: Name::new("again").unwrap(),
        environment: Environment::Live,
        subject: None,
        scopes: Scopes::default(),
        tier: None,
        owner: None,
        labels: Labels::default(),
        expires_at: None,
        rotate_by: None,
        entropy_bits: Some(160),
    };
    let import = Import { lines: vec![(1, raw.check().unwrap())], ..file([]) };
    let done = run(&arena, import).await.unwrap();
    assert_eq!((done.created, done.existing), (0, 1));
}

async fn the_same_file_twice_at_once_is_imported_once(arena: Arena) {
    let runs = (0..4).map(|_| run(&arena, file(0..500)));
    let results = futures::future::join_all(runs).await;
    let created: u64 = results.iter().map(|result| result.as_ref().unwrap().created).sum();
    let existing: u64 = results.iter().map(|result| result.as_ref().unwrap().existing).sum();
    assert_eq!((created, existing), (500, 1500));
    assert_eq!(counts(&arena).await, [500, 500, 4]);
}

async fn imports_and_issues_at_once_take_different_numbers(arena: Arena) {
    let imports = futures::future::join_all((0..4).map(|part| run(&arena, file(part * 100..part * 100 + 100))));
    let issues = futures::future::join_all((0..40).map(|_| arena.issue(request("one of many"))));
    let (imports, issues) = tokio::join!(imports, issues);
    assert!(imports.iter().all(Result::is_ok));
    assert!(issues.iter().all(Result::is_ok));
    assert_eq!(arena.number("SELECT COUNT(DISTINCT number) FROM keys").await, 440);
    assert_eq!(counts(&arena).await, [440, 440, 44]);
}
