//! Members, roles and tokens from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::program::{Ended, Server, run};

/// Runs a command with another token.
fn run_as(server: &Server, token: &str, arguments: &[&str]) -> Ended {
    let mut command = server.command(arguments);
    command.env("NIGHTLATCH_TOKEN", token);
    run(command, "")
}

#[test]
fn s3_21_a_member_lives_on_the_command_line() {
    let server = Server::start();
    let refused = server.run(&["members", "invite", "bo@example.com", "--role", "operator"]).failed(2);
    assert!(refused.err.contains("--secret-out"), "{refused:?}");
    assert_eq!(server.run(&["members", "list", "--json"]).fine().out.lines().count(), 1, "nobody was invited");
    let code = server.path("code");
    let invite = ["members", "invite", "Bo@Example.com", "--role", "operator", "--name", "Bo", "--scope", "a:read"];
    let invited = server.run(&[&invite[..], &["--secret-out", &code]].concat()).fine();
    let text = fs::read_to_string(&code).unwrap();
    assert!(text.starts_with("nli_live_") && !invited.out.contains(text.trim()), "{invited:?}");
    assert!(invited.out.contains("The code is in") && invited.out.contains("bo@example.com"), "{invited:?}");
    assert_eq!(fs::metadata(&code).unwrap().permissions().mode() & 0o777, 0o600);
    let listed = server.run(&["members", "list", "--state", "invited", "--role", "operator", "--json"]).fine().json();
    let id = listed["id"].as_str().unwrap().to_owned();
    assert!(server.run(&["members", "list"]).fine().out.contains("bo@example.com"));
    server.run(&[&invite[..], &["--json"]].concat()).failed(1);
    // Another code, shown once on a terminal, or as JSON.
    server.run(&["members", "reinvite", &id]).failed(2);
    let shown = server.run_on_terminal(&["members", "reinvite", &id], "");
    assert!(shown.out.contains("This is the code.") && shown.out.contains("nli_live_"), "{shown:?}");
    let again = server.run(&["members", "reinvite", &id, "--json"]).fine().json();
    assert!(again["code"].as_str().unwrap().starts_with("nli_live_"));
    // Changes.
    server.run(&["members", "update", &id]).failed(2);
    let update = ["members", "update", &id, "--role", "viewer", "--no-scopes", "--tier", "gold", "--json"];
    let updated = server.run(&update).fine().json();
    assert_eq!((&updated["role"], &updated["tier"]), (&"viewer".into(), &"gold".into()));
    assert_eq!(updated["scopes"], serde_json::json!([]));
    server.run(&["members", "update", &id, "--role", "king"]).failed(2);
    let suspended = server.run(&["members", "suspend", &id, "--reason", "laptop lost"]).fine();
    assert!(suspended.out.contains("suspended"), "{suspended:?}");
    assert!(server.run(&["members", "resume", &id]).fine().out.contains("invited"));
    assert!(server.run(&["members", "show", &id]).fine().out.contains("viewer"));
    server.run(&["members", "show", "mem_0000000000000000"]).failed(4);
}

#[test]
fn a_removal_is_asked_for_on_a_terminal() {
    let server = Server::start();
    let invite = ["members", "invite", "bo@example.com", "--role", "viewer", "--json"];
    let id = server.run(&invite).fine().json()["member"]["id"].as_str().unwrap().to_owned();
    let state = || server.run(&["members", "show", &id, "--json"]).fine().json()["state"].clone();
    let remove = ["members", "remove", &id, "--reason", "left"];
    let refused = server.run(&remove).failed(2);
    assert!(refused.err.contains("--yes"), "{refused:?}");
    let asked = server.run_on_terminal(&remove, "n\n");
    assert!(asked.out.contains("bo@example.com") && asked.out.contains("for ever"), "{asked:?}");
    assert_eq!((asked.code, state()), (Some(1), "invited".into()));
    server.run_on_terminal(&remove, "y\n").fine();
    assert_eq!(state(), "removed");
    assert!(server.run(&[&remove[..], &["--yes"]].concat()).fine().out.contains("Removed"));
    let owner = server.run(&["members", "list", "--role", "owner", "--json"]).fine().json();
    let last = server.run(&["members", "remove", owner["id"].as_str().unwrap(), "--yes"]).failed(1);
    assert!(last.err.contains("last_owner"), "{last:?}");
}

#[test]
fn roles_are_listed_and_set() {
    let server = Server::start();
    let listed = server.run(&["roles", "list"]).fine();
    assert!(
        listed.out.contains("operator") && listed.out.contains("nothing") && listed.out.contains('*'),
        "{listed:?}"
    );
    let set = server.run(&["roles", "set", "operator", "--scope", "b:write", "--scope", "a:read", "--json"]).fine();
    assert_eq!(set.json()["scopes"], serde_json::json!(["a:read", "b:write"]));
    assert!(server.run(&["roles", "set", "operator", "--none"]).fine().out.contains("nothing"));
    assert_eq!(server.run(&["roles", "set", "admin", "--any", "--json"]).fine().json()["scopes"][0], "*");
    server.run(&["roles", "set", "operator"]).failed(2);
    server.run(&["roles", "set", "partner_staff", "--scope", "a:read"]).failed(1);
}

#[test]
fn a_scoped_token_does_its_scopes_and_is_rotated() {
    let server = Server::start();
    let create = ["tokens", "create", "pipeline", "--scope", "tokens:read", "--scope", "tokens:manage", "--json"];
    let made = server.run(&create).fine().json();
    let (id, text) = (made["token"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert_eq!(made["token"]["scopes"], serde_json::json!(["tokens:read", "tokens:manage"]));
    server.run(&["tokens", "create", "n", "--scope", "coffee:make", "--json"]).failed(1);
    run_as(&server, text, &["keys", "list"]).failed(3);
    let owner = server.run(&["members", "list", "--json"]).fine().json()["id"].as_str().unwrap().to_owned();
    let listed = server.run(&["tokens", "list"]).fine();
    assert!(listed.out.contains(&owner) && listed.out.contains("tokens:manage"), "{listed:?}");
    let rotate = ["tokens", "rotate", id, "--overlap", "1h", "--reason", "scheduled"];
    server.run(&rotate).failed(2);
    let next = server.path("next");
    let rotated = run_as(&server, text, &[&rotate[..], &["--secret-out", &next]].concat()).fine();
    assert!(rotated.out.contains("tokens:manage") && rotated.out.contains(&owner), "{rotated:?}");
    let next = fs::read_to_string(next).unwrap();
    assert!(!rotated.out.contains(next.trim()));
    run_as(&server, text, &["tokens", "list"]).fine();
    run_as(&server, next.trim(), &["tokens", "list"]).fine();
    run_as(&server, next.trim(), &["keys", "list"]).failed(3);
}

#[test]
fn an_enrolment_names_its_owner() {
    let server = Server::start();
    let data = server.path("data");
    server.run(&["enrolment-token", "--data-dir", &data]).fine();
    let (file, secret) = (server.path("data/enrolment-token"), server.path("second"));
    let enrol = ["enrol", "--enrolment-file", &file, "--secret-out", &secret];
    server.run(&[&enrol[..], &["--email", "nobody"]].concat()).failed(1);
    let enrolled = server.run(&[&enrol[..], &["--name", "Ana", "--email", "Ana@Example.com"]].concat()).fine();
    let owner = server.run(&["members", "list", "--email", "ana@example.com", "--json"]).fine().json();
    assert!(enrolled.out.contains(owner["id"].as_str().unwrap()), "{enrolled:?}");
    assert_eq!((&owner["role"], &owner["name"]), (&"owner".into(), &"Ana".into()));
}
