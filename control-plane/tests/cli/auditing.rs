//! The audit log on the command line: exported, proven offline, erased.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::program::{Ended, Server, nightlatch, run};

/// `nightlatch audit verify`, without any server.
fn verify(arguments: &[&str]) -> Ended {
    run(nightlatch(&[&["audit", "verify"], arguments].concat()), "")
}

/// Waits until everything is chained and signed.
fn settled(server: &Server) {
    loop {
        let standing = server.run(&["audit", "checkpoint", "--json"]).fine().json();
        if standing["unchained"] == 0 && standing["checkpoint"]["count"] == standing["chained"] {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn s1_14_an_export_is_proven_offline_or_its_first_break_is_named() {
    let server = Server::start();
    let (id, _) = server.issue("billing");
    settled(&server);
    let (head, file) = (server.path("head-of-monday"), server.path("audit.ndjson"));
    server.run(&["audit", "checkpoint", "--out", &head]).fine();
    server.run(&["keys", "revoke", &id, "--reason", "leaked", "--yes"]).fine();
    settled(&server);
    server.run(&["audit", "export", "--out", &file]).fine();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it holds addresses");
    let verifier = server.run(&["sets", "show", "--json"]).fine().json()["verifier"].as_str().unwrap().to_owned();
    let proven = verify(&[&file, "--verifier", &verifier, "--checkpoint", &head, "--json"]).fine().json();
    assert_eq!((proven["proven"].as_bool(), proven["checkpoints"].as_u64()), (Some(true), Some(1)));
    let shown = verify(&[&file, "--verifier", &verifier]).fine();
    assert!(shown.out.contains("whole") && shown.out.contains("1 behind the checkpoint"), "{shown:?}");

    // One that fails takes nothing away.
    let before = fs::read_to_string(&file).unwrap();
    server.run(&["audit", "export", "--after", "9999", "--out", &file]).failed(4);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);

    // By way of the root and the trust note.
    let sets = server.run(&["sets", "show", "--json"]).fine().json();
    let set = sets["id"].as_str().unwrap();
    let trust = server.path(&format!("data/sets/{set}/trust"));
    let root = fs::read_to_string(&trust).unwrap();
    let root = root.lines().find_map(|line| line.strip_prefix("root ")).unwrap();
    verify(&[&file, "--root", root, "--trust", &trust]).fine();

    // A choice of entries.
    let some = server.path("some.ndjson");
    server.run(&["audit", "export", "--key", &id, "--out", &some]).fine();
    let choice = verify(&[&some, "--verifier", &verifier]).fine();
    assert!(choice.out.contains("does not say"), "{choice:?}");
    verify(&[&some, "--verifier", &verifier, "--checkpoint", &head]).failed(1);

    // Changed, cut, and of a stranger.
    let text = fs::read_to_string(&file).unwrap();
    let broken = |text: &str| {
        let other = server.path("other.ndjson");
        fs::write(&other, text).unwrap();
        let ended = verify(&[&other, "--verifier", &verifier, "--json"]).failed(1);
        (ended.json()["break"]["sequence"].as_u64(), ended.err)
    };
    let revoked = text.lines().find(|line| line.contains("key.revoked")).unwrap();
    let seq = serde_json::from_str::<serde_json::Value>(revoked).unwrap()["seq"].as_u64();
    let (at, told) = broken(&text.replace("leaked", "expired"));
    assert!(at == seq && told.contains("content was changed"), "{told}");
    let (_, told) = broken(&text[..text.trim_end().rfind('\n').unwrap() + 1]);
    assert!(told.contains("cut off"), "{told}");
    let issued = text.lines().find(|line| line.contains("key.issued")).unwrap();
    let (_, told) = broken(&text.replacen(&format!("{issued}\n"), "", 1));
    assert!(told.contains("missing"), "{told}");
    let stranger = "nightlatch/x+f8ba7a1b+AQPhSjzQ1kHOnJTOt3COFO7hHjcFyMExEPlKnz2cuRBR";
    verify(&[&file, "--verifier", stranger]).failed(2);
    verify(&[&file]).failed(2);

    // A head that was kept of another workspace accuses nobody.
    let other = Server::start();
    settled(&other);
    let strange = other.path("head-of-another");
    other.run(&["audit", "checkpoint", "--out", &strange]).fine();
    let both =
        [&verifier, other.run(&["sets", "show", "--json"]).fine().json()["verifier"].as_str().unwrap()].join(",");
    let told = verify(&[&file, "--verifier", &both, "--checkpoint", &strange]).failed(1).err;
    assert!(told.contains("is of workspace"), "{told}");
    // One of a signer that is no longer listed says how it is believed all the same.
    let told = verify(&[&file, "--verifier", &verifier, "--checkpoint", &strange]).failed(1).err;
    assert!(told.contains("--verifier"), "{told}");

    // What is shown, and what is erased.
    let listed = server.run(&["audit", "list", "--key", &id]).fine();
    assert!(listed.out.contains("key.revoked") && listed.out.contains("leaked"), "{listed:?}");
    assert_eq!(server.run(&["audit", "--key", &id]).fine().out, listed.out);
    let refused = server.run(&["audit", "erase", "mem_1hTq3e9fKz"]).failed(2);
    assert!(refused.err.contains("--yes"), "{refused:?}");
    let asked = server.run_on_terminal(&["audit", "erase", "mem_1hTq3e9fKz"], "n\n");
    assert!(asked.code == Some(1) && asked.out.contains("for ever"), "{asked:?}");
    let erased = server.run(&["audit", "erase", "mem_1hTq3e9fKz", "--yes"]).fine();
    assert_eq!(erased.out, "0 values about mem_1hTq3e9fKz are erased.\n");
}
