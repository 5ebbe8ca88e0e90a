//! What the Worker is told by its variables and secrets.
//!
//! Names and meanings are the same on every runtime; README.md lists them. Values of secrets are never repeated, in
//! errors least of all.

use base64ct::{Base64, Encoding as _};
use nightlatch_gate::headers::signature::OriginKey;
use nightlatch_keyset::Pepper;
use nightlatch_keyset::note::Verifier;
use zeroize::Zeroizing;

/// Bytes of memory for the set. An isolate has 128 MB, and not all at once: what the runtime, the module and requests hold
/// has to be kept free. 4.5 million keys without a subject column (95 MB) fit, or 3.5 million with one.
pub(crate) const ROOM: u64 = 97_000_000;

const DEFAULT_POLL_SECONDS: u64 = 1;
const DEFAULT_FETCH_TIMEOUT_MS: u64 = 3_000;

/// A checked configuration.
pub(crate) struct Config {
    pub(crate) set: String,
    pub(crate) source: Source,
    pub(crate) report_url: Option<String>,
    pub(crate) origin: Origin,
    pub(crate) verifier: Verifier,
    pub(crate) peppers: Vec<Pepper>,
    pub(crate) token: Option<Zeroizing<String>>,
    pub(crate) origin_key: Option<OriginKey>,
    pub(crate) poll_ms: u64,
    pub(crate) fetch_timeout_ms: u64,
}

/// Where the set is read.
pub(crate) enum Source {
    /// A base URL without a trailing slash.
    Http(String),
    /// An R2 bucket, and a prefix of its keys that is empty or ends in a slash.
    R2 { binding: String, prefix: String },
}

/// Where admitted requests go.
pub(crate) enum Origin {
    /// A base URL without a trailing slash.
    Url(String),
    /// A service binding.
    Service(String),
    /// Nowhere: the answer is 204 with the identity headers.
    Verdict,
}

/// A variable that is missing or wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misconfigured {
    /// Its name.
    pub(crate) variable: &'static str,
    /// What is wrong, without its value.
    pub(crate) reason: &'static str,
}

impl Config {
    /// Reads the configuration through `variable`, which gives a variable's or secret's text.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Misconfigured> {
        let value = |name: &'static str| variable(name).filter(|text| !text.is_empty());
        let required = |name| value(name).ok_or(Misconfigured { variable: name, reason: "is not set" });

        let set = required("NIGHTLATCH_SET")?;
        let verifier = Verifier::from_vkey(&required("NIGHTLATCH_VERIFIER")?).map_err(|_| Misconfigured {
            variable: "NIGHTLATCH_VERIFIER",
            reason: "is not a verifier key (name+hash+base64)",
        })?;
        let peppers = peppers(&Zeroizing::new(required("NIGHTLATCH_PEPPERS")?), &set)?;
        let source = source(&required("NIGHTLATCH_SOURCE")?)?;
        let origin = origin(&required("NIGHTLATCH_ORIGIN")?)?;
        let report_url = value("NIGHTLATCH_REPORT_URL");
        if report_url.as_deref().is_some_and(|url| base_url(url).is_none()) {
            return Err(Misconfigured { variable: "NIGHTLATCH_REPORT_URL", reason: "is not an http(s) URL" });
        }
        let token = value("NIGHTLATCH_TOKEN").map(Zeroizing::new);
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Misconfigured { variable: "NIGHTLATCH_TOKEN", reason: "has white space or is not ASCII" });
        }
        let origin_key = match value("NIGHTLATCH_ORIGIN_KEY").map(Zeroizing::new) {
            Some(text) => Some(
                OriginKey::new(text.as_bytes())
                    .ok_or(Misconfigured { variable: "NIGHTLATCH_ORIGIN_KEY", reason: "is shorter than 16 bytes" })?,
            ),
            None => None,
        };
        let poll = number(value("NIGHTLATCH_POLL_SECONDS"), DEFAULT_POLL_SECONDS, 1, 3_600).ok_or(Misconfigured {
            variable: "NIGHTLATCH_POLL_SECONDS",
            reason: "is not a whole number from 1 to 3600",
        })?;
        let timeout = number(value("NIGHTLATCH_FETCH_TIMEOUT_MS"), DEFAULT_FETCH_TIMEOUT_MS, 50, 30_000);
        let fetch_timeout_ms = timeout.ok_or(Misconfigured {
            variable: "NIGHTLATCH_FETCH_TIMEOUT_MS",
            reason: "is not a whole number from 50 to 30000",
        })?;
        Ok(Self {
            set,
            source,
            report_url,
            origin,
            verifier,
            peppers,
            token,
            origin_key,
            poll_ms: poll * 1_000,
            fetch_timeout_ms,
        })
    }
}

fn number(text: Option<String>, default: u64, least: u64, most: u64) -> Option<u64> {
    let Some(text) = text else {
        return Some(default);
    };
    text.parse().ok().filter(|number| (least..=most).contains(number))
}

/// Reads `id:base64`, separated by commas; spaces around an entry are ignored.
fn peppers(text: &str, set: &str) -> Result<Vec<Pepper>, Misconfigured> {
    let wrong = |reason| Misconfigured { variable: "NIGHTLATCH_PEPPERS", reason };
    let mut peppers: Vec<Pepper> = Vec::new();
    for entry in text.split(',') {
        let (id, encoded) = entry.trim().split_once(':').ok_or_else(|| wrong("is not a list of id:base64"))?;
        let mut secret = Zeroizing::new([0; Pepper::LEN]);
        let decoded =
            Base64::decode(encoded, secret.as_mut_slice()).map_err(|_| wrong("is not a list of id:base64"))?;
        if decoded.len() != Pepper::LEN {
            return Err(wrong("has a pepper that is not 32 bytes long"));
        }
        if peppers.iter().any(|pepper| pepper.id() == id) {
            return Err(wrong("names a pepper twice"));
        }
        peppers
            .push(Pepper::new(id, set, &secret).map_err(|_| wrong("has an id that is none, or NIGHTLATCH_SET has"))?);
    }
    Ok(peppers)
}

fn source(text: &str) -> Result<Source, Misconfigured> {
    let wrong = Misconfigured { variable: "NIGHTLATCH_SOURCE", reason: "is neither an http(s) URL nor r2:BINDING" };
    let Some(bucket) = text.strip_prefix("r2:") else {
        return base_url(text).map(Source::Http).ok_or(wrong);
    };
    let (binding, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    if !is_binding(binding) {
        return Err(wrong);
    }
    let prefix = prefix.trim_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok(Source::R2 { binding: binding.to_owned(), prefix })
}

fn origin(text: &str) -> Result<Origin, Misconfigured> {
    let wrong = Misconfigured {
        variable: "NIGHTLATCH_ORIGIN",
        reason: "is neither an http(s) URL, nor service:BINDING, nor the word verdict",
    };
    if text == "verdict" {
        return Ok(Origin::Verdict);
    }
    match text.strip_prefix("service:") {
        Some(binding) if is_binding(binding) => Ok(Origin::Service(binding.to_owned())),
        Some(_) => Err(wrong),
        None => base_url(text).map(Origin::Url).ok_or(wrong),
    }
}

/// An `http(s)` URL without query, fragment or user, its trailing slashes cut off. Not a full parser, which would be
/// the largest part of the Worker: what is still wrong fails when it is fetched.
fn base_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let host = rest.split('/').next().unwrap_or_default();
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'@' | b'\\' | b'"'));
    (plain && !host.is_empty()).then(|| text.trim_end_matches('/').to_owned())
}

fn is_binding(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    letters && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nightlatch_keyset::note::Signer;

    use super::*;

    fn good() -> BTreeMap<&'static str, String> {
        let vkey = Signer::new("nightlatch/set_a", &[1; 32]).unwrap().verifier().to_vkey();
        BTreeMap::from([
            ("NIGHTLATCH_SET", "set_a".to_owned()),
            ("NIGHTLATCH_SOURCE", "https://keys.example/v1/sets/set_a/".to_owned()),
            ("NIGHTLATCH_ORIGIN", "https://api.example".to_owned()),
            ("NIGHTLATCH_VERIFIER", vkey),
            ("NIGHTLATCH_PEPPERS", format!("p1:{}", Base64::encode_string(&[7; 32]))),
        ])
    }

    fn read(variables: &BTreeMap<&'static str, String>) -> Result<Config, Misconfigured> {
        Config::read(|name| variables.get(name).cloned())
    }

    #[test]
    fn the_least_configuration() {
        let config = read(&good()).ok().unwrap();
        assert!(matches!(config.source, Source::Http(url) if url == "https://keys.example/v1/sets/set_a"));
        assert!(matches!(config.origin, Origin::Url(url) if url == "https://api.example"));
        assert_eq!((config.poll_ms, config.fetch_timeout_ms), (1_000, 3_000));
        assert_eq!(config.peppers[0].id(), "p1");
    }

    #[test]
    fn each_wrong_variable_is_named() {
        let short = Base64::encode_string(&[7; 31]);
        for (name, wrong) in [
            ("NIGHTLATCH_SET", ""),
            ("NIGHTLATCH_SOURCE", "ftp://keys.example"),
            ("NIGHTLATCH_SOURCE", "https:///x"),
            ("NIGHTLATCH_SOURCE", "https://user@keys.example"),
            ("NIGHTLATCH_SOURCE", "r2:"),
            ("NIGHTLATCH_ORIGIN", "verdicts"),
            ("NIGHTLATCH_ORIGIN", "service:9"),
            ("NIGHTLATCH_VERIFIER", "nightlatch/set_a+00000000+AQ=="),
            ("NIGHTLATCH_PEPPERS", "p1"),
            ("NIGHTLATCH_PEPPERS", &format!("p1:{short}")),
            ("NIGHTLATCH_PEPPERS", &format!("{0},{0}", good()["NIGHTLATCH_PEPPERS"])),
            ("NIGHTLATCH_TOKEN", "a b"),
            ("NIGHTLATCH_ORIGIN_KEY", "short"),
            ("NIGHTLATCH_POLL_SECONDS", "0"),
            ("NIGHTLATCH_FETCH_TIMEOUT_MS", "1e3"),
            ("NIGHTLATCH_REPORT_URL", "/v1/edges/reports"),
        ] {
            let mut variables = good();
            variables.insert(name, wrong.to_owned());
            let error = read(&variables).err().unwrap();
            assert_eq!(error.variable, name, "{wrong}");
        }
    }

    #[test]
    fn buckets_have_prefixes() {
        for (text, binding, prefix) in
            [("r2:SETS", "SETS", ""), ("r2:SETS/a/b/", "SETS", "a/b/"), ("r2:SETS//", "SETS", "")]
        {
            let Ok(Source::R2 { binding: b, prefix: p }) = source(text) else { panic!("{text}") };
            assert_eq!((b.as_str(), p.as_str()), (binding, prefix));
        }
    }
}
