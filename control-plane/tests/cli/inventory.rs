//! The inventory on the command line: lists, exports, and ending much at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::importing::line;
use crate::program::{Server, run};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn s4_01_a_list_says_where_it_was_cut() {
    let server = Server::start();
    let member = server.run(&["members", "list", "--json"]).fine().json()["id"].as_str().unwrap().to_owned();
    let file = server.write("keys.ndjson", &(0..101).map(line).collect::<String>());
    server.run(&["keys", "import", &file]).fine();
    let cut = server.run(&["keys", "list", "--json"]).fine();
    assert_eq!(cut.out.lines().count(), 100);
    assert!(cut.err.contains("more") && cut.err.contains("--all"), "{}", cut.err);
    for whole in [&["--all"][..], &["--limit", "101"], &["--touched-by", &member]] {
        let listed = server.run(&[&["keys", "list", "--json"], whole].concat()).fine();
        assert_eq!((listed.out.lines().count(), listed.err.as_str()), (101, ""), "{whole:?}");
    }
    let few = server.run(&["keys", "list", "--touched-by", &member, "--limit", "3", "--json"]).fine();
    assert!(few.out.lines().count() == 3 && few.err.contains("more"), "{few:?}");
    let table = server.run(&["keys", "list", "--limit", "1"]).fine();
    assert!(table.out.contains("imported_") && table.err.contains("more"), "{table:?}");
    let audit = server.run(&["audit", "--limit", "1", "--json"]).fine();
    assert!(audit.out.lines().count() == 1 && audit.err.contains("more"), "{audit:?}");
    let audit = server.run(&["audit", "--all", "--json"]).fine();
    assert!(audit.out.lines().count() > 1 && audit.err.is_empty(), "{audit:?}");
    server.run(&["keys", "list", "--all", "--limit", "3"]).failed(2);
    assert_eq!(server.run(&["rotations", "list", "--all"]).fine().err, "");
}

#[test]
fn s4_23_the_inventory_is_taken_away_in_a_file() {
    let server = Server::start();
    let issue = ["keys", "issue", "pay", "--label", "team=payments", "--json"];
    let id = server.run(&issue).fine().json()["key"]["id"].as_str().unwrap().to_owned();
    let (other, _) = server.issue("other");
    let csv = server.run(&["keys", "export"]).fine().out;
    assert!(csv.starts_with("id,") && csv.contains(&id) && csv.contains(&other), "{csv}");
    let rows = lines(&server.run(&["keys", "export", "--format", "ndjson", "--label", "team"]).fine().out);
    assert_eq!((rows.len(), rows[0]["id"].as_str()), (1, Some(id.as_str())));
    assert_eq!(server.run(&["keys", "list", "--label", "team=payments", "--json"]).fine().out.lines().count(), 1);
    assert_eq!(server.run(&["keys", "list", "--label", "team=other"]).fine().out, "No keys.\n");
    server.run(&["keys", "list", "--label", "=x"]).failed(1);
    let file = server.path("keys.csv");
    let written = server.run(&["keys", "export", "--out", &file, "--json"]).fine().json();
    assert_eq!(fs::read_to_string(&file).unwrap(), csv);
    assert_eq!((written["file"].as_str(), written["bytes"].as_u64()), (Some(file.as_str()), Some(csv.len() as u64)));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = server.run(&["keys", "export", "--json"]).failed(2);
    assert!(refused.err.contains("--out") && refused.out.is_empty(), "{refused:?}");
    // What fails leaves what was there.
    server.run(&["keys", "export", "--scope", "not a scope", "--out", &file]).failed(1);
    assert_eq!(fs::read_to_string(&file).unwrap(), csv);
    let told = server.run(&["audit", "--action", "key.exported", "--json"]).fine();
    assert!(told.out.lines().count() >= 3, "{told:?}");
}

#[test]
fn s3_20_much_is_ended_at_once_after_a_look_and_a_yes() {
    let server = Server::start();
    let ids: Vec<String> = ["one", "two"].map(|name| server.issue(name).0).into();
    let state = |id: &str| server.run(&["keys", "show", id, "--json"]).fine().json()["state"].clone();
    let many = ["keys", "revoke-many", "--scope", "invoices:read", "--reason", "left the company"];
    let with = |more: &[&str]| server.run(&[&many[..], more].concat());
    // A look changes nothing.
    let plan = with(&["--dry-run"]).fine();
    assert!(plan.out.contains("2 keys would be revoked.") && ids.iter().all(|id| plan.out.contains(id)), "{plan:?}");
    assert_eq!(with(&["--dry-run", "--json"]).fine().json()["remaining"], 2);
    // Off a terminal nothing is done without a word; what would be done is told beside what programs read.
    for more in [&[][..], &["--json"]] {
        let refused = with(more).failed(2);
        assert!(refused.err.contains("--yes") && refused.err.contains("2 keys would be revoked."), "{refused:?}");
        assert_eq!(refused.out, "");
    }
    let asked = server.run_on_terminal(&many, "n\n");
    assert!(asked.code == Some(1) && asked.out.contains("Revoke 2 keys for ever?"), "{asked:?}");
    assert!(ids.iter().all(|id| state(id) == "active"));
    let done = with(&["--yes", "--json"]).fine().json();
    assert_eq!((&done["revoked"], &done["remaining"]), (&2.into(), &0.into()));
    assert!(ids.iter().all(|id| state(id) == "revoked"));
    // Nothing is left: nothing is asked.
    assert_eq!(with(&[]).fine().out, "No key was revoked.\n");
    server.issue("three");
    server.run_on_terminal(&many, "y\n").fine();
    assert_eq!(with(&["--dry-run", "--json"]).fine().json()["remaining"], 0);
    server.run(&["keys", "revoke-many", "--reason", "all", "--yes"]).failed(1);
    // A variable that was never set must not stand for all there is.
    let (kept, _) = server.issue("kept");
    for flag in ["-q", "--owner", "--label", "--owner-member", "--issued-by", "--touched-by", "--principal", "--scope"]
    {
        let refused = server.run(&["keys", "revoke-many", "--reason", "all", "--yes", flag, ""]);
        let (code, told) =
            if flag.ends_with("member") || flag == "--touched-by" { (4, "no member's id") } else { (1, "filter.") };
        assert!(refused.failed(code).err.contains(told), "{flag}");
    }
    assert_eq!(state(&kept), "active");
}

#[test]
fn s3_20_keys_that_are_refused_are_told_with_what_ends_them() {
    let server = Server::start();
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
    let (code, key) = (server.path("code"), server.path("key"));
    let make = ["gateways", "create", "gate", "--scope", "a", "--secret-out", &code, "--json"];
    let gateway = id(&server.run(&make).fine().json()["gateway"]);
    server.run(&["gateways", "pair", "--code-file", &code, "--secret-out", &key]).fine();
    let partner = id(&server.run(&["partners", "create", "agency", "--scope", "a", "--json"]).fine().json());
    let invite = ["partners", "invite", &partner, "p@example.org", "--role", "owner", "--json"];
    let code = server.run(&invite).fine().json()["code"].as_str().unwrap().to_owned();
    let password = "correct horse battery\n";
    server.run_with(&["join"], &format!("{code}\n{password}")).fine();
    let token = server.run_with(&["sign-in", "p@example.org", "--json"], password).fine().json();
    let mut issue = server.command(&["keys", "issue", "k", "--principal", &partner, "--scope", "a", "--json"]);
    issue.env("NIGHTLATCH_TOKEN", token["secret"].as_str().unwrap());
    run(issue, "").fine();

    let many = |more: &[&str]| server.run(&[&["keys", "revoke-many", "--scope", "a", "--reason", "r"], more].concat());
    let (unpair, suspend) =
        (format!("nightlatch gateways unpair {gateway} --reason …"), format!("nightlatch partners suspend {partner}"));
    let advised = |text: &str| text.contains(&unpair) && text.contains(&suspend) && !text.contains("POST");
    let plan = many(&["--dry-run"]).fine();
    assert!(advised(&plan.out), "{plan:?}");
    let none = many(&["--yes"]).failed(6);
    assert!(none.out.starts_with("No key was revoked.\n") && advised(&none.out), "{none:?}");
    assert!(none.err.contains("2 keys were not revoked and go on working"), "{none:?}");
    server.run(&["keys", "issue", "own", "--scope", "a", "--json"]).fine();
    let some = many(&["--yes"]).failed(6);
    assert!(some.out.contains("Revoked 1 keys.") && advised(&some.out), "{some:?}");
    let told = many(&["--yes", "--json"]).failed(6).json();
    assert_eq!((&told["revoked"], &told["refused"]), (&0.into(), &2.into()));
}

#[test]
fn s0_25_scopes_live_on_the_command_line() {
    let server = Server::start();
    let (id, _) = server.issue("reader");
    let listed = server.run(&["scopes", "list"]).fine();
    assert!(listed.out.contains("invoices:read"), "{listed:?}");
    let set = ["scopes", "set", "invoices:read", "--description", "sees invoices", "--sensitive", "true"];
    let said = server.run(&[&set[..], &["--json"]].concat()).fine().json();
    assert_eq!((&said["description"], &said["marked_sensitive"]), (&"sees invoices".into(), &true.into()));
    let rows = lines(&server.run(&["scopes", "list", "--json"]).fine().out);
    let row = rows.iter().find(|row| row["name"] == "invoices:read").unwrap();
    assert_eq!((&row["usable_keys"], &row["sensitive"]), (&1.into(), &true.into()));
    // Granted knowingly from now on, and kept while a key carries it.
    server.run(&["keys", "issue", "k", "--scope", "invoices:read", "--json"]).failed(1);
    let kept = server.run(&["scopes", "remove", "invoices:read"]).failed(1);
    assert!(kept.err.contains("scope_in_use"), "{kept:?}");
    server.run(&["keys", "revoke", &id, "--reason", "r", "--yes"]).fine();
    server.run(&["scopes", "remove", "invoices:read"]).fine();
    assert!(!server.run(&["scopes", "list"]).fine().out.contains("invoices:read"));
    server.run(&["scopes", "remove", "invoices:read"]).failed(4);
    server.run(&["scopes", "set", "no scope"]).failed(1);
}

#[test]
fn s1_14_a_service_account_has_a_token_of_its_own() {
    let server = Server::start();
    let made = server.run(&["service-accounts", "create", "nightly", "--json"]).fine().json();
    let account = made["id"].as_str().unwrap();
    let create = ["tokens", "create", "nightly", "--service-account", account];
    server.run(&[&create[..], &["--json"]].concat()).failed(2);
    let token = server.run(&[&create[..], &["--scope", "keys:issue", "--json"]].concat()).fine().json();
    assert_eq!(token["token"]["service_account"].as_str(), Some(account));
    assert!(server.run(&["tokens", "list"]).fine().out.contains(account));
    let mut issue = server.command(&["keys", "issue", "k", "--json"]);
    issue.env("NIGHTLATCH_TOKEN", token["secret"].as_str().unwrap());
    let issued = run(issue, "").fine().json();
    assert_eq!(issued["key"]["issued_by"]["id"].as_str(), Some(account));
    let told = server.run(&["audit", "--actor-type", "service_account"]).fine();
    assert!(told.out.contains("key.issued") && told.out.contains(account), "{told:?}");
}

#[test]
fn nobody_unknown_is_all_clear() {
    let server = Server::start();
    server.run(&["keys", "issue", "one", "--secret-out", &server.path("one")]).fine();
    for who in ["mem_0000000000000000", "ana@example.org", "zzz"] {
        let commands: [&[&str]; 5] = [
            &["keys", "list", "--touched-by", who],
            &["keys", "list", "--owner-member", who],
            &["keys", "export", "--format", "ndjson", "--touched-by", who],
            &["keys", "revoke-many", "--touched-by", who, "--reason", "left", "--yes"],
            &["tokens", "list", "--maker", who],
        ];
        for command in commands {
            let told = server.run(command).failed(4);
            assert!(told.err.contains("is no member's id here") && told.out.is_empty(), "{told:?}");
        }
    }
    assert_eq!(server.run(&["keys", "list", "--issued-by", "tok_0"]).fine().out, "No keys.\n");
}
