//! Telling edges of heads at once, and what happens when that does not work: nothing.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures::{SinkExt as _, StreamExt as _};
use nightlatch::push::{PushError, PushTarget, Pusher};
use nightlatch::store::os_random;
use nightlatch_tests::wait::eventually;
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::world::{SOON, World, assert_holds, options, to_directory};

const TOKEN: &str = "nlp_token_of_the_worker";
const PATH: &str = "/.well-known/nightlatch/push/set_x";

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("ws://{}{PATH}", listener.local_addr().unwrap());
    (listener, url)
}

fn target(url: &str) -> PushTarget {
    PushTarget::new(url, &SecretString::from(TOKEN)).unwrap()
}

/// Takes the next connection, as a Worker does.
async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = listener.accept().await.unwrap();
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().path(), PATH);
        assert_eq!(request.headers().get("authorization").unwrap(), &format!("Bearer {TOKEN}"));
        Ok(response)
    };
    tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap()
}

/// The next head that arrives.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> String {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return text.to_string();
        }
    }
}

fn head(number: usize) -> Option<Arc<str>> {
    Some(Arc::from(format!("head {number}")))
}

#[tokio::test]
async fn heads_are_pushed_as_they_are_written_and_connections_come_back() {
    let world = World::new().await;
    world.publish(1).await;
    let (listener, url) = listen().await;
    let directory = world.scratch("target");
    let mut job = world.job(&directory);
    job.push_to(target(&url));
    job.pass().await.unwrap();
    let note = || world.directory.head().unwrap().unwrap();
    let mut socket = accept(&listener).await;
    assert_eq!(next(&mut socket).await, note());
    world.publish(1).await;
    job.pass().await.unwrap();
    assert_eq!(next(&mut socket).await, note());
    // A sign of life is answered, a refusal is counted, and neither ends the connection.
    socket.send(Message::text(r#"{"ok":false,"error":"not_a_head"}"#)).await.unwrap();
    socket.send(Message::Ping(b"x".as_slice().into())).await.unwrap();
    while !matches!(socket.next().await.unwrap().unwrap(), Message::Pong(_)) {}

    // The Worker goes away, and another comes: it gets the head that is in force.
    drop(socket);
    let mut socket = accept(&listener).await;
    assert_eq!(next(&mut socket).await, note());
    let status = job.pushed(SOON).await;
    assert_eq!(status[0].to, url);
    assert!(status[0].failures >= 2 && status[0].sent >= 3, "{status:?}");

    // Where the target had the head already, it is pushed all the same.
    drop(job);
    let (listener, url) = listen().await;
    let mut job = world.job(&directory);
    job.push_to(target(&url));
    assert!(job.pass().await.unwrap().is_empty());
    assert_eq!(next(&mut accept(&listener).await).await, note());
}

#[tokio::test]
async fn who_is_behind_gets_the_newest_only() {
    let (listener, url) = listen().await;
    let (heads, seen) = watch::channel(None);
    let mut pusher = Pusher::start(target(&url), seen, os_random);
    // The connection is there and nobody speaks.
    heads.send_replace(head(0));
    let (stream, _) = listener.accept().await.unwrap();
    for number in 1..100 {
        heads.send_replace(head(number));
    }
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    assert_eq!(next(&mut socket).await, "head 99");
    assert!(pusher.has_sent("head 99", SOON).await);
    assert_eq!(pusher.status().sent, 1);

    // Who reads slowly holds up nobody but itself, and ends with the newest, too.
    let long = |number: usize| Some(Arc::from(format!("{number} {}", "x".repeat(15_000))));
    for number in 0..2_000 {
        heads.send_replace(long(number));
        tokio::task::yield_now().await;
    }
    let newest = long(1_999).unwrap();
    let mut last = String::new();
    while *last != *newest {
        last = next(&mut socket).await;
    }
    assert!(pusher.has_sent(&newest, SOON).await);
}

#[tokio::test]
async fn failures_are_counted_and_hold_nothing_up() {
    let world = World::new().await;
    let first = world.publish(1).await;
    let directory = world.scratch("target");
    let mut job = world.job(&directory);
    // Nobody there; somebody who refuses.
    let (listener, gone) = listen().await;
    drop(listener);
    let refuses = serve(Router::new().route(PATH, post(async || StatusCode::UNAUTHORIZED))).await;
    job.push_to(target(&gone));
    job.push_to(target(&format!("http://{refuses}{PATH}")));
    job.push_to(target(&format!("ws://{refuses}{PATH}")));
    job.pass().await.unwrap();
    assert_holds(&directory, &first);
    eventually("all fail", SOON, async || {
        let status = job.pushed(Duration::ZERO).await;
        ensure!(status.iter().all(|one| one.failures > 0 && one.sent == 0), "{status:?}");
        Ok(())
    })
    .await
    .unwrap();
    let next = world.publish(1).await;
    let report = job.pass().await.unwrap();
    assert_eq!(report.push.len(), 3);
    assert_holds(&directory, &next);
}

#[tokio::test]
async fn heads_are_posted_where_the_address_says_so() {
    let (say, mut heard) = mpsc::unbounded_channel();
    let take = async move |headers: HeaderMap, body: String| {
        if headers.get("authorization").is_none_or(|token| token != &format!("Bearer {TOKEN}")) {
            return StatusCode::UNAUTHORIZED;
        }
        say.send(body).unwrap();
        StatusCode::OK
    };
    let address = serve(Router::new().route(PATH, post(take))).await;
    let world = World::new().await;
    world.publish(1).await;
    let mut job = nightlatch::sync_job::SyncJob::new(world.source(), to_directory(&world.scratch("target")), options());
    job.push_to(target(&format!("http://{address}{PATH}")));
    for _ in 0..3 {
        world.publish(1).await;
        job.pass().await.unwrap();
        assert_eq!(heard.recv().await.unwrap(), world.directory.head().unwrap().unwrap());
    }
    assert_eq!(job.pushed(SOON).await[0].sent, 3);
    assert!(matches!(PushTarget::new("gopher://x", &SecretString::from(TOKEN)), Err(PushError::Usage(_))));
}

async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}
