//! What a first start makes, and what every later one finds: secrets, workspace, set, enrolment token.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::data_dir::DataDir;
use super::{Enrolment, ServeError};
use crate::api::mint_enrolment;
use crate::config::Config;
use crate::domain::WorkspaceId;
use crate::secrets::{Secrets, SecretsError, write_private};
use crate::store::workspaces::{self, Bootstrap, Set, Workspace};
use crate::store::{Error, Store, enrolment, os_random, tokens};

/// How long an enrolment token is good.
const ENROLMENT_LIFETIME: Duration = Duration::from_secs(3600);
/// The name of the first workspace.
const WORKSPACE_NAME: &str = "default";

pub(super) struct FirstStart {
    pub(super) secrets: Arc<Secrets>,
    pub(super) set: Set,
    pub(super) enrolment: Option<Enrolment>,
}

/// Brings the data directory and the database to where a server can start from.
pub(super) async fn run(store: &Store, config: &Config, data_dir: &DataDir) -> Result<FirstStart, ServeError> {
    let established = workspaces::first(&mut store.read().await?).await?;
    let secrets = secrets(data_dir.path(), established.is_some())?;
    let (workspace, set) = match established {
        Some(found) => found,
        None => found_workspace(store, config, &secrets).await?,
    };
    if set.pepper_id != secrets.pepper().id {
        return Err(ServeError::Unfit(set.id.to_string()));
    }
    let enrolment = open_enrolment(store, &workspace.id, &data_dir.enrolment_token()).await?;
    Ok(FirstStart { secrets: Arc::new(secrets), set, enrolment })
}

/// Only a start that finds no workspace may make secrets: others would make every edge refuse what is published.
fn secrets(data_dir: &Path, established: bool) -> Result<Secrets, SecretsError> {
    if established || Secrets::directory(data_dir).exists() {
        Secrets::open(data_dir)
    } else {
        Secrets::create(data_dir, &mut os_random)
    }
}

async fn found_workspace(store: &Store, config: &Config, secrets: &Secrets) -> Result<(Workspace, Set), Error> {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let wanted = Bootstrap {
        name: WORKSPACE_NAME.to_owned(),
        brand: config.brand,
        heartbeat_ms: ms(config.set.heartbeat),
        validity_ms: ms(config.set.validity),
        skew_ms: ms(config.set.skew),
        pepper_id: secrets.pepper().id.clone(),
        accepts_foreign: config.set.accepts_foreign,
    };
    store.write(|tx| Box::pin(async move { workspaces::bootstrap(tx, &wanted, &mut os_random).await })).await
}

/// Makes an enrolment token where nobody can administer the workspace and no earlier token would do.
async fn open_enrolment(store: &Store, workspace: &WorkspaceId, file: &Path) -> Result<Option<Enrolment>, ServeError> {
    let mut read = store.read().await?;
    if tokens::any_management(&mut read, workspace).await? {
        return Ok(None);
    }
    if file.exists() && enrolment::is_open(&mut read, workspace).await? {
        return Ok(Some(Enrolment { file: file.to_owned(), fresh: None }));
    }
    drop(read);
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
            Box::pin(async move { enrolment::open(tx, &workspace, digest, lifetime).await })
        })
        .await?;
    Ok(Some(Enrolment { file: file.to_owned(), fresh: Some(text) }))
}
