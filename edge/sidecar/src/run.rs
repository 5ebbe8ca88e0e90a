//! One run of the sidecar, from its start to its end.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_sync::Edge;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::cli::Given;
use crate::clock::Clock;
use crate::config::Config;
use crate::refresh::Refresher;
use crate::report::Reporter;
use crate::serve::Workers;
use crate::shared::{Gate, Shared};
use crate::source::Source;
use crate::store::Store;
use crate::supply::Supply;
use crate::{admin, mirror, warm};

/// How long the last report may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

type LogFilter = reload::Handle<EnvFilter, Registry>;

/// Runs until it is told to stop.
///
/// # Errors
/// A text that says what kept it from starting, and what to do.
pub(crate) fn run(given: Arc<Given>) -> Result<(), String> {
    let config = Arc::new(given.read()?);
    let log = start_log(&config.log)?;
    let store = Store::open(&config.state_dir, &config.edge.set).map_err(|error| format!("state_dir: {error}"))?;
    let kept = store.kept().map_err(|error| format!("state_dir: {error}"))?;
    let source = Source::new(&config)?;

    let listener = listen("listen", config.listen)?;
    let admin = config.admin_listen.map(|address| listen("admin_listen", address)).transpose()?;
    let clock = Clock::new();
    if let Some(mark) = kept.mark {
        clock.saw(mark.issued);
    }
    let mut edge = Edge::new(config.edge.clone(), kept.mark);
    if let Some(signer) = kept.signer {
        edge.set_marked_by(signer);
    }
    warm::start(&mut edge, &config.edge.roots, &store, &kept, clock.now());
    let gate = Gate { edge, config: Arc::clone(&config) };
    let shared = Arc::new(Shared::new(clock, instance()?, gate, kept.mark));
    let supply = Arc::new(Supply::new(store, source));

    // Refreshing, reporting and operating have a thread of their own: this one.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async move {
        let (stop, stopped) = watch::channel(false);
        let signals = Signals::listen()?;
        let workers = Workers::start(&shared, config.mode, &listener, &stopped);
        let workers = workers.map_err(|error| format!("threads: {error}"))?;
        if let Some(listener) = &admin {
            let listener = listener.try_clone().and_then(tokio::net::TcpListener::from_std);
            let listener = listener.map_err(|error| format!("admin_listen: {error}"))?;
            tokio::spawn(admin::run(Arc::clone(&shared), listener));
        }
        if let Some(path) = given.ready_file() {
            write_ready(path, &listener, admin.as_ref()).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        // Only the threads' copies are left, and close with them.
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        drop(listener);
        tracing::info!("listening on {address} for set {}", config.edge.set);

        let (in_force, to_keep) = watch::channel(None);
        let (reload, reloaded) = watch::channel(config);
        tokio::spawn(mirror::run(Arc::clone(&supply), to_keep));
        tokio::spawn(Refresher::new(Arc::clone(&shared), supply, in_force, reloaded, kept).run());
        let mut reporter = Reporter::new(Arc::clone(&shared))?;
        tokio::select! {
            () = reporter.run() => {}
            () = signals.follow(&given, &reload, &log) => {}
        }
        tracing::info!("ending: no new connections; requests under way are finished");
        stop.send_replace(true);
        let joined = tokio::task::spawn_blocking(move || workers.join());
        joined.await.map_err(|error| error.to_string())?;
        let _ = timeout(LAST_WORDS, reporter.send()).await;
        Ok(())
    })
}

/// What the process is told from outside.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be listened for: {error}"));
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Reads the configuration again at every SIGHUP; returns when it is time to end.
    async fn follow(mut self, given: &Given, reload: &watch::Sender<Arc<Config>>, log: &LogFilter) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => take_over(given, reload, log),
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }
}

/// Has a changed configuration put into force; a bad one changes nothing.
fn take_over(given: &Given, reload: &watch::Sender<Arc<Config>>, log: &LogFilter) {
    let config = match given.read() {
        Ok(config) => config,
        Err(flaws) => {
            return tracing::error!("the new configuration is not taken; the one before stays in force: {flaws}");
        }
    };
    let restart = config.needs_restart(&reload.borrow());
    if !restart.is_empty() {
        let names = restart.join(", ");
        return tracing::error!("the new configuration is not taken: {names} can only change at a restart");
    }
    match EnvFilter::try_new(&config.log) {
        Ok(filter) => drop(log.reload(filter)),
        Err(error) => return tracing::error!("the new configuration is not taken: log: {error}"),
    }
    reload.send_replace(Arc::new(config));
}

fn start_log(filter: &str) -> Result<LogFilter, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log: `{filter}` is no filter: {error}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
    Ok(handle)
}

fn listen(name: &str, address: std::net::SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|error| format!("{name}: {address}: {error}"))
}

/// A name of this process's own, new at every start.
fn instance() -> Result<String, String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| format!("the system gives no randomness: {error}"))?;
    Ok(format!("{:016x}", u64::from_le_bytes(random)))
}

/// Says where it listens, in a file that is there whole or not at all.
fn write_ready(path: &Path, listener: &TcpListener, admin: Option<&TcpListener>) -> std::io::Result<()> {
    let address = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
    let text = json!({ "listen": address(listener)?, "admin_listen": admin.map(address).transpose()? });
    let draft = path.with_extension("draft");
    std::fs::write(&draft, format!("{text}\n"))?;
    std::fs::rename(draft, path)
}
