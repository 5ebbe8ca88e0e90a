//! Waiting for heads, and the notes beside them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use nightlatch::config::{Config, Sources};
use nightlatch::publisher::Role;
use nightlatch::serve::Server;
use nightlatch::store::tokens::TokenKind;
use nightlatch_api::RevokeKey;
use nightlatch_api::client::Client;
use secrecy::ExposeSecret as _;

use crate::app::TestApp;
use crate::on_both;

async fn edge(app: &TestApp) -> Client {
    Client::new(&app.server.url()).unwrap().with_token(app.edge_token().await)
}

fn version(head: &[u8]) -> u64 {
    let text = std::str::from_utf8(head).unwrap();
    text.lines().find_map(|line| line.strip_prefix("version ")).unwrap().parse().unwrap()
}

on_both!(s3_10_whoever_waits_hears_of_a_revocation_when_it_is_published);
async fn s3_10_whoever_waits_hears_of_a_revocation_when_it_is_published(app: TestApp) {
    let key = app.issue("k", &[]).await.key;
    app.server.publisher().flush().await.unwrap();
    let edge = edge(&app).await;
    let first = edge.head(&app.set.id, None).await.unwrap().unwrap();
    let waits = join_all((0..20).map(|_| async {
        let mut head = first.clone();
        // Heartbeats wake as well: a head is another head.
        while version(&head.value) == version(&first.value) {
            if let Some(news) = edge.head_after(&app.set.id, &head.etag, 30).await.unwrap() {
                head = news;
            }
        }
    }));
    let revoke = async { app.client.revoke_key(&key.id, &RevokeKey::new("leaked")).await.unwrap() };
    tokio::join!(waits, revoke);
    app.stop().await;
}

#[tokio::test]
async fn a_wait_is_answered_at_once_where_there_is_news_and_ends_where_there_is_none() {
    let app = TestApp::sqlite().await;
    app.server.publisher().flush().await.unwrap();
    let path = format!("/v1/sets/{}/head", app.set.id);
    let head = app.get(&path).send().await;
    assert_eq!(head.header("preference-applied"), "");
    for (known, asked, applied) in [("\"other\"", "wait=30", "wait=30"), ("\"other\"", "wait=100", "wait=30")] {
        let answer = app.get(&path).header("if-none-match", known).header("prefer", asked).send().await;
        assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (200, applied));
    }
    let answer = app.get(&path).header("prefer", "wait=30").send().await;
    assert_eq!(answer.status, 200, "whoever has nothing waits for nothing");
    // One second at most, if no heartbeat comes before.
    let tag = head.header("etag");
    let answer = app.get(&path).header("if-none-match", tag).header("prefer", "respond-async, wait=1").send().await;
    assert_eq!(answer.header("preference-applied"), "wait=1");
    assert_eq!(answer.status == 304, answer.header("etag") == tag);
    app.stop().await;
}

#[tokio::test]
async fn whoever_waits_is_let_go_when_the_server_stops() {
    let app = TestApp::sqlite().await;
    let key = app.issue("k", &[]).await.key;
    app.server.publisher().flush().await.unwrap();
    let edge = edge(&app).await;
    let head = edge.head(&app.set.id, None).await.unwrap().unwrap();
    let (set, client) = (app.set.id.clone(), app.client.clone());
    let heads = tokio::spawn(async move { edge.head_after(&set, &head.etag, 30).await });
    let revoke = tokio::spawn(async move {
        client.revoke_key(&key.id, &RevokeKey { wait: Some(30), ..RevokeKey::new("leaked") }).await
    });
    while app.number("SELECT COUNT(*) FROM receipts").await == 0 {
        tokio::task::yield_now().await;
    }
    // Far less than they would wait: otherwise the server cuts them off, and they fail.
    app.server.stop(Duration::from_secs(20)).await;
    heads.await.unwrap().unwrap();
    let receipt = revoke.await.unwrap().unwrap().receipt.unwrap();
    assert_eq!(receipt.state.as_str(), "pending");
}

/// A replica has the same database and secrets, and a directory of its own in which nothing is published.
#[tokio::test]
async fn a_replica_that_does_not_publish_lets_edges_wait_too() {
    let app = TestApp::postgres().await;
    let key = app.issue("k", &[]).await.key;
    app.server.publisher().flush().await.unwrap();
    let directory = app.data.path().join("replica");
    copy(&app.data.path().join("data/secrets"), &directory.join("secrets"));
    let flags = vec![("data_dir", directory.display().to_string()), ("listen", "127.0.0.1:0".to_owned())];
    let environment = vec![("DATABASE_URL".to_owned(), app.config.store_url().expose_secret().to_owned())];
    let replica = Server::start(&Config::load(&Sources { flags, file: None, environment }).unwrap()).await.unwrap();
    replica.publisher().wait(|status| status.role == Role::Standby).await.unwrap();
    let edge = Client::new(&replica.url()).unwrap().with_token(app.edge_token().await);
    let mut head = edge.head(&app.set.id, None).await.unwrap().unwrap();
    let before = version(&head.value);
    let follow = async {
        while version(&head.value) == before {
            if let Some(news) = edge.head_after(&app.set.id, &head.etag, 30).await.unwrap() {
                head = news;
            }
        }
    };
    let revoke = async { app.client.revoke_key(&key.id, &RevokeKey::new("leaked")).await.unwrap() };
    tokio::join!(follow, revoke);
    replica.stop(Duration::from_secs(5)).await;
    app.stop().await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // Permissions come along.
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn the_notes_beside_the_head_are_served_where_there_are_any() {
    let app = TestApp::sqlite().await;
    app.server.publisher().flush().await.unwrap();
    let token = app.edge_token().await;
    let directory = app.data.path().join("data/sets").join(&app.set.id);
    for (name, text) in [("trust", "nightlatch.trust/1\n"), ("deny", "nightlatch.deny/1\n")] {
        let path = format!("/v1/sets/{}/{name}", app.set.id);
        fs::remove_file(directory.join(name)).ok();
        let missing = app.get(&path).token(&token).send().await;
        if name == "trust" {
            // The database has it, wherever the file is.
            assert!(missing.text.starts_with("nightlatch.trust/1\nset "), "{}", missing.text);
        } else {
            missing.is_problem(404, "not_found");
        }
        fs::write(directory.join(name), text).unwrap();
        let note = app.get(&path).token(&token).send().await;
        assert_eq!((note.status.as_u16(), note.text.as_str()), (200, text));
        assert_eq!(note.header("content-type"), "text/plain; charset=utf-8");
        let again = app.get(&path).header("if-none-match", note.header("etag")).send().await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
        app.get(&path).without_token().send().await.is_problem(401, "token_missing");
        let stranger = nightlatch::api::mint_token(TokenKind::Edge, 0);
        app.get(&path).token(stranger.expose()).send().await.is_problem(401, "token_invalid");
    }
    app.stop().await;
}
