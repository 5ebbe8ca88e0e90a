//! `nightlatch serve`.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::Failure;
use super::output;
use super::remote::DEFAULT_URL;
use super::settings::Settings;
use crate::serve::{Enrolment, ServeError, Server, Signals};
use crate::telemetry;

const EXAMPLES: &str = "\
With no settings at all, everything lives in ./nightlatch-data:
  nightlatch serve

With PostgreSQL, for other machines to reach, logging for machines:
  DATABASE_URL=postgres://nightlatch@db/nightlatch nightlatch serve --listen 0.0.0.0:8717 --log-format json

Several on one database, of which one publishes and another takes over within seconds when it is gone:
  openssl rand -base64 32 > master.key && chmod 600 master.key
  DATABASE_URL=postgres://nightlatch@db/nightlatch nightlatch serve --master-key-file master.key --sets-dir /mnt/sets
The first one started puts its secrets, sealed, into the database; its secrets/root.key stays a file: keep a copy offline.

With an identity provider that members may sign in through, in the file (or NIGHTLATCH_OIDC_ISSUER and so on):
  [oidc]
  issuer = \"https://login.example.com\"
  client_id = \"nightlatch\"
  client_secret_file = \"oidc-secret\"
  redirect_url = \"https://keys.example.com/v1/session/oidc/callback\"
Nobody gets in by it who has no account and no invitation.

Behind a proxy, name it in the file (or NIGHTLATCH_TRUSTED_PROXIES), or all callers have its address and are limited together:
  trusted_proxies = [\"10.0.0.5\", \"10.1.0.0/16\"]
Its X-Forwarded-For then says where a call came from.

Beside those, two settings have no flag: the variable DATABASE_URL (database_url in the file), because it may hold a password, and
sync.targets in the file (a list such as [\"s3://bucket/edge\"]), against which the set's timing is checked.

SIGTERM and SIGINT stop it: open requests end first. A second signal ends it at once.";

/// Run the control plane.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Write {"url":"…"} to this file once it listens, for scripts that wait for that.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Print the enrolment token itself also where the output is no terminal.
    #[arg(long)]
    print_enrolment_token: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        telemetry::start(&config.log, config.log_format).map_err(Failure::other)?;
        let mut signals = Signals::listen().map_err(|error| Failure::other(error.to_string()))?;
        let server = tokio::select! {
            started = Server::start(&config) => started?,
            () = signals.next() => return Ok(()),
        };
        if let Some(enrolment) = server.enrolment() {
            announce(enrolment, &server.url(), self.print_enrolment_token)?;
        }
        output::line(&format!("listening on {}", server.url()))?;
        if let Some(file) = &self.ready_file {
            write_ready(file, &server.url())?;
        }
        signals.next().await;
        tracing::info!("stopping: open requests may end; a second signal ends this at once");
        tokio::select! {
            () = server.stop(config.shutdown) => tracing::info!("stopped"),
            () = signals.next() => {
                tracing::warn!("stopped at once");
                std::process::exit(1);
            }
        }
        Ok(())
    }
}

fn announce(enrolment: &Enrolment, url: &str, print: bool) -> Result<(), Failure> {
    let file = enrolment.file.display();
    output::line(&format!("no owner can get in; the one-time token that makes one is in {file}"))?;
    // So that the line works as it is, wherever this listens.
    let url = if url == DEFAULT_URL { String::new() } else { format!(" --url {url}") };
    output::line(&format!("  nightlatch enrol{url} --enrolment-file {file} --secret-out management-token"))?;
    if let Some(text) = enrolment.fresh.as_ref().filter(|_| print || stdout().is_terminal()) {
        output::line(&format!("enrolment token: {}", text.expose()))?;
    }
    Ok(())
}

/// Whoever waits for the file must never see half of it.
fn write_ready(file: &Path, url: &str) -> Result<(), Failure> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(draft, "{}", serde_json::json!({ "url": url }))?;
    draft.persist(file).map_err(|error| error.error)?;
    Ok(())
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            // Some errors say their cause themselves.
            if !text.contains(&error.to_string()) {
                text.push_str(&format!(": {error}"));
            }
            cause = error.source();
        }
        Self::other(text)
    }
}
