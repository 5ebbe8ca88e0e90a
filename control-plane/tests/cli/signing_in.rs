//! People at a terminal: taking an invitation up, signing in, and being let in again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::program::{Ended, Server, run};

const PASSWORD: &str = "correct horse battery";

/// Runs a command as somebody who has no token, with these lines typed.
fn stranger(server: &Server, arguments: &[&str], lines: &[&str]) -> Ended {
    let mut command = server.command(arguments);
    command.env_remove("NIGHTLATCH_TOKEN");
    run(command, &lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

fn invite(server: &Server, email: &str, role: &str) -> String {
    let invited = server.run(&["members", "invite", email, "--role", role, "--json"]).fine().json();
    invited["code"].as_str().unwrap().to_owned()
}

fn join(server: &Server, email: &str, role: &str) {
    let code = invite(server, email, role);
    stranger(server, &["join"], &[&code, PASSWORD]).fine();
}

/// The name of the newest entry of that action, and of what it is about.
fn noted(server: &Server, action: &str) -> Value {
    let out = server.run(&["audit", "--action", action, "--json"]).fine().out;
    out.lines().next().map(|line| serde_json::from_str(line).unwrap()).unwrap_or_default()
}

#[test]
fn an_invitation_is_taken_up_and_becomes_a_token() {
    let server = Server::start();
    let invited =
        server.run(&["members", "invite", "bo@example.com", "--role", "admin", "--secret-out", &server.path("c")]);
    assert!(invited.fine().out.contains("nightlatch join --url"));
    let code = fs::read_to_string(server.path("c")).unwrap();
    // What is missing is said, and nothing of it is an argument.
    assert!(stranger(&server, &["join"], &[]).failed(2).err.contains("--code-file"));
    assert!(stranger(&server, &["join"], &[code.trim()]).failed(2).err.contains("--password-file"));
    stranger(&server, &["join"], &[code.trim(), "too short"]).failed(1);
    let joined = stranger(&server, &["join", "--code-file", &server.path("c"), "--name", "Bo"], &[PASSWORD]).fine();
    assert!(joined.out.contains("admin") && joined.out.contains("sign-in"), "{joined:?}");
    assert!(!joined.out.contains(PASSWORD) && !joined.err.contains(PASSWORD), "{joined:?}");
    stranger(&server, &["join", "--json"], &[code.trim(), PASSWORD]).failed(3);
    // Signing in.
    let sign_in = ["sign-in", "bo@example.com", "--scope", "keys:read", "--expires-in", "1h"];
    stranger(&server, &sign_in, &[PASSWORD]).failed(2);
    let file = server.path("token");
    let out = [&sign_in[..], &["--secret-out", &file]].concat();
    stranger(&server, &out, &["wrong wrong wrong"]).failed(3);
    assert!(!fs::exists(server.path("token")).unwrap());
    let made = stranger(&server, &out, &[PASSWORD]).fine();
    let token = fs::read_to_string(server.path("token")).unwrap();
    assert!(made.out.contains("keys:read") && !made.out.contains(token.trim()), "{made:?}");
    assert_eq!(fs::metadata(server.path("token")).unwrap().permissions().mode() & 0o777, 0o600);
    stranger(&server, &["keys", "list", "--token-file", &server.path("token")], &[]).fine();
    // A token that ends makes none that ends later, and says how long it may last.
    let later = stranger(&server, &["tokens", "create", "t", "--json", "--token-file", &server.path("token")], &[]);
    let later = later.failed(3);
    assert!(later.err.contains("forbidden"), "{later:?}");
    let signed = stranger(&server, &["sign-in", "bo@example.com", "--json"], &[PASSWORD]).fine().json();
    let mut create = server.command(&["tokens", "create", "t", "--json"]);
    create.env("NIGHTLATCH_TOKEN", signed["secret"].as_str().unwrap());
    let later = run(create, "").failed(1);
    let until = signed["token"]["expires_at"].as_str().unwrap();
    assert!(later.err.contains(until) && later.err.contains("sign-in --expires-in"), "{later:?}");
    // The session it took is over.
    assert_eq!(noted(&server, "session.ended")["reason"], "signed out");
    let password = server.write("password", PASSWORD);
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let json = stranger(&server, &["sign-in", "bo@example.com", "--password-file", &password, "--json"], &[]).fine();
    assert!(json.json()["secret"].as_str().unwrap().starts_with("nlm_live_"));
    assert!(json.json()["token"]["expires_at"].is_string(), "{json:?}");
    // Another password.
    let change = ["change-password", "bo@example.com"];
    stranger(&server, &change, &[PASSWORD, "short"]).failed(1);
    let changed = stranger(&server, &change, &[PASSWORD, "another long password"]).fine();
    assert!(changed.out.contains("changed"), "{changed:?}");
    stranger(&server, &["sign-in", "bo@example.com", "--json"], &[PASSWORD]).failed(3);
    stranger(&server, &["sign-in", "bo@example.com", "--json"], &["another long password"]).fine();
}

#[test]
fn a_password_is_typed_unseen() {
    let server = Server::start();
    let code = invite(&server, "bo@example.com", "viewer");
    let typed = format!("{code}\n{PASSWORD}\n{PASSWORD}\n");
    let joined = server.run_on_terminal(&["join"], &typed).fine();
    assert!(joined.out.contains("password once more:") && joined.out.contains("Joined"), "{joined:?}");
    let code = invite(&server, "cy@example.com", "viewer");
    let differs = server.run_on_terminal(&["join"], &format!("{code}\n{PASSWORD}\nanother long password\n"));
    assert!(differs.code == Some(2) && differs.out.contains("not the same"), "{differs:?}");
}

#[test]
fn an_enrolled_owner_signs_in() {
    let server = Server::start();
    let data = server.path("data");
    server.run(&["enrolment-token", "--data-dir", &data]).fine();
    let (file, secret, code) = (server.path("data/enrolment-token"), server.path("second"), server.path("code"));
    let enrol = ["enrol", "--enrolment-file", &file, "--secret-out", &secret, "--code-out", &code];
    server.run(&enrol).failed(2);
    let enrolled = server.run(&[&enrol[..], &["--email", "ana@example.com"]].concat()).fine();
    assert!(enrolled.out.contains("nightlatch join --url") && !enrolled.out.contains("nli_live_"), "{enrolled:?}");
    assert_eq!(fs::metadata(&code).unwrap().permissions().mode() & 0o777, 0o600);
    stranger(&server, &["join", "--code-file", &code], &[PASSWORD]).fine();
    stranger(&server, &["sign-in", "ana@example.com", "--json"], &[PASSWORD]).fine();
    // The token was good once: who comes too late is told how there is another.
    let gone = server.run(&["enrol", "--enrolment-file", &file, "--secret-out", &server.path("late")]).failed(1);
    assert!(gone.err.contains("enrolment-token") && gone.err.contains("admin recover"), "{gone:?}");
    // Without an address: the way to one is said, and works.
    server.run(&["enrolment-token", "--data-dir", &data]).fine();
    let third = server.path("third");
    let enrolled = server.run(&["enrol", "--enrolment-file", &file, "--secret-out", &third]).fine();
    assert!(enrolled.out.contains("members reinvite mem_") && enrolled.out.contains("--email"), "{enrolled:?}");
    let member = enrolled.out.split("members reinvite ").nth(1).unwrap().split(' ').next().unwrap();
    let code = server.run(&["members", "reinvite", member, "--email", "cy@example.com", "--json"]).fine().json();
    stranger(&server, &["join"], &[code["code"].as_str().unwrap(), PASSWORD]).fine();
    // With --json and the token put away, the code is not shown either.
    server.run(&["enrolment-token", "--data-dir", &data]).fine();
    let fourth = server.path("fourth");
    let json = ["enrol", "--enrolment-file", &file, "--secret-out", &fourth, "--email", "di@example.com", "--json"];
    assert!(!server.run(&json).fine().out.contains("nli_live_"));
}

#[test]
fn who_has_the_machine_lets_people_in_again() {
    let server = Server::start();
    let data = server.path("data");
    join(&server, "bo@example.com", "admin");
    let admin = |command: &'static str, more: &[&str]| {
        server.run(&[&["admin", command, "bo@example.com", "--data-dir", &data], more].concat())
    };
    // Nothing to reset; nobody; nobody to ask.
    assert!(admin("reset-second-factor", &["--yes"]).failed(4).err.contains("no second factor"));
    assert!(admin("unlink", &["--yes"]).failed(4).err.contains("no identity"));
    server.run(&["admin", "reset-second-factor", "nobody@example.com", "--data-dir", &data, "--yes"]).failed(4);
    assert!(admin("reset-password", &["--json"]).failed(2).err.contains("--yes"));
    // The password: drawn, once, and it works; the one before does not.
    let dry = admin("reset-password", &["--dry-run", "--json"]).fine().json();
    assert_eq!((&dry["dry_run"], &dry["password"]), (&Value::Bool(true), &Value::Null), "{dry}");
    stranger(&server, &["sign-in", "bo@example.com", "--json"], &[PASSWORD]).fine();
    let out = server.path("password");
    let reset = admin("reset-password", &["--yes", "--secret-out", &out]).fine();
    let drawn = fs::read_to_string(&out).unwrap();
    assert!(reset.out.contains("change-password") && !reset.out.contains(drawn.trim()), "{reset:?}");
    stranger(&server, &["sign-in", "bo@example.com", "--json"], &[PASSWORD]).failed(3);
    stranger(&server, &["change-password", "bo@example.com"], &[drawn.trim(), PASSWORD]).fine();
    stranger(&server, &["sign-in", "bo@example.com", "--json"], &[PASSWORD]).fine();
    let entry = noted(&server, "admin.password_reset");
    assert_eq!((&entry["actor"]["type"], &entry["target"]["type"]), (&"system".into(), &"member".into()), "{entry}");
}

#[test]
fn a_secret_that_could_not_be_kept_is_not_asked_for() {
    let server = Server::start();
    let data = server.path("data");
    server.run(&["enrolment-token", "--data-dir", &data]).fine();
    let (file, nowhere, here) = (server.path("data/enrolment-token"), server.path("no/file"), server.path("here"));
    let enrol = ["enrol", "--enrolment-file", &file, "--email", "ana@example.com", "--secret-out"];
    for more in [[nowhere.as_str(), "--code-out", &here], [&here, "--code-out", &nowhere], [&here, "--code-out", &here]]
    {
        let refused = server.run(&[&enrol[..], &more].concat());
        assert!(refused.code != Some(0), "{refused:?}");
        assert!(!fs::exists(&here).unwrap(), "nothing is left");
    }
    // The token is there to be used.
    let code = server.path("code");
    server.run(&[&enrol[..], &[&here, "--code-out", &code]].concat()).fine();
    assert_eq!(fs::metadata(&here).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&here).unwrap().ends_with('\n'));
    // The same of a key, which would be nobody's.
    let issue = ["keys", "issue", "lost", "--scope", "a:b", "--secret-out", &nowhere];
    server.run(&issue).failed(1);
    assert_eq!(server.run(&["keys", "list", "--json"]).fine().out, "");
}
