//! `nightlatch serve`: from a configuration to a running control plane, and down again without losing anything.

mod chores;
mod data_dir;
mod first_start;
mod signals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::serve::ListenerExt as _;
use nightlatch_key::KeyText;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::{self, App, Parts};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::oidc::{OidcError, Provider};
use crate::publisher::{KeySource, Limits, Publisher, PublisherConfig, SetDirectory};
use crate::secrets::{Keyring, SecretsError};
use crate::store::{self, Store};
use chores::Chores;
use first_start::FirstStart;

pub(crate) use data_dir::DataDir;
pub(crate) use first_start::{make_enrolment, make_recovery};

pub use data_dir::DataDirError;
pub use signals::{Signals, SignalsError};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The secrets.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The database.
    #[error("the database cannot be used: {0}")]
    Store(#[from] store::Error),
    /// The list of head-signing keys.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// The identity provider.
    #[error("the identity provider cannot be used: {0}")]
    Oidc(#[from] OidcError),
    /// The address.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The pepper or signing key does not fit the set.
    #[error("the secrets do not fit set {0}; restore the directory `secrets` that belongs to this database")]
    Unfit(String),
}

/// A control plane that answers.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    enrolment: Option<Enrolment>,
    store: Store,
    publisher: Publisher,
    chores: Chores,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    // Held until the end: nobody else may use the directory meanwhile.
    _data_dir: DataDir,
}

/// The one-time token that a new control plane waits for.
#[derive(Debug)]
pub struct Enrolment {
    /// The file it is in.
    pub file: PathBuf,
    /// The token, where this start has made it.
    pub fresh: Option<KeyText>,
}

impl Server {
    /// Starts a control plane. On return it listens.
    ///
    /// # Errors
    /// [`ServeError`] says what is in the way.
    pub async fn start(config: &Config) -> Result<Self, ServeError> {
        let data_dir = DataDir::open(&config.data_dir)?;
        let store = connect(config).await?;
        let first = first_start::run(&store, config, &data_dir).await?;
        let oidc = config.oidc()?.map(Provider::new).transpose()?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| ServeError::Listen { address: config.listen, source })?;
        let address = listener.local_addr().map_err(|source| ServeError::Listen { address: config.listen, source })?;
        let metrics = Arc::new(Metrics::new());
        let publisher = Publisher::spawn(store.clone(), publisher_config(config, &data_dir, &first)?);
        let chores = Chores::spawn(store.clone(), publisher.status(), Arc::clone(&metrics));
        let stop = CancellationToken::new();
        let app = App::new(Parts {
            store: store.clone(),
            secrets: Arc::clone(&first.secrets),
            sets_dir: config.sets(),
            enrolment_file: data_dir.enrolment_token(),
            metrics,
            publisher: publisher.status(),
            keys: key_source(&first),
            published_set: first.set.id.clone(),
            oidc,
            stopping: stop.clone(),
        });
        let service = api::router(app).into_make_service_with_connect_info::<SocketAddr>();
        let stopped = stop.clone();
        let listener = listener.tap_io(|connection| {
            // Answers are small: waiting to fill a packet only delays them.
            drop(connection.set_nodelay(true));
        });
        let serving = tokio::spawn(async move {
            axum::serve(listener, service).with_graceful_shutdown(stopped.cancelled_owned()).await
        });
        Ok(Self { address, enrolment: first.enrolment, store, publisher, chores, stop, serving, _data_dir: data_dir })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The enrolment token, while nobody has enrolled.
    pub fn enrolment(&self) -> Option<&Enrolment> {
        self.enrolment.as_ref()
    }

    /// The publisher.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Stops: takes no more requests, lets open ones end within the time, then ends publishing and closes the database.
    pub async fn stop(self, patience: std::time::Duration) {
        self.stop.cancel();
        let abort = self.serving.abort_handle();
        if tokio::time::timeout(patience, self.serving).await.is_err() {
            tracing::warn!("requests still open after {} s were cut off", patience.as_secs());
            abort.abort();
        }
        self.chores.stop().await;
        self.publisher.stop().await;
        self.store.close().await;
    }
}

async fn connect(config: &Config) -> Result<Store, store::Error> {
    use secrecy::ExposeSecret as _;
    Store::connect(config.store_url().expose_secret()).await
}

fn publisher_config(config: &Config, data_dir: &DataDir, first: &FirstStart) -> Result<PublisherConfig, ServeError> {
    let set = &first.set.id;
    let signer = first.keys.signer(&first.signer).ok_or_else(|| ServeError::Unfit(set.to_string()))?;
    Ok(PublisherConfig {
        set: set.clone(),
        holder: data_dir.instance().to_owned(),
        signer: Arc::clone(signer),
        keys: first.keys.clone(),
        key_source: Some(key_source(first)),
        directory: SetDirectory::new(config.sets().join(set.as_str())),
        limits: Limits::default(),
        probe: None,
    })
}

/// The keys of the set as they are whenever somebody asks.
fn key_source(first: &FirstStart) -> KeySource {
    let (vault, id) = (first.vault.clone(), first.set.id.clone());
    Arc::new(move || {
        let (vault, id) = (vault.clone(), id.clone());
        Box::pin(async move {
            let secrets = vault.open().await?;
            Keyring::of(&secrets, id.as_str()).ok_or(SecretsError::Store(store::Error::Corrupt("set id")))
        })
    })
}
