//! The attacks in the key set's `hostile/` folder that it takes a clock, or the mark of an earlier run, to know for attacks.

use std::path::Path;

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Head, Pepper};
use nightlatch_sync::{Edge, EdgeConfig, Mark};

/// Guarantee 4, S2-15. Heads that are rightly signed and come at the wrong time are refused, each by its own name.
#[test]
fn every_head_at_the_wrong_time_is_refused_by_name() {
    let hostile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keyset/hostile");
    let mut refused = 0;
    for folder in std::fs::read_dir(hostile).unwrap().map(|folder| folder.unwrap().path()) {
        let text = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
        let Some(now) = text("now") else { continue };
        let verifiers = vec![Verifier::from_vkey(text("verifier").unwrap().trim_end()).unwrap()];
        let mark = text("before").map(|note| Mark::of(&Head::open(&note, &verifiers).unwrap()));
        let config = EdgeConfig {
            set: "set_0123456789".into(),
            roots: Vec::new(),
            verifiers,
            peppers: vec![Pepper::new("p1", "set_0123456789", &[5; 32]).unwrap()],
            poll_ms: 1_000,
            room: 1 << 30,
            rebase_from: 0,
        };
        let mut edge: Edge<Vec<u8>> = Edge::new(config, mark);
        let now = edge.now(now.parse().unwrap(), None);
        let refusal = edge.offer(&text("head").unwrap(), now).unwrap_err();
        assert_eq!(refusal.code(), text("expected").unwrap().trim_end(), "{}", folder.display());
        assert!(edge.serving(now).is_none());
        refused += 1;
    }
    assert!(refused > 3, "the attacks are missing");
}
