//! Files that hold secrets: only their owner may read them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The longest secret file, in bytes. All are far shorter.
const MAX_LEN: u64 = 16 * 1024;

/// Why a secret file is not taken. Its content is never repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    #[error("{path} cannot be read: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} can be read by others (mode {mode:03o}); run: chmod 600 {path}")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path} is longer than {MAX_LEN} bytes, as no secret is")]
    TooLong { path: PathBuf },
}

/// Reads a file of mode 0600 or stricter, as text without white space around it.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let failed = |source| SecretFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_LEN {
        return Err(SecretFileError::TooLong { path: path.to_owned() });
    }
    let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize));
    file.take(MAX_LEN).read_to_string(&mut text).map_err(failed)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credential");
        assert!(matches!(read(&path), Err(SecretFileError::Io { .. })));
        fs::write(&path, " a secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 600") && !refused.contains("a secret"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap().as_str(), "a secret");
    }
}
