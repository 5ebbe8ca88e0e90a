//! `nightlatch serve`: from a configuration to a running control plane, and down again without losing anything.

mod chores;
mod data_dir;
mod first_start;
mod publishing;
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
use crate::domain::SetId;
use crate::metrics::Metrics;
use crate::oidc::{OidcError, Provider};
use crate::publisher::{Publisher, Publishers};
use crate::secrets::SecretsError;
use crate::store::{self, Store};
use chores::Chores;
use publishing::{Making, Publishing};

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
    publishing: Publishing,
    founding: SetId,
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
        announce(&store, data_dir.instance()).await?;
        let first = first_start::run(&store, config, &data_dir).await?;
        let oidc = config.oidc()?.map(Provider::new).transpose()?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| ServeError::Listen { address: config.listen, source })?;
        let address = listener.local_addr().map_err(|source| ServeError::Listen { address: config.listen, source })?;
        let metrics = Arc::new(Metrics::new());
        let founding = first.set.id.clone();
        let making = Making {
            store: store.clone(),
            vault: first.vault,
            metrics: Arc::clone(&metrics),
            holder: data_dir.instance().to_owned(),
            sets_dir: config.sets(),
            founding: founding.clone(),
        };
        let publishing = Publishing::spawn(making, &first.set, first.keys)?;
        let chores = Chores::spawn(store.clone(), data_dir.instance().to_owned());
        let stop = CancellationToken::new();
        let app = App::new(Parts {
            store: store.clone(),
            secrets: Arc::clone(&first.secrets),
            sets_dir: config.sets(),
            data_dir: data_dir.path().to_owned(),
            metrics,
            publishers: publishing.publishers().clone(),
            founding: founding.clone(),
            oidc,
            trusted_proxies: config.trusted_proxies.clone(),
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
        let enrolment = first.enrolment;
        Ok(Self { address, enrolment, store, publishing, founding, chores, stop, serving, _data_dir: data_dir })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The enrolment token, while no owner can get in.
    pub fn enrolment(&self) -> Option<&Enrolment> {
        self.enrolment.as_ref()
    }

    /// The publisher of the founding workspace's set.
    ///
    /// # Panics
    /// Never: no server starts without it.
    pub fn publisher(&self) -> Arc<Publisher> {
        let published = self.publishers().of(&self.founding).expect("the founding set is the first to be published");
        Arc::clone(published.publisher())
    }

    /// The publishers of all sets.
    pub fn publishers(&self) -> &Publishers {
        self.publishing.publishers()
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
        self.publishing.stop().await;
        self.store.close().await;
    }
}

async fn connect(config: &Config) -> Result<Store, store::Error> {
    use secrecy::ExposeSecret as _;
    Store::connect(config.store_url().expose_secret()).await
}

/// Says that this process runs: from here on the schema is not narrowed below what it knows.
async fn announce(store: &Store, instance: &str) -> Result<(), store::Error> {
    let (instance, schema) = (instance.to_owned(), store.schema());
    store.write(move |tx| Box::pin(async move { store::replicas::announce(tx, &instance, schema).await })).await
}
