//! Files and directories that only their owner may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::{SecretsError, io};

/// The longest secret file, in bytes. All are far shorter.
const MAX_LEN: u64 = 4096;

/// Makes a directory of mode 0700.
pub(super) fn create_private_dir(path: &Path) -> Result<(), SecretsError> {
    DirBuilder::new().mode(0o700).create(path).map_err(|source| io(path, source))
}

/// Writes a new file of mode 0600 and flushes it to the disk.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), SecretsError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().map_err(|source| io(path, source))
}

/// Reads a file that only its owner may read.
///
/// # Errors
/// When it is missing, unreadable, too long, not text, or open to others.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, SecretsError> {
    check_private(path, 0o600)?;
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(|source| io(path, source))?;
    file.take(MAX_LEN).read_to_string(&mut text).map_err(|source| io(path, source))?;
    Ok(text)
}

/// Checks that nobody but the owner may read or write it.
///
/// # Errors
/// [`SecretsError::Io`] or [`SecretsError::Exposed`].
pub fn check_private(path: &Path, wanted: u32) -> Result<(), SecretsError> {
    let metadata = fs::metadata(path).map_err(|source| io(path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(SecretsError::Exposed { path: path.to_owned(), mode, wanted }) }
}

/// Makes a rename or a new file in the directory survive a crash.
pub(super) fn sync_dir(path: &Path) -> Result<(), SecretsError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| io(path, source))
}
