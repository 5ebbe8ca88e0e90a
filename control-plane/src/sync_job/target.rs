//! Where a set is copied to.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use nightlatch_keyset::FileName;
use object_store::UpdateVersion;

use super::SyncError;
use super::kv::Namespace;
use super::note::NoteName;
use super::objects::Objects;
use crate::publisher::SetDirectory;
use crate::publisher::directory::DirectoryError;

pub use super::kv::KvOptions;
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
    Kv(Namespace),
    Objects(Objects),
}

/// How to reach targets that are not directories.
#[derive(Clone, Debug, Default)]
pub struct TargetOptions {
    /// S3-compatible stores.
    pub s3: S3Options,
    /// Workers KV.
    pub kv: KvOptions,
}

/// One of a target's notes and the version of the object that holds it.
#[derive(Clone, Debug)]
pub(super) struct HeldNote {
    pub(super) text: String,
    pub(super) version: Option<UpdateVersion>,
}

/// What became of a note that was to be written.
#[derive(Debug)]
pub(super) enum Written {
    /// It is there, as this version of its object.
    Yes(Option<UpdateVersion>),
    /// The target takes another write of this note only after so long. By then there may be a newer one.
    Later(Duration),
    /// Somebody else has replaced what was to be replaced.
    Raced,
}

/// A file that a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Where the listing tells.
    pub(super) bytes: Option<u64>,
    /// Unix milliseconds; in the far future where nothing tells.
    pub(super) modified: u64,
}

impl Target {
    /// `s3://bucket/prefix`, `kv:ACCOUNT/NAMESPACE/prefix` or a directory. With `write` the directory is made and locked.
    ///
    /// # Errors
    /// [`SyncError::Usage`] for what is none of these, or lacks settings; [`SyncError::Target`] where the directory cannot
    /// be had.
    pub fn open(place: &str, options: &TargetOptions, write: bool) -> Result<Self, SyncError> {
        if let Some(bucket) = place.strip_prefix("s3://") {
            return Ok(Self(Kind::Objects(Objects::s3(bucket, &options.s3)?)));
        }
        if let Some(namespace) = place.strip_prefix("kv:") {
            return Ok(Self(Kind::Kv(Namespace::open(namespace, &options.kv)?)));
        }
        if place.contains("://") {
            return Err(SyncError::Usage(format!(
                "the target is s3://bucket/prefix, kv:ACCOUNT/NAMESPACE or a directory; {place} is none of these"
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
            Kind::Kv(_) | Kind::Objects(_) => None,
        }
    }

    /// Whether it is Workers KV.
    pub(super) fn is_kv(&self) -> bool {
        matches!(self.0, Kind::Kv(_))
    }

    /// Whether replacing a note fails where somebody else has replaced it meanwhile. Where it does not, whoever writes
    /// has to look first. A directory has no other writer.
    pub(super) fn compares(&self) -> bool {
        match &self.0 {
            Kind::Directory { .. } => true,
            Kind::Kv(_) => false,
            Kind::Objects(objects) => objects.compares(),
        }
    }

    pub(super) async fn note(&self, name: NoteName) -> Result<Option<HeldNote>, SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let directory = directory.clone();
                let text = blocking(move || directory.note(name.as_str())).await.map_err(SyncError::Target)?;
                Ok(text.map(|text| HeldNote { text, version: None }))
            }
            Kind::Kv(namespace) => namespace.note(name).await,
            Kind::Objects(objects) => objects.note(name).await,
        }
    }

    /// Writes a note; where the target compares, only if it is still the one that was read.
    pub(super) async fn put_note(
        &self,
        name: NoteName,
        text: &str,
        replaces: Option<&HeldNote>,
    ) -> Result<Written, SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let (directory, text) = (directory.clone(), text.to_owned());
                blocking(move || directory.put_note(name.as_str(), &text)).await.map_err(SyncError::Target)?;
                Ok(Written::Yes(None))
            }
            Kind::Kv(namespace) => namespace.put_note(name, text).await,
            Kind::Objects(objects) => objects.put_note(name, text, replaces).await,
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
            Kind::Kv(namespace) => namespace.list().await,
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
            Kind::Kv(namespace) => namespace.read(name, limit).await,
            Kind::Objects(objects) => objects.read(name, limit).await,
        }
    }

    /// Whether a file of that length is better written together with others, by [`Self::put_all`].
    pub(super) fn gathers(&self, name: &FileName, bytes: usize) -> bool {
        self.is_kv() && Namespace::gathers(name, bytes)
    }

    /// Writes a file whole. A right one that is there already may stay as it is.
    pub(super) async fn put(&self, name: &FileName, bytes: Bytes) -> Result<(), SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let (directory, name) = (directory.clone(), *name);
                blocking(move || directory.put(&name, &bytes)).await.map_err(SyncError::Target)
            }
            Kind::Kv(namespace) => namespace.put(name, bytes).await,
            Kind::Objects(objects) => objects.put(name, bytes).await,
        }
    }

    /// Writes files, in one request where it can be done; `written` is what KV is told to be their time.
    pub(super) async fn put_all(&self, files: &[(FileName, Bytes)], written: u64) -> Result<(), SyncError> {
        if let Kind::Kv(namespace) = &self.0 {
            return namespace.put_all(files, written).await;
        }
        for (name, bytes) in files {
            self.put(name, bytes.clone()).await?;
        }
        Ok(())
    }

    /// Removes files that are there.
    pub(super) async fn remove_all(&self, names: &[FileName]) -> Result<(), SyncError> {
        match &self.0 {
            Kind::Directory { directory, .. } => {
                let (directory, names) = (directory.clone(), names.to_vec());
                blocking(move || names.iter().try_for_each(|name| directory.remove(name)))
                    .await
                    .map_err(SyncError::Target)
            }
            Kind::Kv(namespace) => namespace.remove_all(names).await,
            Kind::Objects(objects) => {
                for name in names {
                    objects.remove(name).await?;
                }
                Ok(())
            }
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
    Ok(Listed { bytes: Some(metadata.len()), modified: u64::try_from(modified).unwrap_or(u64::MAX) })
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
