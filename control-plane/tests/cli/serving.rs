//! `serve`, `config check`, and how commands fail.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::program::{Server, nightlatch, run, serve, terminate};

#[test]
fn the_first_start_leaves_private_files_and_prints_no_secret() {
    let server = Server::start();
    let mode = |name: &str| fs::metadata(server.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("data/secrets"), 0o700);
    for name in ["data/secrets/pepper", "data/secrets/root.key", "management-token"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let log = fs::read_to_string(server.path("log")).unwrap();
    assert!(log.contains("enrolment-token") && log.contains("listening on http://127.0.0.1:"), "{log}");
    assert!(!log.contains("nlo_live_"), "the output is no terminal: {log}");
    // What it advises works as it is, also where it listens elsewhere than commands look.
    assert!(log.contains(&format!("nightlatch enrol --url {} --enrolment-file", server.url)), "{log}");
}

#[test]
fn a_signal_to_stop_is_obeyed_and_the_next_start_goes_on() {
    let mut server = Server::start();
    let (id, _) = server.issue("k");
    terminate(server.pid());
    assert!(server.child().wait().unwrap().success());
    let (child, url) = serve(server.directory.path());
    *server.child() = child;
    server.url = url;
    server.run(&["keys", "show", &id]).fine();
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start();
    let second = nightlatch(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &server.path("data")]);
    let refused = run(second, "").failed(1);
    assert!(refused.err.contains("in use by another process"), "{refused:?}");
}

#[test]
fn config_check_tells_everything_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nightlatch.toml");
    fs::write(&file, "lisen = \"127.0.0.1:1\"\n[set]\nvalidity_seconds = 1\n").unwrap();
    let mut command = nightlatch(&["config", "check", "--brand", "NL", "--config"]);
    command.arg(&file).env("NIGHTLATCH_LOG", "loud[");
    let faulty = run(command, "").failed(7);
    for fault in ["lisen", "set.validity_seconds", "brand (--brand)", "log (NIGHTLATCH_LOG)"] {
        assert!(faulty.err.contains(fault), "{fault}: {faulty:?}");
    }
    let mut command = nightlatch(&["config", "check", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(directory.path().join("data"));
    let fine = run(command, "").fine();
    assert!(fine.out.contains("The configuration is fine."), "{fine:?}");
    assert!(!directory.path().join("data").exists(), "a check makes nothing");
}

#[test]
fn commands_fail_with_their_exit_codes_and_say_what_to_do() {
    let server = Server::start();
    let mut anonymous = server.command(&["keys", "list"]);
    anonymous.env_remove("NIGHTLATCH_TOKEN");
    assert!(run(anonymous, "").failed(3).err.contains("nightlatch enrol"));
    let mut stranger = server.command(&["keys", "list"]);
    stranger.env("NIGHTLATCH_TOKEN", "nlm_live_wrong");
    let refused = run(stranger, "").failed(3);
    assert!(refused.err.contains("token_invalid") && refused.err.contains("What to do:"), "{refused:?}");
    server.run(&["keys", "show", "key_0000000000"]).failed(4);
    let mut nowhere = server.command(&["keys", "list"]);
    nowhere.env("NIGHTLATCH_URL", "http://127.0.0.1:1");
    run(nowhere, "").failed(5);
    let mut senseless = server.command(&["keys", "list"]);
    senseless.env("NIGHTLATCH_URL", "keys.example.com");
    run(senseless, "").failed(2);
    server.run(&["keys", "issue"]).failed(2);
    let refused = server.run(&["keys", "issue", "k", "--scope", "a b", "--json"]).failed(1);
    assert!(refused.err.contains("scopes: must be"), "{refused:?}");
}

#[test]
fn help_teaches_with_examples() {
    for arguments in [
        vec!["--help"],
        vec!["keys", "issue", "--help"],
        vec!["rotations", "start", "--help"],
        vec!["routes", "apply", "--help"],
    ] {
        let help = run(nightlatch(&arguments), "").fine();
        assert!(help.out.contains("xample") || help.out.contains("Issue, rotate, revoke:"), "{help:?}");
    }
    let openapi = run(nightlatch(&["openapi"]), "").fine();
    assert_eq!(openapi.json()["info"]["title"], "Nightlatch control plane");
}
