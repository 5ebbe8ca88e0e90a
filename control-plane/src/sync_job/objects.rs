//! An S3-compatible store as a target.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, UpdateVersion,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::SyncError;
use super::target::{HeldHead, Listed};
use crate::publisher::directory::{FILES, HEAD};

/// Files beyond this are sent in parts of this size, so that none takes longer than a request may.
const PART: usize = 8 << 20;

/// How to reach an S3-compatible store.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// The store's address; Amazon's own of the region where there is none.
    pub endpoint: Option<String>,
    /// The region; `auto` for R2.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key_id: Option<String>,
    /// The access key's secret.
    pub secret_access_key: Option<SecretString>,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretString>,
}

/// A bucket, and where in it.
#[derive(Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    head: Path,
    files: Path,
}

impl Objects {
    /// `bucket` or `bucket/prefix`.
    pub(super) fn s3(place: &str, options: &S3Options) -> Result<Self, SyncError> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(SyncError::Usage("the target names no bucket: s3://bucket/prefix".into()));
        }
        let (Some(id), Some(secret)) = (&options.access_key_id, &options.secret_access_key) else {
            return Err(SyncError::Usage(
                "an S3 target needs AWS_ACCESS_KEY_ID (or --s3-access-key-id) and AWS_SECRET_ACCESS_KEY".into(),
            ));
        };
        let region = options.region.as_deref().unwrap_or("us-east-1");
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id(id)
            .with_secret_access_key(secret.expose_secret());
        if let Some(token) = &options.session_token {
            builder = builder.with_token(token.expose_secret());
        }
        if let Some(endpoint) = &options.endpoint {
            let plain = endpoint.starts_with("http://");
            builder = builder
                .with_endpoint(endpoint.trim_end_matches('/'))
                .with_client_options(ClientOptions::new().with_allow_http(plain));
        }
        let store = builder.build().map_err(|error| SyncError::Usage(error.to_string()))?;
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| SyncError::Usage(error.to_string()))?;
        Ok(Self::within(Arc::new(store), &prefix))
    }

    fn within(store: Arc<dyn ObjectStore>, prefix: &Path) -> Self {
        Self { store, head: prefix.clone().join(HEAD), files: prefix.clone().join(FILES) }
    }

    fn path(&self, name: &FileName) -> Path {
        self.files.clone().join(name.to_text())
    }

    pub(super) async fn head(&self) -> Result<Option<HeldHead>, SyncError> {
        let result = match self.store.get(&self.head).await {
            Ok(result) => result,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        if result.meta.size > MAX_NOTE_LEN as u64 {
            let version = Some(version(result.meta.e_tag, result.meta.version));
            return Ok(Some(HeldHead { note: String::new(), version }));
        }
        let version = Some(version(result.meta.e_tag.clone(), result.meta.version.clone()));
        let bytes = result.bytes().await.map_err(|error| failed(&error))?;
        Ok(Some(HeldHead { note: String::from_utf8_lossy(&bytes).into_owned(), version }))
    }

    pub(super) async fn list(&self) -> Result<BTreeMap<FileName, Listed>, SyncError> {
        let objects: Vec<_> = self.store.list(Some(&self.files)).try_collect().await.map_err(|error| failed(&error))?;
        let named = objects.into_iter().filter_map(|object| {
            let name = FileName::parse(object.location.filename()?).ok()?;
            // Deeper ones are not ours.
            (object.location == self.path(&name)).then_some(())?;
            let modified = u64::try_from(object.last_modified.timestamp_millis()).unwrap_or_default();
            Some((name, Listed { bytes: object.size, modified }))
        });
        Ok(named.collect())
    }

    pub(super) async fn read(&self, name: &FileName, limit: u64) -> Result<Option<Vec<u8>>, SyncError> {
        let options = GetOptions { range: Some((0..limit + 1).into()), ..GetOptions::default() };
        let bytes = match self.store.get_opts(&self.path(name), options).await {
            Ok(result) => result.bytes().await,
            Err(error) => Err(error),
        };
        match bytes {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    pub(super) async fn put(&self, name: &FileName, bytes: Bytes) -> Result<(), SyncError> {
        let path = self.path(name);
        if bytes.len() > PART {
            return self.put_parts(&path, &bytes).await;
        }
        let create = PutOptions { mode: PutMode::Create, attributes: binary(), ..PutOptions::default() };
        let overwrite = PutOptions { attributes: binary(), ..PutOptions::default() };
        match self.store.put_opts(&path, bytes.clone().into(), create).await {
            Ok(_) => return Ok(()),
            // Somebody else was faster, or an object of another length is in its place.
            Err(Error::AlreadyExists { .. }) => {
                let there = self.read(name, bytes.len() as u64).await?;
                if there.is_some_and(|there| there == bytes) {
                    return Ok(());
                }
            }
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {}
            Err(error) => return Err(failed(&error)),
        }
        self.store.put_opts(&path, bytes.into(), overwrite).await.map(drop).map_err(|error| failed(&error))
    }

    /// The object appears when the last part is in.
    async fn put_parts(&self, path: &Path, bytes: &Bytes) -> Result<(), SyncError> {
        let options = PutMultipartOptions { attributes: binary(), ..PutMultipartOptions::default() };
        let mut upload = self.store.put_multipart_opts(path, options).await.map_err(|error| failed(&error))?;
        let mut at = 0;
        let mut result = Ok(());
        while result.is_ok() && at < bytes.len() {
            let end = (at + PART).min(bytes.len());
            result = upload.put_part(PutPayload::from(bytes.slice(at..end))).await;
            at = end;
        }
        match result {
            Ok(()) => upload.complete().await.map(drop).map_err(|error| failed(&error)),
            Err(error) => {
                // Parts that are left behind cost money but are in nobody's way.
                drop(upload.abort().await);
                Err(failed(&error))
            }
        }
    }

    pub(super) async fn put_head(
        &self,
        note: &str,
        replaces: Option<&HeldHead>,
    ) -> Result<Option<UpdateVersion>, SyncError> {
        let mode = match replaces {
            None => PutMode::Create,
            Some(HeldHead { version: Some(version), .. }) => PutMode::Update(version.clone()),
            Some(HeldHead { version: None, .. }) => PutMode::Overwrite,
        };
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, "text/plain; charset=utf-8"),
            (Attribute::CacheControl, "no-cache"),
        ]);
        let options = |mode| PutOptions { mode, attributes: attributes.clone(), ..PutOptions::default() };
        let payload = || PutPayload::from(note.as_bytes().to_vec());
        let put = match self.store.put_opts(&self.head, payload(), options(mode)).await {
            // A store without compare-and-swap: readers take the greater head, and the next pass repairs.
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
                self.store.put_opts(&self.head, payload(), options(PutMode::Overwrite)).await
            }
            other => other,
        };
        match put {
            Ok(put) => Ok(Some(version(put.e_tag, put.version))),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. }) => {
                Err(SyncError::Raced)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    pub(super) async fn remove(&self, name: &FileName) -> Result<(), SyncError> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn version(e_tag: Option<String>, version: Option<String>) -> UpdateVersion {
    UpdateVersion { e_tag, version }
}

/// Files never change; whoever hands them out may say so.
fn binary() -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, "application/octet-stream"),
        (Attribute::CacheControl, "private, max-age=31536000, immutable"),
    ])
}

fn failed(error: &Error) -> SyncError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    SyncError::Target(text)
}
