//! `keys import` with whole files.

use std::fs;

use sha2::{Digest as _, Sha256};

use crate::program::Server;

/// A line of an import.
pub(crate) fn line(number: u32) -> String {
    let digest: String = Sha256::digest(number.to_le_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(r#"{{"digest":"{digest}","name":"key {number}","environment":"live","entropy_bits":160}}"#) + "\n"
}

#[test]
fn a_file_of_several_requests_is_imported_and_resumed() {
    let server = Server::start();
    let file = server.write("keys.ndjson", &(0..12_000).map(line).collect::<String>());
    let first = server.run(&["keys", "import", &file, "--json"]).fine().json();
    assert_eq!((&first["created"], &first["existing"]), (&12_000.into(), &0.into()));
    let more = server.write("more.ndjson", &(11_990..12_010).map(line).collect::<String>());
    let second = server.run(&["keys", "import", &more]).fine();
    assert_eq!(second.out, "10 created, 10 there already, 0 bad.\n");
    let piped = server.run_with(&["keys", "import", "-"], &line(12_011)).fine();
    assert_eq!(piped.out, "1 created, 0 there already, 0 bad.\n");
}

#[test]
fn bad_lines_are_told_by_their_number_in_the_file() {
    let server = Server::start();
    let mut text: String = (0..10_001).map(line).collect();
    text.push_str("{\"digest\":\"zz\"}\n");
    text.push_str(&line(20_000));
    text.push_str(&format!("{}\n", "x".repeat(100_000)));
    let file = server.write("keys.ndjson", &text);
    let errors = server.path("errors.ndjson");
    let strict = server.run(&["keys", "import", &file, "--strict"]).failed(6);
    assert!(strict.err.contains("2 lines are bad; nothing was imported"), "{strict:?}");
    assert_eq!(server.run(&["keys", "list"]).fine().out, "No keys.\n");
    let dry = server.run(&["keys", "import", &file, "--dry-run"]).failed(6);
    assert_eq!(dry.out, "10002 would be created, 0 there already, 2 bad.\n");
    let done = server.run(&["keys", "import", &file, "--errors-out", &errors]).failed(6);
    assert!(done.out.contains("10002 created"), "{done:?}");
    assert!(
        done.err.contains("line 10002: invalid_request") && done.err.contains("line 10004: invalid_request"),
        "{done:?}"
    );
    let told: Vec<serde_json::Value> =
        fs::read_to_string(errors).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.iter().map(|error| error["line"].as_u64().unwrap()).collect::<Vec<_>>(), [10_002, 10_004]);
}
