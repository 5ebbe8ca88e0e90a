//! Where a set is copied to.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use nightlatch_keyset::FileName;
use object_store::UpdateVersion;

use super::SyncError;
use super::objects::Objects;
use crate::publisher::SetDirectory;
use crate::publisher::directory::DirectoryError;

pub use super::objects::S3Options;

/// The name of the file that keeps a second job away from a directory.
const LOCK: &str = ".nightlatch-sync.lock";

/// A place that edges read.
#[derive(Debug)]
pub struct Target(Kind);

#[derive(Debug)]
enum Kind {
    /// The lock is held as long as the job lives; a dry run takes none.
    Directory {
        directory: SetDirectory,
        _lock: Option<File>,
    },
    Objects(Objects),
}

/// A target's head and the version of the object that holds it.
#[derive(Clone, Debug)]
pub(super) struct HeldHead {
    pub(super) note: String,
    pub(super) version: Option<UpdateVersion>,
}

/// A file that a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) bytes: u64,
    /// Unix milliseconds.
    pub(super) modified: u64,
}

impl Target {
    /// `s3://bucket/prefix` or a directory. With `write` the directory is made and locked.
    ///
    /// # Errors
    /// [`SyncError::Usage`] for what is neither, or lacks settings; [`SyncError::Target`] where the directory cannot be
    /// had.
    pub fn open(place: &str, s3: &S3Options, write: bool) -> Result<Self, SyncError> {
        if let Some(bucket) = place.strip_prefix("s3://") {
            return Ok(Self(Kind::Objects(Objects::s3(bucket, s3)?)));
        }
        if place.starts_with("kv:") {
            return Err(SyncError::Usage(
                "key-value targets (kv:…) come later; until then sync to s3://… (R2 has an S3 address) and let the Worker \
                 read r2:BINDING"
                    .into(),
            ));
        }
        if place.contains("://") {
            return Err(SyncError::Usage(format!(
                "the target is s3://bucket/prefix or a directory; {place} is neither (other targets come later)"
            )));
        }
        Self::directory(Path::new(place), write)
    }

    fn directory(path: &Path, write: bool) -> Result<Self, SyncError> {
        let directory = SetDirectory::new(path);
        if !write {
            return Ok(Self(Kind::Directory { directory, _lock: None }));
        }
        fs::create_dir_all(path).map_err(|error| SyncError::Target(format!("{}: {error}", path.display())))?;
        let lock = lock(path)?;
        directory.create().map_err(|error| SyncError::Target(error.to_string()))?;
        Ok(Self(Kind::Directory { directory, _lock: Some(lock) }))
    }

    /// The directory it is, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Directory { directory, .. } => Some(directory.path()),
            Kind::Objects(_) => None,
        }
    }

    pub(super) async fn head(&self) -> Result<Option<HeldHead>, SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let directory = directory.clone();
                let note = blocking(move || directory.head()).await.map_err(SyncError::Target)?;
                Ok(note.map(|note| HeldHead { note, version: None }))
            }
            Kind::Objects(objects) => objects.head().await,
        }
    }

    pub(super) async fn list(&self) -> Result<BTreeMap<FileName, Listed>, SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let directory = directory.clone();
                blocking(move || {
                    let mut listed = BTreeMap::new();
                    for name in directory.list()? {
                        let path = directory.file_path(&name);
                        let found = about(&path).map_err(|source| DirectoryError { path, source })?;
                        listed.insert(name, found);
                    }
                    Ok(listed)
                })
                .await
                .map_err(SyncError::Target)
            }
            Kind::Objects(objects) => objects.list().await,
        }
    }

    /// A file's bytes, at most `limit` and one more; `None` where it is not there.
    pub(super) async fn read(&self, name: &FileName, limit: u64) -> Result<Option<Vec<u8>>, SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let (directory, name) = (directory.clone(), *name);
                blocking(move || directory.file(&name, limit)).await.map_err(SyncError::Target)
            }
            Kind::Objects(objects) => objects.read(name, limit).await,
        }
    }

    /// Writes a file whole. A right one that is there already may stay as it is.
    pub(super) async fn put(&self, name: &FileName, bytes: Bytes) -> Result<(), SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let (directory, name) = (directory.clone(), *name);
                blocking(move || directory.put(&name, &bytes)).await.map_err(SyncError::Target)
            }
            Kind::Objects(objects) => objects.put(name, bytes).await,
        }
    }

    /// Replaces the head, if it is still the one that was read. Returns the new object's version.
    pub(super) async fn put_head(
        &self,
        note: &str,
        replaces: Option<&HeldHead>,
    ) -> Result<Option<UpdateVersion>, SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let (directory, note) = (directory.clone(), note.to_owned());
                blocking(move || directory.put_head(&note)).await.map_err(SyncError::Target)?;
                Ok(None)
            }
            Kind::Objects(objects) => objects.put_head(note, replaces).await,
        }
    }

    pub(super) async fn remove(&self, name: &FileName) -> Result<(), SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let (directory, name) = (directory.clone(), *name);
                blocking(move || directory.remove(&name)).await.map_err(SyncError::Target)
            }
            Kind::Objects(objects) => objects.remove(name).await,
        }
    }
}

fn lock(directory: &Path) -> Result<File, SyncError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| SyncError::Target(format!("{}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(SyncError::Target(format!("another sync job writes to {}", directory.display())))
        }
        Err(fs::TryLockError::Error(error)) => Err(SyncError::Target(format!("{}: {error}", path.display()))),
    }
}

fn about(path: &Path) -> io::Result<Listed> {
    let metadata = fs::metadata(path)?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(Listed { bytes: metadata.len(), modified: u64::try_from(modified).unwrap_or(u64::MAX) })
}

/// Runs work that blocks on the disk away from the async threads; errors as text.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DirectoryError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
