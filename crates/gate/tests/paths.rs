//! The shared vectors of path canonicalisation, and what must hold for every target.

use nightlatch_gate::path::{Canonical, MAX_TARGET_BYTES, PathError, canonicalize};
use proptest::prelude::*;

#[test]
fn shared_vectors() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../vectors/paths.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert!(vectors.len() > 70);
    for vector in vectors {
        let input = vector["input"].as_str().unwrap();
        match canonicalize(input) {
            Ok(Canonical { path, query }) => {
                assert_eq!(vector["path"].as_str(), Some(&*path), "{input:?}");
                assert_eq!(vector["query"].as_str(), query, "{input:?}");
            }
            Err(error) => assert_eq!(vector["error"].as_str(), Some(error.as_str()), "{input:?}"),
        }
    }
}

#[test]
fn long_targets_are_refused() {
    let longest = format!("/{}", "a".repeat(MAX_TARGET_BYTES - 1));
    assert!(canonicalize(&longest).is_ok());
    assert_eq!(canonicalize(&format!("{longest}a")), Err(PathError::TooLong));
}

#[test]
fn canonical_paths_are_borrowed() {
    let canonical = canonicalize("/a/b%20c?d=%65").unwrap();
    assert!(matches!(canonical.path, std::borrow::Cow::Borrowed("/a/b%20c")));
    assert_eq!(canonical.query, Some("d=%65"));
}

/// Targets made of what canonicalisation cares about.
fn target() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9._~-]{0,3}",
        4 => Just("/".to_owned()),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(b, upper)| if upper { format!("%{b:02X}") } else { format!("%{b:02x}") }),
        2 => any::<char>().prop_map(|c| c.to_string().bytes().map(|b| format!("%{b:02x}")).collect()),
        1 => "[ -~]",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// The octets a canonical path stands for.
fn octets(path: &str) -> Vec<u8> {
    let bytes = path.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(&path[at + 1..at + 3], 16).unwrap());
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn canonicalisation_is_idempotent_and_unambiguous(target in target()) {
        let Ok(Canonical { path, query }) = canonicalize(&target) else { return Ok(()) };
        let again = canonicalize(&path);
        prop_assert_eq!(again, Ok(Canonical { path: path.clone(), query: None }));
        prop_assert!(path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#' | b'?')));
        prop_assert!(path.starts_with('/') && !path.contains("//"));
        prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        // Read the way the laxest origin would, it still has the same segments and no way up.
        let lax = octets(&path);
        prop_assert_eq!(lax.iter().filter(|&&b| b == b'/').count(), path.matches('/').count());
        prop_assert!(lax.split(|&b| b == b'/').all(|segment| segment != b"." && segment != b".."));
        prop_assert!(!lax.iter().any(|b| b.is_ascii_control() || *b == b'\\'));
        prop_assert!(String::from_utf8(lax).is_ok());
        // And the query is what came.
        prop_assert_eq!(query, target.split_once('?').map(|(_, query)| query));
    }

    #[test]
    fn the_octets_of_an_accepted_path_do_not_change(target in target()) {
        let Ok(Canonical { path, .. }) = canonicalize(&target) else { return Ok(()) };
        let received = target.split('?').next().unwrap();
        prop_assert_eq!(octets(&path), octets(received));
    }

    #[test]
    fn nothing_panics(target: String) {
        let _ = canonicalize(&target);
    }
}
