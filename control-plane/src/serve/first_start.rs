//! What a first start makes, and what every later one finds: secrets, workspace, set, enrolment token.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_key::KeyText;

use super::data_dir::DataDir;
use super::{Enrolment, ServeError};
use crate::api::mint_enrolment;
use crate::config::Config;
use crate::domain::WorkspaceId;
use crate::secrets::{Keyring, Secrets, SecretsError, Vault, write_private};
use crate::store::enrolment::Why;
use crate::store::workspaces::{self, Bootstrap, Set, Workspace};
use crate::store::{Error, Store, enrolment, os_random, tokens, trust};

/// How long an enrolment token is good.
const ENROLMENT_LIFETIME: Duration = Duration::from_secs(3600);
/// The name of the first workspace.
const WORKSPACE_NAME: &str = "default";

pub(super) struct FirstStart {
    pub(super) vault: Vault,
    pub(super) secrets: Arc<Secrets>,
    pub(super) keys: Keyring,
    pub(super) set: Set,
    pub(super) enrolment: Option<Enrolment>,
}

/// Brings the data directory and the database to where a server can start from.
pub(super) async fn run(store: &Store, config: &Config, data_dir: &DataDir) -> Result<FirstStart, ServeError> {
    let established = workspaces::first(&mut store.read().await?).await?;
    let vault = Vault::new(data_dir.path(), store.clone(), config.master()?);
    let secrets = vault.establish(established.is_some()).await?;
    let (workspace, mut set) = match established {
        Some(found) => found,
        None => found_workspace(store, config, &secrets).await?,
    };
    let id = set.id.to_string();
    let unfit = || ServeError::Unfit(id.clone());
    let keys = Keyring::of(&secrets, &set).ok_or_else(unfit)?;
    if !keys.holds_pepper(&set.pepper_id) {
        return Err(unfit());
    }
    let signer = keys.signers.first().ok_or_else(unfit)?.verifier().to_vkey();
    let signer = name_signer(store, &set, signer).await?;
    if keys.signer(&signer).is_none() {
        return Err(unfit());
    }
    set.signer = Some(signer);
    if crate::trust::establish(store, &workspace.id, &set.id, &keys).await?.is_none() {
        tracing::warn!(
            "the set has no trust note, because no root key is here: its head-signing key can be replaced only by telling \
             every edge; start once with secrets/root.key in place"
        );
    }
    let enrolment = open_enrolment(store, &workspace.id, &data_dir.enrolment_token()).await?;
    Ok(FirstStart { vault, secrets: Arc::new(secrets), keys, set, enrolment })
}

/// Says which key signs the set's heads, where nobody has said so yet; returns the one that does.
async fn name_signer(store: &Store, set: &Set, vkey: String) -> Result<String, Error> {
    let set = set.id.clone();
    store.write(move |tx| Box::pin(async move { trust::name_signer(tx, &set, &vkey).await })).await
}

async fn found_workspace(store: &Store, config: &Config, secrets: &Secrets) -> Result<(Workspace, Set), Error> {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let wanted = Bootstrap {
        name: WORKSPACE_NAME.to_owned(),
        brand: config.brand,
        heartbeat_ms: ms(config.set.heartbeat),
        validity_ms: ms(config.set.validity),
        skew_ms: ms(config.set.skew),
        pepper_id: secrets.peppers().first().map(|pepper| pepper.id.clone()).unwrap_or_default(),
        accepts_foreign: config.set.accepts_foreign,
    };
    let open = config.set.open.map_or(0, ms);
    store
        .write(move |tx| {
            Box::pin(async move {
                let made = workspaces::bootstrap(tx, &wanted, &mut os_random).await?;
                trust::open_routes_for(tx, &made.1.id, open).await?;
                Ok(made)
            })
        })
        .await
}

/// Makes an enrolment token where no owner can get in and no earlier token would do.
async fn open_enrolment(store: &Store, workspace: &WorkspaceId, file: &Path) -> Result<Option<Enrolment>, ServeError> {
    let mut read = store.read().await?;
    if tokens::any_owner(&mut read, workspace).await? {
        return Ok(None);
    }
    if file.exists() && enrolment::is_open(&mut read, workspace).await? {
        return Ok(Some(Enrolment { file: file.to_owned(), fresh: None }));
    }
    drop(read);
    let text = make_enrolment(store, workspace, file).await?;
    Ok(Some(Enrolment { file: file.to_owned(), fresh: Some(text) }))
}

/// Makes a new enrolment token and writes it into the file. Those made before end.
pub(crate) async fn make_enrolment(store: &Store, workspace: &WorkspaceId, file: &Path) -> Result<KeyText, ServeError> {
    make_token(store, workspace, file, Why::Enrolment).await
}

/// The same for a workspace whose owners cannot get in; that, and its use, are in the audit log.
pub(crate) async fn make_recovery(store: &Store, workspace: &WorkspaceId, file: &Path) -> Result<KeyText, ServeError> {
    make_token(store, workspace, file, Why::Recovery).await
}

async fn make_token(store: &Store, workspace: &WorkspaceId, file: &Path, why: Why) -> Result<KeyText, ServeError> {
    let text = mint_enrolment(store.now().await?);
    if let Err(error) = std::fs::remove_file(file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(SecretsError::Io { path: file.to_owned(), source: error }.into());
    }
    write_private(file, text.expose().as_bytes())?;
    let (workspace, digest) = (workspace.clone(), text.digest());
    let lifetime = i64::try_from(ENROLMENT_LIFETIME.as_millis()).unwrap_or(i64::MAX);
    store
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move { enrolment::open(tx, &workspace, digest, lifetime, why).await })
        })
        .await?;
    Ok(text)
}
