//! Reading a set's files, over HTTP or from R2.
//!
//! Shared caches are bypassed: an old head would be refused, and a fresh one must not wait.

use std::fmt;

use js_sys::{Function, JsString, Object, Reflect, Uint8Array};
use nightlatch_keyset::note::MAX_NOTE_LEN;
use nightlatch_sync::Fetch;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortSignal, Headers, ReadableStream, ReadableStreamDefaultReader, Request, RequestCache, RequestInit,
    RequestRedirect, Response, WorkerGlobalScope,
};

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

impl From<JsValue> for FetchError {
    fn from(_: JsValue) -> Self {
        Self::Network
    }
}

/// Asks for the head, unless it is still the one of `etag`.
pub(crate) async fn head(
    config: &Config,
    env: &JsValue,
    etag: Option<&str>,
    signal: &AbortSignal,
) -> Result<HeadAnswer, FetchError> {
    let response: Response = ask(config, env, "head", etag, signal)?.await?.unchecked_into();
    let (status, body) = (status_of(&response)?, response.body());
    let unchanged = if status == R2_OBJECT { body.is_none() } else { status == 304 };
    if unchanged && etag.is_some() {
        return Ok(HeadAnswer::Unchanged);
    }
    let etag = if status == R2_OBJECT {
        Reflect::get(&response, &JsString::from("etag"))?.as_string()
    } else {
        expect_ok(status)?;
        response.headers().get("etag")?
    };
    let mut note = Vec::new();
    read(body, MAX_NOTE_LEN, &[0], &mut note).await?;
    let bytes = note.pop().unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(|_| FetchError::NotText)?;
    Ok(HeadAnswer::Note { text, etag })
}

/// Asks for a file. It is on its way from now on; [`file`] takes it in.
pub(crate) fn ask_file(
    config: &Config,
    env: &JsValue,
    fetch: &Fetch,
    signal: &AbortSignal,
) -> Result<JsFuture, FetchError> {
    ask(config, env, &format!("files/{}", fetch.name), None, signal)
}

/// Takes in a file that was asked for, in pieces of these lengths.
pub(crate) async fn file(
    asked: JsFuture,
    fetch: &Fetch,
    lens: &[usize],
    pieces: &mut Vec<Vec<u8>>,
) -> Result<(), FetchError> {
    let response: Response = asked.await?.unchecked_into();
    let status = status_of(&response)?;
    if status != R2_OBJECT {
        expect_ok(status)?;
    }
    read(response.body(), fetch.max_len as usize, lens, pieces).await
}

/// The status of what is no HTTP response. An R2 object has none; else what is read of either has the same names.
const R2_OBJECT: u16 = 0;

fn status_of(response: &Response) -> Result<u16, FetchError> {
    if response.is_null() { Err(FetchError::Missing) } else { Ok(response.status()) }
}

fn expect_ok(status: u16) -> Result<(), FetchError> {
    match status {
        200 => Ok(()),
        404 => Err(FetchError::Missing),
        status => Err(FetchError::Status(status)),
    }
}

fn ask(
    config: &Config,
    env: &JsValue,
    name: &str,
    etag: Option<&str>,
    signal: &AbortSignal,
) -> Result<JsFuture, FetchError> {
    match &config.source {
        Source::Http(base) => get(config, &format!("{base}/{name}"), etag, signal),
        Source::R2 { binding, prefix } => {
            let bucket = Reflect::get(env, &JsString::from(binding.as_str()))?;
            let get =
                Reflect::get(&bucket, &JsString::from("get")).ok().and_then(|get| get.dyn_into::<Function>().ok());
            let get = get.ok_or(FetchError::Binding)?;
            let options = Object::new();
            if let Some(etag) = etag {
                let condition = Object::new();
                Reflect::set(&condition, &JsString::from("etagDoesNotMatch"), &JsString::from(etag))?;
                Reflect::set(&options, &JsString::from("onlyIf"), &condition)?;
            }
            let object = get.call2(&bucket, &JsString::from(format!("{prefix}{name}")), &options)?;
            Ok(JsFuture::from(js_sys::Promise::from(object)))
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
    let response: Response = send(url, &init, &headers, signal)?.await?.unchecked_into();
    Ok(response.status() == 200)
}

fn get(config: &Config, url: &str, etag: Option<&str>, signal: &AbortSignal) -> Result<JsFuture, FetchError> {
    let headers = authorised(config)?;
    // A length that was checked must not grow while it is unpacked.
    headers.set("accept-encoding", "identity")?;
    if let Some(etag) = etag {
        headers.set("if-none-match", etag)?;
    }
    let init = RequestInit::new();
    init.set_cache(RequestCache::NoStore);
    send(url, &init, &headers, signal)
}

fn send(url: &str, init: &RequestInit, headers: &Headers, signal: &AbortSignal) -> Result<JsFuture, FetchError> {
    init.set_headers(headers);
    init.set_signal(Some(signal));
    // Redirects are not followed: the token is for this place alone.
    init.set_redirect(RequestRedirect::Manual);
    let request = Request::new_with_str_and_init(url, init)?;
    let global: WorkerGlobalScope = js_sys::global().unchecked_into();
    Ok(JsFuture::from(global.fetch_with_request(&request)))
}

fn authorised(config: &Config) -> Result<Headers, FetchError> {
    let headers = Headers::new()?;
    if let Some(token) = &config.token {
        headers.set("authorization", &format!("Bearer {}", token.as_str()))?;
    }
    Ok(headers)
}

/// Reads a stream to its end, which must come within `max_len` bytes, into pieces of these lengths; whatever is more goes
/// into the last one. Memory for all of it is taken at once: growing to the length of a part would take it twice.
async fn read(
    stream: Option<ReadableStream>,
    max_len: usize,
    lens: &[usize],
    pieces: &mut Vec<Vec<u8>>,
) -> Result<(), FetchError> {
    let mut number = pieces.len();
    pieces.extend(lens.iter().map(|len| Vec::with_capacity(*len)));
    let end = pieces.len();
    let Some(stream) = stream else {
        return Ok(());
    };
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut left = max_len;
    loop {
        let step: JsValue = JsFuture::from(reader.read()).await?;
        let chunk = Reflect::get(&step, &JsString::from("value"))?;
        if chunk.is_undefined() {
            return Ok(());
        }
        let chunk: Uint8Array = chunk.unchecked_into();
        let len = chunk.length() as usize;
        left = left.checked_sub(len).ok_or(FetchError::TooLong)?;
        let mut taken = 0;
        while taken < len {
            let bytes = &mut pieces[number];
            let filled = bytes.len();
            let room = lens[number + lens.len() - end].saturating_sub(filled);
            let now = if number + 1 == end { len - taken } else { room.min(len - taken) };
            bytes.resize(filled + now, 0);
            chunk.subarray(taken as u32, (taken + now) as u32).copy_to(&mut bytes[filled..]);
            taken += now;
            if now == room && number + 1 < end {
                number += 1;
            }
        }
    }
}
