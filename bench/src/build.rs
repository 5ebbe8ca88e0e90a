//! The publisher's part: a whole base from changes in no order.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use nightlatch_keyset::{BaseBuilder, Layout};

use crate::facts::{fact, ms, resident};
use crate::peers::{Key, Payload, key};
use crate::world::{Tags, World};

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Who {
    /// A base
    Base,
    /// A map of the standard library
    Map,
    /// Nothing: what coming by the changes costs
    Nothing,
}

/// Builds one of them from the same changes, and says what it took; memory is of this process, which does nothing else.
pub(crate) fn measure(keys: u32, who: Who) -> Result<()> {
    let world = World::new(Tags::Random, true)?;
    let count = u64::from(keys);
    let (before, _) = resident();
    let start = Instant::now();
    match who {
        Who::Base => {
            let layout = Layout::for_keys(count, world.columns);
            let mut builder = BaseBuilder::new(world.info(), layout, count)?;
            for number in 0..count {
                builder.push(&world.key(number))?;
            }
            let files = builder.finish()?;
            fact(format!("build.{keys}.base"), ms(start.elapsed()));
            let (_, peak) = resident();
            fact(format!("build.{keys}.base_peak"), peak - before);
            fact(format!("build.{keys}.base_bytes"), files.len() as f64);
        }
        Who::Map => {
            let mut map: HashMap<Key, Payload> = HashMap::new();
            for number in 0..count {
                let change = world.key(number);
                map.insert(key(&change.tag), [1, change.deadline.unwrap_or_default() as u32, change.subject]);
            }
            fact(format!("build.{keys}.map"), ms(start.elapsed()));
            let (_, peak) = resident();
            fact(format!("build.{keys}.map_peak"), peak - before);
            black_box(map);
        }
        Who::Nothing => {
            let sum = (0..count).map(|number| u64::from(world.key(number).subject)).sum::<u64>();
            black_box(sum);
            fact(format!("build.{keys}.changes"), ms(start.elapsed()));
        }
    }
    Ok(())
}
