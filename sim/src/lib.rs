//! A simulated world that tries to break the bound.
//!
//! Everything that decides is the real thing: the publisher's rules (`nightlatch-publish`), the set and its signatures
//! (`nightlatch-keyset`), an edge's state machine and the sync job's plan (`nightlatch-sync`), the gate
//! (`nightlatch-gate`). Time, networks, disks, clocks, the database, stores and caches are simulated: they fail in every
//! way that an operator can name. A world is drawn whole from a seed, and lives event by event; after each, the guarantees
//! of DESIGN §7 are checked.
//!
//! [`run`] lives one world. A seed that breaks a guarantee is made small by [`shrink`]: the inputs that it takes, and no
//! others. [`Plant`]s are known bugs in the wiring around the real parts, which the checks have to find.

mod applying;
mod checks;
mod clock;
mod database;
mod edges;
mod jobs;
mod kit;
mod leader;
mod measure;
mod members;
mod people;
mod plan;
mod plants;
mod published;
mod rebuild;
mod shrink;
mod signing;
mod store;
mod truth;
mod world;

pub use measure::{Counts, Delays};
pub use plan::Transport;
pub use plants::Plant;
pub use shrink::{Story, shrink};
pub use world::Violation;

use world::World;

/// What came of a world.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it was drawn from.
    pub seed: u64,
    /// What was counted.
    pub counts: Counts,
    /// The first guarantee that was broken, if one was.
    pub violation: Option<Violation>,
}

/// Lives the world of a seed. The same seed and plant always give the same outcome.
pub fn run(seed: u64, plant: Option<Plant>) -> Outcome {
    let (setup, inputs) = plan::draw(seed, plant);
    live(World::new(setup, &inputs))
}

/// Lives a calm world of so many edges, of all transports, in which a key is revoked every twelve seconds.
pub fn measure(seed: u64, edges: usize) -> Outcome {
    let (setup, inputs) = plan::calm(seed, edges);
    live(World::new(setup, &inputs))
}

fn live(mut world: World) -> Outcome {
    world.run();
    Outcome { seed: world.setup.seed, counts: world.counts, violation: world.violation }
}
