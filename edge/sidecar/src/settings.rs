//! What may be set, and where: flags before environment variables before the TOML file. Nothing is checked here beyond
//! its type; [`crate::config`] does that.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

/// Every setting. All are optional here, because any of them may come from any of the three places.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where requests come in [default: 127.0.0.1:8088]
    #[arg(long, env = "NIGHTLATCH_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Where /healthz, /readyz and /metrics are; without it they are nowhere
    #[arg(long, env = "NIGHTLATCH_ADMIN_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// What it does with requests [default: auth_request]
    #[arg(long, env = "NIGHTLATCH_MODE", value_enum)]
    pub(crate) mode: Option<Mode>,
    /// The base URL of the server behind; needed in mode proxy
    #[arg(long, env = "NIGHTLATCH_ORIGIN", value_name = "URL")]
    pub(crate) origin: Option<String>,
    /// The set's id
    #[arg(long, env = "NIGHTLATCH_SET", value_name = "SET_ID")]
    pub(crate) set: Option<String>,
    /// Where the set is read: https://…/v1/sets/set_… of a control plane or of a static origin, or a directory
    #[arg(long, env = "NIGHTLATCH_SOURCE", value_name = "URL|DIR")]
    pub(crate) source: Option<String>,
    /// Root keys whose trust notes say who signs heads, separated by commas
    #[arg(long, env = "NIGHTLATCH_ROOTS", value_name = "VKEY", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) roots: Vec<String>,
    /// Keys that sign heads, pinned here, separated by commas
    #[arg(long, env = "NIGHTLATCH_VERIFIERS", value_name = "VKEY", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) verifiers: Vec<String>,
    /// Where the set and its high-water mark are kept across restarts
    #[arg(long, env = "NIGHTLATCH_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Milliseconds between two looks at a source that cannot hold a question open [default: 1000]
    #[arg(long, env = "NIGHTLATCH_POLL_MS", value_name = "MS")]
    pub(crate) poll_ms: Option<u64>,
    /// Milliseconds a request may wait for the set when there is none to answer from [default: 3000]
    #[arg(long, env = "NIGHTLATCH_WAIT_MS", value_name = "MS")]
    pub(crate) wait_ms: Option<u64>,
    /// Where reports go: https://…/v1/edges/reports; without it none are sent, and nothing is confirmed
    #[arg(long, env = "NIGHTLATCH_REPORT_URL", value_name = "URL")]
    pub(crate) report_url: Option<String>,
    /// File of mode 0600 with the credential shown to source and control plane
    #[arg(long, env = "NIGHTLATCH_CREDENTIAL_FILE", value_name = "FILE")]
    pub(crate) credential_file: Option<PathBuf>,
    /// File of mode 0600 with the set's peppers, id:base64, one a line
    #[arg(long, env = "NIGHTLATCH_PEPPERS_FILE", value_name = "FILE")]
    pub(crate) peppers_file: Option<PathBuf>,
    /// File of mode 0600 with the key that signs identity headers for the origin, at least 16 bytes
    #[arg(long, env = "NIGHTLATCH_ORIGIN_KEY_FILE", value_name = "FILE")]
    pub(crate) origin_key_file: Option<PathBuf>,
    /// The most memory for the set, such as 512MiB [default: 1GiB]
    #[arg(long, env = "NIGHTLATCH_MAX_MEMORY", value_name = "SIZE")]
    pub(crate) max_memory: Option<Size>,
    /// Threads that answer requests [default: one per core]
    #[arg(long, env = "NIGHTLATCH_THREADS", value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// What is logged: error, warn, info, debug, or a filter as tracing takes it [default: info]
    #[arg(long, env = "NIGHTLATCH_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// What the sidecar does with a request that is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// Says so to nginx, which asks by its auth_request directive
    AuthRequest,
    /// Forwards it to the origin
    Proxy,
}

/// A number of bytes, written `N`, `NKiB`, `NMiB` or `NGiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &text[digits.len()..] {
            "" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err("write it as 512MiB or 2GiB".into()),
        };
        let number: u64 = digits.parse().map_err(|_| "write it as 512MiB or 2GiB".to_owned())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| "that is more than any machine has".into())
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// A text that names the file, and the line where there is one.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// These settings, and `below` for what they leave open.
    pub(crate) fn over(self, below: Self) -> Self {
        let list = |above: Vec<String>, below| if above.is_empty() { below } else { above };
        Self {
            listen: self.listen.or(below.listen),
            admin_listen: self.admin_listen.or(below.admin_listen),
            mode: self.mode.or(below.mode),
            origin: self.origin.or(below.origin),
            set: self.set.or(below.set),
            source: self.source.or(below.source),
            roots: list(self.roots, below.roots),
            verifiers: list(self.verifiers, below.verifiers),
            state_dir: self.state_dir.or(below.state_dir),
            poll_ms: self.poll_ms.or(below.poll_ms),
            wait_ms: self.wait_ms.or(below.wait_ms),
            report_url: self.report_url.or(below.report_url),
            credential_file: self.credential_file.or(below.credential_file),
            peppers_file: self.peppers_file.or(below.peppers_file),
            origin_key_file: self.origin_key_file.or(below.origin_key_file),
            max_memory: self.max_memory.or(below.max_memory),
            threads: self.threads.or(below.threads),
            log: self.log.or(below.log),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_above_wins() {
        let file: Settings = toml::from_str("listen = '127.0.0.1:1'\nset = 'set_a'\nroots = ['a', 'b']").unwrap();
        let flags = Settings { listen: Some("127.0.0.1:2".into()), ..Settings::default() };
        let merged = flags.over(file);
        assert_eq!((merged.listen.as_deref(), merged.set.as_deref()), (Some("127.0.0.1:2"), Some("set_a")));
        assert_eq!(merged.roots, ["a", "b"]);
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let error = toml::from_str::<Settings>("lisen = '127.0.0.1:1'").unwrap_err().to_string();
        assert!(error.contains("lisen"), "{error}");
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("7", Some(7)), ("512MiB", Some(512 << 20)), ("2GiB", Some(2 << 30))] {
            assert_eq!(text.parse().ok().map(|Size(bytes)| bytes), bytes);
        }
        for bad in ["", "MiB", "1 GiB", "1GB", "-1", "99999999999GiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
