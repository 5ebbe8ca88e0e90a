//! Trust and deny notes: copied as they are, in the right order, never in the place of later ones.

use std::fs;
use std::path::Path;

use nightlatch::publisher::SetDirectory;
use nightlatch::sync_job::{SyncError, SyncJob, SyncOptions};
use nightlatch_key::Digest;
use nightlatch_keyset::note::{Signer, cosign};
use nightlatch_keyset::{Deny, Head, Trust};
use nightlatch_sync::Refusal;

use crate::world::{World, assert_holds, options, to_directory};

fn root(number: u8) -> Signer {
    Signer::new("nightlatch/root", &[100 + number; 32]).unwrap()
}

/// Who signs the set's heads.
fn signer() -> Signer {
    Signer::new("nightlatch/tests", &[7; 32]).unwrap()
}

fn trust(set: &str, version: u64, signers: &[&Signer]) -> Trust {
    let signers = signers.iter().map(|signer| signer.verifier()).collect();
    Trust { set: set.into(), version, issued: 1, floor: [0, 0, 0], roots: vec![root(1).verifier()], signers }
}

/// A deny note that a signer of heads has signed.
pub(crate) fn deny(set: &str, number: u64) -> String {
    denied(set, number).sign(&signer())
}

fn denied(set: &str, number: u64) -> Deny {
    let digests = (1..=u8::try_from(number).unwrap()).map(|byte| Digest::from_bytes([byte; 32])).collect();
    Deny { set: set.into(), number, issued: 1, digests }
}

pub(crate) fn holds(target: &Path, name: &str, note: &str) -> bool {
    SetDirectory::new(target).note(name).unwrap().as_deref() == Some(note)
}

/// Believes whom the root's note lists, and nobody else.
fn by_root() -> SyncOptions {
    SyncOptions { roots: vec![root(1).verifier()], verifiers: Vec::new(), ..options() }
}

fn job(world: &World, target: &Path) -> SyncJob {
    SyncJob::new(world.source(), to_directory(target), by_root())
}

/// Signs the published head anew, so that it names a trust note.
fn name_trust(world: &World, version: u64, signer: &Signer) -> Head {
    let mut head = world.head();
    head.trust = Some(version);
    head.issued += 1;
    world.directory.put_head(&head.sign(signer)).unwrap();
    head
}

fn put(world: &World, name: &str, note: &str) {
    world.directory.put_note(name, note).unwrap();
}

fn is_refused(error: &SyncError, expected: &Refusal) -> bool {
    match error {
        SyncError::Notes(error) => is_refused(error, expected),
        SyncError::Refused { refusal, .. } => refusal == expected,
        _ => false,
    }
}

#[tokio::test]
async fn both_are_copied_as_they_are_and_trust_lets_heads_in() {
    let world = World::new().await;
    let first = world.publish(1).await;
    let target = world.scratch("target");
    // Nobody signs heads yet, as far as the root has said.
    let error = job(&world, &target).pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Untrusted(_)), "{error}");
    let one = trust(&first.set, 1, &[&signer()]).sign(&root(1));
    put(&world, "trust", &one);
    let deny_note = deny(&first.set, 1);
    put(&world, "deny", &deny_note);
    let mut following = job(&world, &target);
    let report = following.pass().await.unwrap();
    assert_eq!(report.notes, ["trust", "deny"]);
    assert!(holds(&target, "trust", &one) && holds(&target, "deny", &deny_note));
    assert_holds(&target, &first);
    assert!(following.pass().await.unwrap().is_empty());

    // A head that names a later note makes the job look for it, and waits until it is there.
    let second = name_trust(&world, 2, &signer());
    let error = following.pass().await.unwrap_err();
    assert!(error.to_string().contains("trust note 2"), "{error}");
    assert_holds(&target, &first);
    let two = trust(&first.set, 2, &[&signer()]).sign(&root(1));
    put(&world, "trust", &two);
    let report = following.pass().await.unwrap();
    assert_eq!((report.notes.as_slice(), report.head), (["trust"].as_slice(), true));
    assert!(holds(&target, "trust", &two));
    assert_holds(&target, &second);

    // What goes missing at the target comes back, and a further signature is copied.
    drop(following);
    fs::remove_file(target.join("deny")).unwrap();
    let cosigned = cosign(&two, &root(2)).unwrap();
    put(&world, "trust", &cosigned);
    assert_eq!(job(&world, &target).pass().await.unwrap().notes, ["trust", "deny"]);
    assert!(holds(&target, "deny", &deny_note) && holds(&target, "trust", &cosigned));
    put(&world, "trust", &two);
    assert!(job(&world, &target).pass().await.unwrap().is_empty());
    assert!(holds(&target, "trust", &cosigned));
}

#[tokio::test]
async fn later_notes_of_the_target_stay() {
    let world = World::new().await;
    let head = world.publish(1).await;
    let target = world.scratch("target");
    let note = |version| trust(&head.set, version, &[&signer()]).sign(&root(1));
    put(&world, "trust", &note(2));
    put(&world, "deny", &deny(&head.set, 2));
    job(&world, &target).pass().await.unwrap();

    // A backup of the source, with earlier notes; its heads are copied all the same.
    put(&world, "trust", &note(1));
    put(&world, "deny", &deny(&head.set, 1));
    let later = world.publish(1).await;
    let report = job(&world, &target).pass().await.unwrap();
    assert!(report.head && report.notes.is_empty());
    assert!(holds(&target, "trust", &note(2)) && holds(&target, "deny", &deny(&head.set, 2)));
    assert_holds(&target, &later);
    // A job that runs on refuses the step back of its source by itself.
    let mut running = job(&world, &target);
    put(&world, "deny", &deny(&head.set, 3));
    assert_eq!(running.pass().await.unwrap().notes, ["deny"]);
    put(&world, "deny", &deny(&head.set, 1));
    assert!(is_refused(&running.pass().await.unwrap_err(), &Refusal::Rollback));
    assert!(holds(&target, "deny", &deny(&head.set, 3)));

    drop(running);

    // The same number for something else: one of the two is forged.
    let other = Deny { issued: 2, ..denied(&head.set, 3) }.sign(&signer());
    put(&world, "deny", &other);
    let error = job(&world, &target).pass().await.unwrap_err();
    assert!(matches!(&error, SyncError::Notes(_)) && error.to_string().contains("the number 3"), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn what_nobody_trusted_has_signed_is_not_copied_and_heads_are() {
    let world = World::new().await;
    let head = world.publish(1).await;
    let target = world.scratch("target");
    put(&world, "trust", &trust(&head.set, 1, &[&signer()]).sign(&root(1)));
    job(&world, &target).pass().await.unwrap();
    let stranger = Signer::new("nightlatch/tests", &[9; 32]).unwrap();
    let later = world.publish(1).await;
    for bad in [denied(&head.set, 1).sign(&stranger), deny(&head.set, 1).replace("number 1", "number 2"), "x".into()] {
        put(&world, "deny", &bad);
        let error = job(&world, &target).pass().await.unwrap_err();
        assert!(matches!(error, SyncError::Notes(_)), "{error}");
        assert!(!target.join("deny").exists());
        assert_holds(&target, &later);
    }
    put(&world, "deny", &deny("set_other", 1));
    assert!(is_refused(&job(&world, &target).pass().await.unwrap_err(), &Refusal::OtherSet));
    fs::remove_file(world.path().join("deny")).unwrap();

    // A stranger's trust note lets nobody in.
    let theirs = Signer::new("nightlatch/root", &[9; 32]).unwrap();
    put(&world, "trust", &trust(&head.set, 9, &[&stranger]).sign(&theirs));
    let mut stolen = world.head();
    stolen.issued += 1;
    world.directory.put_head(&stolen.sign(&stranger)).unwrap();
    let error = job(&world, &target).pass().await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert_holds(&target, &later);
}

/// A job that is told of a signer only carries deny notes that this signer has signed, and no trust notes.
#[tokio::test]
async fn without_a_root_there_is_no_trust_note() {
    let world = World::new().await;
    let first = world.publish(1).await;
    put(&world, "trust", &trust(&first.set, 1, &[&signer()]).sign(&root(1)));
    put(&world, "deny", &deny(&first.set, 1));
    let head = name_trust(&world, 1, &signer());
    let target = world.scratch("target");
    assert_eq!(world.job(&target).pass().await.unwrap().notes, ["deny"]);
    assert!(!target.join("trust").exists());
    assert_holds(&target, &head);
}

#[tokio::test]
async fn deny_is_copied_where_there_is_no_head() {
    let world = World::new().await;
    let head = world.publish(1).await;
    let target = world.scratch("target");
    world.job(&target).pass().await.unwrap();
    fs::remove_file(world.path().join("head")).unwrap();
    put(&world, "deny", &deny(&head.set, 1));
    let error = world.job(&target).pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Source(_)), "{error}");
    assert!(holds(&target, "deny", &deny(&head.set, 1)));
    // But not to the target of another set.
    put(&world, "deny", &deny("set_other", 2));
    let error = world.job(&target).pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Source(_)), "{error}");
    assert!(holds(&target, "deny", &deny(&head.set, 1)));
}

/// A thief of the signing key has fast-forwarded the target. The root's next note names another signer; its heads take the
/// place of the thief's, however far those had got.
#[tokio::test]
async fn heads_of_a_signer_who_is_trusted_no_more_are_replaced() {
    let world = World::new().await;
    let head = world.publish(1).await;
    let target = world.scratch("target");
    let thief = Signer::new("nightlatch/tests", &[8; 32]).unwrap();
    put(&world, "trust", &trust(&head.set, 1, &[&signer(), &thief]).sign(&root(1)));
    let mut following = job(&world, &target);
    following.pass().await.unwrap();
    let mut forged = head.clone();
    (forged.version, forged.issued) = (forged.version + 1_000, forged.issued + 1_000_000);
    forged.valid_until += 1_000_000;
    fs::write(target.join("head"), forged.sign(&thief)).unwrap();
    assert!(is_refused(&job_beside(&world, &target).pass().await.unwrap_err(), &Refusal::Rollback));

    put(&world, "trust", &trust(&head.set, 2, &[&signer()]).sign(&root(1)));
    let next = name_trust(&world, 2, &signer());
    let report = following.pass().await.unwrap();
    assert_eq!((report.notes.as_slice(), report.head), (["trust"].as_slice(), true));
    assert_holds(&target, &next);

    // Nothing of before the floor is taken any more.
    let floor = Trust { floor: [0, next.epoch, next.version + 1], ..trust(&head.set, 3, &[&signer()]) };
    put(&world, "trust", &floor.sign(&root(1)));
    name_trust(&world, 3, &signer());
    assert!(is_refused(&following.pass().await.unwrap_err(), &Refusal::Rollback));
    assert_holds(&target, &next);
}

/// A job that writes to the same directory, which only a lock keeps apart.
fn job_beside(world: &World, target: &Path) -> SyncJob {
    let open = nightlatch::sync_job::Target::open(target.to_str().unwrap(), &Default::default(), false).unwrap();
    SyncJob::new(world.source(), open, by_root())
}
