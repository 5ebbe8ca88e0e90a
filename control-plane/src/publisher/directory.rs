//! A set's files in a local directory: `head`, and everything immutable under `files/`.
//!
//! A file appears whole or not at all: it is written under another name, flushed, renamed, and the rename flushed. There
//! is one writer; the program that owns the directory sees to that.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;

use crate::store::os_random;

/// The name of the head.
pub const HEAD: &str = "head";
/// The name of the note that lists the keys that sign.
pub const TRUST: &str = "trust";
/// The name of the note that ends keys while no head can be signed.
pub const DENY: &str = "deny";
/// The directory of all other files, beside the head.
pub const FILES: &str = "files";

/// What half-written files are called.
const UNFINISHED: &str = ".unfinished-";

/// A file of a set could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = .path.display())]
pub struct DirectoryError {
    /// Where.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// A directory that holds one set. All functions block on the disk.
#[derive(Clone, Debug)]
pub struct SetDirectory {
    root: PathBuf,
}

impl SetDirectory {
    /// The set in this directory, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Where the head is.
    pub fn head_path(&self) -> PathBuf {
        self.root.join(HEAD)
    }

    /// Where a file is.
    pub fn file_path(&self, name: &FileName) -> PathBuf {
        self.root.join(FILES).join(name.to_text())
    }

    /// Makes the directory, and removes what an interrupted write left in it.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn create(&self) -> Result<(), DirectoryError> {
        let files = self.root.join(FILES);
        fs::create_dir_all(&files).map_err(|e| at(&files, e))?;
        for directory in [&self.root, &files] {
            for name in names(directory)? {
                if name.starts_with(UNFINISHED) {
                    remove(&directory.join(name))?;
                }
            }
        }
        Ok(())
    }

    /// The head's text; `None` where there is none. What is not a note's text comes back as something that is none either.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn head(&self) -> Result<Option<String>, DirectoryError> {
        self.note(HEAD)
    }

    /// The text of a note beside the head: [`TRUST`] or [`DENY`]. As [`head`](Self::head).
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn note(&self, name: &str) -> Result<Option<String>, DirectoryError> {
        let bytes = read(&self.root.join(name), MAX_NOTE_LEN as u64)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Replaces a note beside the head.
    ///
    /// # Errors
    /// [`DirectoryError`]; then it is as it was before.
    pub fn put_note(&self, name: &str, note: &str) -> Result<(), DirectoryError> {
        write(&self.root, name, note.as_bytes())
    }

    /// A file's bytes, at most `limit` and one more; `None` where it is not there.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn file(&self, name: &FileName, limit: u64) -> Result<Option<Vec<u8>>, DirectoryError> {
        read(&self.file_path(name), limit)
    }

    /// The files there are beside the head. What no set names is passed over.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn list(&self) -> Result<BTreeSet<FileName>, DirectoryError> {
        let names = names(&self.root.join(FILES))?;
        Ok(names.iter().filter_map(|name| FileName::parse(name).ok()).collect())
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`DirectoryError`]; then the file is as it was before.
    pub fn put(&self, name: &FileName, bytes: &[u8]) -> Result<(), DirectoryError> {
        write(&self.root.join(FILES), &name.to_text(), bytes)
    }

    /// Replaces the head.
    ///
    /// # Errors
    /// [`DirectoryError`]; then the head is as it was before.
    pub fn put_head(&self, note: &str) -> Result<(), DirectoryError> {
        write(&self.root, HEAD, note.as_bytes())
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn remove(&self, name: &FileName) -> Result<(), DirectoryError> {
        remove(&self.file_path(name))
    }
}

fn at(path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError { path: path.to_owned(), source }
}

fn names(directory: &Path) -> Result<Vec<String>, DirectoryError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(directory, error)),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(|e| at(directory, e))
}

fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DirectoryError> {
    let mut bytes = Vec::new();
    let open = || {
        // To open a pipe would wait for whoever writes into it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file; remove it"));
        }
        File::open(path)
    };
    match open().and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path, error)),
    }
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DirectoryError> {
    // A name of its own for every write: a task that was given up may still be at the one before.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    // And for every process: one that was deposed may still be at it, in a directory that both share.
    static PROCESS: LazyLock<u64> = LazyLock::new(|| {
        let mut random = [0; 8];
        os_random(&mut random);
        u64::from_le_bytes(random)
    });
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let unfinished = directory.join(format!("{UNFINISHED}{name}.{}.{number}", *PROCESS));
    let finished = directory.join(name);
    let written = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|e| at(&unfinished, e))?;
    fs::rename(&unfinished, &finished).map_err(|e| at(&finished, e))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|e| at(directory, e))
}

fn remove(path: &Path) -> Result<(), DirectoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_leftovers_go() {
        let dir = tempfile::tempdir().unwrap();
        let set = SetDirectory::new(dir.path().join("a/set"));
        assert_eq!(set.head().unwrap(), None);
        assert!(set.list().unwrap().is_empty());
        set.create().unwrap();
        let name = FileName::Base { incarnation: 0, epoch: 1 };
        set.put(&name, b"base").unwrap();
        set.put_head("note\n").unwrap();
        fs::write(set.path().join(FILES).join(".unfinished-base-0-2"), b"ba").unwrap();
        fs::write(set.path().join(FILES).join("notes.txt"), b"").unwrap();
        assert_eq!(set.list().unwrap(), BTreeSet::from([name]));
        set.create().unwrap();
        assert!(!set.path().join(FILES).join(".unfinished-base-0-2").exists());
        assert_eq!(set.head().unwrap().as_deref(), Some("note\n"));
        assert_eq!(set.file(&name, 100).unwrap().as_deref(), Some(b"base".as_slice()));
        // Longer than allowed: cut, but visibly too long.
        assert_eq!(set.file(&name, 2).unwrap().as_deref(), Some(b"bas".as_slice()));
        set.remove(&name).unwrap();
        set.remove(&name).unwrap();
        assert_eq!(set.file(&name, 100).unwrap(), None);
    }
}
