//! Where exports go: files that are whole or not there, and what is no file.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::process::{Command, Stdio};

use crate::program::{Server, nightlatch};

#[test]
fn an_export_goes_through_what_is_no_file_and_follows_links() {
    let server = Server::start();
    server.issue("k");
    let csv = server.run(&["keys", "export"]).fine().out;
    let size = format!("{} bytes are in", csv.len());

    let file = server.path("keys.csv");
    let written = server.run(&["keys", "export", "--out", &file]).fine();
    assert!(written.out.contains(&size) && written.err.is_empty(), "{written:?}");
    assert_eq!(server.run(&["keys", "export", "--out", &file, "--json"]).fine().err, "");

    // Standard output is not mixed with what is said of it.
    assert_eq!(server.run(&["keys", "export", "--out", "/dev/stdout"]).fine().out, csv);
    let full = server.run(&["keys", "export", "--out", "/dev/full"]).failed(1);
    assert!(full.err.contains("/dev/full"), "{full:?}");
    assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());

    let pipe = server.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    server.run(&["keys", "export", "--out", &pipe]).fine();
    assert_eq!(reader.join().unwrap(), csv);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());

    // A link stays one, also where nothing is at its end yet.
    fs::create_dir(server.path("elsewhere")).unwrap();
    let link = server.path("link");
    symlink("elsewhere/keys.csv", &link).unwrap();
    for _ in 0..2 {
        server.run(&["keys", "export", "--out", &link]).fine();
        assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("elsewhere/keys.csv"));
        assert_eq!(fs::read_to_string(server.path("elsewhere/keys.csv")).unwrap(), csv);
    }
    server.run(&["keys", "export", "--out", &server.path("elsewhere")]).failed(1);
}

#[test]
fn whoever_interrupts_an_export_leaves_nothing_behind() {
    // A server whose answer begins and never ends.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.ndjson");
    for arguments in [["audit", "export", "--out"], ["keys", "export", "--out"]] {
        let mut export = nightlatch(&arguments);
        export.arg(&file).env("NIGHTLATCH_URL", &url).env("NIGHTLATCH_TOKEN", "nlm_live_0");
        let mut export = export.stderr(Stdio::piped()).spawn().unwrap();
        let (mut asked, _) = listener.accept().unwrap();
        assert!(asked.read(&mut [0; 4096]).unwrap() > 0);
        let begun = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: 99\r\n\r\npersonal";
        asked.write_all(begun.as_bytes()).unwrap();
        while fs::read_dir(&directory).unwrap().all(|entry| entry.unwrap().metadata().unwrap().len() == 0) {
            assert!(export.try_wait().unwrap().is_none(), "it has given up");
            std::thread::yield_now();
        }
        let interrupt = Command::new("kill").args(["-INT", &export.id().to_string()]).status().unwrap();
        assert!(interrupt.success());
        let ended = export.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        assert!(String::from_utf8(ended.stderr).unwrap().contains("nothing was written"));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }
}

#[test]
fn s0_15_a_secret_is_not_asked_for_where_a_link_has_its_name() {
    let server = Server::start();
    let link = server.path("link");
    symlink("nowhere", &link).unwrap();
    let refused = server.run(&["keys", "issue", "k", "--secret-out", &link]).failed(2);
    assert!(refused.err.contains("exists"), "{refused:?}");
    assert_eq!(server.run(&["keys", "list"]).fine().out, "No keys.\n", "nothing was issued");
}
