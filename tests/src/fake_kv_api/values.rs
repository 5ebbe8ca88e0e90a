//! Where the fake keeps what it is given.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::{Client, StatusCode};
use serde::Deserialize;

/// Values by key.
pub trait Values: Send + Sync + 'static {
    /// A value; `None` where there is none.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;
    /// Writes a value.
    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<()>>;
    /// Removes a value, if it is there.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>>;
    /// The keys with this prefix, in order.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>>>;
}

/// In memory.
#[derive(Default)]
pub struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Values for Memory {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        async move { Ok(self.values().get(key).cloned()) }.boxed()
    }

    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<()>> {
        async move {
            self.values().insert(key.to_owned(), value);
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.values().remove(key);
            Ok(())
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        async move { Ok(self.values().keys().filter(|key| key.starts_with(prefix)).cloned().collect()) }.boxed()
    }
}

/// In a namespace of Miniflare, by the address that the Worker's harness opens for it.
pub struct MiniflareNamespace {
    client: Client,
    url: String,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
}

impl MiniflareNamespace {
    /// The namespace at this address: GET, PUT and DELETE of `{url}/{key}`, and GET of `{url}?prefix=…`.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self { client: Client::new(), url: url.into() }
    }

    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }
}

impl Values for MiniflareNamespace {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        async move {
            let response = self.client.get(self.key(key)).send().await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            Ok(Some(response.error_for_status()?.bytes().await?.into()))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<()>> {
        async move {
            self.client.put(self.key(key)).body(value).send().await?.error_for_status()?;
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.client.delete(self.key(key)).send().await?.error_for_status()?;
            Ok(())
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        async move {
            let request = self.client.get(&self.url).query(&[("prefix", prefix)]);
            let mut keys: Keys = request.send().await?.error_for_status()?.json().await?;
            keys.keys.sort();
            Ok(keys.keys)
        }
        .boxed()
    }
}
