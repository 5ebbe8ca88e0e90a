//! Key text as its users see it: published vectors, round trips, and what is refused.

use nightlatch_key::{Brand, CLOCK_ORIGIN, Environment, KEY_PATTERN, MAX_KEY_LEN, ParseError, mint, parse};
use proptest::prelude::*;

fn counting(mut next: u8) -> impl FnMut(&mut [u8]) {
    move |buf| {
        for byte in buf {
            *byte = next;
            next = next.wrapping_mul(73).wrapping_add(41);
        }
    }
}

/// The vectors that other implementations test against.
#[test]
fn published_vectors() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors/keys.json")).unwrap();
    assert_eq!(vectors["pattern"], KEY_PATTERN);
    for case in vectors["valid"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.brand().as_str(), case["brand"]);
        assert_eq!(parsed.environment().as_str(), case["environment"]);
        assert_eq!(parsed.id(), case["id"]);
        assert_eq!(parsed.prefix(), case["prefix"]);
        assert_eq!(parsed.issued_at(), case["issued_at"]);
        let digest = nightlatch_key::Digest::from_hex(case["digest"].as_str().unwrap()).unwrap();
        assert!(nightlatch_key::Digest::of(text.as_bytes()) == digest);
    }
    for case in vectors["invalid"].as_array().unwrap() {
        let error = parse(case["text"].as_str().unwrap().as_bytes()).unwrap_err();
        assert_eq!(format!("{error:?}"), case["error"], "{case}");
    }
}

/// S3-03: prefix and environment are readable, and the default brand fits one SHA-256 block.
#[test]
fn s3_03_brand_and_environment_lead_the_text() {
    let brand = Brand::new("nl").unwrap();
    let text = mint(&brand, Environment::Live, CLOCK_ORIGIN + 1, &mut counting(1));
    assert!(text.expose().starts_with("nl_live_000001"));
    assert_eq!(text.expose().len(), 51);
    assert!(!format!("{text:?}").contains(&text.expose()[18..45]));
}

#[test]
fn a_longer_text_is_refused_before_it_is_read() {
    assert_eq!(parse(&[b'a'; MAX_KEY_LEN + 1]).unwrap_err(), ParseError::Length);
    assert_eq!(parse(b"").unwrap_err(), ParseError::Length);
}

proptest! {
    #[test]
    fn what_is_minted_parses(
        brand in "[a-z][a-z0-9]{1,11}", live in any::<bool>(), at in 0u64..40_000_000_000, seed in any::<u8>(),
    ) {
        let brand = Brand::new(&brand).unwrap();
        let environment = if live { Environment::Live } else { Environment::Test };
        let text = mint(&brand, environment, CLOCK_ORIGIN + at, &mut counting(seed));
        let parsed = parse(text.expose().as_bytes()).unwrap();
        prop_assert_eq!(parsed.brand(), brand);
        prop_assert_eq!(parsed.environment(), environment);
        prop_assert_eq!(parsed.issued_at(), CLOCK_ORIGIN + at);
    }

    /// A CRC-32 finds every single changed character.
    #[test]
    fn one_changed_character_is_refused(at in 0usize..51, to in 0u8..128, seed in any::<u8>()) {
        let text = mint(&Brand::new("nl").unwrap(), Environment::Test, CLOCK_ORIGIN, &mut counting(seed));
        let mut bytes = text.expose().as_bytes().to_vec();
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn no_bytes_upset_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&bytes);
    }
}
