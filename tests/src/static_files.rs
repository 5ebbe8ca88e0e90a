//! A web server that knows nothing of keys: it hands out the files of a directory, as any static origin does.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running static origin. It stops when dropped.
pub struct StaticFiles {
    url: String,
    server: JoinHandle<()>,
}

impl StaticFiles {
    /// Serves a directory on a free loopback port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn serve(directory: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new().route("/{*path}", get(file)).with_state(directory);
        let server = tokio::spawn(async move {
            // Ends with the task; an accept error is retried inside.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { url, server })
    }

    /// Its base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for StaticFiles {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn file(State(directory): State<PathBuf>, Path(path): Path<String>) -> Result<Vec<u8>, StatusCode> {
    if path.split('/').any(|segment| segment == "..") {
        return Err(StatusCode::NOT_FOUND);
    }
    tokio::fs::read(directory.join(path)).await.map_err(|_| StatusCode::NOT_FOUND)
}
