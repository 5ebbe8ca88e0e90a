//! Edges, receipts and the check of a set's source from the command line.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use nightlatch_keyset::Trust;
use nightlatch_keyset::note::{Signer, Verifier};

use crate::program::{Server, nightlatch, run};

#[test]
fn an_edge_lives_on_the_command_line() {
    let server = Server::start();
    assert_eq!(server.run(&["edge", "list"]).fine().out, "No edges.\n");
    let refused = server.run(&["edge", "add", "gate", "--class", "durable"]).failed(2);
    assert!(refused.err.contains("--secret-out"), "{refused:?}");
    let (code, credential) = (server.path("code"), server.path("credential"));
    let added =
        server.run(&["edge", "add", "gate", "--class", "durable", "--secret-out", &code, "--json"]).fine().json();
    let id = added["edge"]["id"].as_str().unwrap().to_owned();
    assert!(added.get("code").is_none() && added["code_file"].is_string());
    assert_eq!(fs::metadata(&code).unwrap().permissions().mode() & 0o777, 0o600);
    // On the edge's machine: no token, only the code.
    let enrol = |out: &str| {
        let arguments = ["edge", "enrol", "--url", &server.url, "--code-file", &code, "--runtime", "sidecar"];
        run(nightlatch(&[&arguments[..], &["--secret-out", out]].concat()), "")
    };
    let enrolled = enrol(&credential).fine();
    assert!(enrolled.out.contains(&format!("{}/v1/sets/", server.url)), "{enrolled:?}");
    assert!(enrolled.out.contains("The credential is in"), "{enrolled:?}");
    let text = fs::read_to_string(&credential).unwrap();
    assert!(text.starts_with("nle_live_") && !enrolled.out.contains(text.trim()));
    enrol(&server.path("again")).failed(3);
    let listed = server.run(&["edge", "list"]).fine();
    assert!(listed.out.contains(&id) && listed.out.contains("sidecar") && listed.out.contains("active"), "{listed:?}");
    let shown = server.run(&["edge", "show", &id]).fine();
    assert!(shown.out.contains("durable") && shown.out.contains("last contact"), "{shown:?}");
    let next = server.path("next");
    let rotated = server.run(&["edge", "rotate", &id, "--overlap", "1h", "--secret-out", &next]).fine();
    assert!(rotated.out.contains("ends at its first use"), "{rotated:?}");
    let removed = server.run(&["edge", "remove", &id]).fine();
    assert!(removed.out.contains("Its credentials have ended."), "{removed:?}");
    assert_eq!(server.run(&["edge", "show", &id, "--json"]).fine().json()["state"], "removed");
    server.run(&["edge", "rotate", &id, "--secret-out", &server.path("never")]).failed(1);
    server.run(&["edge", "show", "edge_0000000000000000"]).failed(4);
}

#[test]
fn a_sidecars_settings_and_its_pepper_are_told_apart() {
    let server = Server::start();
    let (data, peppers) = (server.path("data"), server.path("peppers"));
    let config = ["edge", "config", "--runtime", "sidecar", "--data-dir", &data];
    let printed = server.run(&[&config[..], &["--peppers-out", &peppers]].concat()).fine();
    let pepper = fs::read_to_string(&peppers).unwrap();
    assert!(!printed.out.contains(pepper.split(':').nth(1).unwrap()), "{printed:?}");
    assert_eq!(fs::metadata(&peppers).unwrap().permissions().mode() & 0o777, 0o600);
    for line in [
        "listen = \"",
        "mode = \"auth_request\"",
        "set = \"set_",
        "source = \"http",
        "poll_ms = 1000",
        "report_url = \"",
    ] {
        assert!(printed.out.contains(line), "{line}: {printed:?}");
    }
    assert!(printed.out.contains("roots = [\"") && !printed.out.contains("verifiers"), "{printed:?}");
    assert!(printed.out.contains(&format!("peppers_file = \"{peppers}\"")), "{printed:?}");
    server.run(&[&config[..], &["--mode", "proxy"]].concat()).failed(2);
    let proxy = ["--mode", "proxy", "--origin", "http://127.0.0.1:8080", "--json"];
    let printed = server.run(&[&config[..], &proxy].concat()).fine().json();
    assert_eq!(printed["settings"]["origin"], "http://127.0.0.1:8080");
    assert_eq!(printed["secrets"]["peppers"], pepper.trim());
}

#[test]
fn s3_10_a_receipt_is_kept_and_checked_offline() {
    let short = ["--set-heartbeat-seconds", "1", "--set-validity-seconds", "2", "--set-skew-seconds", "1"];
    let server = Server::start_with(&short);
    let (id, _) = server.issue("to go");
    server.run(&["keys", "receipt", &id]).failed(4);
    server.run(&["keys", "revoke", &id, "--reason", "leaked", "--yes", "--wait", "31"]).failed(1);
    let revoked = server.run(&["keys", "revoke", &id, "--reason", "leaked", "--yes", "--wait", "30"]).fine();
    assert!(revoked.out.contains("bound elapsed") && revoked.out.contains("0 of 0 durable edges"), "{revoked:?}");
    let file = server.path("receipt");
    let note = server.path("trust-now");
    let shown = server.run(&["keys", "receipt", &id, "--out", &file, "--trust-out", &note, "--json"]).fine().json();
    assert_eq!(shown["note"], fs::read_to_string(&file).unwrap());
    let set = server.run(&["sets", "show", "--json"]).fine().json();
    let verifier = set["verifier"].as_str().unwrap().to_owned();
    // Offline: no address, no token.
    let verify = |arguments: &[&str]| run(nightlatch(&[&["receipt", "verify"], arguments].concat()), "");
    let good = verify(&[&file, "--verifier", &verifier]).fine();
    assert!(good.out.contains("The signature is good.") && good.out.contains(&id), "{good:?}");
    let json = verify(&[&file, "--verifier", &verifier, "--json"]).fine().json();
    for field in ["state", "key", "set", "bound_ms", "in_force_by", "published_version", "counted"] {
        assert_eq!(json[field], shown[field], "{field}");
    }
    let text = fs::read_to_string(&file).unwrap();
    let forged = server.write("forged", &text.replace("state bound_elapsed", "state confirmed"));
    let refused = verify(&[&forged, "--verifier", &verifier]).failed(1);
    assert!(refused.err.contains("signature does not fit"), "{refused:?}");
    let stranger = Signer::new("stranger", &[7; 32]).unwrap();
    verify(&[&file, "--verifier", &stranger.verifier().to_vkey()]).failed(1);
    let helpless = verify(&[&file]).failed(2);
    assert!(helpless.err.contains("--verifier") && helpless.err.contains("--root"), "{helpless:?}");
    // A head is no receipt, whoever signed it.
    let set_id = set["id"].as_str().unwrap();
    let head = server.path(&format!("data/sets/{set_id}/head"));
    let refused = verify(&[&head, "--verifier", &verifier]).failed(1);
    assert!(refused.err.contains("no receipt"), "{refused:?}");
    // By way of the root: the signer has to be listed.
    let kept = fs::read_to_string(&note).unwrap();
    assert_eq!(kept, fs::read_to_string(server.path(&format!("data/sets/{set_id}/trust"))).unwrap());
    let pinned = Trust::parse(&format!("{}\n", kept.split_once("\n\n").unwrap().0)).unwrap().roots[0].to_vkey();
    verify(&[&file, "--root", &pinned, "--trust", &note]).fine();
    let root = Signer::new("root", &[9; 32]).unwrap();
    let trust = |set: &str, signers: Vec<Verifier>| Trust {
        set: set.to_owned(),
        version: 1,
        issued: 0,
        floor: [0; 3],
        roots: vec![root.verifier()],
        signers,
    };
    let signer = Verifier::from_vkey(&verifier).unwrap();
    let listed = server.write("trust", &trust(set_id, vec![signer.clone()]).sign(&root));
    let other = server.write("trust-other", &trust(set_id, vec![stranger.verifier()]).sign(&root));
    let foreign = server.write("trust-foreign", &trust("set_other", vec![signer]).sign(&root));
    let root = root.verifier().to_vkey();
    verify(&[&file, "--root", &root, "--trust", &listed]).fine();
    verify(&[&file, "--root", &root, "--trust", &other]).failed(1);
    verify(&[&file, "--root", &root, "--trust", &foreign]).failed(1);
    verify(&[&file, "--root", &stranger.verifier().to_vkey(), "--trust", &listed]).failed(1);
    verify(&[&file, "--root", &root]).failed(2);
}

#[test]
fn a_pending_receipt_ends_with_a_code_of_its_own() {
    let server = Server::start();
    let (id, _) = server.issue("to go");
    server.run(&["keys", "revoke", &id, "--reason", "leaked", "--yes"]).fine();
    let file = server.path("receipt");
    let pending = server.run(&["keys", "receipt", &id, "--out", &file]).failed(5);
    assert!(pending.out.contains("pending") && pending.err.contains("at the latest"), "{pending:?}");
    assert!(!fs::exists(&file).unwrap(), "nothing was signed");
}

#[test]
fn a_set_that_strangers_can_read_is_refused() {
    let server = Server::start();
    let set = server.run(&["sets", "list", "--json"]).fine().json()["id"].as_str().unwrap().to_owned();
    let data = server.path("new");
    let check = |source: &str| {
        server.run(&["config", "check", "--data-dir", &data, "--listen", "127.0.0.1:0", "--source", source])
    };
    check(&format!("{}/v1/sets/{set}", server.url)).fine();
    let bucket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bucket.local_addr().unwrap();
    let public = std::thread::spawn(move || {
        for status in ["200 OK", "403 Forbidden", "404 Not Found", "500 Internal Server Error"] {
            let (mut connection, _) = bucket.accept().unwrap();
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
            assert!(request.starts_with("get /set/head ") && !request.contains("authorization"), "{request}");
            write!(connection, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    let place = format!("http://{address}/set/");
    let refused = check(&place).failed(7);
    assert!(refused.out.contains("without credentials"), "{refused:?}");
    check(&place).fine();
    let hidden = check(&place).fine();
    assert!(hidden.out.contains("if the address is right"), "{hidden:?}");
    check(&place).failed(7);
    public.join().unwrap();
    check(&place).failed(7);
    check("s3://bucket/set").failed(7);
}
