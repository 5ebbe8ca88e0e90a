//! Where a control plane keeps its things, for commands that work on them beside it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use secrecy::ExposeSecret as _;

use super::exit::{Failure, Kind};
use super::output;
use crate::config::{Config, Sources};
use crate::domain::{SetId, WorkspaceId};
use crate::publisher::{Limits, PublisherConfig, SetDirectory};
use crate::secrets::{Keyring, Secrets, Vault};
use crate::store::workspaces::{self, Set};
use crate::store::{Store, trust};

/// Where the control plane's database, secrets and files are. The variables and the file are those of `nightlatch serve`;
/// DATABASE_URL names a PostgreSQL database.
#[derive(Debug, Clone, Args)]
pub(super) struct Home {
    /// The server's TOML file of settings.
    #[arg(long, env = "NIGHTLATCH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's data directory [env: NIGHTLATCH_DATA_DIR] [default: ./nightlatch-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where the server's published files live, if not there [env: NIGHTLATCH_SETS_DIR]
    #[arg(long, value_name = "DIR")]
    sets_dir: Option<String>,
    /// The file with the master key, where replicas share secrets [env: NIGHTLATCH_MASTER_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<String>,
    /// The set, where the deployment has several
    #[arg(long, value_name = "SET_ID")]
    set: Option<String>,
    /// The workspace whose set is meant, where the deployment has several
    #[arg(long, value_name = "WORKSPACE_ID")]
    workspace: Option<String>,
}

impl Home {
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let flags =
            [("data_dir", &self.data_dir), ("sets_dir", &self.sets_dir), ("master_key_file", &self.master_key_file)];
        let sources = Sources {
            flags: flags.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))).collect(),
            file: self.config.as_deref(),
            environment: Sources::process_environment(),
        };
        load(&sources)
    }

    /// The set that was named.
    pub(super) fn set(&self) -> Option<&str> {
        self.set.as_deref()
    }

    /// The same for this set.
    pub(super) fn of_set(&self, set: &str) -> Self {
        Self { set: Some(set.to_owned()), ..self.clone() }
    }

    /// Opens the database alone.
    pub(super) async fn store(&self) -> Result<Store, Failure> {
        store(&self.config()?).await
    }

    /// Opens the database and the secrets.
    pub(super) async fn open(&self) -> Result<Opened, Failure> {
        let config = self.config()?;
        let store = store(&config).await?;
        let published = self.choose(&store).await?;
        let vault = Vault::new(&config.data_dir, store.clone(), config.master()?);
        let (workspace, set) = (published.workspace.clone(), published.id.clone());
        Ok(Opened { config, store, workspace, set, published, vault })
    }

    /// The set that is named, or the only one; where there are several, the error lists them.
    async fn choose(&self, store: &Store) -> Result<Set, Failure> {
        let mut read = store.read().await?;
        let sets = workspaces::all_sets(&mut read).await?;
        if sets.is_empty() {
            let advice = "there is no workspace: restore the database, or start a control plane on it first";
            return Err(Failure::other(advice));
        }
        let mut choices = Vec::new();
        for set in &sets {
            let name = workspaces::get(&mut read, &set.workspace).await?.name;
            choices.push(format!("  {}  of {} ({})", set.id, set.workspace, output::printable(&name)));
        }
        let is = |wanted: &Option<String>, id: &str| wanted.as_ref().is_none_or(|wanted| wanted == id);
        let mut meant = sets
            .into_iter()
            .filter(|set| is(&self.set, set.id.as_str()) && is(&self.workspace, set.workspace.as_str()));
        let why = match (meant.next(), meant.next()) {
            (Some(set), None) => return Ok(set),
            (None, _) => "there is no such set",
            (Some(_), Some(_)) => "there are several sets; say with --set or --workspace which is meant",
        };
        Err(Failure::usage(format!("{why}:\n{}", choices.join("\n"))))
    }
}

/// A control plane's things.
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) workspace: WorkspaceId,
    pub(super) set: SetId,
    pub(super) published: Set,
    pub(super) vault: Vault,
}

impl Opened {
    /// Where the one-time token of the workspace is put. That of the first start is the founding workspace's: of the others
    /// each set has a pepper of its own.
    pub(super) fn enrolment_file(&self) -> PathBuf {
        let further = self.published.own_pepper.then_some(&self.workspace);
        Secrets::enrolment_file(&self.config.data_dir, further)
    }

    /// The keys of the set.
    pub(super) async fn keys(&self) -> Result<Keyring, Failure> {
        keyring(&self.vault.open().await?, &self.published)
    }

    /// The directory of the set's published files.
    pub(super) fn directory(&self) -> SetDirectory {
        SetDirectory::new(self.config.sets().join(self.set.as_str()))
    }

    /// As the server of this data directory would publish.
    pub(super) async fn publisher(&self, holder: &str) -> Result<PublisherConfig, Failure> {
        let keys = self.keys().await?;
        let named = match self.store.read().await {
            Ok(mut read) => trust::signing(&mut read, &self.set).await.ok(),
            Err(error) => return Err(Failure::other(error.to_string())),
        };
        let signer = named.and_then(|named| keys.signer(&named.signer?)).or_else(|| keys.signers.first());
        let signer = Arc::clone(signer.ok_or_else(|| Failure::other("there is no key that signs heads"))?);
        Ok(PublisherConfig {
            set: self.set.clone(),
            holder: holder.to_owned(),
            signer,
            keys,
            key_source: None,
            directory: self.directory(),
            limits: Limits::default(),
            probe: None,
        })
    }
}

/// The keys of a set.
pub(super) fn keyring(secrets: &Secrets, set: &Set) -> Result<Keyring, Failure> {
    Keyring::of(secrets, set).ok_or_else(|| Failure::other("the secrets do not fit the set"))
}

/// The secrets that belong to a data directory; with a master key in the environment, those in the database.
pub(super) async fn secrets_of(data_dir: &std::path::Path) -> Result<Secrets, Failure> {
    let flags = vec![("data_dir", data_dir.display().to_string())];
    let config = load(&Sources { flags, file: None, environment: Sources::process_environment() })?;
    let Some(master) = config.master()? else { return Ok(Secrets::open(data_dir)?) };
    Ok(Vault::new(data_dir, store(&config).await?, Some(master)).open().await?)
}

fn load(sources: &Sources<'_>) -> Result<Config, Failure> {
    Config::load(sources).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(|fault| format!("  {fault}")).collect();
        Failure::new(Kind::Configuration, format!("the configuration is faulty:\n{}", faults.join("\n")))
    })
}

/// The database that a configuration names.
pub(super) async fn store(config: &Config) -> Result<Store, Failure> {
    let url = config.store_url();
    let store = Store::connect(url.expose_secret()).await;
    store.map_err(|error| {
        let (name, why) = (without_password(url.expose_secret()), with_causes(&error));
        Failure::new(
            Kind::Unavailable,
            format!(
                "the database {name} cannot be used: {why}. Commands of the host work on the server's database: name its \
                 directory with --data-dir, or set DATABASE_URL as for the server"
            ),
        )
    })
}

/// The database's URL as it may be shown: a password is in it, or among its parameters.
fn without_password(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.split('?').next().unwrap_or_default().to_owned();
    }
    let Ok(mut url) = reqwest::Url::parse(url) else { return "DATABASE_URL".to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    // Fails where there can be none.
    url.set_password(None).ok();
    url.to_string()
}

/// An error and what led to it.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string) {
        // Some tell their cause themselves.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_without_its_password() {
        for (url, shown) in [
            ("sqlite:data/nightlatch.db", "sqlite:data/nightlatch.db"),
            ("postgres://ana:secret@db:5432/keys", "postgres://ana@db:5432/keys"),
            ("postgres://ana:se%40cret@db/keys?sslmode=require", "postgres://ana@db/keys"),
            ("postgresql://db/keys?user=ana&password=se@cret", "postgresql://db/keys"),
            ("postgres://ana:secret@db:port/keys", "DATABASE_URL"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
