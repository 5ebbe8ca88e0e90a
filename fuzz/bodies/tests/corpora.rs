//! Every parser against the stored inputs, and against some thousand mutations of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nightlatch_fuzz_bodies::mutate::{Numbers, mutate};
use nightlatch_fuzz_bodies::seeds::seeds;
use nightlatch_fuzz_bodies::{Body, TARGETS};

/// Stored mutations of each target.
const STORED: usize = 24;
/// Mutations tried of each target.
const TRIED: u64 = 2_000;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target)
}

fn inputs(target: &str) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(corpus(target)).unwrap_or_else(|error| panic!("the corpus of {target}: {error}"));
    let files = files.map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())).collect()
}

/// Runs a body, and says which input it was that it did not survive.
fn survive(target: &str, body: Body, name: &str, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| body(input));
    assert!(outcome.is_ok(), "{target} does not survive {name}: {}", input.escape_ascii());
}

/// S2-14. Set `NIGHTLATCH_WRITE_GOLDEN` to store the seeds and some mutations of them anew; what fuzzers have found stays.
#[test]
fn every_corpus_file_is_survived() {
    for (target, body) in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        let mut made: Vec<_> =
            seeds.iter().enumerate().map(|(n, seed)| (format!("seed-{n:02}"), seed.clone())).collect();
        let mut numbers = Numbers::new(1);
        for number in 0..STORED {
            let other = &seeds[numbers.below(seeds.len())];
            made.push((format!("mutation-{number:02}"), mutate(&seeds[number % seeds.len()], other, &mut numbers)));
        }
        if std::env::var_os("NIGHTLATCH_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(corpus(target)).unwrap();
            made.iter().for_each(|(name, input)| std::fs::write(corpus(target).join(name), input).unwrap());
        }
        for (name, input) in inputs(target) {
            survive(target, body, &name, &input);
        }
    }
}

/// What is stored as a seed is what is published today, or the corpora have grown stale.
#[test]
fn seeds_are_current() {
    for (target, _) in TARGETS {
        let stored = inputs(target);
        for (number, seed) in seeds(target).into_iter().enumerate() {
            assert!(stored.get(&format!("seed-{number:02}")) == Some(&seed), "{target}: seed {number} is stale");
        }
    }
}

/// A few seconds of what `cargo xtask fuzz` does for as long as it is told to.
#[test]
fn every_mutation_is_survived() {
    for (target, body) in TARGETS {
        let inputs: Vec<Vec<u8>> = inputs(target).into_values().collect();
        let mut numbers = Numbers::new(7);
        for number in 0..TRIED {
            let (input, other) = (&inputs[numbers.below(inputs.len())], &inputs[numbers.below(inputs.len())]);
            survive(target, body, &format!("mutation {number}"), &mutate(input, other, &mut numbers));
        }
    }
}
