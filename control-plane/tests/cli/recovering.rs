//! An owner where none can sign in.

use crate::program::Server;

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
