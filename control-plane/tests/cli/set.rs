//! `nightlatch set`: looking into published files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Ended, Server, nightlatch, run};

/// How long a change may take to be published.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with its one set.
struct Published {
    server: Server,
    set: String,
    verifier: String,
}

impl Published {
    fn start() -> Self {
        let server = Server::start();
        let listed = server.run(&["sets", "list", "--json"]).fine();
        let set: Value = serde_json::from_str(listed.out.lines().next().unwrap()).unwrap();
        let text = |field: &str| set[field].as_str().unwrap().to_owned();
        Self { set: text("id"), verifier: text("verifier"), server }
    }

    fn directory(&self) -> PathBuf {
        Path::new(&self.server.path("data")).join("sets").join(&self.set)
    }

    fn set(&self, arguments: &[&str]) -> Ended {
        let mut command = nightlatch(&["set"]);
        command.args(arguments).env("NIGHTLATCH_VERIFIER", &self.verifier);
        run(command, "")
    }

    /// What `set stats` says once it says so.
    fn wait(&self, until: impl Fn(&Value) -> bool) -> Value {
        let place = self.directory().display().to_string();
        let start = Instant::now();
        loop {
            let stats = self.set(&["stats", &place, "--json"]);
            if stats.code == Some(0) && until(&stats.json()) {
                return stats.json();
            }
            assert!(start.elapsed() < PATIENCE, "{stats:?}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("files")).unwrap();
    fs::copy(from.join("head"), to.join("head")).unwrap();
    for entry in fs::read_dir(from.join("files")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join("files").join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_set_can_be_looked_into_verified_measured_and_compared() {
    let published = Published::start();
    let (first, _) = published.server.issue("first");
    published.wait(|stats| stats["keys"] == 1);
    let before = published.server.directory.path().join("before");
    copy(&published.directory(), &before);
    published.server.issue("second");
    published.server.run(&["keys", "revoke", &first, "--reason", "leaked", "--yes"]).fine();
    let stats = published.wait(|stats| stats["keys"] == 2 && stats["revoked"] == 1);
    assert_eq!((&stats["active"], &stats["base"]["matched_bits"]), (&1.into(), &128.into()));

    let place = published.directory().display().to_string();
    let verified = published.set(&["verify", &place]).fine();
    assert!(verified.out.contains("signed and whole"), "{verified:?}");
    let inspected = published.set(&["inspect", &place, "--json"]).fine().json();
    assert_eq!(inspected["keys"], 2);
    let names: Vec<&str> = inspected["files"].as_array().unwrap().iter().filter_map(|f| f["name"].as_str()).collect();
    assert!(names.iter().any(|name| name.starts_with("base-")) && names.iter().any(|name| name.starts_with("policy-")));

    let compared = published.set(&["diff", &before.display().to_string(), &place, "--json"]).fine().json();
    assert_eq!((&compared["added"], &compared["changed"], &compared["removed"]), (&1.into(), &1.into(), &0.into()));
    let back = published.set(&["diff", &place, &before.display().to_string()]).fine();
    assert!(back.out.contains("0 added, 1 removed, 1 changed, 0 the same"), "{back:?}");
    assert!(!back.out.contains("nl_live_"), "files name no key");
}

#[test]
fn over_http_the_same_is_read_with_a_token() {
    let published = Published::start();
    published.server.issue("first");
    published.wait(|stats| stats["keys"] == 1);
    let place = format!("{}/v1/sets/{}", published.server.url, published.set);
    let refused = published.set(&["verify", &place]).failed(5);
    assert!(refused.err.contains("401"), "{refused:?}");
    let token = published.server.path("management-token");
    let verified = published.set(&["verify", &place, "--token-file", &token, "--json"]).fine().json();
    assert_eq!((&verified["verified"], &verified["keys"]), (&true.into(), &1.into()));
}

/// Guarantee 4: what is damaged, missing or somebody else's is named and refused.
#[test]
fn what_is_not_as_it_was_signed_is_refused_by_name() {
    let published = Published::start();
    for name in ["a", "b", "c"] {
        published.server.issue(name);
    }
    published.wait(|stats| stats["keys"] == 3);
    let broken = published.server.directory.path().join("broken");
    copy(&published.directory(), &broken);
    let place = broken.display().to_string();
    let names = || fs::read_dir(broken.join("files")).unwrap().map(|entry| entry.unwrap().path());
    let delta = names().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("delta-")).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();

    let read: Value = published.set(&["inspect", &place, "--json"]).fine().json();
    let implied: Vec<String> =
        read["files"].as_array().unwrap().iter().filter_map(|file| Some(file["name"].as_str()?.to_owned())).collect();
    let delta = names().find(|path| implied.contains(&name(path)) && name(path).starts_with("delta-")).unwrap_or(delta);
    let whole = fs::read(&delta).unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&delta, bytes).unwrap();
    let refused = published.set(&["verify", &place]).failed(1);
    assert!(refused.err.contains(&name(&delta)), "{refused:?}");
    fs::remove_file(&delta).unwrap();
    let missing = published.set(&["verify", &place]).failed(1);
    assert!(missing.err.contains("is not there"), "{missing:?}");
    fs::write(&delta, whole).unwrap();
    published.set(&["verify", &place]).fine();

    let mut unbelieving = nightlatch(&["set", "verify", &place]);
    let usage = run(nightlatch(&["set", "inspect", &place]), "").failed(2);
    assert!(usage.err.contains("--verifier"), "{usage:?}");
    // Somebody else's key, well formed.
    let other = Published::start();
    unbelieving.env("NIGHTLATCH_VERIFIER", &other.verifier);
    let unknown = run(unbelieving, "").failed(1);
    assert!(unknown.err.contains("head"), "{unknown:?}");
}
