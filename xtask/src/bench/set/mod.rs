//! `cargo xtask bench set`: the set at its limits, as one table.
//!
//! What is measured natively runs in `nightlatch-bench`, a release build; what is measured in WebAssembly runs in Node and in
//! workerd, by the scripts in `bench/js`. Both print facts, which [`goals`] turns into rows: a row may hold a fact of one
//! against a fact of the other.

mod facts;
mod goals;
mod programs;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::facts::Facts;
use self::programs::SetPrograms;
use super::cores::Cores;
use super::programs::Programs;
use super::row::Row;
use super::scene::Scene;
use super::workerd::{Code, Workerd};
use super::{Effort, say, table, verdicts};

/// Options of `bench set`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Smaller sets, fewer rounds, and without what takes longer: under a minute once everything is built
    #[arg(long)]
    quick: bool,
    /// One JSON object a line in place of the table
    #[arg(long)]
    json: bool,
    /// How many keys the sets have that are compared, such as 100k or 5m
    #[arg(long, value_delimiter = ',', value_parser = keys_of, default_value = "100k,1m,5m,10m")]
    keys: Vec<u32>,
    /// Measure modules without vector instructions
    #[arg(long)]
    no_simd: bool,
    /// Leave out the Worker's throughput, which needs a control plane with a million keys
    #[arg(long)]
    no_worker: bool,
}

const MILLION: u32 = 1_000_000;

/// Reads a number of keys.
fn keys_of(text: &str) -> Result<u32> {
    let (digits, unit) = match text.trim_end_matches(['k', 'K', 'm', 'M']) {
        digits if digits.len() == text.len() => (digits, 1),
        digits if text.ends_with(['k', 'K']) => (digits, 1_000),
        digits => (digits, MILLION),
    };
    let keys = digits
        .parse::<u32>()
        .ok()
        .and_then(|keys| keys.checked_mul(unit))
        .filter(|keys| (1..=50 * MILLION).contains(keys));
    keys.ok_or_else(|| anyhow!("a number of keys is written like 100k or 5m, up to 50m"))
}

/// Builds what is needed, measures and prints.
///
/// # Errors
/// When something cannot be built, or a measure could not be taken. A missed goal is no error.
pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = SetPrograms::prepare(!args.no_simd)?;
    let cores = Cores::of_this_machine();
    cores.describe();
    let directory = TempDir::with_prefix_in("set-", &programs.scratch)?;
    let mut run = Run { programs, cores, directory, facts: Facts::default(), failed: 0 };
    run.facts.set("npm.gzip", run.programs.npm_gzip as f64);
    if args.quick {
        run.quick(&args.keys);
    } else {
        run.full(&args.keys);
    }
    let mut rows = goals::rows(&run.facts, &args.keys);
    if !args.quick && !args.no_worker {
        run.attempt("the Worker's throughput", |run| {
            rows.extend(worker(run.cores)?);
            Ok(())
        });
    }
    if args.json {
        table::print_json(&rows)?;
    } else {
        table::print(&rows);
    }
    if run.failed > 0 {
        bail!("{} of the measures could not be taken; the reasons are above", run.failed);
    }
    Ok(())
}

/// What a run has and has found out.
struct Run {
    programs: SetPrograms,
    cores: Cores,
    directory: TempDir,
    facts: Facts,
    failed: usize,
}

impl Run {
    fn quick(&mut self, keys: &[u32]) {
        for &keys in keys.iter().filter(|keys| **keys <= MILLION) {
            self.native(&["size", "--keys", &keys.to_string()]);
            self.native(&["lookup", "--rounds", "3", "--keys", &keys.to_string()]);
            self.native(&["deltas", "--keys", &keys.to_string()]);
        }
        self.native(&["instructions", "--keys", "100000"]);
        self.native(&["probes", "--keys", "100000", "--probes", "1000000"]);
        self.native(&["catch-up", "--keys", "100000", "--versions", "1000"]);
        self.native(&["rebase", "--keys", "1000000"]);
        self.build(MILLION);
        self.wasm(MILLION, 3, false);
    }

    fn full(&mut self, keys: &[u32]) {
        for keys in keys {
            self.native(&["size", "--keys", &keys.to_string()]);
            self.native(&["lookup", "--keys", &keys.to_string()]);
            let mut deltas = vec!["deltas".to_owned(), "--keys".into(), keys.to_string()];
            deltas.extend((*keys <= 5 * MILLION).then(|| "--zstd".into()));
            self.native(&deltas.iter().map(String::as_str).collect::<Vec<_>>());
        }
        self.native(&["instructions", "--keys", "1000000"]);
        self.native(&["probes", "--keys", "1000000", "--probes", "100000000"]);
        self.native(&["catch-up", "--keys", "5000000", "--versions", "17280"]);
        self.native(&["rebase", "--keys", "5000000"]);
        self.build(10 * MILLION);
        for keys in [MILLION, 5 * MILLION] {
            self.wasm(keys, 5, true);
        }
        self.memory("without", 4_500_000, false);
        self.memory("with", 3_500_000, true);
    }

    /// A base of that many keys, a map, and what coming by the keys costs both.
    fn build(&mut self, keys: u32) {
        for who in ["base", "map", "nothing"] {
            self.native(&["build", "--who", who, "--keys", &keys.to_string()]);
        }
    }

    /// A set of that many keys in WebAssembly: in Node, in fresh processes and, if asked, in workerd.
    fn wasm(&mut self, keys: u32, rounds: usize, workerd: bool) {
        let fixture = self.directory.path().join(keys.to_string());
        self.native(&["fixture", "--subject", "--keys", &keys.to_string(), "--out", &fixture.to_string_lossy()]);
        let (module, npm) = (self.programs.module.clone(), self.programs.npm.clone());
        self.node(&["wasm.mjs".as_ref(), &fixture, &module, &npm, rounds.to_string().as_ref()]);
        for _ in 0..rounds {
            self.node(&["cold.mjs".as_ref(), &fixture, &module]);
        }
        if workerd {
            self.attempt("workerd", |run| run.workerd(&fixture, rounds));
        }
        // Some of these are large.
        let _ = std::fs::remove_dir_all(&fixture);
    }

    fn workerd(&mut self, fixture: &Path, rounds: usize) -> Result<()> {
        let words = self.cores.server(&self.programs.workerd);
        let code = Code::Edge(&self.programs.worker, std::collections::BTreeMap::new());
        let runtime = Runtime::new()?;
        let workerd = runtime.block_on(Workerd::start(&words, vec![("set", code)]))?;
        let url = workerd.url("set")?;
        self.node(&["drive.mjs".as_ref(), fixture, url.as_ref(), rounds.to_string().as_ref()]);
        Ok(())
    }

    /// What a set occupies, in the package as it ships.
    fn memory(&mut self, name: &str, keys: u32, subject: bool) {
        let fixture = self.directory.path().join(name);
        let (keys, out) = (keys.to_string(), fixture.to_string_lossy());
        let mut words = vec!["fixture", "--keys", &keys, "--out", &out];
        words.extend(subject.then_some("--subject"));
        self.native(&words);
        let npm = self.programs.npm.clone();
        self.node(&["memory.mjs".as_ref(), &fixture, &npm, name.as_ref()]);
        let _ = std::fs::remove_dir_all(&fixture);
    }

    /// Runs a command of `nightlatch-bench`.
    fn native(&mut self, words: &[&str]) {
        let mut command = self.pinned(&self.programs.native.clone());
        command.args(words);
        self.take(&words.join(" "), &mut command);
    }

    /// Runs a script of `bench/js`.
    fn node(&mut self, words: &[&Path]) {
        let scripts = self.programs.root.join("bench/js");
        let mut command = self.pinned("node".as_ref());
        command.arg("--expose-gc").arg("--max-old-space-size=4096").args(words).current_dir(scripts);
        self.take(&words[0].display().to_string(), &mut command);
    }

    fn pinned(&self, program: &Path) -> Command {
        let words = self.cores.server(program);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    fn take(&mut self, name: &str, command: &mut Command) {
        self.attempt(name, |run| {
            let output = command.stderr(std::process::Stdio::inherit()).output().context("starting it")?;
            run.facts.read(&output.stdout)?;
            if output.status.success() { Ok(()) } else { bail!("it ended with {}", output.status) }
        });
    }

    /// Does something, and goes on if it fails.
    fn attempt(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<()>) {
        let start = Instant::now();
        if let Err(error) = work(self) {
            self.failed += 1;
            say(&format!("{name} could not be measured: {error:#}"));
        }
        say(&format!("{name}: {:.1} s", start.elapsed().as_secs_f64()));
    }
}

/// The Worker's throughput with a million keys and a change every second.
fn worker(cores: Cores) -> Result<Vec<Row>> {
    let programs = Programs::prepare()?;
    Runtime::new()?.block_on(async {
        let scene = Scene::start(&programs, cores, MILLION).await?;
        verdicts::measure(&scene, Effort::FULL).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_keys_are_read() {
        assert_eq!(keys_of("100k").ok(), Some(100_000));
        assert_eq!(keys_of("5m").ok(), Some(5_000_000));
        assert_eq!(keys_of("70").ok(), Some(70));
        for bad in ["", "m", "0", "5mm5", "5g", "99999999999"] {
            assert!(keys_of(bad).is_err(), "{bad}");
        }
    }
}
