//! What can be wrong with a configuration beyond its single values.

use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::ExposeSecret as _;
use sqlx::Connection as _;
use tracing_subscriber::EnvFilter;

use super::{Config, Fault};
use crate::secrets::{Secrets, check_private};

/// The shortest validity of a set that is copied to a KV store, which may show a write a minute late.
const MIN_KV_VALIDITY: Duration = Duration::from_secs(120);
/// The longest time that open routes may be answered without news.
const MAX_OPEN: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a database may take to answer a check.
const DATABASE_PATIENCE: Duration = Duration::from_secs(5);

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The server would not start, or would not work.
    Fault(Fault),
    /// The server would work, and somebody should know.
    Note(String),
}

/// Whether a text is a log filter.
pub(super) fn is_log_filter(text: &str) -> bool {
    EnvFilter::try_new(text).is_ok()
}

/// A network, or an address as a network of its own; everybody's is none.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.filter(|network: &IpNet| network.prefix_len() > 0)
}

/// An address that a provider may have, or send browsers back to: nobody on the way may read what goes there.
pub(super) fn provider_address(text: &str) -> Option<String> {
    let url: http::Uri = text.parse().ok()?;
    let local = matches!(url.host()?, "127.0.0.1" | "localhost" | "[::1]");
    let safe = url.scheme_str() == Some("https") || url.scheme_str() == Some("http") && local;
    safe.then(|| text.to_owned())
}

/// A duration such as `30m`, of at most a week.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok().filter(|duration| !duration.is_zero() && *duration <= MAX_OPEN)
}

/// Settings that contradict each other.
pub(super) fn relations(config: &Config) -> Vec<Fault> {
    let fault =
        |subject: &str, advice: String| Fault { subject: subject.to_owned(), origin: "together".to_owned(), advice };
    let set = &config.set;
    let mut faults = Vec::new();
    if set.validity < set.heartbeat * 2 {
        faults.push(fault(
            "set.validity_seconds",
            format!(
                "a head valid for {} s and signed every {} s would expire when one signing is missed; give at least {}",
                set.validity.as_secs(),
                set.heartbeat.as_secs(),
                set.heartbeat.as_secs() * 2
            ),
        ));
    }
    if set.open.is_some_and(|open| open <= set.validity) {
        let advice =
            "open routes are answered longer than others: give more than set.validity_seconds, or leave it out";
        faults.push(fault("set.open", advice.to_owned()));
    }
    for target in config.targets.iter().filter(|target| target.starts_with("kv:")) {
        if set.validity < MIN_KV_VALIDITY {
            faults.push(fault(
                "sync.targets",
                format!(
                    "`{target}` may show a write a minute late, so its set needs set.validity_seconds of at least {} \
                     (30 s heartbeat and 180 s validity serve well); or run a second set for it",
                    MIN_KV_VALIDITY.as_secs()
                ),
            ));
        }
    }
    faults
}

/// Looks at the machine: directories, permissions, address, database. Changes nothing that it does not undo.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = check_data_dir(&config.data_dir);
    findings.extend(check_secrets(&config.data_dir));
    findings.extend(check_listen(config));
    findings.extend(check_database(config).await);
    findings
}

fn fault(subject: &str, origin: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding::Fault(Fault { subject: subject.to_owned(), origin: origin.into(), advice: advice.into() })
}

fn check_data_dir(path: &Path) -> Vec<Finding> {
    let place = path.display().to_string();
    let existing = path.ancestors().find(|part| part.exists()).unwrap_or_else(|| Path::new("."));
    if !existing.is_dir() {
        return vec![fault("data_dir", place, format!("{} is not a directory", existing.display()))];
    }
    match tempfile::Builder::new().prefix(".nightlatch-check").tempfile_in(existing) {
        Ok(_) if existing == path => Vec::new(),
        Ok(_) => vec![Finding::Note(format!("{place} does not exist yet; the first start creates it"))],
        Err(error) => vec![fault("data_dir", place, format!("{} cannot be written: {error}", existing.display()))],
    }
}

fn check_secrets(data_dir: &Path) -> Vec<Finding> {
    let directory = Secrets::directory(data_dir);
    if !directory.exists() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
    let files = entries.map(|entry| (entry.path(), 0o600));
    let paths = std::iter::once((directory, 0o700)).chain(files);
    let wrong = paths.filter_map(|(path, mode)| {
        check_private(&path, mode).err().map(|error| fault("secrets", path.display().to_string(), error.to_string()))
    });
    wrong.collect()
}

fn check_listen(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = TcpListener::bind(config.listen) {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => {
                "something listens there already: the server itself, perhaps; else choose another port"
            }
            ErrorKind::AddrNotAvailable => "this machine has no such address",
            ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose a higher one",
            _ => "the address cannot be used",
        };
        findings.push(fault("listen", config.listen.to_string(), format!("{advice} ({error})")));
    }
    if !config.listen.ip().is_loopback() {
        findings.push(Finding::Note(format!(
            "listening on {} without TLS: put a proxy that speaks TLS in front, for tokens travel with every call",
            config.listen
        )));
    }
    findings
}

async fn check_database(config: &Config) -> Vec<Finding> {
    let Some(url) = config.database_url.as_ref().filter(|url| url.expose_secret().starts_with("postgres")) else {
        return Vec::new();
    };
    let connect = sqlx::PgConnection::connect(url.expose_secret());
    let advice = match tokio::time::timeout(DATABASE_PATIENCE, connect).await {
        Ok(Ok(connection)) => {
            drop(connection.close().await);
            return Vec::new();
        }
        // The error of a database names hosts and users, not passwords.
        Ok(Err(error)) => format!("the database cannot be reached: {error}"),
        Err(_) => format!("the database did not answer within {} s", DATABASE_PATIENCE.as_secs()),
    };
    vec![fault("database_url", "DATABASE_URL", advice)]
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Sources;
    use crate::store::os_random;

    fn config(data_dir: &Path) -> Config {
        let flags = vec![("data_dir", data_dir.display().to_string()), ("listen", "127.0.0.1:0".to_owned())];
        Config::load(&Sources { flags, ..Sources::default() }).unwrap()
    }

    #[tokio::test]
    async fn a_new_machine_is_fine() {
        let parent = tempfile::tempdir().unwrap();
        let findings = check(&config(&parent.path().join("data"))).await;
        assert!(findings.iter().all(|finding| matches!(finding, Finding::Note(_))), "{findings:?}");
    }

    #[tokio::test]
    async fn exposed_secrets_and_taken_ports_are_found_together() {
        let data = tempfile::tempdir().unwrap();
        drop(Secrets::create(data.path(), &mut os_random).unwrap());
        fs::set_permissions(data.path().join("secrets/pepper"), fs::Permissions::from_mode(0o640)).unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config { listen: taken.local_addr().unwrap(), ..config(data.path()) };
        let text = format!("{:?}", check(&config).await);
        assert!(text.contains("chmod 600") && text.contains("listens there already"), "{text}");
    }
}
