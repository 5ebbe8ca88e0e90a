//! Files that are written whole or not at all.

use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use super::exit::Failure;

/// A file in the making, mode 0600, beside the one it becomes: half of it never has its name.
pub(super) fn begin(path: &Path) -> Result<NamedTempFile, Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    NamedTempFile::new_in(directory.unwrap_or_else(|| ".".as_ref())).map_err(|error| about(path, error))
}

/// Gives the file its name, in place of what has it.
pub(super) fn finish(file: NamedTempFile, path: &Path) -> Result<(), Failure> {
    file.as_file().sync_all().map_err(|error| about(path, error))?;
    file.persist(path).map(drop).map_err(|error| about(path, error.error))
}

/// The same where nothing may have the name: what is there stays, and the file is lost.
pub(super) fn finish_new(file: NamedTempFile, path: &Path) -> Result<(), Failure> {
    file.as_file().sync_all().map_err(|error| about(path, error))?;
    file.persist_noclobber(path).map(drop).map_err(|error| about(path, error.error))
}

/// A failure with the file's name.
pub(super) fn about(path: &Path, error: io::Error) -> Failure {
    Failure::from(error).about(&path.display().to_string())
}
