//! Reading a set's files, over HTTP or from R2.
//!
//! Shared caches are bypassed: an old head would be refused, and a fresh one must not wait.

use std::fmt;

use js_sys::{JsString, Reflect, Uint8Array};
use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortSignal, Headers, ReadableStream, ReadableStreamDefaultReader, Request, RequestCache, RequestInit,
    RequestRedirect, Response, WorkerGlobalScope,
};
use worker::{Conditional, Env, Object, ResponseBody};

use crate::config::{Config, Source};

/// What a source says of its head.
pub(crate) enum HeadAnswer {
    /// It is the one of the entity tag.
    Unchanged,
    /// Its text, and its entity tag where it has one.
    Note { text: String, etag: Option<String> },
}

/// Why a file cannot be had.
#[derive(Debug)]
pub(crate) enum FetchError {
    /// The bucket of this name is not bound.
    Binding,
    /// It does not exist.
    Missing,
    /// No answer, or none in time.
    Network,
    /// The head is not text.
    NotText,
    /// Another status than 200.
    Status(u16),
    /// More bytes than the signed head says, or than a head has.
    TooLong,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binding => f.write_str("the bucket that NIGHTLATCH_SOURCE names is not bound"),
            Self::Missing => f.write_str("the file does not exist"),
            Self::Network => f.write_str("the source did not answer in time"),
            Self::NotText => f.write_str("the head is not text"),
            Self::Status(status) => write!(f, "the source answered {status}"),
            Self::TooLong => f.write_str("the file is longer than it may be"),
        }
    }
}

impl From<worker::Error> for FetchError {
    fn from(_: worker::Error) -> Self {
        Self::Network
    }
}

impl From<JsValue> for FetchError {
    fn from(_: JsValue) -> Self {
        Self::Network
    }
}

/// Asks for the head, unless it is still the one of `etag`.
pub(crate) async fn head(
    config: &Config,
    env: &Env,
    etag: Option<&str>,
    signal: &AbortSignal,
) -> Result<HeadAnswer, FetchError> {
    let (bytes, etag) = match &config.source {
        Source::Http(base) => {
            let response = get(config, &format!("{base}/head"), etag, signal).await?;
            match response.status() {
                200 => {}
                304 if etag.is_some() => return Ok(HeadAnswer::Unchanged),
                404 => return Err(FetchError::Missing),
                status => return Err(FetchError::Status(status)),
            }
            let etag = response.headers().get("etag")?;
            (read(response.body(), MAX_NOTE_LEN, 0).await?, etag)
        }
        Source::R2 { binding, prefix } => {
            let object = object(env, binding, format!("{prefix}head"), etag).await?;
            if object.body().is_none() {
                return Ok(HeadAnswer::Unchanged);
            }
            (read(stream_of(&object)?, MAX_NOTE_LEN, 0).await?, Some(object.etag()))
        }
    };
    let text = String::from_utf8(bytes).map_err(|_| FetchError::NotText)?;
    Ok(HeadAnswer::Note { text, etag })
}

/// Fetches a file of at most `max_len` bytes.
pub(crate) async fn file(
    config: &Config,
    env: &Env,
    name: FileName,
    max_len: usize,
    signal: &AbortSignal,
) -> Result<Vec<u8>, FetchError> {
    // What a base or a policy takes is known and signed; a delta's cap is far above its usual size.
    let expected = if matches!(name, FileName::Delta { .. }) { 0 } else { max_len };
    match &config.source {
        Source::Http(base) => {
            let response = get(config, &format!("{base}/files/{name}"), None, signal).await?;
            match response.status() {
                200 => read(response.body(), max_len, expected).await,
                404 => Err(FetchError::Missing),
                status => Err(FetchError::Status(status)),
            }
        }
        Source::R2 { binding, prefix } => {
            let object = object(env, binding, format!("{prefix}files/{name}"), None).await?;
            read(stream_of(&object)?, max_len, expected).await
        }
    }
}

/// Posts a report; true where it was taken.
pub(crate) async fn post(config: &Config, url: &str, json: &str, signal: &AbortSignal) -> Result<bool, FetchError> {
    let headers = authorised(config)?;
    headers.set("content-type", "application/json")?;
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_body(&json.into());
    let response = send(url, &init, &headers, signal).await?;
    Ok(response.status() == 200)
}

async fn get(config: &Config, url: &str, etag: Option<&str>, signal: &AbortSignal) -> Result<Response, FetchError> {
    let headers = authorised(config)?;
    // A length that was checked must not grow while it is unpacked.
    headers.set("accept-encoding", "identity")?;
    if let Some(etag) = etag {
        headers.set("if-none-match", etag)?;
    }
    let init = RequestInit::new();
    init.set_cache(RequestCache::NoStore);
    send(url, &init, &headers, signal).await
}

async fn send(url: &str, init: &RequestInit, headers: &Headers, signal: &AbortSignal) -> Result<Response, FetchError> {
    init.set_headers(headers);
    init.set_signal(Some(signal));
    // Redirects are not followed: the token is for this place alone.
    init.set_redirect(RequestRedirect::Manual);
    let request = Request::new_with_str_and_init(url, init)?;
    let global: WorkerGlobalScope = js_sys::global().unchecked_into();
    Ok(JsFuture::from(global.fetch_with_request(&request)).await?.unchecked_into())
}

fn authorised(config: &Config) -> Result<Headers, FetchError> {
    let headers = Headers::new()?;
    if let Some(token) = &config.token {
        headers.set("authorization", &format!("Bearer {}", token.as_str()))?;
    }
    Ok(headers)
}

/// An object; without a body where it is still the one of `etag`.
async fn object(env: &Env, binding: &str, key: String, etag: Option<&str>) -> Result<Object, FetchError> {
    let bucket = env.bucket(binding).map_err(|_| FetchError::Binding)?;
    let mut get = bucket.get(key);
    if let Some(etag) = etag {
        get = get.only_if(Conditional { etag_does_not_match: Some(etag.to_owned()), ..Conditional::default() });
    }
    get.execute().await?.ok_or(FetchError::Missing)
}

fn stream_of(object: &Object) -> Result<Option<ReadableStream>, FetchError> {
    match object.body().ok_or(FetchError::Missing)?.response_body()? {
        ResponseBody::Stream(stream) => Ok(Some(stream)),
        ResponseBody::Empty | ResponseBody::Body(_) => Ok(None),
    }
}

/// Reads a stream to its end, which must come within `max_len` bytes. Without a stream there is nothing to read.
async fn read(stream: Option<ReadableStream>, max_len: usize, expected: usize) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::with_capacity(expected);
    let Some(stream) = stream else {
        return Ok(bytes);
    };
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    loop {
        let step: JsValue = JsFuture::from(reader.read()).await?;
        let chunk = Reflect::get(&step, &JsString::from("value"))?;
        if chunk.is_undefined() {
            return Ok(bytes);
        }
        let chunk: Uint8Array = chunk.unchecked_into();
        let (len, filled) = (chunk.length() as usize, bytes.len());
        if len > max_len - filled {
            return Err(FetchError::TooLong);
        }
        bytes.resize(filled + len, 0);
        chunk.copy_to(&mut bytes[filled..]);
    }
}
