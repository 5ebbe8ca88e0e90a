//! What the module is told of the Worker's variables and secrets: those it uses itself. `js/config.mjs` reads all of them
//! and keeps the others.
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

/// A checked configuration.
pub(crate) struct Config {
    pub(crate) set: String,
    pub(crate) roots: Vec<Verifier>,
    pub(crate) verifiers: Vec<Verifier>,
    pub(crate) peppers: Vec<Pepper>,
    pub(crate) origin_key: Option<OriginKey>,
    pub(crate) poll_ms: u64,
    pub(crate) fetch_timeout_ms: u64,
    /// Whether there is a place for reports.
    pub(crate) reports: bool,
    /// A number that no flight of a module before this one has had.
    pub(crate) begun: u32,
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
    /// Reads `{set}\0{roots}\0{verifiers}\0{peppers}\0{origin key}\0{poll in ms}\0{timeout in ms}\0{reports}\0{begun}`, where an
    /// empty part stands for a variable that is not set. Numbers have been checked.
    pub(crate) fn read(text: &str) -> Result<Self, Misconfigured> {
        let mut parts = text.split('\0');
        let mut next = || parts.next().unwrap_or_default();
        let set = next();
        let roots = verifiers("NIGHTLATCH_ROOT", next())?;
        let verifiers = verifiers("NIGHTLATCH_VERIFIER", next())?;
        let peppers = peppers(next(), set)?;
        let origin_key = match next() {
            "" => None,
            text => Some(
                OriginKey::new(text.as_bytes())
                    .ok_or(Misconfigured { variable: "NIGHTLATCH_ORIGIN_KEY", reason: "is shorter than 16 bytes" })?,
            ),
        };
        let mut number = || next().parse().unwrap_or_default();
        let (poll_ms, fetch_timeout_ms) = (number(), number());
        let (reports, begun) = (number() > 0, number() as u32);
        Ok(Self { set: set.into(), roots, verifiers, peppers, origin_key, poll_ms, fetch_timeout_ms, reports, begun })
    }
}

/// Reads verifier keys, separated by commas; spaces around one are ignored.
fn verifiers(variable: &'static str, text: &str) -> Result<Vec<Verifier>, Misconfigured> {
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty()).map(Verifier::from_vkey);
    keys.collect::<Result<_, _>>()
        .map_err(|_| Misconfigured { variable, reason: "has what is no verifier key (name+hash+base64)" })
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

#[cfg(test)]
mod tests {
    use nightlatch_keyset::note::Signer;

    use super::*;

    fn good() -> [String; 9] {
        let vkey = Signer::new("nightlatch/set_a", &[1; 32]).unwrap().verifier().to_vkey();
        let peppers = format!("p1:{}", Base64::encode_string(&[7; 32]));
        [
            "set_a".into(),
            String::new(),
            vkey,
            peppers,
            String::new(),
            "1000".into(),
            "3000".into(),
            "1".into(),
            "7".into(),
        ]
    }

    #[test]
    fn the_least_configuration() {
        let config = Config::read(&good().join("\0")).ok().unwrap();
        assert_eq!((config.poll_ms, config.fetch_timeout_ms, config.begun), (1_000, 3_000, 7));
        assert!(config.reports && config.origin_key.is_none());
        assert_eq!((config.verifiers.len(), config.peppers[0].id()), (1, "p1"));
    }

    #[test]
    fn each_wrong_variable_is_named() {
        let short = Base64::encode_string(&[7; 31]);
        let [set, _, vkey, peppers, ..] = good();
        for (name, at, wrong) in [
            ("NIGHTLATCH_ROOT", 1, "nightlatch/root"),
            ("NIGHTLATCH_VERIFIER", 2, "nightlatch/set_a+00000000+AQ=="),
            ("NIGHTLATCH_VERIFIER", 2, &format!("{vkey},{set}")),
            ("NIGHTLATCH_PEPPERS", 3, "p1"),
            ("NIGHTLATCH_PEPPERS", 3, &format!("p1:{short}")),
            ("NIGHTLATCH_PEPPERS", 3, &format!("{peppers},{peppers}")),
            ("NIGHTLATCH_ORIGIN_KEY", 4, "short"),
        ] {
            let mut parts = good();
            parts[at] = wrong.into();
            assert_eq!(Config::read(&parts.join("\0")).err().unwrap().variable, name);
        }
    }

    #[test]
    fn several_peppers_and_verifiers() {
        let mut parts = good();
        parts[1] = parts[2].clone();
        parts[2] = format!("{0} , {0}", parts[2]);
        parts[3] = format!("{}, p2:{}", parts[3], Base64::encode_string(&[8; 32]));
        let config = Config::read(&parts.join("\0")).ok().unwrap();
        assert_eq!((config.roots.len(), config.verifiers.len(), config.peppers.len()), (1, 2, 2));
    }
}
