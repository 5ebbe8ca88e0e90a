//! A page of the list of keys.

use std::time::Instant;

use anyhow::Result;
use nightlatch_api::{KeyFilter, KeyState};

use super::numbers::quantile;
use super::row::{Row, Target};
use super::scene::Scene;
use super::{Effort, ms};

/// The set for which the goal is stated.
const STATED_FOR: u32 = 1_000_000;
/// As many keys as a page may have.
const STRIDE: u32 = 200;

/// Walks through the list in long strides and asks for a page of the usual size at each.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let pages = if effort.quick { 100 } else { 500 };
    let plain = walk(scene, pages, &KeyFilter::default()).await?;
    let owned = KeyFilter { owner: Some("team 7".into()), state: Some(KeyState::Active), ..KeyFilter::default() };
    let owned = walk(scene, pages, &owned).await?;
    let keys = scene.keys;
    let row = Row::new(format!("page of 50 keys of {keys} (p99, ms); goal at {STATED_FOR}"), quantile(&plain, 0.99));
    let row = if keys >= STATED_FOR { row.target(Target::AtMost(20.0)) } else { row };
    Ok(vec![row, Row::new(format!("page of 50 active keys of one owner of {keys} (p99, ms)"), quantile(&owned, 0.99))])
}

async fn walk(scene: &Scene<'_>, pages: usize, filter: &KeyFilter) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    let mut cursor = None;
    while took.len() < pages {
        let filter = KeyFilter { cursor: cursor.clone(), ..filter.clone() };
        let start = Instant::now();
        scene.client().list_keys(&filter).await?;
        took.push(ms(start.elapsed()));
        let stride = KeyFilter { limit: Some(STRIDE), ..filter };
        // From the end it begins again.
        cursor = scene.client().list_keys(&stride).await?.next_cursor;
    }
    Ok(took)
}
