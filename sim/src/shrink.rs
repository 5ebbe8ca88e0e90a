//! A failing world, made small.

use std::fmt;

use crate::Plant;
use crate::plan::{self, Input, Setup};
use crate::world::{Violation, World};

/// Worlds that are lived at most to make one small.
const MOST_RUNS: u32 = 400;

/// What it takes to break a guarantee.
pub struct Story {
    /// The seed.
    pub seed: u64,
    /// What breaks.
    pub violation: Violation,
    /// Inputs that the seed drew.
    pub drawn: usize,
    setup: Setup,
    inputs: Vec<Input>,
}

impl Story {
    /// Inputs that it takes.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }
}

/// Leaves out inputs and edges of a failing seed for as long as a guarantee breaks. `None` where the seed does not fail.
pub fn shrink(seed: u64, plant: Option<Plant>) -> Option<Story> {
    let (mut setup, mut inputs) = plan::draw(seed, plant);
    let drawn = inputs.len();
    let lives = |setup: &Setup, inputs: &[Input]| {
        let mut world = World::new(setup.clone(), inputs);
        world.run();
        world.violation
    };
    let mut violation = lives(&setup, &inputs)?;
    let mut runs = 0;
    let mut chunk = inputs.len().div_ceil(2).max(1);
    while chunk > 0 && runs < MOST_RUNS {
        let mut at = 0;
        let mut any = false;
        while at < inputs.len() && runs < MOST_RUNS {
            let mut fewer = inputs.clone();
            fewer.drain(at..(at + chunk).min(inputs.len()));
            runs += 1;
            match lives(&setup, &fewer) {
                Some(found) if found.guarantee == violation.guarantee => {
                    (inputs, violation, any) = (fewer, found, true);
                }
                _ => at += chunk,
            }
        }
        chunk = if any && chunk == 1 { 1 } else { chunk / 2 };
    }
    // Nothing comes after what broke; edges at the end may be left out without renaming others.
    setup.length = setup.length.max(violation.at);
    while setup.edges.len() > 1 && runs < MOST_RUNS {
        let mut fewer = setup.clone();
        fewer.edges.truncate(setup.edges.len() / 2);
        let touches = |input: &Input| input.act.edge().is_none_or(|edge| edge < fewer.edges.len());
        let left: Vec<_> = inputs.iter().copied().filter(touches).collect();
        runs += 1;
        match lives(&fewer, &left) {
            Some(found) if found.guarantee == violation.guarantee => (setup, inputs, violation) = (fewer, left, found),
            _ => break,
        }
    }
    Some(Story { seed, violation, drawn, setup, inputs })
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { at, guarantee, what } = &self.violation;
        let Setup { replicas, validity, heartbeat, skew, stores, edges, .. } = &self.setup;
        writeln!(f, "seed {}: guarantee {guarantee} is broken after {:.3} s: {what}", self.seed, *at as f64 / 1000.0)?;
        writeln!(f, "  {replicas} replicas, validity {validity} ms, heartbeat {heartbeat} ms, skew {skew} ms")?;
        writeln!(f, "  stores: {stores:?}")?;
        for (number, edge) in edges.iter().enumerate().take(12) {
            writeln!(f, "  edge {number}: {edge:?}")?;
        }
        writeln!(f, "  {} of {} inputs:", self.inputs.len(), self.drawn)?;
        for input in &self.inputs {
            writeln!(f, "  {input}")?;
        }
        let plant = self.setup.plant.map_or(String::new(), |plant| format!(" --plant {plant}"));
        write!(f, "replay: cargo xtask simulate --replay {}{plant}", self.seed)
    }
}
