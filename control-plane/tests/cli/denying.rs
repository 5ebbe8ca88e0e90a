//! Deny notes, made where the ones before are not at hand.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use nightlatch_key::Digest;
use nightlatch_keyset::Deny;
use nightlatch_keyset::note::Signer;
use nightlatch_tests::follower::Follower;

use crate::program::{Ended, nightlatch, run};

const SET: &str = "set_a";
const SEED: [u8; 32] = [8; 32];

fn root() -> Signer {
    Signer::new("nightlatch/set_a/root", &SEED).unwrap()
}

fn key_file(directory: &Path) -> PathBuf {
    let path = directory.join("root.key");
    fs::write(&path, Base64::encode_string(&SEED)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn deny(directory: &Path, key: &str, more: &[&str]) -> Ended {
    let digest: String = Digest::of(key.as_bytes()).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let (out, signing_key) = (directory.join("deny").display().to_string(), key_file(directory).display().to_string());
    let mut command = nightlatch(&["emergency-deny", "--json", "--set", SET, "--role", "root", "--digest", &digest]);
    command.args(["--out", &out, "--signing-key", &signing_key]).args(more);
    run(command, "")
}

/// Guarantee 6. What was denied before is not in the way of what must be denied now.
#[test]
fn a_note_is_news_to_edges_that_hold_others() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("deny");
    let mut edge = Follower::new(SET, vec![root().verifier()], Vec::new(), Vec::new());
    // Made on another machine, in another year; this one has never seen it.
    let earlier = Deny { set: SET.into(), number: 7, issued: 1, digests: vec![Digest::of(b"first")] };
    fs::write(&place, earlier.sign(&root())).unwrap();
    assert!(edge.poll_deny(directory.path()).unwrap());
    fs::remove_file(&place).unwrap();
    deny(directory.path(), "second", &[]).fine();
    assert!(edge.poll_deny(directory.path()).unwrap(), "the edge has taken it");

    // One that goes on from it is above it.
    let number = |ended: Ended| ended.json()["number"].as_u64().unwrap();
    let made = Deny::open(&fs::read_to_string(&place).unwrap(), &[root().verifier()]).unwrap();
    assert!(number(deny(directory.path(), "third", &[]).fine()) > made.number);

    // One that nobody here can check may be what edges hold.
    let other = Signer::new("nightlatch/set_a/root", &[9; 32]).unwrap();
    let claims = 5_000_000_000;
    fs::write(&place, Deny { number: claims, ..earlier.clone() }.sign(&other)).unwrap();
    deny(directory.path(), "fourth", &[]).failed(1);
    assert_eq!(number(deny(directory.path(), "fourth", &["--replace"]).fine()), claims + 1);
    // A stranger's does not use the numbers up.
    fs::write(&place, Deny { number: u64::MAX, ..earlier }.sign(&other)).unwrap();
    assert!(number(deny(directory.path(), "fifth", &["--replace"]).fine()) < claims);
}
