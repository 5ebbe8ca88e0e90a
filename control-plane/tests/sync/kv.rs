//! To Workers KV, through a fake of its REST API.

use std::os::unix::fs::PermissionsExt as _;

use nightlatch::publisher::SetDirectory;
use nightlatch::sync_job::{KvOptions, SyncError, SyncJob, SyncOptions, Target, TargetOptions};
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Head, Trust};
use nightlatch_sync::{Refusal, implied_files};
use nightlatch_tests::fake_kv_api::{FakeKvApi, TOKEN};
use nightlatch_tests::wait::eventually;
use secrecy::SecretString;

use crate::world::{SOON, World, assert_holds, names_of, options};

/// Long enough for KV.
const VALIDITY_MS: i64 = 180_000;

fn to_kv(fake: &FakeKvApi) -> Target {
    to_kv_with(fake, TOKEN)
}

fn to_kv_with(fake: &FakeKvApi, token: &str) -> Target {
    let kv = KvOptions { api_url: Some(fake.url().to_owned()), token: Some(SecretString::from(token)) };
    Target::open(&fake.target("edge/live"), &TargetOptions { kv, ..TargetOptions::default() }, true).unwrap()
}

fn job(world: &World, fake: &FakeKvApi) -> SyncJob {
    SyncJob::new(world.source(), to_kv(fake), options())
}

/// Fetches everything into a directory and reads it as an edge would.
async fn assert_kv_holds(world: &World, fake: &FakeKvApi, head: &Head) {
    let directory = SetDirectory::new(tempfile::tempdir_in(world.temp.path()).unwrap().keep());
    directory.create().unwrap();
    for name in implied_files(head) {
        let bytes = fake.get(&format!("edge/live/files/{name}")).await.unwrap().expect("the file is there");
        directory.put(&name, &bytes).unwrap();
    }
    let note = fake.get("edge/live/head").await.unwrap().expect("the head is there");
    directory.put_head(std::str::from_utf8(&note).unwrap()).unwrap();
    assert_holds(directory.path(), head);
}

#[tokio::test]
async fn a_set_is_copied_to_kv_and_kept_up() {
    let world = World::with_validity(VALIDITY_MS).await;
    let fake = FakeKvApi::start().await.unwrap();
    fake.state().page = Some(2);
    let head = world.publish(2).await;
    let mut first = job(&world, &fake);
    assert_eq!(first.pass().await.unwrap().copied.len(), implied_files(&head).count());
    assert_kv_holds(&world, &fake, &head).await;
    let mut expected: Vec<_> = names_of(&head).iter().map(|name| format!("edge/live/files/{name}")).collect();
    expected.push("edge/live/head".into());
    assert_eq!(fake.keys().await.unwrap(), expected);
    {
        let state = fake.state();
        assert_eq!(state.written.last().unwrap(), "edge/live/head");
        // All small files in one request.
        let bulk = state.requests.iter().filter(|request| request.ends_with("/bulk")).count();
        assert_eq!(bulk, 1, "{:?}", state.requests);
    }
    assert!(first.pass().await.unwrap().is_empty());
    let next = world.publish(1).await;
    assert!(first.pass().await.unwrap().head);
    assert_kv_holds(&world, &fake, &next).await;
    assert_eq!(fake.state().too_many, 0, "heads are a second apart");

    // Another process goes on from what is listed, page by page.
    drop(first);
    assert!(job(&world, &fake).pass().await.unwrap().is_empty());
    let head = world.publish(5).await;
    assert!(head.epoch > 1 && head.base_parts.len() == 1);
    let mut second = job(&world, &fake);
    let report = second.pass().await.unwrap();
    assert!(report.head && report.copied.len() >= implied_files(&head).count() - 1);
    assert_kv_holds(&world, &fake, &head).await;

    // Damage inside shows to whoever looks.
    fake.put(&format!("edge/live/files/{}", head.policy_name()), b"junk".to_vec()).await.unwrap();
    let check = SyncOptions { check: true, ..options() };
    let report = SyncJob::new(world.source(), to_kv(&fake), check).pass().await.unwrap();
    assert_eq!(report.copied.len(), 1);
    assert_kv_holds(&world, &fake, &head).await;
}

#[tokio::test]
async fn files_of_older_epochs_are_removed_together() {
    let world = World::with_validity(VALIDITY_MS).await;
    let fake = FakeKvApi::start().await.unwrap();
    world.publish(2).await;
    job(&world, &fake).pass().await.unwrap();
    world.publish(4).await;
    job(&world, &fake).pass().await.unwrap();
    let head = world.publish(2).await;
    let now = SyncOptions { grace: Some(std::time::Duration::ZERO), ..options() };
    let undone = "edge/live/files/base-0-1".to_owned();
    fake.state().undone.push(undone.clone());
    let report = SyncJob::new(world.source(), to_kv(&fake), now).pass().await.unwrap();
    assert!(report.removed.contains(&"base-0-1".to_owned()), "{report:?}");
    assert!(fake.get(&undone).await.unwrap().is_none(), "what was not done is done again");
    assert!(fake.keys().await.unwrap().iter().all(|key| !key.contains("delta-0-1-")));
    assert_kv_holds(&world, &fake, &head).await;
    // What was left undone is all that a second request was for.
    let deletions = fake.state().requests.iter().filter(|request| request.ends_with("/bulk/delete")).count();
    assert_eq!(deletions, 2);
}

/// KV takes a write of a key a second. What comes meanwhile is not queued: the newest is written.
#[tokio::test]
async fn while_a_head_is_refused_a_newer_one_takes_its_place() {
    let world = World::with_validity(VALIDITY_MS).await;
    let fake = FakeKvApi::start().await.unwrap();
    world.publish(1).await;
    let mut job = job(&world, &fake);
    job.pass().await.unwrap();

    fake.state().refused = Some("/head");
    let skipped = world.publish(1).await;
    let pass = tokio::spawn(async move { job.pass().await });
    refusals(&fake, 1).await;
    let newest = world.publish(1).await;
    fake.state().refused = None;
    let report = pass.await.unwrap().unwrap();
    assert_eq!(report.version, newest.version);
    assert_kv_holds(&world, &fake, &newest).await;
    let versions: Vec<_> =
        fake.state().heads.iter().map(|note| Head::open(note, &[World::verifier()]).unwrap().version).collect();
    // The one between may have been written before the newest was there, or not at all; never after it.
    assert!(versions.is_sorted() && versions.last() == Some(&newest.version), "{versions:?} {}", skipped.version);
}

/// KV cannot compare before it writes: the job looks first. Notes go there as well, and trust before the head.
#[tokio::test]
async fn kv_is_looked_at_before_a_head_or_a_note_is_replaced() {
    let world = World::with_validity(VALIDITY_MS).await;
    let fake = FakeKvApi::start().await.unwrap();
    let first = world.publish(1).await;
    let root = Signer::new("nightlatch/root", &[101; 32]).unwrap();
    let trust = |version| {
        let (roots, signers) = (vec![root.verifier()], vec![World::verifier()]);
        Trust { set: first.set.clone(), version, issued: 1, floor: [0; 3], roots, signers }.sign(&root)
    };
    world.directory.put_note("trust", &trust(2)).unwrap();
    world.directory.put_note("deny", &crate::notes::deny(&first.set, 1)).unwrap();
    let by_root = SyncOptions { roots: vec![root.verifier()], verifiers: Vec::new(), ..options() };
    let mut job = SyncJob::new(world.source(), to_kv(&fake), by_root.clone());
    assert_eq!(job.pass().await.unwrap().notes, ["trust", "deny"]);
    let written = fake.state().written.clone();
    let at = |name: &str| written.iter().position(|key| key == name).unwrap();
    assert!(at("edge/live/trust") < at("edge/live/head"), "{written:?}");

    // Somebody else has brought the namespace further than this job knows.
    let mut later = first.clone();
    (later.issued, later.valid_until) = (first.issued + 3_600_000, first.valid_until + 3_600_000);
    let later = later.sign(&Signer::new("nightlatch/tests", &[7; 32]).unwrap());
    fake.put("edge/live/head", later.clone().into_bytes()).await.unwrap();
    fake.put("edge/live/trust", trust(3).into_bytes()).await.unwrap();
    world.publish(0).await;
    let error = job.pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Raced), "{error}");
    let mut again = SyncJob::new(world.source(), to_kv(&fake), by_root);
    let error = again.pass().await.unwrap_err();
    assert!(matches!(error, SyncError::Refused { refusal: Refusal::Rollback, .. }), "{error}");
    assert_eq!(fake.get("edge/live/head").await.unwrap().unwrap(), later.into_bytes());
    assert_eq!(fake.get("edge/live/trust").await.unwrap().unwrap(), trust(3).into_bytes());
}

/// Tokens come from the environment or from files that nobody else can read.
#[tokio::test]
async fn the_program_takes_its_token_from_a_private_file() {
    let world = World::with_validity(VALIDITY_MS).await;
    let fake = FakeKvApi::start().await.unwrap();
    let head = world.publish(1).await;
    let file = world.scratch("kv-token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let sync = async |mode: u32| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_nightlatch"));
        command.args(["sync", "--once", "--json", "--verifier", &World::verifier().to_vkey()]);
        command.arg("--source").arg(world.path()).args(["--target", &fake.target("edge/live")]);
        command.args(["--kv-api-url", fake.url(), "--kv-token-file"]).arg(&file);
        command.output().await.unwrap()
    };
    let output = sync(0o644).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("chmod 600"), "{output:?}");
    let output = sync(0o600).await;
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["head"], true);
    assert_kv_holds(&world, &fake, &head).await;
}

async fn refusals(fake: &FakeKvApi, count: u32) {
    eventually("a head is refused", SOON, async || {
        anyhow::ensure!(fake.state().too_many >= count);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn storms_are_sat_out() {
    let world = World::with_validity(VALIDITY_MS).await;
    let fake = FakeKvApi::start().await.unwrap();
    let head = world.publish(2).await;
    let undone = format!("edge/live/files/{}", head.policy_name());
    fake.state().undone.push(undone);
    fake.state().failures.extend([429, 500, 429, 503, 429]);
    job(&world, &fake).pass().await.unwrap();
    assert_kv_holds(&world, &fake, &head).await;

    // One that does not end fails the pass, and says why.
    fake.state().failures.extend([500; 6]);
    let error = job(&world, &fake).pass().await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("500"), "{error}");
    fake.state().failures.clear();
    fake.state().failures.extend([429; 6]);
    let error = job(&world, &fake).pass().await.unwrap_err();
    assert!(error.to_string().contains("1,200 requests in five minutes"), "{error}");
}

#[tokio::test]
async fn what_cannot_work_says_what_to_do() {
    let world = World::with_validity(VALIDITY_MS).await;
    let fake = FakeKvApi::start().await.unwrap();
    let head = world.publish(1).await;
    let wrong =
        SyncJob::new(world.source(), to_kv_with(&fake, "some-other-token"), options()).pass().await.unwrap_err();
    let text = wrong.to_string();
    assert!(text.contains("Workers KV Storage: Edit") && text.contains("Authentication error"), "{text}");
    assert!(!text.contains("some-other-token"));
    let kv = KvOptions { api_url: Some(fake.url().to_owned()), token: Some(SecretString::from(TOKEN)) };
    let options = TargetOptions { kv, ..TargetOptions::default() };
    let elsewhere = Target::open("kv:0123/4567", &options, true).unwrap();
    let error = SyncJob::new(world.source(), elsewhere, crate::world::options()).pass().await.unwrap_err();
    assert!(error.to_string().contains("kv:ACCOUNT/NAMESPACE"), "{error}");
    for (place, options) in
        [("kv:0123/4567", &TargetOptions::default()), ("kv:0123", &options), ("kv:0123/4567/a b", &options)]
    {
        assert_eq!(Target::open(place, options, true).unwrap_err().exit_code(), 2, "{place}");
    }

    // More than a value may hold is refused before anything is written.
    let mut huge = head;
    huge.policy_len = (25 << 20) + 1;
    world.directory.put_head(&huge.sign(&Signer::new("nightlatch/tests", &[7; 32]).unwrap())).unwrap();
    let error = job(&world, &fake).pass().await.unwrap_err();
    assert!(error.to_string().contains("25.00 MiB"), "{error}");
    assert_eq!(fake.keys().await.unwrap(), Vec::<String>::new());
}

/// DESIGN §5.4: KV may show a write a minute late, so a set of the usual 60 s would be refused by edges again and again.
#[tokio::test]
async fn a_set_of_short_validity_is_refused() {
    let world = World::new().await;
    let fake = FakeKvApi::start().await.unwrap();
    world.publish(1).await;
    let error = job(&world, &fake).pass().await.unwrap_err();
    assert!(matches!(error, SyncError::TooBrief { validity_seconds: 60 }), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert_eq!(fake.keys().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn killed_while_copying_to_kv_it_goes_on_and_the_head_is_last() {
    let world = World::with_validity(VALIDITY_MS).await;
    let fake = FakeKvApi::start().await.unwrap();
    let head = world.publish(6).await;
    let all = implied_files(&head).count();
    // Bulk writes are not all or nothing either: the fake stops after every single value.
    for have in 1..=all {
        fake.allow_writes(1);
        let mut job = job(&world, &fake);
        let pass = tokio::spawn(async move { job.pass().await });
        eventually("one more file is there", SOON, async || {
            anyhow::ensure!(fake.keys().await?.len() >= have);
            Ok(())
        })
        .await
        .unwrap();
        pass.abort();
        drop(pass.await);
        assert_eq!(fake.get("edge/live/head").await.unwrap(), None);
    }
    fake.allow_writes(1);
    let report = job(&world, &fake).pass().await.unwrap();
    assert!(report.copied.is_empty() && report.head, "{report:?}");
    assert_kv_holds(&world, &fake, &head).await;
}
