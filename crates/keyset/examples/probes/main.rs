//! Looks for a false accept: `probes [KEYS] [PROBES] [SAMPLE]`. Random tags, tags beside a key, and every single-bit change
//! of a sample of keys, before and after a rebase. Ends with 1 where one of them is taken for a key.

mod probing;

use std::process::ExitCode;
use std::time::Instant;

use probing::Probed;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let given: Vec<u64> = std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let number = |at: usize, default: u64| given.get(at).copied().unwrap_or(default);
    let (keys, probes, sample) = (number(0, 1_000_000), number(1, 100_000_000), number(2, 20_000));
    let start = Instant::now();
    let mut probed = Probed::new(keys)?;
    println!(
        "{} keys, {} bits of each matched, built in {:.1} s",
        probed.len(),
        probed.replica.layout().tag_bits(),
        start.elapsed().as_secs_f64()
    );
    let mut wrong = look(&probed, probes, sample);
    let start = Instant::now();
    probed.rebase()?;
    println!("rebased in {:.1} s", start.elapsed().as_secs_f64());
    wrong += look(&probed, probes / 10, sample);
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How much went wrong: false accepts, and keys that are not found.
fn look(probed: &Probed, probes: u64, sample: u64) -> u64 {
    let timed = |what: &str, count: u64, accepted: &(dyn Fn() -> u64 + Sync)| {
        let start = Instant::now();
        let accepted = accepted();
        println!("{count:>11} {what}: {accepted} in {:.1} s", start.elapsed().as_secs_f64());
        accepted
    };
    let lost = timed("keys looked up, not found", probed.len(), &|| probed.lost(probed.len()));
    let random =
        timed("random tags, taken for keys", probes, &|| shared(probes, |some| probed.accepted_at_random(some)));
    let beside = timed("tags beside a key, taken for keys", probes / 10, &|| {
        shared(probes / 10, |some| probed.accepted_beside_keys(some))
    });
    let bits = u64::from(probed.replica.layout().tag_bits());
    let changed = timed("tags one bit from a key, taken for keys", sample.min(probed.len()) * bits, &|| {
        probed.accepted_with_one_bit_changed(sample)
    });
    lost + random + beside + changed
}

/// Does a range of work on all cores.
fn shared(work: u64, each: impl Fn(std::ops::Range<u64>) -> u64 + Sync) -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    std::thread::scope(|scope| {
        let parts = (0..cores).map(|core| core * work / cores..(core + 1) * work / cores);
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| each(part))).collect();
        threads.into_iter().map(|thread| thread.join().expect("lookups do not panic")).sum()
    })
}
