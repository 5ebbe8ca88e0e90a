//! The simulated world itself: the same seed is the same world, and a broken guarantee comes with what it takes.
//! `cargo xtask test` lives some hundred worlds and looks for every planted bug; here are a few.

use nightlatch_sim::{Plant, measure, run, shrink};

/// DESIGN §7, guarantees 1–4, 6 and 9, in worlds full of faults.
#[test]
fn some_worlds_keep_every_guarantee() {
    for seed in 0..12 {
        let outcome = run(seed, None);
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
        assert!(outcome.counts.verdicts > 0 && outcome.counts.replicas > 0);
    }
}

#[test]
fn a_seed_is_a_whole_world() {
    let (first, second) = (run(3, None), run(3, None));
    assert_eq!(format!("{:?}", first.counts), format!("{:?}", second.counts));
}

#[test]
fn a_planted_bug_is_found_and_made_small() {
    let plant = Plant::from_name("old-head").unwrap();
    let seed = (0..plant.bound()).find(|seed| run(*seed, Some(plant)).violation.is_some()).unwrap();
    let story = shrink(seed, Some(plant)).unwrap();
    let text = story.to_string();
    assert!(text.contains(&format!("cargo xtask simulate --replay {seed} --plant old-head")), "{text}");
    assert_eq!(story.violation.guarantee, 4, "{text}");
    // A cache that serves an old head takes hardly anything else.
    assert!(story.inputs() <= 3 && story.inputs() <= story.drawn, "{text}");
    assert!(run(seed, None).violation.is_none());
}

#[test]
fn plants_have_names() {
    for plant in Plant::ALL {
        assert_eq!(Plant::from_name(plant.as_str()), Some(plant));
        assert!(!plant.about().is_empty());
    }
    assert_eq!(Plant::from_name("nothing"), None);
}

/// Without faults, a revocation is in force within seconds where edges poll, and within the stores' delays elsewhere.
#[test]
fn a_calm_world_says_how_long_revocations_take() {
    let outcome = measure(1, 20);
    assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
    assert_eq!(outcome.counts.delays.len(), 5);
    assert!(outcome.counts.delays.values().all(|delays| delays.permille(500) <= delays.permille(1_000)));
}
