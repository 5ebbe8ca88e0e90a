//! The state directory: what a sidecar knows after a restart.
//!
//! | file | holds |
//! |---|---|
//! | `mark` | the greatest head accepted, its signer, and which notes were: nothing below is ever accepted again |
//! | `head`, `trust`, `deny` | the last notes of each kind |
//! | `files/NAME` | what the head implies: policy, base, deltas |
//! | `lock` | held by the running sidecar |
//!
//! Every file is written beside its place, flushed, renamed, and its directory flushed: it is there whole or not at all.
//! What is read back is believed no more than what a stranger sends, but for the mark, which only ever makes an edge
//! refuse more.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nightlatch_keyset::FileName;
use nightlatch_keyset::note::MAX_NOTE_LEN;

use crate::mark::{self, Kept};

const MARK: &str = "mark";
const FILES: &str = "files";
/// Ends the name of a file that is not whole yet, or not flushed.
const DRAFT: &str = ".draft";
/// The longest mark, in bytes; all are far shorter.
const MAX_MARK_LEN: u64 = 1_024;

/// A note that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Head,
    Trust,
    Deny,
}

impl Note {
    /// Its name, here and at sources.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Trust => "trust",
            Self::Deny => "deny",
        }
    }
}

/// Why a state directory cannot be used, or something not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is used by another sidecar; each needs a state_dir of its own")]
    InUse(PathBuf),
    #[error(
        "{0} is damaged or of another set. It is what keeps this sidecar from going back to an older set, so it is not \
         thrown away by itself: restore it, or remove it if you accept that the next head is believed whatever came before"
    )]
    Mark(PathBuf),
}

/// A state directory.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    set: String,
    /// Held as long as the process lives.
    _lock: Option<File>,
}

impl Store {
    /// Opens or makes a set's state directory.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read, or is another sidecar's. One that cannot be written is opened all the same.
    pub(crate) fn open(dir: &Path, set: &str) -> Result<Self, StoreError> {
        let files = dir.join(FILES);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&files);
        if let Err(source) = made
            && !dir.is_dir()
        {
            return Err(StoreError::Io { path: dir.to_owned(), source });
        }
        let path = dir.join("lock");
        let lock = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
            Ok(lock) => match lock.try_lock() {
                Ok(()) => Some(lock),
                Err(fs::TryLockError::WouldBlock) => return Err(StoreError::InUse(dir.to_owned())),
                Err(fs::TryLockError::Error(source)) => return Err(StoreError::Io { path, source }),
            },
            Err(error) => {
                tracing::warn!("{} cannot be written ({error}): nothing will be kept or confirmed", dir.display());
                None
            }
        };
        let store = Self { dir: dir.to_owned(), set: set.to_owned(), _lock: lock };
        store.sweep();
        Ok(store)
    }

    /// Removes the drafts of a process that is no more.
    fn sweep(&self) {
        for entry in fs::read_dir(self.files()).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(DRAFT)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// What nothing is accepted below; nothing where nothing was accepted yet.
    ///
    /// # Errors
    /// [`StoreError::Mark`] where it is not what was written.
    pub(crate) fn kept(&self) -> Result<Kept, StoreError> {
        let path = self.dir.join(MARK);
        let Some(bytes) = read(&path, MAX_MARK_LEN).map_err(|source| StoreError::Io { path: path.clone(), source })?
        else {
            return Ok(Kept::default());
        };
        let kept = String::from_utf8(bytes).ok().and_then(|text| mark::decode(&text, &self.set));
        kept.ok_or(StoreError::Mark(path))
    }

    /// Keeps that. When this returns, no crash takes it back.
    pub(crate) fn keep_mark(&self, kept: &Kept) -> Result<(), StoreError> {
        self.keep(&self.dir, MARK, mark::encode(&self.set, kept).as_bytes())
    }

    /// A note that was kept; nothing where it cannot be read.
    pub(crate) fn note(&self, note: Note) -> Option<String> {
        let path = self.dir.join(note.name());
        let bytes = readable(&path, MAX_NOTE_LEN as u64)?;
        String::from_utf8(bytes).ok()
    }

    /// Keeps a note, as [`Self::keep_mark`] does.
    pub(crate) fn keep_note(&self, note: Note, text: &str) -> Result<(), StoreError> {
        self.keep(&self.dir, note.name(), text.as_bytes())
    }

    /// A file that was kept; nothing where it is not there, cannot be read, or is longer than it may be.
    pub(crate) fn file(&self, name: &FileName, max_len: u64) -> Option<Vec<u8>> {
        readable(&self.files().join(name.to_text()), max_len)
    }

    /// A file that was [staged](Self::stage), by an attempt that did not get to its end, and has exactly this length.
    pub(crate) fn draft(&self, name: &FileName, len: u64) -> Option<Vec<u8>> {
        let bytes = readable(&self.files().join(format!("{name}{DRAFT}")), len)?;
        (bytes.len() as u64 == len).then_some(bytes)
    }

    /// Whether a file is there, whole.
    pub(crate) fn has(&self, name: &FileName) -> bool {
        self.files().join(name.to_text()).is_file()
    }

    /// Writes a file, given in pieces, that has not been found to be right yet: it counts only once it is
    /// [settled](Self::settle).
    pub(crate) fn stage(&self, name: &FileName, pieces: &[Vec<u8>]) -> Result<(), StoreError> {
        let path = self.files().join(format!("{name}{DRAFT}"));
        write(&path, pieces).map(drop).map_err(|source| StoreError::Io { path, source })
    }

    /// Makes a staged file count; false where none of that name was staged.
    pub(crate) fn settle(&self, name: &FileName) -> Result<bool, StoreError> {
        let draft = self.files().join(format!("{name}{DRAFT}"));
        if !draft.is_file() {
            return Ok(false);
        }
        let settle = || {
            File::open(&draft)?.sync_all()?;
            fs::rename(&draft, self.files().join(name.to_text()))
        };
        settle().map(|()| true).map_err(|source| StoreError::Io { path: draft, source })
    }

    /// Makes what was settled survive a crash.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        sync_dir(&self.files()).map_err(|source| StoreError::Io { path: self.files(), source })
    }

    /// Drops a file that turned out to be damaged, staged or not.
    pub(crate) fn drop_file(&self, name: &FileName) {
        let _ = fs::remove_file(self.files().join(name.to_text()));
        let _ = fs::remove_file(self.files().join(format!("{name}{DRAFT}")));
    }

    /// Removes every file but these. Drafts stay: they may be what comes next.
    pub(crate) fn prune(&self, keep: &BTreeSet<FileName>) {
        let Ok(entries) = fs::read_dir(self.files()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(text) = name.to_str() else { continue };
            let kept = text.ends_with(DRAFT) || FileName::parse(text).is_ok_and(|name| keep.contains(&name));
            if !kept {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn files(&self) -> PathBuf {
        self.dir.join(FILES)
    }

    fn keep(&self, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let draft = dir.join(format!("{name}{DRAFT}"));
        let keep = || {
            write(&draft, &[bytes])?.sync_all()?;
            fs::rename(&draft, dir.join(name))?;
            sync_dir(dir)
        };
        keep().map_err(|source| StoreError::Io { path: dir.join(name), source })
    }
}

fn write<P: AsRef<[u8]>>(path: &Path, pieces: &[P]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    for piece in pieces {
        file.write_all(piece.as_ref())?;
    }
    Ok(file)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a whole file; nothing where there is none.
fn read(path: &Path, max_len: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let len = file.metadata()?.len();
    if len > max_len {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than it may be"));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(max_len + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_len {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than it may be"));
    }
    Ok(Some(bytes))
}

/// The same; what cannot be read is as good as not there, with a warning.
fn readable(path: &Path, max_len: u64) -> Option<Vec<u8>> {
    read(path, max_len).unwrap_or_else(|error| {
        tracing::warn!("{} is dropped: {error}", path.display());
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK_7: Kept = Kept {
        mark: Some(nightlatch_sync::Mark { incarnation: 0, epoch: 1, version: 7, issued: 1_000 }),
        signer: Some([1; 4]),
        trust: Some(2),
        deny: None,
    };

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let name = FileName::Base { incarnation: 0, epoch: 1 };
        {
            let store = Store::open(&dir.path().join("state"), "set_a").unwrap();
            assert_eq!(store.kept().unwrap(), Kept::default());
            store.keep_mark(&MARK_7).unwrap();
            store.keep_note(Note::Head, "a note").unwrap();
            store.stage(&name, &[b"a ".to_vec(), b"base".to_vec()]).unwrap();
            // Not yet believed, so not yet there.
            assert_eq!(store.file(&name, 100), None);
            // Nor is it taken for whole where it is shorter than it must be.
            assert_eq!(store.draft(&name, 6).as_deref(), Some(&b"a base"[..]));
            assert_eq!((store.draft(&name, 5), store.draft(&name, 7)), (None, None));
            assert!(store.settle(&name).unwrap() && !store.settle(&name).unwrap());
            store.flush().unwrap();
        }
        let store = Store::open(&dir.path().join("state"), "set_a").unwrap();
        assert_eq!(store.kept().unwrap(), MARK_7);
        assert_eq!(store.note(Note::Head).as_deref(), Some("a note"));
        assert_eq!(store.note(Note::Deny), None);
        assert_eq!(store.file(&name, 6).as_deref(), Some(&b"a base"[..]));
        assert_eq!(store.file(&name, 5), None);
        store.prune(&BTreeSet::new());
        assert!(!store.has(&name));
    }

    #[test]
    fn a_damaged_mark_is_never_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "set_a").unwrap();
        store.keep_mark(&MARK_7).unwrap();
        for damage in [&b""[..], b"nightlatch.mark/1\n", b"\xff", &[b'x'; 4_000]] {
            fs::write(dir.path().join(MARK), damage).unwrap();
            let refused = store.kept().unwrap_err();
            assert!(dir.path().join(MARK).exists(), "{refused}");
        }
    }

    #[test]
    fn a_directory_has_one_sidecar() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path(), "set_a").unwrap();
        assert!(matches!(Store::open(dir.path(), "set_a"), Err(StoreError::InUse(_))));
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "set_a").unwrap();
        fs::create_dir(dir.path().join("mark.draft")).unwrap();
        assert!(matches!(store.keep_mark(&MARK_7), Err(StoreError::Io { .. })));
        assert_eq!(store.kept().unwrap(), Kept::default());
    }
}
