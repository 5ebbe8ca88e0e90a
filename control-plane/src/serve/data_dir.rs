//! The data directory: one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::secrets::Secrets;
use crate::store::os_random;

/// Characters of an instance's name: `cp_` and 16 hexadecimal digits.
const NAME_LEN: usize = 19;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process serves from it.
    #[error("{} is in use by another process; stop that one, or choose another --data-dir", .0.display())]
    InUse(PathBuf),
    /// It cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A data directory that is this process's own until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    instance: String,
    // The lock ends with the file handle, also when the process is killed.
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(DataDirError::Io { path: lock_path, source }),
        }
        let instance_path = path.join("instance");
        let instance = instance(&instance_path).map_err(at(&instance_path))?;
        Ok(Self { path: path.to_owned(), instance, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// This installation's name as holder of leases.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn enrolment_token(&self) -> PathBuf {
        Secrets::enrolment_file(&self.path, None)
    }
}

/// Reads the name, or makes one. A name cut short by a crash is made anew.
fn instance(path: &Path) -> std::io::Result<String> {
    if let Ok(text) = fs::read_to_string(path)
        && text.trim_end().len() == NAME_LEN
    {
        return Ok(text.trim_end().to_owned());
    }
    let mut random = [0; 8];
    os_random(&mut random);
    let name = format!("cp_{:016x}", u64::from_le_bytes(random));
    let mut file = File::create(path)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_always_the_same_name() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::InUse(_))));
        let name = first.instance().to_owned();
        drop(first);
        assert_eq!(DataDir::open(&path).unwrap().instance(), name);
    }
}
