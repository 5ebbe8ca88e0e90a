//! Where secrets are kept: in files of one machine, or sealed in the database for several processes.

use std::fs;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{
    HEAD, LEN, MasterKey, PEPPER, PepperFile, ROOT, Secrets, SecretsError, Seed, ServerKey, create_directory, file,
    fresh, io, read_roots, write_private, write_seed,
};
use crate::store::shared_secrets::{self, Sealed};
use crate::store::{Store, os_random};

/// A place where secrets are kept.
#[derive(Clone, Debug)]
pub struct Vault {
    data_dir: PathBuf,
    store: Store,
    master: Option<MasterKey>,
}

impl Vault {
    /// The files of a data directory, or with a master key the database. Root keys are in files either way.
    pub fn new(data_dir: &Path, store: Store, master: Option<MasterKey>) -> Self {
        Self { data_dir: data_dir.to_owned(), store, master }
    }

    /// Reads the secrets.
    ///
    /// # Errors
    /// When they are not there, or not where this process can read them.
    pub async fn open(&self) -> Result<Secrets, SecretsError> {
        let sealed = shared_secrets::all(&mut self.store.read().await?).await?;
        match &self.master {
            None if !sealed.is_empty() => Err(SecretsError::NoMasterKey),
            None => Secrets::open(&self.data_dir),
            Some(_) if sealed.is_empty() => Err(SecretsError::Elsewhere(Secrets::directory(&self.data_dir))),
            Some(master) => self.unseal(master, sealed),
        }
    }

    /// Reads the secrets, or makes them where there is no workspace yet: others would make every edge refuse what is
    /// published. Given a master key, those in files go into the database, where it has none.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn establish(&self, established: bool) -> Result<Secrets, SecretsError> {
        let directory = Secrets::directory(&self.data_dir);
        let shared = !shared_secrets::all(&mut self.store.read().await?).await?.is_empty();
        let Some(master) = self.master.as_ref().filter(|_| !shared) else {
            return match (shared || directory.exists(), established) {
                (true, _) => self.open().await,
                (false, true) => Err(SecretsError::Elsewhere(directory)),
                (false, false) => Secrets::create(&self.data_dir, &mut os_random),
            };
        };
        let secrets = if directory.join(HEAD).exists() {
            Secrets::open(&self.data_dir)?
        } else if established {
            return Err(SecretsError::Elsewhere(directory));
        } else {
            Secrets::generate(&mut os_random)
        };
        self.share(master, secrets).await
    }

    /// Puts the secrets into the database, unless another process was faster; then its are everybody's.
    async fn share(&self, master: &MasterKey, mut secrets: Secrets) -> Result<Secrets, SecretsError> {
        // The root key first: who lists head-signing keys must not be lost between the two.
        let file = Secrets::directory(&self.data_dir).join(ROOT);
        let left = read_roots(&self.data_dir)?;
        if left.is_empty() {
            let root = secrets.roots[0].clone();
            create_directory(&self.data_dir, |draft| write_seed(&draft.join(ROOT), &root))?;
        } else {
            secrets.roots = left;
        }
        let mut sealed = vec![self.sealed(master, "server", "server", &secrets.server_seed)];
        sealed.extend(secrets.heads.iter().map(|seed| self.sealed(master, "head", &head_name(seed), seed)));
        sealed.extend(secrets.peppers.iter().map(|one| self.sealed(master, "pepper", &one.id, one.expose())));
        let ours = sealed.clone();
        let there = self
            .store
            .write(move |tx| Box::pin(async move { shared_secrets::found(tx, sealed).await }))
            .await
            .map_err(SecretsError::Store)?;
        if there.iter().all(|one| ours.contains(one)) {
            return Ok(secrets);
        }
        fs::remove_file(&file).map_err(|source| io(&file, source))?;
        self.unseal(master, there)
    }

    fn sealed(&self, master: &MasterKey, kind: &str, name: &str, secret: &[u8; LEN]) -> Sealed {
        Sealed { kind: kind.to_owned(), name: name.to_owned(), sealed: master.seal(kind, name, secret) }
    }

    fn unseal(&self, master: &MasterKey, sealed: Vec<Sealed>) -> Result<Secrets, SecretsError> {
        let (mut heads, mut peppers, mut server) = (Vec::new(), Vec::new(), None);
        for Sealed { kind, name, sealed } in sealed {
            let secret = master.open(&kind, &name, &sealed)?;
            match kind.as_str() {
                "head" => heads.push(secret),
                "pepper" => peppers.push(PepperFile { id: name, secret }),
                "server" => server = Some(secret),
                _ => return Err(crate::store::Error::Corrupt("secret").into()),
            }
        }
        let server_seed = server.ok_or(crate::store::Error::Corrupt("secret"))?;
        let server = ServerKey::new(&server_seed);
        Ok(Secrets { roots: read_roots(&self.data_dir)?, heads, peppers, server_seed, server })
    }

    /// Draws another key that may sign heads, and keeps it.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn add_head(&self) -> Result<Seed, SecretsError> {
        let seed = fresh(&mut os_random);
        let name = head_name(&seed);
        match &self.master {
            Some(master) => self.add(self.sealed(master, "head", &name, &seed)).await?,
            None => self.add_file(&format!("head-{name}.key"), |path| write_seed(path, &seed))?,
        }
        Ok(seed)
    }

    /// Draws another pepper, and keeps it.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn add_pepper(&self) -> Result<PepperFile, SecretsError> {
        let pepper = PepperFile::generate(&mut os_random);
        match &self.master {
            Some(master) => self.add(self.sealed(master, "pepper", &pepper.id, pepper.expose())).await?,
            None => {
                let text: Zeroizing<String> = pepper.to_text();
                self.add_file(&format!("{PEPPER}-{}", pepper.id), |path| write_private(path, text.as_bytes()))?;
            }
        }
        Ok(pepper)
    }

    /// Draws another root key, and keeps it in a file: never in the database.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn add_root(&self) -> Result<Seed, SecretsError> {
        let seed = fresh(&mut os_random);
        let directory = Secrets::directory(&self.data_dir);
        if !directory.exists() {
            create_directory(&self.data_dir, |_| Ok(()))?;
        }
        self.add_file(&format!("root-{}.key", head_name(&seed)), |path| write_seed(path, &seed))?;
        Ok(seed)
    }

    async fn add(&self, sealed: Sealed) -> Result<(), SecretsError> {
        self.store.write(move |tx| Box::pin(async move { shared_secrets::add(tx, &sealed).await })).await?;
        Ok(())
    }

    /// A file appears whole or not at all: a server may be looking.
    fn add_file(&self, name: &str, write: impl FnOnce(&Path) -> Result<(), SecretsError>) -> Result<(), SecretsError> {
        let directory = Secrets::directory(&self.data_dir);
        let (draft, path) = (directory.join(format!(".{name}.new")), directory.join(name));
        write(&draft)?;
        fs::rename(&draft, &path).map_err(|source| io(&path, source))?;
        file::sync_dir(&directory)
    }
}

/// A key's name among its kind: the first 16 hexadecimal digits of the SHA-256 of its seed's.
fn head_name(seed: &[u8; LEN]) -> String {
    let hash = nightlatch_keyset::Hash::of(nightlatch_keyset::Hash::of(seed).0.as_slice());
    hash.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
