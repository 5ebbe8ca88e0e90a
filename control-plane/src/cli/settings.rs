//! The settings of the server as flags.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Failure, Kind};
use crate::config::{Config, Sources};

/// Settings. Flags come before environment variables, these before the file, this before the defaults.
#[derive(Debug, Clone, Args)]
pub(super) struct Settings {
    /// A TOML file with settings; names are the flags' with underscores, those of the set in a table [set].
    #[arg(long, env = "NIGHTLATCH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where database, secrets and published files live [env: NIGHTLATCH_DATA_DIR] [default: ./nightlatch-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where published files live: give all replicas on one database the same [env: NIGHTLATCH_SETS_DIR] [default: `sets` in the data directory]
    #[arg(long, value_name = "DIR")]
    sets_dir: Option<String>,
    /// A file of mode 0600 with the key under which replicas share secrets through the database: 32 bytes in base64 [env: NIGHTLATCH_MASTER_KEY_FILE, or the key itself in NIGHTLATCH_MASTER_KEY]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<String>,
    /// The address to listen on; port 0 takes a free one [env: NIGHTLATCH_LISTEN] [default: 127.0.0.1:8717]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Which log lines to write: off, error, warn, info, debug, trace, or a filter [env: NIGHTLATCH_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// `text` for people, `json` for machines [env: NIGHTLATCH_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// How long open requests may take after a signal to stop [env: NIGHTLATCH_SHUTDOWN_SECONDS] [default: 20]
    #[arg(long, value_name = "SECONDS")]
    shutdown_seconds: Option<String>,
    /// What key texts begin with [env: NIGHTLATCH_BRAND] [default: nl]
    #[arg(long, value_name = "BRAND", help_heading = "Read at the first start only")]
    brand: Option<String>,
    /// How often the head is signed anew [env: NIGHTLATCH_SET_HEARTBEAT_SECONDS] [default: 5]
    #[arg(long, value_name = "SECONDS", help_heading = "Read at the first start only")]
    set_heartbeat_seconds: Option<String>,
    /// How long a head may be relied on [env: NIGHTLATCH_SET_VALIDITY_SECONDS] [default: 60]
    #[arg(long, value_name = "SECONDS", help_heading = "Read at the first start only")]
    set_validity_seconds: Option<String>,
    /// How far clocks may be apart [env: NIGHTLATCH_SET_SKEW_SECONDS] [default: 5]
    #[arg(long, value_name = "SECONDS", help_heading = "Read at the first start only")]
    set_skew_seconds: Option<String>,
    /// Whether imported keys of any shape are looked up [env: NIGHTLATCH_SET_ACCEPTS_FOREIGN] [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "Read at the first start only")]
    set_accepts_foreign: Option<String>,
    /// How long after a head was issued routes marked open may be answered, such as 30m; not at all when absent [env: NIGHTLATCH_SET_OPEN]
    #[arg(long, value_name = "DURATION", help_heading = "Read at the first start only")]
    set_open: Option<String>,
}

impl Settings {
    /// Puts flags, environment, file and defaults together.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let flags = [
            ("data_dir", &self.data_dir),
            ("sets_dir", &self.sets_dir),
            ("master_key_file", &self.master_key_file),
            ("listen", &self.listen),
            ("log", &self.log),
            ("log_format", &self.log_format),
            ("shutdown_seconds", &self.shutdown_seconds),
            ("brand", &self.brand),
            ("set.heartbeat_seconds", &self.set_heartbeat_seconds),
            ("set.validity_seconds", &self.set_validity_seconds),
            ("set.skew_seconds", &self.set_skew_seconds),
            ("set.accepts_foreign", &self.set_accepts_foreign),
            ("set.open", &self.set_open),
        ];
        let sources = Sources {
            flags: flags.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))).collect(),
            file: self.config.as_deref(),
            environment: Sources::process_environment(),
        };
        Config::load(&sources).map_err(|faults| {
            let lines: Vec<_> = faults.iter().map(|fault| format!("  {fault}")).collect();
            Failure::new(Kind::Configuration, format!("the configuration is faulty:\n{}", lines.join("\n")))
        })
    }
}
