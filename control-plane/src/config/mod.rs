//! The configuration of the server: flags before environment before file before defaults.
//!
//! Every setting is one row of [`SETTINGS`]. Loading reports everything that is wrong at once, each fault with the place
//! it came from and what to do about it.

mod check;
mod layer;
mod source;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use ipnet::IpNet;
use nightlatch_key::Brand;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

pub use check::{Finding, check};
use layer::Layer;
pub use source::check_source;

use crate::oidc::OidcConfig;
use crate::secrets::{MasterKey, SecretsError, read_private};

/// One setting: its name in the file, its environment variable, its default.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name in the file; a dot stands for a table. A flag is the same with dashes.
    pub key: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// The value when nobody sets it; none where it is optional.
    pub default: Option<&'static str>,
}

/// Every setting there is. `nightlatch serve --help` says what they are for.
pub const SETTINGS: &[Setting] = &[
    setting("data_dir", "NIGHTLATCH_DATA_DIR", Some("./nightlatch-data")),
    setting("database_url", "DATABASE_URL", None),
    setting("sets_dir", "NIGHTLATCH_SETS_DIR", None),
    setting("master_key", "NIGHTLATCH_MASTER_KEY", None),
    setting("master_key_file", "NIGHTLATCH_MASTER_KEY_FILE", None),
    setting("listen", "NIGHTLATCH_LISTEN", Some("127.0.0.1:8717")),
    setting("trusted_proxies", "NIGHTLATCH_TRUSTED_PROXIES", Some("[]")),
    setting("log", "NIGHTLATCH_LOG", Some("info")),
    setting("log_format", "NIGHTLATCH_LOG_FORMAT", Some("text")),
    setting("brand", "NIGHTLATCH_BRAND", Some("nl")),
    setting("shutdown_seconds", "NIGHTLATCH_SHUTDOWN_SECONDS", Some("20")),
    setting("set.heartbeat_seconds", "NIGHTLATCH_SET_HEARTBEAT_SECONDS", Some("5")),
    setting("set.validity_seconds", "NIGHTLATCH_SET_VALIDITY_SECONDS", Some("60")),
    setting("set.skew_seconds", "NIGHTLATCH_SET_SKEW_SECONDS", Some("5")),
    setting("set.accepts_foreign", "NIGHTLATCH_SET_ACCEPTS_FOREIGN", Some("true")),
    setting("set.open", "NIGHTLATCH_SET_OPEN", None),
    setting("oidc.issuer", "NIGHTLATCH_OIDC_ISSUER", None),
    setting("oidc.client_id", "NIGHTLATCH_OIDC_CLIENT_ID", None),
    setting("oidc.client_secret_file", "NIGHTLATCH_OIDC_CLIENT_SECRET_FILE", None),
    setting("oidc.redirect_url", "NIGHTLATCH_OIDC_REDIRECT_URL", None),
    setting("sync.targets", "NIGHTLATCH_SYNC_TARGETS", Some("[]")),
];

const fn setting(key: &'static str, variable: &'static str, default: Option<&'static str>) -> Setting {
    Setting { key, variable, default }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The timing of the first set, and which keys it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetConfig {
    /// How often the head is signed anew.
    pub heartbeat: Duration,
    /// How long a head may be relied on.
    pub validity: Duration,
    /// How far clocks may be apart.
    pub skew: Duration,
    /// Whether imported keys of any shape are looked up.
    pub accepts_foreign: bool,
    /// How long after a head was issued routes that are open may be answered; none where they may not beyond its validity.
    pub open: Option<Duration>,
}

/// A whole configuration, each value checked by itself.
#[derive(Clone)]
pub struct Config {
    /// Where database, secrets and published files live.
    pub data_dir: PathBuf,
    /// PostgreSQL, or SQLite in the data directory when absent. May hold a password.
    pub database_url: Option<SecretString>,
    /// Where published files live: a directory that all replicas share. `sets` in the data directory when absent.
    pub sets_dir: Option<PathBuf>,
    /// The key that seals what several processes share through the database, where it is given as a text.
    pub master_key: Option<SecretString>,
    /// The file with that key.
    pub master_key_file: Option<PathBuf>,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The networks of the proxies before this server: their `X-Forwarded-For` says where a call came from.
    pub trusted_proxies: Vec<IpNet>,
    /// The log filter.
    pub log: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// What key texts begin with.
    pub brand: Brand,
    /// How long open requests may take after a signal to stop.
    pub shutdown: Duration,
    /// The first set.
    pub set: SetConfig,
    /// The identity provider that members may sign in through, without its secret.
    pub oidc: Option<OidcConfig>,
    /// The file with what this server proves itself to it with.
    pub oidc_secret_file: Option<PathBuf>,
    /// Where the set is copied to: its timing must suit them.
    pub targets: Vec<String>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("data_dir", &self.data_dir).field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Something wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting, or the file.
    pub subject: String,
    /// Where its value came from.
    pub origin: String,
    /// What is wrong, and what to do about it.
    pub advice: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.subject, self.origin, self.advice)
    }
}

/// Where a configuration comes from.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// Flags: setting and text.
    pub flags: Vec<(&'static str, String)>,
    /// The file, if one is named. It must exist.
    pub file: Option<&'a Path>,
    /// The environment: variable and text. Empty texts count as absent.
    pub environment: Vec<(String, String)>,
}

impl Sources<'_> {
    /// The environment of this process, narrowed to the settings.
    pub fn process_environment() -> Vec<(String, String)> {
        let read = |setting: &Setting| Some((setting.variable.to_owned(), std::env::var(setting.variable).ok()?));
        SETTINGS.iter().filter_map(read).collect()
    }
}

impl Config {
    /// Puts the sources together.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(sources: &Sources<'_>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut figment = Figment::from(Layer::defaults());
        if let Some(path) = sources.file {
            match read_file(path) {
                Ok(text) => {
                    faults.extend(layer::unknown_settings(&text, path));
                    figment = figment.merge(Toml::string(&text));
                }
                Err(fault) => faults.push(fault),
            }
        }
        figment = figment.merge(Layer::environment(&sources.environment)).merge(Layer::flags(&sources.flags));
        let mut reader = Reader { figment, file: sources.file, faults };
        let config = reader.config();
        if reader.faults.is_empty()
            && let Some(config) = config
        {
            reader.faults.extend(check::relations(&config));
            if reader.faults.is_empty() {
                return Ok(config);
            }
        }
        Err(reader.faults)
    }

    /// The directory of the sets' published files.
    pub fn sets(&self) -> PathBuf {
        self.sets_dir.clone().unwrap_or_else(|| self.data_dir.join("sets"))
    }

    /// The master key, where one is given.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn master(&self) -> Result<Option<MasterKey>, SecretsError> {
        if let Some(text) = &self.master_key {
            return MasterKey::parse(text.expose_secret()).map(Some);
        }
        let Some(file) = &self.master_key_file else { return Ok(None) };
        MasterKey::parse(&read_private(file)?).map(Some)
    }

    /// The identity provider, where one is configured, with its secret.
    ///
    /// # Errors
    /// When the file of the secret cannot be read.
    pub fn oidc(&self) -> Result<Option<OidcConfig>, SecretsError> {
        let Some(config) = &self.oidc else { return Ok(None) };
        let secret = self.oidc_secret_file.as_deref().map(read_private).transpose()?;
        let client_secret = secret.map(|text| SecretString::from(text.trim_end()));
        Ok(Some(OidcConfig { client_secret, ..config.clone() }))
    }

    /// The database's URL as the store takes it.
    pub fn store_url(&self) -> SecretString {
        match &self.database_url {
            Some(url) => url.clone(),
            None => format!("sqlite:{}", self.data_dir.join("nightlatch.db").display()).into(),
        }
    }
}

fn read_file(path: &Path) -> Result<String, Fault> {
    let fault = |advice: String| Fault { subject: path.display().to_string(), origin: "--config".to_owned(), advice };
    let text = std::fs::read_to_string(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    // Parse once by itself, so that a syntax error is told once and not for every setting.
    match Figment::from(Toml::string(&text)).extract::<figment::value::Dict>() {
        Ok(_) => Ok(text),
        Err(error) => Err(fault(format!("is not TOML: {error}"))),
    }
}

/// Takes settings one by one and collects what is wrong with them.
struct Reader<'a> {
    figment: Figment,
    file: Option<&'a Path>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn config(&mut self) -> Option<Config> {
        let data_dir = self.take::<PathBuf>("data_dir", "give a path");
        let database_url = self.database_url();
        let sets_dir = self.optional::<PathBuf>("sets_dir", "give a path");
        let master_key = self.optional::<String>("master_key", "give 32 bytes in base64");
        let master_key_file = self.optional::<PathBuf>("master_key_file", "give a path");
        let listen = self.take_parsed(
            "listen",
            |text| text.parse::<SocketAddr>().ok(),
            "give an address and port such as 127.0.0.1:8717",
        );
        let trusted_proxies = self.networks(
            "trusted_proxies",
            "give a list of addresses and networks such as [\"10.0.0.5\", \"10.1.0.0/16\"], and not everybody's",
        );
        let log = self.take_parsed(
            "log",
            |text| check::is_log_filter(text).then(|| text.to_owned()),
            "give off, error, warn, info, debug, trace, or a filter such as nightlatch=debug",
        );
        let log_format = self.take::<LogFormat>("log_format", "give text or json");
        let brand = self.take_parsed(
            "brand",
            |text| Brand::new(text).ok().filter(|brand| !brand.is_reserved()),
            "give 2 to 12 lower-case letters and digits that begin with a letter; nlm, nle, nlo, nlc and nli are reserved",
        );
        let shutdown = self.seconds("shutdown_seconds", 0..=3600);
        let heartbeat = self.seconds("set.heartbeat_seconds", 1..=3600);
        let validity = self.seconds("set.validity_seconds", 2..=86_400);
        let skew = self.seconds("set.skew_seconds", 0..=300);
        let accepts_foreign = self.take::<bool>("set.accepts_foreign", "give true or false");
        let open =
            self.optional_parsed("set.open", check::duration, "give a duration of at most 7d, such as 30m or 1h");
        let oidc = self.oidc();
        let oidc_secret_file = self.optional::<PathBuf>("oidc.client_secret_file", "give a path");
        let targets = self.take::<Vec<String>>("sync.targets", "give a list of texts");
        Some(Config {
            data_dir: data_dir?,
            database_url: database_url?,
            sets_dir: sets_dir?,
            master_key: master_key?.map(SecretString::from),
            master_key_file: master_key_file?,
            listen: listen?,
            trusted_proxies: trusted_proxies?,
            log: log?,
            log_format: log_format?,
            brand: brand?,
            shutdown: shutdown?,
            set: SetConfig {
                heartbeat: heartbeat?,
                validity: validity?,
                skew: skew?,
                accepts_foreign: accepts_foreign?,
                open: open?,
            },
            oidc: oidc?,
            oidc_secret_file: oidc_secret_file?,
            targets: targets?,
        })
    }

    fn take<T: DeserializeOwned>(&mut self, key: &'static str, advice: &str) -> Option<T> {
        let value = self.figment.extract_inner::<T>(key).ok();
        if value.is_none() {
            self.fault(key, advice);
        }
        value
    }

    fn take_parsed<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Option<T>, advice: &str) -> Option<T> {
        let value = self.figment.extract_inner::<String>(key).ok().and_then(|text| parse(&text));
        if value.is_none() {
            self.fault(key, advice);
        }
        value
    }

    /// `None` when it is wrong, `Some(None)` when it is absent.
    fn optional<T: DeserializeOwned>(&mut self, key: &'static str, advice: &str) -> Option<Option<T>> {
        if self.figment.find_value(key).is_err() {
            return Some(None);
        }
        self.take(key, advice).map(Some)
    }

    /// As [`optional`](Self::optional), of a text that has a meaning.
    fn optional_parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Option<T>,
        advice: &str,
    ) -> Option<Option<T>> {
        if self.figment.find_value(key).is_err() {
            return Some(None);
        }
        self.take_parsed(key, parse, advice).map(Some)
    }

    /// A list of addresses and networks.
    fn networks(&mut self, key: &'static str, advice: &str) -> Option<Vec<IpNet>> {
        let texts = self.figment.extract_inner::<Vec<String>>(key).ok();
        let networks = texts.and_then(|texts| texts.iter().map(|text| check::network(text)).collect());
        if networks.is_none() {
            self.fault(key, advice);
        }
        networks
    }

    /// `None` when it is wrong, `Some(None)` when it is absent. All of it or nothing.
    fn oidc(&mut self) -> Option<Option<OidcConfig>> {
        let address = "give an https address (http on this machine itself)";
        let issuer = self.optional_parsed("oidc.issuer", check::provider_address, address)?;
        let redirect_url = self.optional_parsed("oidc.redirect_url", check::provider_address, address)?;
        let client_id = self.optional::<String>("oidc.client_id", "give the name this server has at the provider")?;
        match (issuer, client_id, redirect_url) {
            (None, None, None) => Some(None),
            (Some(issuer), Some(client_id), Some(redirect_url)) => {
                Some(Some(OidcConfig { issuer, client_id, client_secret: None, redirect_url }))
            }
            _ => {
                self.fault("oidc.issuer", "give oidc.issuer, oidc.client_id and oidc.redirect_url, or none of them");
                None
            }
        }
    }

    fn seconds(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<Duration> {
        let value = self.figment.extract_inner::<u64>(key).ok().filter(|seconds| range.contains(seconds));
        if value.is_none() {
            self.fault(key, &format!("give whole seconds, {} to {}", range.start(), range.end()));
        }
        value.map(Duration::from_secs)
    }

    /// `None` when it is wrong, `Some(None)` when it is absent.
    fn database_url(&mut self) -> Option<Option<SecretString>> {
        if self.figment.find_value("database_url").is_err() {
            return Some(None);
        }
        let url = self.figment.extract_inner::<String>("database_url").ok().map(SecretString::from);
        let known = |url: &SecretString| {
            ["postgres://", "postgresql://", "sqlite:"].iter().any(|scheme| url.expose_secret().starts_with(scheme))
        };
        let url = url.filter(known);
        if url.is_none() {
            self.fault("database_url", "give a URL that begins with postgres://, or leave it out for SQLite");
        }
        url.map(Some)
    }

    fn fault(&mut self, key: &'static str, advice: &str) {
        let origin = layer::origin(&self.figment, key, self.file);
        self.faults.push(Fault { subject: key.to_owned(), origin, advice: advice.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn with_nothing_given_the_defaults_hold() {
        let config = Config::load(&Sources::default()).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8717");
        assert_eq!(config.brand.as_str(), "nl");
        assert_eq!(config.set.validity, Duration::from_secs(60));
        assert!(config.store_url().expose_secret().ends_with("nightlatch-data/nightlatch.db"));
    }

    #[test]
    fn flags_come_before_environment_before_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "listen = \"127.0.0.1:1\"\nbrand = \"acme\"\n[set]\nheartbeat_seconds = 3\n")
            .unwrap();
        let sources = Sources {
            flags: vec![("listen", "127.0.0.1:3".to_owned())],
            file: Some(file.path()),
            environment: environment(&[
                ("NIGHTLATCH_LISTEN", "127.0.0.1:2"),
                ("NIGHTLATCH_SET_HEARTBEAT_SECONDS", "4"),
            ]),
        };
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.set.heartbeat, Duration::from_secs(4));
        assert_eq!(config.brand.as_str(), "acme");
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "brnad = \"acme\"\n[set]\nskew_seconds = \"much\"\n").unwrap();
        let sources = Sources {
            flags: vec![("brand", "nlm".to_owned())],
            file: Some(file.path()),
            environment: environment(&[("NIGHTLATCH_LISTEN", "everywhere"), ("DATABASE_URL", "mysql://x")]),
        };
        let faults = Config::load(&sources).unwrap_err();
        let text: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let all = text.join("\n");
        assert!(all.contains("brnad") && all.contains("did you mean `brand`?"), "{all}");
        assert!(all.contains("listen (NIGHTLATCH_LISTEN)"), "{all}");
        assert!(all.contains("brand (--brand)"), "{all}");
        assert!(all.contains("database_url (DATABASE_URL)"), "{all}");
        assert!(all.contains(&format!("set.skew_seconds ({})", file.path().display())), "{all}");
        assert!(!all.contains("mysql://x"), "a URL may hold a password: {all}");
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let load = |text: &str| {
            let environment = environment(&[("NIGHTLATCH_TRUSTED_PROXIES", text)]);
            Config::load(&Sources { environment, ..Sources::default() })
        };
        let good = load(r#"["10.0.0.5", "10.1.0.0/16", "2001:db8::/32"]"#).unwrap();
        let shown: Vec<_> = good.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.5/32", "10.1.0.0/16", "2001:db8::/32"]);
        for bad in [r#"["proxy.example"]"#, r#"["0.0.0.0/0"]"#, "10.0.0.5", r#"["10.0.0.0/33"]"#] {
            assert!(load(bad).unwrap_err()[0].to_string().contains("trusted_proxies"), "{bad}");
        }
    }

    #[test]
    fn a_validity_below_the_heartbeat_is_refused() {
        let sources =
            Sources { environment: environment(&[("NIGHTLATCH_SET_VALIDITY_SECONDS", "8")]), ..Sources::default() };
        let faults = Config::load(&sources).unwrap_err();
        assert!(faults[0].to_string().contains("set.validity_seconds"), "{faults:?}");
    }

    #[test]
    fn a_kv_target_needs_a_long_validity() {
        let targets = ("NIGHTLATCH_SYNC_TARGETS", r#"["kv:KEYS"]"#);
        let short = Sources { environment: environment(&[targets]), ..Sources::default() };
        assert!(Config::load(&short).unwrap_err()[0].to_string().contains("120"));
        let timing = [targets, ("NIGHTLATCH_SET_VALIDITY_SECONDS", "180"), ("NIGHTLATCH_SET_HEARTBEAT_SECONDS", "30")];
        let long = Sources { environment: environment(&timing), ..Sources::default() };
        assert_eq!(Config::load(&long).unwrap().targets, ["kv:KEYS"]);
    }
}
