//! The secrets of a control plane: files of their own beside the database, readable by their owner only.
//!
//! | file | holds |
//! |---|---|
//! | `root.key` | the seed of the root key, which will sign the list of head-signing keys; keep it offline |
//! | `head.key` | the seed of the key that signs heads |
//! | `pepper` | `id:base64`, as edges take it in `NIGHTLATCH_PEPPERS` |
//! | `server.key` | what cursors and kept answers are sealed with |
//!
//! The directory exists whole or not at all: it is filled under another name and then renamed, so that a first start
//! that was cut short leaves nothing half-made. A file that is missing later is an error and never made anew, because
//! edges would then refuse what is published.

mod file;
mod server_key;

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use nightlatch_keyset::note::{Signer, VerifierError};
use zeroize::Zeroizing;

pub use file::{check_private, read_private, write_private};
pub use server_key::ServerKey;
pub(crate) use server_key::{open, seal};

/// Bytes of every secret.
const LEN: usize = 32;

/// A secret file that cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// The directory or a file in it cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than the owner may read or write it.
    #[error("{path} is open to others than its owner (mode {mode:03o}); run: chmod {wanted:03o} {path}", path = .path.display())]
    Exposed {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// The content is not what this program writes.
    #[error("{} does not hold what it should ({wanted}); restore it from a backup", .path.display())]
    Malformed {
        /// Where.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A file of an established control plane is gone.
    #[error("{} is missing; restore it from a backup: a new one would shut out every edge", .0.display())]
    Missing(PathBuf),
}

/// Everything secret that a control plane holds in files.
pub struct Secrets {
    root: Zeroizing<[u8; LEN]>,
    head: Zeroizing<[u8; LEN]>,
    pepper: PepperFile,
    server: ServerKey,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("pepper", &self.pepper.id).finish_non_exhaustive()
    }
}

/// The pepper of the set and its id.
pub struct PepperFile {
    /// The name under which heads and bases refer to it.
    pub id: String,
    secret: Zeroizing<[u8; LEN]>,
}

impl fmt::Debug for PepperFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PepperFile({})", self.id)
    }
}

impl PepperFile {
    /// The bytes themselves. Whoever calls this answers for where they go.
    pub fn expose(&self) -> &[u8; LEN] {
        &self.secret
    }

    /// `id:base64`, as edges take it.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.id, Base64::encode_string(self.secret.as_slice())))
    }
}

impl Secrets {
    /// The directory of the secrets within a data directory.
    pub fn directory(data_dir: &Path) -> PathBuf {
        data_dir.join("secrets")
    }

    /// Makes the directory and every secret in it.
    ///
    /// # Errors
    /// When the directory exists or cannot be written.
    pub fn create(data_dir: &Path, random: &mut dyn FnMut(&mut [u8])) -> Result<Self, SecretsError> {
        let directory = Self::directory(data_dir);
        let draft = data_dir.join("secrets.new");
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(|source| io(&draft, source))?;
        }
        file::create_private_dir(&draft)?;
        let mut fresh = || {
            let mut bytes = Zeroizing::new([0; LEN]);
            random(bytes.as_mut_slice());
            bytes
        };
        let (root, head, pepper, server) = (fresh(), fresh(), fresh(), fresh());
        let mut id = [0; 4];
        random(&mut id);
        let pepper = PepperFile { id: format!("p{}", u32::from_le_bytes(id)), secret: pepper };
        for (name, bytes) in [("root.key", &root), ("head.key", &head), ("server.key", &server)] {
            let text = Zeroizing::new(Base64::encode_string(bytes.as_slice()));
            write_private(&draft.join(name), text.as_bytes())?;
        }
        write_private(&draft.join("pepper"), pepper.to_text().as_bytes())?;
        file::sync_dir(&draft)?;
        fs::rename(&draft, &directory).map_err(|source| io(&directory, source))?;
        file::sync_dir(data_dir)?;
        Ok(Self { root, head, pepper, server: ServerKey::new(&server) })
    }

    /// Reads the secrets.
    ///
    /// # Errors
    /// When a file is missing, malformed or open to others.
    pub fn open(data_dir: &Path) -> Result<Self, SecretsError> {
        let directory = Self::directory(data_dir);
        if !directory.exists() {
            return Err(SecretsError::Missing(directory));
        }
        check_private(&directory, 0o700)?;
        let read = || {
            Ok(Self {
                root: read_seed(&directory.join("root.key"))?,
                head: read_seed(&directory.join("head.key"))?,
                pepper: read_pepper(&directory.join("pepper"))?,
                server: ServerKey::new(&*read_seed(&directory.join("server.key"))?),
            })
        };
        read().map_err(|error| match error {
            SecretsError::Io { path, source } if source.kind() == ErrorKind::NotFound => SecretsError::Missing(path),
            other => other,
        })
    }

    /// The seed of the root key.
    pub fn root_seed(&self) -> &[u8; LEN] {
        &self.root
    }

    /// The signer of a set's heads. Its name tells edges of other sets that the head is not theirs.
    ///
    /// # Errors
    /// [`VerifierError`] where the id cannot be part of a signer's name.
    pub fn head_signer(&self, set: &str) -> Result<Signer, VerifierError> {
        Signer::new(&format!("nightlatch/{set}"), &self.head)
    }

    /// The pepper.
    pub fn pepper(&self) -> &PepperFile {
        &self.pepper
    }

    /// What cursors and kept answers are sealed with.
    pub fn server_key(&self) -> &ServerKey {
        &self.server
    }
}

fn read_seed(path: &Path) -> Result<Zeroizing<[u8; LEN]>, SecretsError> {
    let text = read_private(path)?;
    decode(text.trim_end())
        .ok_or_else(|| SecretsError::Malformed { path: path.to_owned(), wanted: "32 bytes in base64" })
}

fn read_pepper(path: &Path) -> Result<PepperFile, SecretsError> {
    let text = read_private(path)?;
    text.trim_end()
        .split_once(':')
        .filter(|(id, _)| !id.is_empty())
        .and_then(|(id, encoded)| Some(PepperFile { id: id.to_owned(), secret: decode(encoded)? }))
        .ok_or_else(|| SecretsError::Malformed { path: path.to_owned(), wanted: "`id:` and 32 bytes in base64" })
}

fn decode(text: &str) -> Option<Zeroizing<[u8; LEN]>> {
    let mut bytes = Zeroizing::new([0; LEN]);
    let length = Base64::decode(text, bytes.as_mut_slice()).ok()?.len();
    (length == LEN).then_some(bytes)
}

fn io(path: &Path, source: std::io::Error) -> SecretsError {
    SecretsError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::os_random;

    #[test]
    fn secrets_come_back_as_they_were_made() {
        let data = tempfile::tempdir().unwrap();
        let made = Secrets::create(data.path(), &mut os_random).unwrap();
        let read = Secrets::open(data.path()).unwrap();
        assert_eq!(made.root_seed(), read.root_seed());
        let vkey = |secrets: &Secrets| secrets.head_signer("set_a").unwrap().verifier().to_vkey();
        assert_eq!(vkey(&made), vkey(&read));
        assert_eq!(made.pepper().to_text(), read.pepper().to_text());
        assert_ne!(*made.root, *made.head);
        let mode = |name: &str| fs::metadata(data.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("secrets"), 0o700);
        for name in ["root.key", "head.key", "pepper", "server.key"] {
            assert_eq!(mode(&format!("secrets/{name}")), 0o600, "{name}");
        }
    }

    #[test]
    fn a_missing_secret_is_never_made_anew() {
        let data = tempfile::tempdir().unwrap();
        assert!(matches!(Secrets::open(data.path()), Err(SecretsError::Missing(_))));
        drop(Secrets::create(data.path(), &mut os_random).unwrap());
        fs::remove_file(data.path().join("secrets/pepper")).unwrap();
        assert!(matches!(Secrets::open(data.path()), Err(SecretsError::Missing(_))));
    }

    #[test]
    fn an_exposed_secret_is_refused_with_the_command_that_mends_it() {
        let data = tempfile::tempdir().unwrap();
        drop(Secrets::create(data.path(), &mut os_random).unwrap());
        let path = data.path().join("secrets/head.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Secrets::open(data.path()).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_malformed_secret_is_named() {
        let data = tempfile::tempdir().unwrap();
        drop(Secrets::create(data.path(), &mut os_random).unwrap());
        fs::write(data.path().join("secrets/pepper"), "p1").unwrap();
        assert!(matches!(Secrets::open(data.path()), Err(SecretsError::Malformed { .. })));
    }
}
