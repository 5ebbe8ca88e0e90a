//! A planned rotation of a key that is in constant use, watched from outside.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use nightlatch_api::{CompleteRotation, RevokeKey, Secret, StartRotation, StartedRotation};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::caller::{Answer, Caller};
use crate::clock::{after, before, between, now, until};
use crate::load::Consumer;
use crate::wait::eventually;
use crate::world::{SOON, World};

/// How long consumers have between the moment both keys work everywhere and the deadline.
const WINDOW: Duration = Duration::from_secs(6);
/// How long before the deadline the last consumer swaps, where the predecessor is to be revoked before the deadline.
const ROOM_TO_REVOKE: Duration = Duration::from_secs(3);
/// How often a key that should be dead is tried.
const PROBE: Duration = Duration::from_millis(50);

/// How a rotation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The predecessor is revoked: create and revoke, nothing else.
    Revoke,
    /// The rotation is completed by request.
    Complete,
    /// The deadline passes.
    Deadline,
}

impl Ending {
    /// What the edge says of the predecessor afterwards.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Revoke | Self::Complete => "key_revoked",
            Self::Deadline => "key_retired_grace_over",
        }
    }
}

/// A key in use, and the programs that use it.
pub struct Deployment {
    /// The key's id.
    pub id: String,
    /// Its text.
    pub secret: Arc<Secret>,
    /// Those who use it.
    pub consumers: Vec<Arc<Consumer>>,
}

/// A predecessor that has gone out of service.
pub struct Retired {
    /// Its text.
    pub secret: Arc<Secret>,
    /// What the edge says of it.
    pub code: &'static str,
    /// From the end by request or by deadline to the first 401 of the last edge.
    pub delay: Duration,
}

/// Rotates a deployment's key: both keys work from `usable_from` on, every consumer swaps at a random moment of its own,
/// the predecessor ends, and is refused from the promised moment on.
///
/// # Errors
/// When anything is not as promised.
pub async fn rotate(
    world: &World,
    deployment: &mut Deployment,
    ending: Ending,
    random: &mut ChaCha8Rng,
) -> Result<Retired> {
    let overlap = world.timing.bound() + WINDOW;
    let request = StartRotation {
        overlap_seconds: Some(overlap.as_secs()),
        reason: "scheduled".into(),
        name: None,
        scopes: None,
        order: nightlatch_api::RotationOrder::IssueFirst,
        dry_run: false,
        acknowledge_sensitive: false,
        expires_at: None,
    };
    let predecessor = world.api().key(&deployment.id).await?.value;
    let StartedRotation { rotation, key, secret, .. } = world.api().start_rotation(&deployment.id, &request).await?;
    ensure!((&key.scopes, &key.tier) == (&predecessor.scopes, &predecessor.tier), "{key:?} succeeds {predecessor:?}");
    let (old, new) = (Arc::clone(&deployment.secret), Arc::new(secret));
    let deadline = rotation.deadline.context("a planned rotation has a deadline")?;

    let last = match ending {
        // Deadlines take effect within plus or minus the skew.
        Ending::Deadline => before(deadline, Duration::from_secs(world.timing.skew)),
        Ending::Revoke | Ending::Complete => before(deadline, ROOM_TO_REVOKE),
    };
    let choice = between(key.usable_from, last);
    ensure!(!choice.is_zero(), "usable from {} leaves no time before {deadline}", key.usable_from);
    for consumer in &deployment.consumers {
        consumer.swap_at(after(key.usable_from, choice.mul_f64(random.random())), &new);
    }

    until(key.usable_from).await;
    for edge in &world.callers {
        edge.get("/status", new.expose()).await?.allowed().context("the successor, once usable")?;
        let retiring = edge.get("/status", old.expose()).await?.allowed().context("the predecessor, meanwhile")?;
        ensure!(retiring.header("deprecation") == format!("@{}", deadline.as_second()), "{:?}", retiring.headers);
    }

    until(last).await;
    eventually("no request with the predecessor is on its way", SOON, async || {
        // One clone here, one in the deployment.
        let users = Arc::strong_count(&old) - 2;
        ensure!(users == 0, "{users} consumers hold it");
        Ok(())
    })
    .await?;
    let (ended, in_force_by) = end(world, deployment, &rotation.id, ending, deadline).await?;
    let deaths = world.callers.iter().map(|edge| watch_it_die(edge, &old, ending.code(), ended, in_force_by));
    let delay = try_join_all(deaths).await?.into_iter().max().unwrap_or_default();
    for edge in &world.callers {
        edge.get("/status", new.expose()).await?.allowed().context("the successor, afterwards")?;
    }
    (deployment.id, deployment.secret) = (key.id, new);
    Ok(Retired { secret: old, code: ending.code(), delay })
}

/// Ends the predecessor; from when on, and by when everywhere.
async fn end(
    world: &World,
    deployment: &Deployment,
    rotation: &str,
    ending: Ending,
    deadline: Timestamp,
) -> Result<(Timestamp, Timestamp)> {
    let asked = now();
    match ending {
        Ending::Revoke => {
            let request = RevokeKey::new("replaced");
            let revoked = world.api().revoke_key(&deployment.id, &request).await?;
            Ok((asked, revoked.in_force_by))
        }
        Ending::Complete => {
            // Its last use was seconds ago, so that only force completes it; nobody holds it any more.
            let request = CompleteRotation { force: true, reason: Some("every consumer has swapped".into()) };
            let changed = world.api().complete_rotation(rotation, &request).await?;
            Ok((asked, changed.in_force_by))
        }
        Ending::Deadline => Ok((deadline, after(deadline, Duration::from_secs(world.timing.skew)))),
    }
}

/// Tries a dying key at an edge until `in_force_by`: it may still pass before, never afterwards, and never again once refused.
async fn watch_it_die(
    edge: &Caller,
    key: &Secret,
    code: &str,
    ended: Timestamp,
    in_force_by: Timestamp,
) -> Result<Duration> {
    let mut first: Option<Answer> = None;
    loop {
        let answer = edge.get("/status", key.expose()).await?;
        let promised = answer.sent >= in_force_by;
        match &first {
            None if answer.status == 200 => ensure!(!promised, "accepted after {in_force_by}: {answer:?}"),
            None => first = Some(answer.refused(code)?),
            Some(_) => drop(answer.refused(code).context("it had been refused before")?),
        }
        if promised {
            let first = first.context("it was never refused")?;
            return Ok(between(ended, first.received));
        }
        tokio::time::sleep(PROBE).await;
    }
}
