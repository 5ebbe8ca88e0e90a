//! The smaller brother of `cargo xtask probes`.

#[path = "../examples/probes/probing.rs"]
mod probing;

use probing::Probed;

/// S2-14. Neither random tags nor tags that differ from a key in one bit are ever taken for a key; all keys are found. Here on
/// a base of 100,000 keys and 2,000 added ones, before and after they are folded into it.
#[test]
fn no_tag_is_taken_for_another() {
    let mut probed = Probed::new(100_000).unwrap();
    for probes in [900_000, 100_000] {
        assert_eq!(probed.lost(20_000), 0);
        assert_eq!(probed.accepted_at_random(0..probes), 0);
        assert_eq!(probed.accepted_beside_keys(0..probes / 10), 0);
        assert_eq!(probed.accepted_with_one_bit_changed(1_000), 0);
        if probed.replica.epoch() == 1 {
            probed.rebase().unwrap();
        }
    }
    assert_eq!(probed.replica.epoch(), 2);
}
