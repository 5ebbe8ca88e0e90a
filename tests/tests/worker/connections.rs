//! What has been let through and goes on: streams, uploads and WebSockets end by their route's `max_connection_age`, whatever
//! has become of the key's data meanwhile.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{SinkExt as _, StreamExt as _, stream};
use nightlatch_key::KeyText;
use nightlatch_keyset::Status;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::ticker::Ticker;
use nightlatch_tests::wait::eventually;
use reqwest::Body;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use crate::stand::Stand;

const SOON: Duration = Duration::from_secs(20);

/// The most bytes that a message through the relay may have.
const MAX_MESSAGE: usize = 1 << 20;

/// A Worker in front of an origin whose answers have no end.
async fn start() -> Result<(Stand, Ticker, KeyText)> {
    let ticker = Ticker::start().await?;
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        // Retiring, so that answers have something to announce.
        key = Some(set.issue(Key::default().status(Status::Retiring).deadline(now_ms() / 1_000 + 600)));
        set.publish()
    };
    let stand = Stand::start(prepare, |config| config.variable("NIGHTLATCH_ORIGIN", ticker.url())).await?;
    Ok((stand, ticker, key.context("prepared above")?))
}

/// Nobody tells the edge that the key is revoked: its source is gone.
fn revoke_under_partition(stand: &mut Stand, key: &KeyText) -> Result<()> {
    stand.set.change(key, |key| key.status = Status::Revoked)?;
    stand.set.publish()?;
    stand.source.state().failing = Some(500);
    Ok(())
}

async fn origin_is_rid_of_it(ticker: &Ticker) -> Result<()> {
    eventually("the origin's side has ended, too", SOON, async || {
        ensure!(ticker.open() == 0, "{} are open", ticker.open());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_stream_ends_by_its_age_although_the_source_is_gone() -> Result<()> {
    let (mut stand, ticker, key) = start().await?;
    let url = format!("{}/aged", stand.worker.url());
    let response = reqwest::Client::new().get(&url).bearer_auth(key.expose()).send().await?.error_for_status()?;
    let mut body = response.bytes_stream();
    ensure!(body.next().await.is_some_and(|piece| piece.is_ok()), "it has not begun");
    revoke_under_partition(&mut stand, &key)?;
    // Whether a client sees that it was cut off is the runtime's to say: over HTTP/1.1, workerd ends it as if it were whole.
    let end = timeout(SOON, async { while body.next().await.is_some_and(|piece| piece.is_ok()) {} });
    end.await.context("it goes on and on")?;
    origin_is_rid_of_it(&ticker).await
}

#[tokio::test]
async fn an_upload_ends_by_its_age_although_the_source_is_gone() -> Result<()> {
    let (mut stand, ticker, key) = start().await?;
    stand.caller.send(reqwest::Method::GET, "/status", None).await?.refused("key_missing")?;
    revoke_under_partition(&mut stand, &key)?;
    let endless = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"more")), ()))
    });
    let url = format!("{}/aged", stand.worker.url());
    let upload = reqwest::Client::new().post(&url).bearer_auth(key.expose()).body(Body::wrap_stream(endless)).send();
    match timeout(SOON, upload).await.context("it goes on and on")? {
        Ok(answer) => assert_eq!(answer.status(), 502),
        // The Worker may hang up before it has heard all of the question.
        Err(error) => ensure!(error.is_request() || error.is_body(), "{error:?}"),
    }
    origin_is_rid_of_it(&ticker).await
}

#[tokio::test]
async fn a_web_socket_ends_by_its_age_although_the_source_is_gone() -> Result<()> {
    let (mut stand, ticker, key) = start().await?;
    let address = stand.worker.url().trim_start_matches("http://").to_owned();
    let mut request = format!("ws://{address}/aged?room=1").into_client_request()?;
    request.headers_mut().insert("x-api-key", key.expose().parse()?);
    let connection = TcpStream::connect(&address).await?;
    let (mut socket, answer) = tokio_tungstenite::client_async(request, connection).await?;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("deprecation")), (101, true));
    for message in [Message::text("over and back"), Message::binary(vec![0, 255, 7])] {
        socket.send(message.clone()).await?;
        ensure!(socket.next().await.context("no echo")?? == message, "another echo");
    }
    revoke_under_partition(&mut stand, &key)?;
    let end = timeout(SOON, async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => break Ok(frame),
                Some(Ok(_)) => {}
                other => bail!("{other:?}"),
            }
        }
    });
    let frame = end.await.context("it goes on and on")??.context("a reason")?;
    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Away, "max_connection_age"));
    drop(socket);
    origin_is_rid_of_it(&ticker).await
}

/// What one message takes of an isolate's memory is bounded, in both directions.
#[tokio::test]
async fn a_web_socket_is_closed_by_a_message_that_is_too_big() -> Result<()> {
    let (stand, ticker, key) = start().await?;
    let address = stand.worker.url().trim_start_matches("http://").to_owned();
    let connect = async || -> Result<_> {
        let mut request = format!("ws://{address}/aged").into_client_request()?;
        request.headers_mut().insert("x-api-key", key.expose().parse()?);
        Ok(tokio_tungstenite::client_async(request, TcpStream::connect(&address).await?).await?.0)
    };
    for too_big in [Message::binary(vec![7; MAX_MESSAGE + 1]), Message::text("€".repeat(MAX_MESSAGE / 2))] {
        let mut socket = connect().await?;
        let largest = Message::binary(vec![7; MAX_MESSAGE]);
        socket.send(largest.clone()).await?;
        ensure!(socket.next().await.context("no echo")?? == largest, "another echo");
        socket.send(too_big).await?;
        match timeout(SOON, socket.next()).await.context("it goes on and on")?.context("a reason")?? {
            Message::Close(Some(frame)) => {
                assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Size, "message_too_big"));
            }
            other => bail!("{} bytes came back", other.len()),
        }
        drop(socket);
        origin_is_rid_of_it(&ticker).await?;
    }
    Ok(())
}

/// Whoever closes first, the other side hears of it; and nobody gets an upgrade without a key.
#[tokio::test]
async fn a_web_socket_is_closed_by_its_client() -> Result<()> {
    let (stand, ticker, key) = start().await?;
    let address = stand.worker.url().trim_start_matches("http://").to_owned();
    let without = format!("ws://{address}/aged").into_client_request()?;
    let refused = tokio_tungstenite::client_async(without, TcpStream::connect(&address).await?).await;
    ensure!(matches!(&refused, Err(Error::Http(answer)) if answer.status() == 401), "{refused:?}");
    let mut request = format!("ws://{address}/aged").into_client_request()?;
    request.headers_mut().insert("x-api-key", key.expose().parse()?);
    let (mut socket, _) = tokio_tungstenite::client_async(request, TcpStream::connect(&address).await?).await?;
    socket.close(None).await?;
    origin_is_rid_of_it(&ticker).await
}
