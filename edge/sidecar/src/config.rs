//! The settings, checked. Values of secrets are never repeated, in errors least of all.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use nightlatch_gate::headers::signature::OriginKey;
use nightlatch_keyset::Pepper;
use nightlatch_keyset::note::Verifier;
use nightlatch_sync::{EdgeConfig, REBASE_FROM};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::secret_file;
use crate::settings::{Mode, Settings, Size};

const DEFAULT_LISTEN: &str = "127.0.0.1:8088";
const DEFAULT_POLL_MS: u64 = 1_000;
const DEFAULT_WAIT_MS: u64 = 3_000;
const DEFAULT_ROOM: u64 = 1 << 30;
/// The most threads that make sense.
const MAX_THREADS: usize = 256;

/// A checked configuration.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: Option<SocketAddr>,
    pub(crate) mode: Mode,
    pub(crate) origin: Option<Origin>,
    pub(crate) origin_key: Option<OriginKey>,
    pub(crate) source: Place,
    pub(crate) state_dir: PathBuf,
    pub(crate) wait_ms: u64,
    pub(crate) report_url: Option<Uri>,
    pub(crate) credential: Option<Credential>,
    pub(crate) threads: usize,
    pub(crate) log: String,
    /// What the state machine is told.
    pub(crate) edge: EdgeConfig,
}

/// Where the set is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A base URL without a trailing slash.
    Web(String),
    /// A directory laid out as published sets are.
    Directory(PathBuf),
}

/// The server behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    /// The base URL's path without a trailing slash; mostly empty.
    pub(crate) prefix: String,
}

/// What is shown to source and control plane: the value of `Authorization`.
#[derive(Clone)]
pub(crate) struct Credential(SecretString);

impl Credential {
    /// The header's value, which is not shown where headers are.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.0.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Everything that is wrong with the settings, each with what to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Flaws(pub(crate) Vec<String>);

impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Flaws {
    /// Takes the value, or notes what is wrong with the setting of that name.
    fn take<T>(&mut self, name: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|reason| self.0.push(format!("{name}: {reason}"))).ok()
    }
}

impl Config {
    /// Checks settings and reads the secret files they name.
    ///
    /// # Errors
    /// All [`Flaws`] at once.
    pub(crate) fn check(settings: Settings) -> Result<Self, Flaws> {
        let mut flaws = Flaws::default();
        let mode = settings.mode.unwrap_or(Mode::AuthRequest);
        let listen = flaws.take("listen", socket(settings.listen.as_deref().unwrap_or(DEFAULT_LISTEN)));
        let admin_listen = settings.admin_listen.as_deref().and_then(|text| flaws.take("admin_listen", socket(text)));
        let origin = settings.origin.as_deref().and_then(|text| flaws.take("origin", Origin::parse(text)));
        if mode == Mode::Proxy && settings.origin.is_none() {
            flaws.0.push("origin: mode proxy needs the base URL of the server behind".into());
        }
        let set = flaws.take("set", settings.set.as_deref().map_or(Err("is not set: the set's id, set_…"), set_id));
        let source = settings.source.as_deref();
        let source = flaws.take(
            "source",
            source.map_or_else(
                || Err("is not set: the set's address, https://…/v1/sets/set_…, or a directory".into()),
                Place::parse,
            ),
        );
        let roots = verifiers(&mut flaws, "roots", &settings.roots);
        let verifiers = verifiers(&mut flaws, "verifiers", &settings.verifiers);
        if settings.roots.is_empty() && settings.verifiers.is_empty() {
            flaws.0.push("roots: neither roots nor verifiers are set, so no head could be believed".into());
        }
        let state_dir = settings.state_dir.ok_or("is not set: a directory of this sidecar's own, kept across restarts");
        let state_dir = flaws.take("state_dir", state_dir);
        let poll_ms = flaws.take("poll_ms", within(settings.poll_ms.unwrap_or(DEFAULT_POLL_MS), 50, 3_600_000));
        let wait_ms = flaws.take("wait_ms", within(settings.wait_ms.unwrap_or(DEFAULT_WAIT_MS), 0, 30_000));
        let report_url = settings.report_url.as_deref().and_then(|text| flaws.take("report_url", web_url(text)));
        let credential = settings.credential_file.as_deref();
        let credential = credential.and_then(|path| flaws.take("credential_file", read_credential(path)));
        let peppers = settings.peppers_file.as_deref().ok_or("is not set: a file of mode 0600 with lines id:base64");
        let peppers = flaws.take("peppers_file", peppers).and_then(|path| {
            let text = flaws.take("peppers_file", secret_file::read(path))?;
            flaws.take("peppers_file", read_peppers(&text, set.as_deref()?))
        });
        let origin_key = settings.origin_key_file.as_deref();
        let origin_key = origin_key.and_then(|path| flaws.take("origin_key_file", read_origin_key(path)));
        let room = settings.max_memory.map_or(DEFAULT_ROOM, |Size(bytes)| bytes);
        let room = flaws.take("max_memory", within(room, 4 << 20, 1 << 40));
        let threads = settings.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let threads = flaws.take("threads", within(threads as u64, 1, MAX_THREADS as u64));

        let checked = || {
            Some(Self {
                listen: listen?,
                admin_listen,
                mode,
                origin,
                origin_key,
                source: source?,
                state_dir: state_dir?,
                wait_ms: wait_ms?,
                report_url,
                credential,
                threads: threads? as usize,
                log: settings.log.unwrap_or_else(|| "info".into()),
                edge: EdgeConfig {
                    set: set?,
                    roots,
                    verifiers,
                    peppers: peppers?,
                    poll_ms: poll_ms?,
                    room: room?,
                    rebase_from: REBASE_FROM,
                },
            })
        };
        if flaws.0.is_empty()
            && let Some(config) = checked()
        {
            return Ok(config);
        }
        Err(flaws)
    }

    /// What a reload cannot change: the names of the settings that differ from `other`'s and need a restart.
    pub(crate) fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("listen", self.listen != other.listen),
            ("admin_listen", self.admin_listen != other.admin_listen),
            ("mode", self.mode != other.mode),
            ("set", self.edge.set != other.edge.set),
            ("state_dir", self.state_dir != other.state_dir),
            ("threads", self.threads != other.threads),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

impl Origin {
    fn parse(text: &str) -> Result<Self, String> {
        let uri = web_url(text)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err("is not an http(s) URL".into());
        };
        let path = parts.path_and_query.as_ref().map_or("", |path| path.path());
        Ok(Self { scheme, authority, prefix: path.trim_end_matches('/').to_owned() })
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("http://") || text.starts_with("https://") {
            web_url(text)?;
            return Ok(Self::Web(text.trim_end_matches('/').to_owned()));
        }
        if text.contains("://") || text.is_empty() {
            return Err("is neither an http(s) URL nor a directory".into());
        }
        Ok(Self::Directory(text.into()))
    }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{text} is no address:port ({error})"))?;
    found.next().ok_or_else(|| format!("{text} has no address"))
}

/// An `http(s)` URL without query, fragment or user.
fn web_url(text: &str) -> Result<Uri, String> {
    let wrong = || format!("{text:?} is not an http(s) URL without query, fragment and user");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let web = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let host =
        uri.authority().is_some_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    if web && host && uri.query().is_none() && !text.contains('#') { Ok(uri) } else { Err(wrong()) }
}

fn set_id(text: &str) -> Result<String, &'static str> {
    // A pepper takes the id in; whether it is one shows there.
    match Pepper::new("p", text, &[0; Pepper::LEN]) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("is not a set's id"),
    }
}

fn within(number: u64, least: u64, most: u64) -> Result<u64, String> {
    if (least..=most).contains(&number) { Ok(number) } else { Err(format!("is not within {least} and {most}")) }
}

fn verifiers(flaws: &mut Flaws, name: &str, texts: &[String]) -> Vec<Verifier> {
    let read = |text: &String| {
        let read = Verifier::from_vkey(text).map_err(|_| format!("{text:?} is not a verifier key (name+hash+base64)"));
        flaws.take(name, read)
    };
    texts.iter().filter_map(read).collect()
}

fn read_credential(path: &Path) -> Result<Credential, String> {
    let text = secret_file::read(path).map_err(|error| error.to_string())?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{} does not hold one credential", path.display()));
    }
    Ok(Credential(format!("Bearer {}", text.as_str()).into()))
}

fn read_origin_key(path: &Path) -> Result<OriginKey, String> {
    let text = secret_file::read(path).map_err(|error| error.to_string())?;
    OriginKey::new(text.as_bytes()).ok_or_else(|| format!("{} is shorter than 16 bytes", path.display()))
}

/// Reads `id:base64`, separated by commas or line ends.
fn read_peppers(text: &str, set: &str) -> Result<Vec<Pepper>, &'static str> {
    let mut peppers: Vec<Pepper> = Vec::new();
    for entry in text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty()) {
        let (id, encoded) = entry.split_once(':').ok_or("is not a list of id:base64")?;
        let mut secret = Zeroizing::new([0; Pepper::LEN]);
        let decoded = Base64::decode(encoded, secret.as_mut_slice()).map_err(|_| "is not a list of id:base64")?;
        if decoded.len() != Pepper::LEN {
            return Err("has a pepper that is not 32 bytes long");
        }
        if peppers.iter().any(|pepper| pepper.id() == id) {
            return Err("names a pepper twice");
        }
        peppers.push(Pepper::new(id, set, &secret).map_err(|_| "has an id that is none")?);
    }
    if peppers.is_empty() { Err("holds no pepper") } else { Ok(peppers) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use nightlatch_keyset::note::Signer;
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    type Change<'a> = Box<dyn Fn(&mut Settings) + 'a>;

    fn private(directory: &Path, name: &str, text: &str) -> Option<PathBuf> {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Some(path)
    }

    fn good(directory: &Path) -> Settings {
        let vkey = Signer::new("nightlatch/set_a", &[1; 32]).unwrap().verifier().to_vkey();
        let peppers = format!("p1:{}\np2:{}\n", Base64::encode_string(&SECRET), Base64::encode_string(&[8; 32]));
        Settings {
            set: Some("set_a".into()),
            source: Some("https://keys.example/v1/sets/set_a/".into()),
            verifiers: vec![vkey],
            state_dir: Some(directory.join("state")),
            peppers_file: private(directory, "peppers", &peppers),
            ..Settings::default()
        }
    }

    #[test]
    fn the_least_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::check(good(directory.path())).ok().unwrap();
        assert_eq!(config.source, Place::Web("https://keys.example/v1/sets/set_a".into()));
        assert_eq!((config.edge.poll_ms, config.wait_ms, config.mode), (1_000, 3_000, Mode::AuthRequest));
        let ids: Vec<_> = config.edge.peppers.iter().map(Pepper::id).collect();
        assert_eq!(ids, ["p1", "p2"]);
        assert_eq!(config.needs_restart(&config), Vec::<&str>::new());
    }

    #[test]
    fn each_wrong_setting_is_named_and_no_secret_is() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        let encoded = Base64::encode_string(&SECRET);
        let changes: Vec<(&str, Change<'_>)> = vec![
            ("set", Box::new(|s| s.set = None)),
            ("set", Box::new(|s| s.set = Some("../set".into()))),
            ("source", Box::new(|s| s.source = None)),
            ("source", Box::new(|s| s.source = Some("s3://bucket".into()))),
            ("source", Box::new(|s| s.source = Some("https://user@keys.example".into()))),
            ("roots", Box::new(|s| s.verifiers.clear())),
            ("roots", Box::new(|s| s.roots = vec!["no key".into()])),
            ("listen", Box::new(|s| s.listen = Some("8088".into()))),
            ("admin_listen", Box::new(|s| s.admin_listen = Some("here".into()))),
            ("origin", Box::new(|s| s.mode = Some(Mode::Proxy))),
            ("origin", Box::new(|s| s.origin = Some("https://api.example/?q".into()))),
            ("report_url", Box::new(|s| s.report_url = Some("/v1/edges/reports".into()))),
            ("state_dir", Box::new(|s| s.state_dir = None)),
            ("poll_ms", Box::new(|s| s.poll_ms = Some(0))),
            ("wait_ms", Box::new(|s| s.wait_ms = Some(60_000))),
            ("threads", Box::new(|s| s.threads = Some(0))),
            ("max_memory", Box::new(|s| s.max_memory = Some(Size(5)))),
            ("peppers_file", Box::new(|s| s.peppers_file = None)),
            ("peppers_file", Box::new(move |s| s.peppers_file = private(dir, "one", &encoded))),
            ("credential_file", Box::new(move |s| s.credential_file = private(dir, "two", "two words"))),
            ("origin_key_file", Box::new(move |s| s.origin_key_file = private(dir, "three", "short"))),
        ];
        for (name, change) in changes {
            let mut settings = good(dir);
            change(&mut settings);
            let flaws = Config::check(settings).err().unwrap().0;
            assert!(flaws.iter().any(|flaw| flaw.starts_with(&format!("{name}: "))), "{name}: {flaws:?}");
            let said = flaws.join("\n");
            assert!(!said.contains(&Base64::encode_string(&SECRET)) && !said.contains("two words"), "{said}");
        }
    }

    #[test]
    fn what_a_reload_cannot_change_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::check(good(directory.path())).ok().unwrap();
        let settings = Settings { threads: Some(config.threads + 1), ..good(directory.path()) };
        let other = Config::check(settings).ok().unwrap();
        assert_eq!(other.needs_restart(&config), ["threads"]);
    }

    proptest! {
        #[test]
        fn peppers_are_read_or_refused(text in "[a-z0-9:=,\n+/ ]{0,80}") {
            if let Ok(peppers) = read_peppers(&text, "set_a") {
                prop_assert!(!peppers.is_empty());
            }
        }

        #[test]
        fn no_url_is_too_strange(text in "(https?://)?[ -~]{0,40}") {
            if let Ok(origin) = Origin::parse(&text) {
                prop_assert!(!origin.prefix.ends_with('/') && !origin.authority.as_str().contains('@'));
            }
        }
    }
}
