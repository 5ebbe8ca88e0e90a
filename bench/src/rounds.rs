//! What is compared is measured in turns, so that what disturbs the machine disturbs all of it alike.

use std::time::Instant;

/// Something that runs many times and tells how many nanoseconds one time took.
pub(crate) type Contender<'a> = (&'static str, Box<dyn FnMut() -> f64 + 'a>);

/// Runs all of them in every round, and gives the medians. A first round only warms up.
pub(crate) fn interleaved(rounds: usize, contenders: &mut [Contender<'_>]) -> Vec<(&'static str, f64)> {
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            let took = run();
            if round > 0 {
                times.push(took);
            }
        }
    }
    contenders.iter().zip(&mut times).map(|((name, _), times)| (*name, median(times))).collect()
}

/// Nanoseconds that each of `count` steps took.
pub(crate) fn per_step(count: usize, run: impl FnOnce() -> u64) -> f64 {
    let start = Instant::now();
    std::hint::black_box(run());
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

/// The middle of some values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
