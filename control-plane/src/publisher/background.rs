//! Building a base from the database while the old epoch goes on: with another pepper, with other columns, or with more
//! bits of each tag.
//!
//! The base is built at the version that was current when the build began, as if it had been the old epoch's. Then it is
//! brought to the current version by the change rows since, and the leader folds it into the next epoch's base as it folds
//! its own. What comes out depends on the rows and the cutoff alone, not on when the build began.

use std::sync::Arc;

use nightlatch_keyset::{Author, BaseFiles, BaseInfo, Columns, Head, Layout, Replica};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use super::blocking;
use super::build::{Watch, build};
use super::config::{PublisherConfig, Step};
use super::error::Error;
use super::fold::Since;
use super::numbering::author_next;
use super::reason::CutReason;
use super::status::{Phase, Progress, PublisherStatus};
use crate::store::{self, Store, profile_rows, publication};

/// Of all sets that this process publishes one is built at a time: each build holds its whole set in memory, and a change of
/// the format makes them all due at once.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// Of those that can wait, one at a time waits in the other's queue: a build that is urgent then comes after one of them at
/// most, however many there are.
static ONE_THAT_CAN_WAIT: Semaphore = Semaphore::const_new(1);

/// How the set is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) pepper: String,
    pub(super) columns: Columns,
}

/// A build that goes on. Dropping it ends it.
pub(super) struct Building {
    pub(super) target: Target,
    pub(super) reason: CutReason,
    task: JoinHandle<Result<Option<Built>, Error>>,
}

/// What came of a build.
pub(super) struct Built {
    /// At a version of the old epoch, with its numbers but with bases and tags of its own.
    pub(super) author: Author,
    pub(super) since: Since,
}

impl Building {
    /// Begins to build the set as it is at `head`. `done` hears of the end.
    pub(super) fn start(
        store: Store,
        config: Arc<PublisherConfig>,
        status: watch::Sender<PublisherStatus>,
        done: Arc<Notify>,
        plan: Plan,
    ) -> Self {
        let (target, reason) = (plan.target.clone(), plan.reason);
        let task = tokio::spawn(async move {
            // A pepper may have been stolen. Nobody closes these.
            let _place = if reason == CutReason::Pepper { None } else { ONE_THAT_CAN_WAIT.acquire().await.ok() };
            let _permit = ONE_AT_A_TIME.acquire().await.ok();
            let result = run(&store, &config, &status, plan).await;
            show(&status, None);
            done.notify_one();
            result
        });
        Self { target, reason, task }
    }

    /// Whether it has come to its end.
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// What came of it; `None` where an imported key was met and rows have no column for its number.
    pub(super) async fn take(mut self) -> Result<Option<Built>, Error> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(store::Error::Closed.into()),
            },
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is to be built.
pub(super) struct Plan {
    /// The head in force.
    pub(super) head: Head,
    /// Keys that there may be when it is done.
    pub(super) keys: u64,
    /// Unix seconds.
    pub(super) cutoff: u64,
    pub(super) target: Target,
    pub(super) reason: CutReason,
}

fn show(status: &watch::Sender<PublisherStatus>, progress: Option<Progress>) {
    status.send_if_modified(|status| std::mem::replace(&mut status.build, progress) != progress);
}

async fn run(
    store: &Store,
    config: &PublisherConfig,
    status: &watch::Sender<PublisherStatus>,
    plan: Plan,
) -> Result<Option<Built>, Error> {
    let Plan { head, keys, cutoff, target, reason } = plan;
    tracing::info!(set = %config.set, %reason, keys = head.keys, "a base is built from the database, in the background");
    let info = BaseInfo {
        set: head.set.clone(),
        workspace: head.workspace.clone(),
        pepper: target.pepper.clone(),
        incarnation: head.incarnation,
        epoch: head.epoch,
        version: head.version,
        cutoff,
    };
    let layout = Layout::for_keys(keys, target.columns);
    let watch = Watch { lease: None, progress: &|progress| show(status, progress) };
    let Some(files) = build(store, config, info, layout, head.keys, &watch).await? else { return Ok(None) };
    let since = Since { version: head.version, cutoff };
    show(status, Some(Progress { phase: Phase::CatchingUp, rows: 0, expected: 0 }));
    let head = head_of(&head, config, &target, &files)?;
    let mut author = blocking(move || Ok(Author::new(Replica::load(files.index, files.parts, &head)?)?)).await?;
    loop {
        let through = publication::state(&mut store.read().await?, &config.set).await?.version;
        if author.replica().version() >= through {
            break;
        }
        match catch_up(store, config, author, &target.pepper, through).await? {
            Some(further) => author = further,
            None => return Ok(None),
        }
    }
    config.reached(Step::BackgroundBuilt)?;
    Ok(Some(Built { author, since }))
}

/// A head that the files can be loaded by: of the old epoch's numbers, with these files as its base. Nobody signs it.
fn head_of(head: &Head, config: &PublisherConfig, target: &Target, files: &BaseFiles) -> Result<Head, Error> {
    Ok(Head {
        keys: files.keys,
        base_version: head.version,
        base_commitment: head.commitment,
        base_root: files.root,
        base_len: files.index.len() as u64,
        base_parts: files.parts.iter().map(|part| part.len() as u64).collect(),
        rebase: None,
        pepper: target.pepper.clone(),
        pepper_check: config.pepper(&target.pepper)?.check(),
        ..head.clone()
    })
}

/// Applies the changes up to a version, each version's in turn. `None` where an imported key is met and rows have no
/// column for its number.
pub(super) async fn catch_up(
    store: &Store,
    config: &PublisherConfig,
    mut author: Author,
    pepper: &str,
    through: u64,
) -> Result<Option<Author>, Error> {
    let pepper = config.pepper(pepper)?;
    let numbers = author.replica().layout().columns().number;
    while author.replica().version() < through {
        let version = author.replica().version() + 1;
        let rows = profile_rows::of_version(&mut store.read().await?, &config.set, version).await?;
        if !numbers && rows.changes.iter().any(|row| row.imported != 0) {
            return Ok(None);
        }
        author_next(&mut author, pepper, &rows, &config.signer)?;
    }
    Ok(Some(author))
}
