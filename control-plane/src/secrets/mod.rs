//! The secrets of a control plane: files of their own beside the database, readable by their owner only, or, where several
//! processes share them, sealed in the database under a master key ([`Vault`]).
//!
//! | file | holds |
//! |---|---|
//! | `root.key`, `root-….key` | the seed of a root key, which signs the list of head-signing keys; keep it offline |
//! | `head.key`, `head-….key` | the seed of a key that signs heads; the database says which one does |
//! | `pepper`, `pepper-…` | `id:base64`, as edges take it in `NIGHTLATCH_PEPPERS` |
//! | `server.key` | what cursors and kept answers are sealed with |
//!
//! The directory exists whole or not at all: it is filled under another name and then renamed, so that a first start
//! that was cut short leaves nothing half-made. A file that is missing later is an error and never made anew, because
//! edges would then refuse what is published. Only root keys may be taken away: they are used where they are put.

mod file;
mod keyring;
mod master_key;
mod server_key;
mod vault;

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use hkdf::Hkdf;
use nightlatch_keyset::note::{Signer, VerifierError};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::WorkspaceId;

pub use file::{check_private, read_private, write_private};
pub use keyring::Keyring;
pub use master_key::MasterKey;
pub use server_key::ServerKey;
pub(crate) use server_key::{open, seal};
pub use vault::Vault;

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
    /// Another process made this database's workspace, and its secrets are not shared.
    #[error(
        "the secrets of this database are not in {}: they are another installation's. To run several on one database, give \
         all of them the same master key (32 bytes in base64, in NIGHTLATCH_MASTER_KEY or the file that \
         --master-key-file names) and start the one that has the secrets first; it puts them, sealed, into the database. \
         Otherwise restore the directory from a backup", .0.display()
    )]
    Elsewhere(PathBuf),
    /// The secrets are sealed in the database, and there is no master key.
    #[error(
        "the secrets of this database are sealed in it: give this process the master key of the others, in \
         NIGHTLATCH_MASTER_KEY or the file that --master-key-file names"
    )]
    NoMasterKey,
    /// The master key does not open what is sealed.
    #[error("the master key is not the one that sealed the secrets in the database; give the key that the others have")]
    WrongMasterKey,
    /// The master key cannot be read as one.
    #[error("the master key must be 32 bytes in base64; make one with: openssl rand -base64 32")]
    BadMasterKey,
    /// The database.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// The seed of a key.
pub(crate) type Seed = Zeroizing<[u8; LEN]>;

/// Everything secret that a control plane holds.
pub struct Secrets {
    roots: Vec<Seed>,
    heads: Vec<Seed>,
    peppers: Vec<PepperFile>,
    server_seed: Seed,
    server: ServerKey,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("peppers", &self.peppers).finish_non_exhaustive()
    }
}

/// A pepper and its id.
pub struct PepperFile {
    /// The name under which heads and bases refer to it.
    pub id: String,
    secret: Seed,
}

impl fmt::Debug for PepperFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PepperFile({})", self.id)
    }
}

impl PepperFile {
    /// Draws a new one.
    pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let secret = fresh(random);
        let mut id = [0; 4];
        random(&mut id);
        Self { id: format!("p{}", u32::from_le_bytes(id)), secret }
    }

    /// The bytes themselves. Whoever calls this answers for where they go.
    pub fn expose(&self) -> &[u8; LEN] {
        &self.secret
    }

    /// `id:base64`, as edges take it.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.id, Base64::encode_string(self.secret.as_slice())))
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, encoded) = text.split_once(':').filter(|(id, _)| !id.is_empty())?;
        Some(Self { id: id.to_owned(), secret: decode(encoded)? })
    }
}

impl Secrets {
    /// The directory of the secrets within a data directory.
    pub fn directory(data_dir: &Path) -> PathBuf {
        data_dir.join("secrets")
    }

    /// Where the one-time token of the founding workspace is put, or that of a further one.
    pub fn enrolment_file(data_dir: &Path, further: Option<&WorkspaceId>) -> PathBuf {
        match further {
            None => data_dir.join("enrolment-token"),
            Some(workspace) => data_dir.join(format!("enrolment-token-{workspace}")),
        }
    }

    /// Draws every secret anew.
    fn generate(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let (root, head, server_seed) = (fresh(random), fresh(random), fresh(random));
        let peppers = vec![PepperFile::generate(random)];
        let server = ServerKey::new(&server_seed);
        Self { roots: vec![root], heads: vec![head], peppers, server_seed, server }
    }

    /// Makes the directory and every secret in it.
    ///
    /// # Errors
    /// When the directory exists or cannot be written.
    pub fn create(data_dir: &Path, random: &mut dyn FnMut(&mut [u8])) -> Result<Self, SecretsError> {
        let made = Self::generate(random);
        create_directory(data_dir, |draft| {
            write_seed(&draft.join(ROOT), &made.roots[0])?;
            write_seed(&draft.join(HEAD), &made.heads[0])?;
            write_seed(&draft.join(SERVER), &made.server_seed)?;
            write_private(&draft.join(PEPPER), made.peppers[0].to_text().as_bytes())
        })?;
        Ok(made)
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
            let mut heads = vec![read_seed(&directory.join(HEAD))?];
            for path in further(&directory, "head-", ".key")? {
                heads.push(read_seed(&path)?);
            }
            let mut peppers = vec![read_pepper(&directory.join(PEPPER))?];
            for path in further(&directory, "pepper-", "")? {
                peppers.push(read_pepper(&path)?);
            }
            let server_seed = read_seed(&directory.join(SERVER))?;
            let server = ServerKey::new(&server_seed);
            Ok(Self { roots: read_roots(data_dir)?, heads, peppers, server_seed, server })
        };
        read().map_err(|error| match error {
            SecretsError::Io { path, source } if source.kind() == ErrorKind::NotFound => SecretsError::Missing(path),
            other => other,
        })
    }

    /// The signers of a set's heads, the first start's first. Their name tells edges of other sets that a head is not theirs.
    ///
    /// # Errors
    /// [`VerifierError`] where the id cannot be part of a signer's name.
    pub fn head_signers(&self, set: &str) -> Result<Vec<Signer>, VerifierError> {
        self.heads.iter().map(|seed| head_signer(set, seed)).collect()
    }

    /// The root keys that are at hand. None where they are kept elsewhere.
    ///
    /// # Errors
    /// [`VerifierError`] where the id cannot be part of a signer's name.
    pub fn root_signers(&self, set: &str) -> Result<Vec<Signer>, VerifierError> {
        self.roots.iter().map(|seed| root_signer(set, seed)).collect()
    }

    /// The deployment's peppers, the first start's first.
    pub fn peppers(&self) -> &[PepperFile] {
        &self.peppers
    }

    /// The peppers of a set, the first start's first: the deployment's as they are, or, where the set has its own, derived
    /// from them for it alone, under the same ids.
    ///
    /// Edges hold their set's peppers, so whoever runs an edge of the founding workspace holds the deployment's. What is
    /// derived therefore depends on the server key too, which no edge has: HKDF-SHA-256 (RFC 5869) over the pepper, salted
    /// with a key derived from the server key, and the set's id as info.
    pub fn peppers_of(&self, set: &str, own: bool) -> Vec<PepperFile> {
        let derived = |pepper: &PepperFile| {
            let mut secret = Zeroizing::new([0; LEN]);
            if own {
                let salt = self.server.derive("nightlatch/set-pepper/1", b"");
                let expanded = Hkdf::<Sha256>::new(Some(salt.as_slice()), pepper.expose())
                    .expand(set.as_bytes(), secret.as_mut_slice());
                // HKDF refuses only outputs longer than 8,160 bytes.
                expanded.expect("32 bytes are within HKDF's limit");
            } else {
                secret.copy_from_slice(pepper.expose());
            }
            PepperFile { id: pepper.id.clone(), secret }
        };
        self.peppers.iter().map(derived).collect()
    }

    /// What cursors and kept answers are sealed with.
    pub fn server_key(&self) -> &ServerKey {
        &self.server
    }
}

/// A key that signs a set's heads.
///
/// # Errors
/// [`VerifierError`] where the id cannot be part of a signer's name.
pub(crate) fn head_signer(set: &str, seed: &[u8; LEN]) -> Result<Signer, VerifierError> {
    Signer::new(&format!("nightlatch/{set}"), seed)
}

/// A key that signs the list of those.
///
/// # Errors
/// [`VerifierError`] where the id cannot be part of a signer's name.
pub(crate) fn root_signer(set: &str, seed: &[u8; LEN]) -> Result<Signer, VerifierError> {
    Signer::new(&format!("nightlatch/{set}/root"), seed)
}

/// Reads a file that holds a key's seed.
///
/// # Errors
/// When it is missing, malformed or open to others.
pub(crate) fn read_seed(path: &Path) -> Result<Seed, SecretsError> {
    let text = read_private(path)?;
    decode(text.trim_end())
        .ok_or_else(|| SecretsError::Malformed { path: path.to_owned(), wanted: "32 bytes in base64" })
}

/// Writes a key's seed into a new file.
///
/// # Errors
/// When the file exists or cannot be written.
pub(crate) fn write_seed(path: &Path, seed: &[u8; LEN]) -> Result<(), SecretsError> {
    write_private(path, Zeroizing::new(Base64::encode_string(seed)).as_bytes())
}

/// Draws a seed.
pub(crate) fn fresh(random: &mut dyn FnMut(&mut [u8])) -> Seed {
    let mut bytes = Zeroizing::new([0; LEN]);
    random(bytes.as_mut_slice());
    bytes
}

const ROOT: &str = "root.key";
const HEAD: &str = "head.key";
const PEPPER: &str = "pepper";
const SERVER: &str = "server.key";

/// Makes the directory of the secrets with what `fill` writes, all of it or none.
fn create_directory(data_dir: &Path, fill: impl FnOnce(&Path) -> Result<(), SecretsError>) -> Result<(), SecretsError> {
    let directory = Secrets::directory(data_dir);
    let draft = data_dir.join("secrets.new");
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(|source| io(&draft, source))?;
    }
    file::create_private_dir(&draft)?;
    fill(&draft)?;
    file::sync_dir(&draft)?;
    fs::rename(&draft, &directory).map_err(|source| io(&directory, source))?;
    file::sync_dir(data_dir)
}

/// The root keys in the directory; none where it or they are not there.
fn read_roots(data_dir: &Path) -> Result<Vec<Seed>, SecretsError> {
    let directory = Secrets::directory(data_dir);
    let mut roots = Vec::new();
    if directory.join(ROOT).exists() {
        roots.push(read_seed(&directory.join(ROOT))?);
    }
    for path in further(&directory, "root-", ".key")? {
        roots.push(read_seed(&path)?);
    }
    Ok(roots)
}

/// Later files of a kind, by name.
fn further(directory: &Path, prefix: &str, suffix: &str) -> Result<Vec<PathBuf>, SecretsError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(directory, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io(directory, error))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix)) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_pepper(path: &Path) -> Result<PepperFile, SecretsError> {
    let text = read_private(path)?;
    PepperFile::parse(text.trim_end())
        .ok_or_else(|| SecretsError::Malformed { path: path.to_owned(), wanted: "`id:` and 32 bytes in base64" })
}

fn decode(text: &str) -> Option<Seed> {
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
        let vkeys = |signers: Vec<Signer>| signers.iter().map(|one| one.verifier().to_vkey()).collect::<Vec<_>>();
        assert_eq!(vkeys(made.root_signers("set_a").unwrap()), vkeys(read.root_signers("set_a").unwrap()));
        assert_eq!(vkeys(made.head_signers("set_a").unwrap()), vkeys(read.head_signers("set_a").unwrap()));
        assert_eq!(made.peppers()[0].to_text(), read.peppers()[0].to_text());
        assert_ne!(*made.roots[0], *made.heads[0]);
        let mode = |name: &str| fs::metadata(data.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("secrets"), 0o700);
        for name in ["root.key", "head.key", "pepper", "server.key"] {
            assert_eq!(mode(&format!("secrets/{name}")), 0o600, "{name}");
        }
    }

    /// Guarantee 10: a set's own pepper is its own, stays the same, and does not follow from what edges of others hold.
    #[test]
    fn a_pepper_of_a_sets_own_follows_from_the_set_the_pepper_and_the_server_key() {
        let data = tempfile::tempdir().unwrap();
        let made = Secrets::create(data.path(), &mut os_random).unwrap();
        let of = |secrets: &Secrets, set: &str, own| *secrets.peppers_of(set, own)[0].expose();
        assert_eq!(of(&made, "set_a", false), *made.peppers()[0].expose(), "the first set's is the deployment's");
        assert_eq!(made.peppers_of("set_a", true)[0].id, made.peppers()[0].id);
        let own = of(&made, "set_a", true);
        assert_eq!(own, of(&Secrets::open(data.path()).unwrap(), "set_a", true));
        assert_ne!(own, of(&made, "set_a", false));
        assert_ne!(own, of(&made, "set_b", true));
        // Another installation that was given this pepper, as an edge is.
        let other = tempfile::tempdir().unwrap();
        let mut thief = Secrets::create(other.path(), &mut os_random).unwrap();
        thief.peppers = vec![PepperFile::parse(&made.peppers()[0].to_text()).unwrap()];
        assert_ne!(own, of(&thief, "set_a", true));
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
    fn the_root_key_may_be_taken_away() {
        let data = tempfile::tempdir().unwrap();
        drop(Secrets::create(data.path(), &mut os_random).unwrap());
        fs::remove_file(data.path().join("secrets/root.key")).unwrap();
        assert!(Secrets::open(data.path()).unwrap().root_signers("set_a").unwrap().is_empty());
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
