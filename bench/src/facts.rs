//! What was measured, and what can be known without measuring.

use std::time::Duration;

use serde_json::json;

/// Prints a fact.
pub(crate) fn fact(name: impl Into<String>, value: f64) {
    println!("{}", json!({ "name": name.into(), "value": value }));
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// log2 of the number of ways to choose `chosen` of `2^bits`, for sets much smaller than what they are chosen from.
pub(crate) fn choose_of_bits(bits: u32, chosen: u64) -> f64 {
    chosen as f64 * f64::from(bits) - log2_factorial(chosen)
}

/// log2 of the number of ways to choose `chosen` of `all`.
pub(crate) fn choose(all: u64, chosen: u64) -> f64 {
    let ways = (0..chosen).map(|taken| ((all - taken) as f64).log2());
    ways.sum::<f64>() - log2_factorial(chosen)
}

/// By Stirling's series where the sum would be long.
fn log2_factorial(of: u64) -> f64 {
    if of < 1_000 {
        return (1..=of).map(|factor| (factor as f64).log2()).sum();
    }
    let n = of as f64;
    (n * n.ln() - n + 0.5 * (2.0 * std::f64::consts::PI * n).ln() + 1.0 / (12.0 * n)) / std::f64::consts::LN_2
}

/// Resident memory of this process and its peak, in bytes, as Linux counts them.
pub(crate) fn resident() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let read = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib * 1_024.0)
    };
    (read("VmRSS:"), read("VmHWM:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting() {
        assert!((choose(5, 2) - 10f64.log2()).abs() < 1e-9);
        assert!((log2_factorial(1_000) - (1..=1_000).map(|f| f64::from(f).log2()).sum::<f64>()).abs() < 1e-6);
        // 16 bytes a key less the order of a million of them.
        assert!((choose_of_bits(128, 1_000_000) / 8e6 - 13.689).abs() < 0.001);
    }
}
