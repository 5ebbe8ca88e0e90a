//! Service accounts, partners, links and gateways from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::program::{Server, nightlatch, run};

#[test]
fn s1_01_a_service_account_lives_on_the_command_line() {
    let server = Server::start();
    let make = ["service-accounts", "create", "exporter", "--scope", "metrics:read", "--description", "nightly"];
    let made = server.run(&[&make[..], &["--json"]].concat()).fine().json();
    let id = made["id"].as_str().unwrap().to_owned();
    let issue = ["keys", "issue", "k", "--principal", &id, "--scope", "metrics:read", "--json"];
    let key = server.run(&issue).fine().json();
    let shown = server.run(&["service-accounts", "show", &id]).fine();
    assert!(shown.out.contains("nightly") && shown.out.contains("metrics:read"), "{shown:?}");
    let listed = server.run(&["service-accounts", "list", "--state", "active"]).fine();
    assert!(
        listed.out.contains(&id) && listed.out.contains("exporter") && listed.out.contains("default"),
        "{listed:?}"
    );
    let suspended = server.run(&["service-accounts", "suspend", &id, "--reason", "audit"]).fine();
    assert!(suspended.out.contains("Keys disabled: 1"), "{suspended:?}");
    server.run(&issue).failed(1);
    server.run(&["service-accounts", "resume", &id]).fine();
    let changed = server.run(&["service-accounts", "update", &id, "--no-ceiling", "--clear-description", "--json"]);
    assert!(changed.fine().json()["scopes"].is_null());
    let remove = ["service-accounts", "remove", &id, "--reason", "over"];
    let refused = server.run(&remove).failed(2);
    assert!(refused.err.contains("--yes"), "{refused:?}");
    let removed = server.run(&[&remove[..], &["--yes"]].concat()).fine();
    assert!(removed.out.contains("Keys revoked: 1"), "{removed:?}");
    let key = key["key"]["id"].as_str().unwrap();
    assert_eq!(server.run(&["keys", "show", key, "--json"]).fine().json()["state"], "revoked");
    server.run(&["service-accounts", "show", "prn_4000"]).failed(4);
}

#[test]
fn s1_18_a_gateway_is_paired_and_unpaired_on_the_command_line() {
    let server = Server::start();
    assert_eq!(server.run(&["gateways", "list"]).fine().out, "No gateways.\n");
    server.run(&["gateways", "create", "gate"]).failed(2);
    let (code, key) = (server.path("code"), server.path("key"));
    let made =
        server.run(&["gateways", "create", "gate", "--scope", "a", "--secret-out", &code, "--json"]).fine().json();
    let id = made["gateway"]["id"].as_str().unwrap().to_owned();
    assert!(made.get("code").is_none() && made["code_file"].is_string());
    assert_eq!(fs::metadata(&code).unwrap().permissions().mode() & 0o777, 0o600);
    // On the device: no token, only the code.
    let pair = |out: &str| {
        let arguments = ["gateways", "pair", "--url", &server.url, "--code-file", &code, "--secret-out", out];
        run(nightlatch(&arguments), "")
    };
    let paired = pair(&key).fine();
    let text = fs::read_to_string(&key).unwrap();
    assert!(text.starts_with("nl_live_") && !paired.out.contains(text.trim()), "{paired:?}");
    let again = pair(&server.path("again")).failed(3);
    assert!(again.err.contains("gateways code"), "{again:?}");
    let shown = server.run(&["gateways", "show", &id, "--json"]).fine().json();
    assert_eq!(shown["state"], "paired");
    let revoke = ["keys", "revoke", shown["key"].as_str().unwrap(), "--reason", "r", "--yes"];
    let refused = server.run(&revoke).failed(1);
    assert!(refused.err.contains("unpair"), "{refused:?}");
    let next = server.path("next");
    server.run(&["gateways", "code", &id, "--order", "revoke-first", "--secret-out", &next]).fine();
    let unpair = ["gateways", "unpair", &id, "--reason", "sold"];
    server.run(&unpair).failed(2);
    let unpaired = server.run(&[&unpair[..], &["--yes"]].concat()).fine();
    assert!(unpaired.out.contains("Keys revoked: 1"), "{unpaired:?}");
    let listed = server.run(&["gateways", "list"]).fine();
    assert!(listed.out.contains(&id) && listed.out.contains("unpaired"), "{listed:?}");
}

#[test]
fn a_partner_and_its_links_live_on_the_command_line() {
    let server = Server::start();
    let made = server.run(&["partners", "create", "agency", "--scope", "orders:read", "--json"]).fine().json();
    let id = made["id"].as_str().unwrap().to_owned();
    let invite = ["partners", "invite", &id, "a@example.org", "--role", "owner"];
    server.run(&invite).failed(2);
    let invited = server.run(&[&invite[..], &["--secret-out", &server.path("invitation"), "--json"]].concat()).fine();
    let member = invited.json()["member"]["id"].as_str().unwrap().to_owned();
    let staff = server.run(&["partners", "staff", &id]).fine();
    assert!(staff.out.contains("a@example.org") && staff.out.contains("partner_owner"), "{staff:?}");
    let moved = server.run(&["partners", "set-role", &id, &member, "staff"]).fine();
    assert!(moved.out.contains("partner_staff"), "{moved:?}");
    server.run(&["partners", "remove-staff", &id, &member]).failed(2);
    server.run(&["partners", "remove-staff", &id, &member, "--yes"]).fine();
    let code = server.path("code");
    server.run(&["partners", "link", &id, "our best", "--secret-out", &code]).fine();
    let accept = ["links", "accept", "--code-file", &code, "--permission", "orders:place"];
    let accepted = server.run(&[&accept[..], &["--json"]].concat()).fine().json();
    let link = accepted["id"].as_str().unwrap().to_owned();
    server.run(&accept).failed(1);
    let links = server.run(&["partners", "links", &id]).fine();
    assert!(links.out.contains("our best") && links.out.contains("orders:place"), "{links:?}");
    let permitted = server.run(&["links", "permit", &link, "--permission", "orders:see"]).fine();
    assert!(permitted.out.contains("orders:see"), "{permitted:?}");
    let listed = server.run(&["links", "list"]).fine();
    assert!(listed.out.contains("agency") && listed.out.contains("active"), "{listed:?}");
    for end in
        [&["partners", "end-link", &id, &link, "--reason", "over"][..], &["links", "end", &link, "--reason", "over"]]
    {
        server.run(end).failed(2);
        assert_eq!(server.run_on_terminal(end, "n\n").code, Some(1));
    }
    assert!(server.run(&["links", "list"]).fine().out.contains("active"), "nothing has ended");
    let ended = server.run(&["partners", "end-link", &id, &link, "--reason", "over", "--yes"]).fine();
    assert!(ended.out.contains("Keys revoked: 0"), "{ended:?}");
    let ended = server.run(&["links", "end", &link, "--reason", "over", "--yes"]).fine();
    assert!(ended.out.contains("ended by"), "{ended:?}");
    let listed = server.run(&["partners", "list", "--json"]).fine().json();
    assert_eq!(listed["usable_keys"], 0);
}
