//! Instructions of a lookup: what does not depend on the machine's mood.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::facts::fact;
use crate::peers::{Fast, key};
use crate::world::{Tags, World, random_tag};

/// Lookups by which two counted runs differ.
const MORE: u32 = 200_000;
const FEW: u32 = 1_000;

/// Whose lookups are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Who {
    /// The set's
    Ours,
    /// hashbrown's
    Fast,
}

/// Counts with callgrind: two runs, of which one looks up more, and everything else is alike.
pub(crate) fn measure(keys: u32) -> Result<()> {
    for (who, name) in [(Who::Ours, "ours"), (Who::Fast, "fast")] {
        let (few, many) = (run(keys, name, FEW)?, run(keys, name, FEW + MORE)?);
        fact(format!("instructions.{name}"), (many - few) / f64::from(MORE));
        debug_assert_eq!(format!("{who:?}").to_lowercase(), name);
    }
    Ok(())
}

fn run(keys: u32, who: &str, lookups: u32) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["counted", "--who", who, "--keys", &keys.to_string(), "--lookups", &lookups.to_string()])
        .stdout(Stdio::null())
        .output()
        .context("running valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed: {text}");
    let line = text.lines().find_map(|line| line.split_once("Collected : ")).context("callgrind gave no count")?;
    Ok(line.1.trim().parse()?)
}

/// What is counted: everything up to the lookups is the same for any number of them.
pub(crate) fn counted(keys: u32, who: Who, lookups: u32) -> Result<()> {
    let world = World::new(Tags::Random, true)?;
    let hits = || (0..lookups).map(|number| u64::from(number % keys));
    let sum: u64 = match who {
        Who::Ours => {
            let (replica, _) = world.start(&world.base(keys)?)?;
            // Every segment is checked once, before.
            let check: u64 =
                (0..u64::from(keys)).map(|number| u64::from(replica.lookup(&random_tag(number)).is_ok())).sum();
            let tags: Vec<_> = (0..keys).map(|number| random_tag(number.into())).collect();
            check
                + hits()
                    .map(|at| replica.lookup(&tags[at as usize]).ok().flatten().map_or(0, |r| r.subject.into()))
                    .sum::<u64>()
        }
        Who::Fast => {
            let tags: Vec<_> = (0..keys).map(|number| key(&random_tag(number.into()))).collect();
            let map: Fast = tags.iter().map(|tag| (*tag, [1, 2, 3])).collect();
            hits().map(|at| map.get(&tags[at as usize]).map_or(0, |payload| payload[2].into())).sum()
        }
    };
    std::hint::black_box(sum);
    Ok(())
}
