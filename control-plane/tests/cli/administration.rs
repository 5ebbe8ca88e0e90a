//! Keys, rotations, tokens, routes and edges from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nightlatch_api::client::Client;
use nightlatch_api::{AppliedState, EdgeReport};
use nightlatch_keyset::Trust;

use crate::program::{Server, nightlatch, run};

#[test]
fn s0_15_a_secret_goes_to_a_terminal_a_private_file_or_json_and_nowhere_else() {
    let server = Server::start();
    let refused = server.run(&["keys", "issue", "k"]).failed(2);
    assert!(refused.err.contains("--secret-out"), "{refused:?}");
    assert_eq!(server.run(&["keys", "list"]).fine().out, "No keys.\n", "nothing was issued");
    let file = server.path("secret");
    let issued = server.run(&["keys", "issue", "k", "--secret-out", &file]).fine();
    let secret = fs::read_to_string(&file).unwrap();
    assert!(secret.starts_with("nl_live_") && !issued.out.contains(secret.trim()), "{issued:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    server.run(&["keys", "issue", "k", "--secret-out", &file]).failed(2);
    let json = server.run(&["keys", "issue", "k", "--json", "--secret-out", &server.path("other")]).fine().json();
    assert!(json.get("secret").is_none() && json["secret_file"].is_string());
    let shown = server.run_on_terminal(&["keys", "issue", "k"], "");
    assert!(shown.out.contains("This is the secret."), "{shown:?}");
}

#[test]
fn s0_19_s1_08_s3_22_revoke_asks_on_a_terminal() {
    let server = Server::start();
    let (id, _) = server.issue("precious");
    let state = || server.run(&["keys", "show", &id, "--json"]).fine().json()["state"].clone();
    let revoke = ["keys", "revoke", &id, "--reason", "test"];
    let refused = server.run(&revoke).failed(2);
    assert!(refused.err.contains("--yes"), "{refused:?}");
    let asked = server.run_on_terminal(&revoke, "n\n");
    assert!(asked.out.contains("for ever?") && asked.out.contains("nothing takes its place"), "{asked:?}");
    assert_eq!((asked.code, state()), (Some(1), "active".into()));
    server.run_on_terminal(&revoke, "y\n").fine();
    assert_eq!(state(), "revoked");
    let again = server.run(&["keys", "revoke", &id, "--reason", "test", "--yes"]).fine();
    assert!(again.out.contains("No edge accepts it after"), "{again:?}");
}

#[test]
fn a_key_lives_on_the_command_line() {
    let server = Server::start();
    let issue = [
        "keys",
        "issue",
        "export",
        "--test",
        "--scope",
        "b",
        "--scope",
        "a",
        "--owner",
        "ana",
        "--label",
        "team=x",
        "--tier",
        "gold",
        "--expires-in",
        "90d",
        "--json",
    ];
    let issued = server.run(&issue).fine().json();
    let (id, secret) = (issued["key"]["id"].as_str().unwrap(), issued["secret"].as_str().unwrap());
    assert_eq!(issued["key"]["scopes"], serde_json::json!(["a", "b"]));
    assert_eq!(issued["key"]["environment"], "test");
    let changed =
        server.run(&["keys", "update", id, "--owner", "", "--expires-at", "never", "--name", "export v2", "--json"]);
    let changed = changed.fine().json();
    assert!(changed["owner"].is_null() && changed["expires_at"].is_null());
    assert_eq!(changed["name"], "export v2");
    server.run(&["keys", "update", id]).failed(2);
    let verify = || server.run_with(&["keys", "verify"], secret);
    assert!(verify().fine().out.contains("allowed  yes"));
    server.run(&["keys", "disable", id, "--reason", "looking into it"]).fine();
    assert!(verify().failed(1).out.contains("key_disabled"));
    server.run(&["keys", "enable", id]).fine();
    let listed = server.run(&["keys", "list", "--state", "active", "--environment", "test", "-q", "V2"]).fine();
    assert!(listed.out.contains("export v2") && listed.out.contains("nl_test_"), "{listed:?}");
    let lines = server.run(&["keys", "list", "--json"]).fine().out;
    assert_eq!(lines.lines().count(), 1);
    let audit = server.run(&["audit", "--key", id]).fine();
    for action in ["key.issued", "key.updated", "key.disabled", "key.enabled"] {
        assert!(audit.out.contains(action), "{audit:?}");
    }
    assert!(!audit.out.contains(secret));
}

#[test]
fn a_rotation_runs_its_course_on_the_command_line() {
    let server = Server::start();
    let (id, _) = server.issue("client");
    let start = ["rotations", "start", &id, "--overlap", "24h", "--reason", "scheduled"];
    let plan = server.run(&[&start[..], &["--dry-run"]].concat()).fine();
    assert!(plan.out.contains("The predecessor would stop working at"), "{plan:?}");
    let repeat = [&start[..], &["--json", "--idempotency-key", "once"]].concat();
    let started = server.run(&repeat).fine().json();
    assert_eq!(server.run(&repeat).fine().json()["secret"], started["secret"]);
    let rotation = started["rotation"]["id"].as_str().unwrap();
    server.run(&["rotations", "extend", rotation, "--overlap", "48h"]).fine();
    assert!(server.run(&["rotations", "list", "--state", "open"]).fine().out.contains(rotation));
    server.run(&["rotations", "complete", rotation]).fine();
    assert!(server.run(&["rotations", "show", rotation]).fine().out.contains("completed"));
    let refused = server.run(&["rotations", "cancel", rotation]).failed(1);
    assert!(refused.err.contains("rotation_closed"), "{refused:?}");
    server.run(&["rotations", "start", &id, "--reason", "r"]).failed(2);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let server = Server::start();
    let made = server.run(&["tokens", "create", "pipeline", "--expires-in", "30d", "--json"]).fine().json();
    let (id, text) = (made["token"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let mut other = server.command(&["tokens", "list"]);
    other.env("NIGHTLATCH_TOKEN", text);
    assert!(crate::program::run(other, "").fine().out.contains("pipeline"));
    let refused = server.run(&["tokens", "revoke", id]).failed(2);
    assert!(refused.err.contains("--yes"), "{refused:?}");
    assert_eq!(server.run_on_terminal(&["tokens", "revoke", id], "n\n").code, Some(1));
    server.run(&["tokens", "revoke", id, "--yes"]).fine();
    let mut other = server.command(&["tokens", "list"]);
    other.env("NIGHTLATCH_TOKEN", text);
    crate::program::run(other, "").failed(3);
}

#[test]
fn routes_are_applied_from_json_and_toml() {
    let server = Server::start();
    let json = server.write("routes.json", r#"{"routes":[{"method":"GET","path":"/status"}]}"#);
    assert!(server.run(&["routes", "apply", &json]).fine().out.contains("revision 1"));
    let toml = server.write(
        "routes.toml",
        "realm = \"Example\"\n[[routes]]\nmethod = \"GET\"\npath = \"/a\"\nscopes = [\"a:read\"]\n",
    );
    server.run(&["routes", "apply", &toml]).fine();
    let shown = server.run(&["routes", "show"]).fine();
    assert!(shown.out.contains("a:read") && !shown.out.contains("/status"), "{shown:?}");
    let bad = server.write("bad.json", r#"{"routes":[{"method":"GET","path":"status"}]}"#);
    assert!(server.run(&["routes", "apply", &bad]).failed(1).err.contains("routes[0].path"));
    let worse = server.write("worse.json", r#"{"routes":[{"method":"GET","paht":"/status"}]}"#);
    assert!(server.run(&["routes", "apply", &worse]).failed(2).err.contains("unknown field `paht`"));
}

#[test]
fn an_edges_variables_and_secrets_are_told_apart() {
    let server = Server::start();
    let set = server.run(&["sets", "list", "--json"]).fine().json();
    assert!(server.run(&["sets", "show", set["id"].as_str().unwrap()]).fine().out.contains("bound         65.0 s"));
    let (data, secrets) = (server.path("data"), server.path("edge.secrets"));
    let config = ["edge", "config", "--runtime", "cloudflare", "--data-dir", &data, "--mint-token", "edge"];
    let printed = server.run(&[&config[..], &["--secrets-out", &secrets]].concat()).fine();
    let hidden: serde_json::Value = serde_json::from_str(&fs::read_to_string(&secrets).unwrap()).unwrap();
    let (peppers, token) =
        (hidden["NIGHTLATCH_PEPPERS"].as_str().unwrap(), hidden["NIGHTLATCH_TOKEN"].as_str().unwrap());
    assert!(token.starts_with("nle_live_"));
    assert_eq!(peppers, fs::read_to_string(server.path("data/secrets/pepper")).unwrap().trim());
    assert!(!printed.out.contains(peppers) && !printed.out.contains(token), "{printed:?}");
    for name in ["NIGHTLATCH_SET", "NIGHTLATCH_SOURCE", "NIGHTLATCH_REPORT_URL", "NIGHTLATCH_ORIGIN", "NIGHTLATCH_ROOT"]
    {
        assert!(printed.out.contains(name), "{name}: {printed:?}");
    }
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    // What edges pin outlives the key that signs: it is the root that the trust note lists.
    let trust = fs::read_to_string(server.path(&format!("data/sets/{}/trust", set["id"].as_str().unwrap()))).unwrap();
    let trust = Trust::parse(&format!("{}\n", trust.rsplit_once("\n\n").unwrap().0)).unwrap();
    assert!(printed.out.contains(&format!("NIGHTLATCH_ROOT = \"{}\"", trust.roots[0].to_vkey())), "{printed:?}");
    assert!(!printed.out.contains("NIGHTLATCH_VERIFIER"), "{printed:?}");
    // An edge that pins the signing key all the same is told of before that key is replaced.
    let rotate = || run(nightlatch(&["trust", "rotate-signer", "--dry-run", "--data-dir", &data]), "").fine();
    assert_eq!(rotate().err, "");
    let number = |name: &str| set[name].as_u64().unwrap();
    let report = EdgeReport {
        set: set["id"].as_str().unwrap().to_owned(),
        instance: "one".to_owned(),
        sequence: 1,
        runtime: "cloudflare".to_owned(),
        version: "1".to_owned(),
        applied: Some(AppliedState { incarnation: 0, epoch: 1, version: number("version"), issued: 0 }),
        ..EdgeReport::default()
    };
    let client = Client::new(&server.url).unwrap().with_token(token.to_owned());
    tokio::runtime::Runtime::new().unwrap().block_on(client.report(&report)).unwrap();
    let warned = rotate();
    assert!(warned.err.contains("1 running edges report no trust note"), "{warned:?}");
}

#[test]
fn in_a_narrow_terminal_what_is_copied_stays_whole() {
    let server = Server::start();
    let name = "a long name of several words, which may well be cut between them";
    server
        .run(&[
            "keys",
            "issue",
            name,
            "--scope",
            "invoices:read",
            "--scope",
            "invoices:write",
            "--expires-in",
            "90d",
            "--json",
        ])
        .fine();
    for list in ["members", "tokens", "keys", "audit"] {
        let shown = server.run_on_terminal(&[list, "list"], "").fine().out;
        for row in server.run(&[list, "list", "--json"]).fine().out.lines() {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            for (field, value) in row.as_object().unwrap() {
                let Some(text) = value.as_str().filter(|_| ["id", "prefix", "action"].contains(&field.as_str())) else {
                    continue;
                };
                // Entries of the log have an id that the table does not show.
                assert!(list == "audit" && field == "id" || shown.contains(text), "{text} in\n{shown}");
            }
        }
        assert!(!shown.contains(name), "{shown}");
        let time = |word: &str| word.len() == 20 && word.ends_with('Z');
        assert!(shown.split_whitespace().any(time), "no whole time in\n{shown}");
    }
}
