//! A WebSocket over the program's one HTTP client, and so over its one idea of TLS and of whom to trust.

use base64ct::{Base64, Encoding as _};
use futures::{SinkExt as _, StreamExt as _};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{RequestBuilder, StatusCode, Upgraded};
use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::PushError;
use super::target::{chain, in_time, refused};

/// The largest message that is taken from the other side, in bytes. It has little to say.
const MAX_MESSAGE: usize = 16 << 10;

/// What a Worker answers to a head.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
}

/// An open WebSocket.
pub(super) struct Socket(WebSocketStream<Upgraded>);

/// Makes a WebSocket of a request, as RFC 6455 describes it.
pub(super) async fn connect(request: RequestBuilder, random: fn(&mut [u8])) -> Result<Socket, PushError> {
    let mut nonce = [0; 16];
    random(&mut nonce);
    let key = Base64::encode_string(&nonce);
    let request = request
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    let response = request.send().await.map_err(|error| PushError::Failed(chain(&error)))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(response.status()));
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|accepted| accepted.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(PushError::Failed("it does not speak WebSocket".into()));
    }
    let stream = response.upgrade().await.map_err(|error| PushError::Failed(chain(&error)))?;
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    Ok(Socket(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await))
}

impl Socket {
    /// Sends a head; back when the network has taken it.
    pub(super) async fn send(&mut self, head: &str) -> Result<(), PushError> {
        in_time(async { self.0.send(Message::text(head)).await.map_err(|error| PushError::Failed(chain(&error))) })
            .await
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), PushError> {
        let ping = Message::Ping(Vec::new().into());
        in_time(async { self.0.send(ping).await.map_err(|error| PushError::Failed(chain(&error))) }).await
    }

    /// Waits for a sign of life, whatever it is; back with what it refuses, where it is a refusal.
    pub(super) async fn heard(&mut self) -> Result<Option<String>, PushError> {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => {
                let answer = serde_json::from_str::<Answer>(&text).ok();
                Ok(answer.filter(|answer| !answer.ok).map(|answer| answer.error))
            }
            Some(Ok(Message::Close(Some(frame)))) => {
                Err(PushError::Failed(format!("it has closed the connection: {} {}", frame.code, frame.reason)))
            }
            Some(Ok(Message::Close(None))) | None => Err(PushError::Failed("it has closed the connection".into())),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(PushError::Failed(chain(&error))),
        }
    }
}
