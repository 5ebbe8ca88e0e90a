//! The threads that answer requests: each has a runtime of its own, all take connections from one socket, and nothing
//! that is slow (disk, source, reports) runs on any of them.

mod answer;
mod auth_request;
mod body;
mod proxy;

use std::io;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::http::client;
use crate::settings::Mode;
use crate::shared::Shared;

/// How long a client may take for a request's head, and how long a connection may be idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long requests may go on after the sidecar was told to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// The answering threads.
pub(crate) struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts them on a socket that listens already. They stop when `stop` says so, or its sender is gone.
    ///
    /// # Errors
    /// When the system gives no threads or descriptors.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        mode: Mode,
        listener: &TcpListener,
        stop: &watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let mut threads = Vec::new();
        for number in 0..shared.workers.len() {
            let (shared, stop) = (Arc::clone(shared), stop.clone());
            let listener = listener.try_clone()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = move || runtime.block_on(serve(shared, number, mode, listener, stop));
            threads.push(std::thread::Builder::new().name(format!("gate-{number}")).spawn(work)?);
        }
        Ok(Self(threads))
    }

    /// Waits until all have stopped.
    pub(crate) fn join(self) {
        for thread in self.0 {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

async fn serve(shared: Arc<Shared>, number: usize, mode: Mode, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("thread {number} cannot listen: {error}"),
    };
    let client = match client() {
        Ok(client) => client,
        Err(error) => return tracing::error!("thread {number} has no HTTP client: {error}"),
    };
    // Every connection holds a receiver, so that the sender knows when the last one has ended.
    let (open, connections) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: those that end make room.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (io, shared) = (TokioIo::new(stream), Arc::clone(&shared));
        let (stop, connected) = (stop.clone(), connections.clone());
        // Without `pipeline_flush`: with it, hyper takes an answer's body in whether or not the client reads it.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        match mode {
            Mode::AuthRequest => {
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { auth_request::answer(&shared, &shared.workers[number], request).await }
                });
                tokio::spawn(async move {
                    let _ = run(http.serve_connection(io, service), http1::Connection::graceful_shutdown, stop).await;
                    drop(connected);
                });
            }
            Mode::Proxy => {
                let (client, counted) = (client.clone(), Arc::clone(&shared));
                let service = service_fn(move |request| {
                    let (shared, client) = (Arc::clone(&shared), client.clone());
                    async move { proxy::answer(&shared, number, &client, peer, request).await }
                });
                tokio::spawn(async move {
                    let connection = http.serve_connection(io, service).with_upgrades();
                    let ended = run(connection, http1::UpgradeableConnection::graceful_shutdown, stop).await;
                    if ended.is_err_and(|error| proxy::is_aged(&error)) {
                        counted.workers[number].ended_by_age(peer);
                    }
                    drop(connected);
                });
            }
        }
    }
    drop((listener, connections));
    if timeout(DRAIN, open.closed()).await.is_err() {
        tracing::warn!("thread {number} ends connections that have not ended within {DRAIN:?}");
    }
}

/// Runs a connection to its end: the client's, or that of the request under way when the sidecar stops. A client that just
/// goes away is no concern of ours.
async fn run<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: fn(Pin<&mut C>),
    mut stop: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    shut_down(connection.as_mut());
    connection.await
}
