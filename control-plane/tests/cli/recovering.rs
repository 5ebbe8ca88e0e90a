//! An owner where none can sign in.

use crate::program::{Server, nightlatch, run};

#[test]
fn who_has_the_machine_makes_an_owner_and_it_is_noted() {
    let server = Server::start();
    let (data, file) = (server.path("data"), server.path("data/enrolment-token"));
    let dry = server.run(&["admin", "recover", "--data-dir", &data, "--dry-run", "--json"]).fine().json();
    assert_eq!((dry["dry_run"].as_bool(), dry["file"].as_str()), (Some(true), Some(file.as_str())));
    assert!(!std::path::Path::new(&file).exists());
    // Beside a running server, where there is an owner.
    let opened = server.run(&["admin", "recover", "--data-dir", &data]).fine();
    assert!(opened.out.contains(&file) && !opened.out.contains("nlo_"), "{opened:?}");
    let secret = server.path("owner");
    let enrolled = server.run(&["enrol", "--enrolment-file", &file, "--secret-out", &secret, "--json"]).fine().json();
    assert_eq!(enrolled["member"]["role"], "owner");
    let audit = server.run(&["audit", "--json"]).fine().out;
    assert!(audit.contains("admin.recovery_opened") && audit.contains("admin.recovery_used"), "{audit}");
    // Once.
    assert!(!std::path::Path::new(&file).exists());
    // Another workspace: unknown ones are refused before anything is made.
    let unknown = server.run(&["admin", "recover", "--data-dir", &data, "--workspace", "ws_0000000000000000"]);
    unknown.failed(2);
    assert!(!std::path::Path::new(&file).exists());
}

/// Of several workspaces each has a file of its own: making one token takes no other away.
#[test]
fn a_recovery_of_one_workspace_leaves_anothers_token() {
    let server = Server::start();
    let (data, founding) = (server.path("data"), server.path("data/enrolment-token"));
    let made = server.run(&["workspaces", "create", "second", "--brand", "second", "--json"]).fine().json();
    let second = made["workspace"]["id"].as_str().unwrap();
    let first = server.run(&["workspaces", "list", "--json"]).fine().out;
    let first = first.split('"').find(|word| word.starts_with("ws_") && *word != second).unwrap().to_owned();
    server.run(&["enrolment-token", "--data-dir", &data, "--workspace", &first]).fine();
    let pending = std::fs::read_to_string(&founding).unwrap();
    let opened = server.run(&["admin", "recover", "--data-dir", &data, "--workspace", second, "--json"]).fine().json();
    let file = opened["file"].as_str().unwrap();
    assert!(file.ends_with(&format!("enrolment-token-{second}")), "{file}");
    assert_eq!(std::fs::read_to_string(&founding).unwrap(), pending, "the founding workspace's is as it was");
    let secret = server.path("owner");
    server.run(&["enrol", "--enrolment-file", file, "--secret-out", &secret]).fine();
    server.run(&["enrol", "--enrolment-file", &founding, "--secret-out", &server.path("first")]).fine();
}

#[test]
fn a_command_of_the_host_names_the_database_that_it_does_not_find() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["schema", "status"][..], &["schema", "contract"], &["admin", "recover"], &["enrolment-token"]] {
        let mut command = nightlatch(arguments);
        command.current_dir(&directory);
        let failed = run(command, "").failed(5);
        for told in ["nightlatch-data/nightlatch.db", "unable to open", "--data-dir", "DATABASE_URL"] {
            assert!(failed.err.contains(told), "{told} in {failed:?}");
        }
    }
}
