//! Load by `wrk`: as many requests as come back, from one thread.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use super::cores::Cores;

/// Connections held open, unless a measure says otherwise.
pub(super) const CONNECTIONS: u32 = 16;

/// What to ask, and how.
pub(super) struct Load<'a> {
    pub(super) cores: Cores,
    pub(super) url: String,
    pub(super) connections: u32,
    /// Header fields, `Name: value`.
    pub(super) headers: Vec<String>,
    /// A Lua script that makes the requests.
    pub(super) script: Option<&'a Path>,
}

/// What came back.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    /// Answers a second.
    pub(super) per_second: f64,
    /// The latency that 99 of 100 answers did not exceed, in milliseconds.
    pub(super) p99: f64,
}

impl Load<'_> {
    /// Puts on load for that many seconds.
    ///
    /// # Errors
    /// When a request is refused or fails: what is fast because it does not do its work is not to be measured.
    pub(super) async fn run(&self, seconds: u32) -> Result<Outcome> {
        let words = self.cores.load(Path::new("wrk"));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["--threads", "1", "--latency"]);
        command.args(["--connections", &self.connections.to_string(), "--duration", &format!("{seconds}s")]);
        for header in &self.headers {
            command.args(["--header", header]);
        }
        if let Some(script) = self.script {
            command.arg("--script").arg(script);
        }
        command.arg(&self.url).stdin(Stdio::null()).kill_on_drop(true);
        let patience = Duration::from_secs(u64::from(seconds) + 15);
        let output = timeout(patience, command.output()).await.context("wrk hangs")?.context("running wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        read(&text).with_context(|| format!("load on {}", self.url))
    }
}

fn read(text: &str) -> Result<Outcome> {
    let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    for trouble in ["Non-2xx or 3xx responses:", "Socket errors:"] {
        if let Some(what) = after(trouble) {
            anyhow::bail!("{trouble} {what}");
        }
    }
    let per_second = after("Requests/sec:").and_then(|number| number.parse().ok()).context("wrk tells no pace")?;
    let p99 = after("99%").and_then(milliseconds).context("wrk tells no latencies")?;
    Ok(Outcome { per_second, p99 })
}

/// Reads `12.34ms` and its like.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0)];
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n  Thread Stats   Avg\n    \
                        Latency     2.10ms\n  Latency Distribution\n     50%    1.90ms\n     75%    2.06ms\n     \
                        90%    2.52ms\n     99%    7.45ms\n  15023 requests in 2.00s, 1.89MB read\nRequests/sec:   \
                        7510.03\nTransfer/sec:      0.94MB\n";

    #[test]
    fn what_wrk_prints_is_read() {
        assert_eq!(read(GOOD).unwrap(), Outcome { per_second: 7510.03, p99: 7.45 });
        let bad = format!("{GOOD}  Non-2xx or 3xx responses: 3\n");
        assert!(read(&bad).unwrap_err().to_string().contains("responses: 3"));
        assert!(read("").is_err());
    }

    #[test]
    fn latencies_have_units() {
        assert_eq!(milliseconds("250.00us"), Some(0.25));
        assert_eq!(milliseconds("1.50s"), Some(1_500.0));
        assert_eq!(milliseconds("2.00m"), Some(120_000.0));
        assert_eq!(milliseconds("2.00"), None);
    }
}
