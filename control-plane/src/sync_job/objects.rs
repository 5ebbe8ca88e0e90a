//! An S3-compatible store as a target.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, UpdateVersion,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::SyncError;
use super::note::NoteName;
use super::target::{HeldNote, Listed, Written};
use crate::publisher::directory::FILES;

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
    /// The store does not know `If-Match` and `If-None-Match` on writes.
    pub unconditional: bool,
}

/// A bucket, and where in it.
#[derive(Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    files: Path,
    compares: bool,
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
            .with_secret_access_key(secret.expose_secret())
            .with_conditional_put(match options.unconditional {
                true => S3ConditionalPut::Disabled,
                false => S3ConditionalPut::ETagMatch,
            });
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
        let files = prefix.clone().join(FILES);
        Ok(Self { store: Arc::new(store), prefix, files, compares: !options.unconditional })
    }

    pub(super) fn compares(&self) -> bool {
        self.compares
    }

    fn note_path(&self, name: NoteName) -> Path {
        self.prefix.clone().join(name.as_str())
    }

    fn path(&self, name: &FileName) -> Path {
        self.files.clone().join(name.to_text())
    }

    pub(super) async fn note(&self, name: NoteName) -> Result<Option<HeldNote>, SyncError> {
        let result = match self.store.get(&self.note_path(name)).await {
            Ok(result) => result,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        if result.meta.size > MAX_NOTE_LEN as u64 {
            let version = Some(version(result.meta.e_tag, result.meta.version));
            return Ok(Some(HeldNote { text: String::new(), version }));
        }
        let version = Some(version(result.meta.e_tag.clone(), result.meta.version.clone()));
        let bytes = result.bytes().await.map_err(|error| failed(&error))?;
        Ok(Some(HeldNote { text: String::from_utf8_lossy(&bytes).into_owned(), version }))
    }

    pub(super) async fn list(&self) -> Result<BTreeMap<FileName, Listed>, SyncError> {
        let objects: Vec<_> = self.store.list(Some(&self.files)).try_collect().await.map_err(|error| failed(&error))?;
        let named = objects.into_iter().filter_map(|object| {
            let name = FileName::parse(object.location.filename()?).ok()?;
            // Deeper ones are not ours.
            (object.location == self.path(&name)).then_some(())?;
            let modified = u64::try_from(object.last_modified.timestamp_millis()).unwrap_or_default();
            Some((name, Listed { bytes: Some(object.size), modified }))
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

    pub(super) async fn put_note(
        &self,
        name: NoteName,
        text: &str,
        replaces: Option<&HeldNote>,
    ) -> Result<Written, SyncError> {
        let mode = match replaces {
            _ if !self.compares => PutMode::Overwrite,
            None => PutMode::Create,
            Some(HeldNote { version: Some(version), .. }) => PutMode::Update(version.clone()),
            Some(HeldNote { version: None, .. }) => PutMode::Overwrite,
        };
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, "text/plain; charset=utf-8"),
            (Attribute::CacheControl, "no-cache"),
        ]);
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let payload = PutPayload::from(text.as_bytes().to_vec());
        match self.store.put_opts(&self.note_path(name), payload, options).await {
            Ok(put) => Ok(Written::Yes(Some(version(put.e_tag, put.version)))),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. }) => {
                Ok(Written::Raced)
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
    SyncError::Target(super::source::chain(error))
}
