//! A Cloudflare Workers KV namespace as a target.
//!
//! A key is written at most once a second, a value has at most 25 MiB, and a write may show elsewhere a minute late, also
//! where a key was looked for before it was there. So files have names that nobody asks for before a head names them, are
//! written before it, and never change; and heads follow each other no faster than KV takes them.

mod api;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;
use reqwest::Method;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::api::{Api, Body, Failure, LONGEST_WAIT, WhenTooMany};
use super::SyncError;
use super::note::NoteName;
use super::target::{HeldNote, Listed, Written};
use crate::publisher::directory::FILES;

/// Cloudflare's public API.
pub(super) const KV_API_URL: &str = "https://api.cloudflare.com/client/v4";
/// The shortest validity, in milliseconds, of a set that is copied to KV, which may show a write a minute late.
pub(super) const MIN_VALIDITY_MS: u64 = 120_000;
/// The largest value, in bytes.
pub(super) const MAX_VALUE: u64 = 25 << 20;

/// The longest key, in bytes.
const MAX_KEY: usize = 512;
/// The longest name of a file, with what stands before it.
const LONGEST_NAME: usize = 128;
/// Larger values are written one by one, as they are.
const SMALL: usize = 1 << 20;
/// The most pairs of a bulk write, and names of a bulk deletion.
const MAX_PAIRS: usize = 10_000;
/// The most bytes of values in a bulk write; in base64, with their names, less than half of the 100 MB it may have.
const MAX_BULK: usize = 32 << 20;
/// How often a bulk call is made for what it could not do the time before.
const BULK_ATTEMPTS: u32 = 4;
/// The most names of a page of a listing.
const PAGE: usize = 1_000;
/// How far apart writes of one key are.
const BETWEEN_WRITES: Duration = Duration::from_secs(1);
/// The wait before a refused head is tried again, even where KV asks for none.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// How to reach Workers KV.
#[derive(Clone, Debug, Default)]
pub struct KvOptions {
    /// The API's address; Cloudflare's public one where there is none.
    pub api_url: Option<String>,
    /// An API token that may edit Workers KV Storage.
    pub token: Option<SecretString>,
}

/// A namespace, and where in it.
#[derive(Debug)]
pub(super) struct Namespace {
    api: Api,
    prefix: String,
    /// From when on the head's key takes another write.
    head_free: Mutex<Option<Instant>>,
}

/// What stands beside a file's value, because a listing tells neither length nor time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Metadata {
    bytes: u64,
    /// Unix milliseconds.
    written: u64,
}

#[derive(Serialize)]
struct Pair<'a> {
    key: String,
    value: &'a str,
    base64: bool,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct ListedKey {
    name: String,
    #[serde(default)]
    metadata: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
struct BulkResult {
    #[serde(default)]
    unsuccessful_keys: Vec<String>,
}

impl Namespace {
    /// `ACCOUNT/NAMESPACE` or `ACCOUNT/NAMESPACE/prefix`.
    pub(super) fn open(place: &str, options: &KvOptions) -> Result<Self, SyncError> {
        let mut parts = place.splitn(3, '/');
        let (account, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is_id = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id(account) || !is_id(namespace) {
            return Err(SyncError::Usage(
                "a key-value target is kv:ACCOUNT/NAMESPACE or kv:ACCOUNT/NAMESPACE/prefix, with the account's and the \
                 namespace's ids"
                    .into(),
            ));
        }
        let prefix = parts.next().unwrap_or_default().trim_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
        if !prefix.bytes().all(plain) || prefix.len() + LONGEST_NAME > MAX_KEY {
            return Err(SyncError::Usage(format!(
                "the prefix of a key-value target has letters, digits and -._/ only, at most {}",
                MAX_KEY - LONGEST_NAME
            )));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let token = options.token.clone().ok_or_else(|| {
            SyncError::Usage(
                "a key-value target needs an API token with the permission “Workers KV Storage: Edit”, in \
                 NIGHTLATCH_KV_TOKEN or --kv-token-file"
                    .into(),
            )
        })?;
        let api_url = options.api_url.as_deref().unwrap_or(KV_API_URL);
        if !api_url.starts_with("https://") && !api_url.starts_with("http://") {
            return Err(SyncError::Usage(format!("--kv-api-url is https://…; {api_url} is not")));
        }
        Ok(Self { api: Api::new(api_url, account, namespace, token)?, prefix, head_free: Mutex::default() })
    }

    fn note_key(&self, name: NoteName) -> String {
        format!("{}{}", self.prefix, name.as_str())
    }

    fn key(&self, name: &FileName) -> String {
        format!("{}{FILES}/{name}", self.prefix)
    }

    pub(super) async fn note(&self, name: NoteName) -> Result<Option<HeldNote>, SyncError> {
        let bytes = self.api.value(&self.note_key(name), MAX_NOTE_LEN as u64).await?;
        Ok(bytes.map(|bytes| HeldNote { text: String::from_utf8_lossy(&bytes).into_owned(), version: None }))
    }

    /// Other notes change seldom and are waited for. By the time that a head may be written there is a newer one.
    pub(super) async fn put_note(&self, name: NoteName, text: &str) -> Result<Written, SyncError> {
        let (key, value) = (self.note_key(name), Bytes::copy_from_slice(text.as_bytes()));
        if name != NoteName::Head {
            self.api.put(&key, value, WhenTooMany::Wait).await?;
            return Ok(Written::Yes(None));
        }
        let later = self.head_free().and_then(|free| free.checked_duration_since(Instant::now()));
        if let Some(wait) = later.filter(|wait| !wait.is_zero()) {
            return Ok(Written::Later(wait));
        }
        match self.api.put(&key, value, WhenTooMany::Tell).await {
            Ok(()) => {
                // From the answer on: when within the request KV counted the write, only it knows.
                *self.head_free.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + BETWEEN_WRITES);
                Ok(Written::Yes(None))
            }
            Err(Failure::TooMany(wait)) if wait <= LONGEST_WAIT => Ok(Written::Later(wait.max(SHORTEST_WAIT))),
            Err(failure) => Err(failure.into()),
        }
    }

    fn head_free(&self) -> Option<Instant> {
        *self.head_free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn list(&self) -> Result<BTreeMap<FileName, Listed>, SyncError> {
        let start = format!("{}{FILES}/", self.prefix);
        let mut listed = BTreeMap::new();
        let mut cursor: Option<String> = None;
        loop {
            let path = page(&start, cursor.as_deref());
            let (keys, next): (Vec<ListedKey>, _) = self.api.call(Method::GET, &path, Body::None).await?;
            for key in keys {
                let Some(name) = key.name.strip_prefix(&start).and_then(|name| FileName::parse(name).ok()) else {
                    continue;
                };
                let metadata = key.metadata.and_then(|value| serde_json::from_value::<Metadata>(value).ok());
                let bytes = metadata.map(|metadata| metadata.bytes);
                let modified = metadata.map_or(u64::MAX, |metadata| metadata.written);
                listed.insert(name, Listed { bytes, modified });
            }
            if next.is_none() || next == cursor {
                return Ok(listed);
            }
            cursor = next;
        }
    }

    pub(super) async fn read(&self, name: &FileName, limit: u64) -> Result<Option<Vec<u8>>, SyncError> {
        self.api.value(&self.key(name), limit).await
    }

    /// Whether a file of that length is better written together with others. An index always is, small or not: only so
    /// does its time stand beside it, which tells when the epoch before has ended.
    pub(super) fn gathers(name: &FileName, bytes: usize) -> bool {
        bytes <= SMALL || matches!(name, FileName::Base { .. })
    }

    /// Whether so much is as much as one bulk write takes.
    pub(super) fn is_full(pairs: usize, bytes: usize) -> bool {
        pairs >= MAX_PAIRS || bytes >= MAX_BULK - SMALL
    }

    /// Writes one file as it is.
    pub(super) async fn put(&self, name: &FileName, bytes: Bytes) -> Result<(), SyncError> {
        Ok(self.api.put(&self.key(name), bytes, WhenTooMany::Wait).await?)
    }

    /// Writes files together; `written` is their time, unix milliseconds.
    pub(super) async fn put_all(&self, files: &[(FileName, Bytes)], written: u64) -> Result<(), SyncError> {
        let mut left: BTreeMap<String, &Bytes> = files.iter().map(|(name, bytes)| (self.key(name), bytes)).collect();
        self.bulk(Method::PUT, "/bulk", &mut left, |left| {
            let values: Vec<String> = left.values().map(|bytes| Base64::encode_string(bytes)).collect();
            let pairs = left.iter().zip(&values).map(|((key, bytes), value)| {
                let metadata = Metadata { bytes: bytes.len() as u64, written };
                Pair { key: key.clone(), value, base64: true, metadata }
            });
            serde_json::to_vec(&pairs.collect::<Vec<_>>())
        })
        .await
    }

    pub(super) async fn remove_all(&self, names: &[FileName]) -> Result<(), SyncError> {
        for names in names.chunks(MAX_PAIRS) {
            let mut left: BTreeMap<String, ()> = names.iter().map(|name| (self.key(name), ())).collect();
            let body = |left: &BTreeMap<String, ()>| serde_json::to_vec(&left.keys().collect::<Vec<_>>());
            self.bulk(Method::POST, "/bulk/delete", &mut left, body).await?;
        }
        Ok(())
    }

    /// Makes a bulk call until nothing is left of it.
    async fn bulk<T>(
        &self,
        method: Method,
        path: &str,
        left: &mut BTreeMap<String, T>,
        body: impl Fn(&BTreeMap<String, T>) -> serde_json::Result<Vec<u8>>,
    ) -> Result<(), SyncError> {
        for _ in 0..BULK_ATTEMPTS {
            let body = body(left).map_err(|error| SyncError::Target(error.to_string()))?;
            let (result, _) = self.api.call::<BulkResult>(method.clone(), path, Body::Json(body.into())).await?;
            left.retain(|key, _| result.unsuccessful_keys.contains(key));
            if left.is_empty() {
                return Ok(());
            }
            tracing::debug!(keys = left.len(), "Workers KV has not done all of a bulk call");
            tokio::time::sleep(BETWEEN_WRITES).await;
        }
        Err(SyncError::Target(format!(
            "Workers KV has not taken {} of the keys, {} among them; the next pass tries again",
            left.len(),
            left.keys().next().map_or("", String::as_str)
        )))
    }
}

/// The path of a page of a listing.
fn page(prefix: &str, cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &PAGE.to_string()).append_pair("prefix", prefix);
    if let Some(cursor) = cursor {
        query.append_pair("cursor", cursor);
    }
    format!("/keys?{}", query.finish())
}
