//! Folding the leader's base and changes into the next base, in memory.
//!
//! It takes time in proportion to the keys, on a thread of its own; meanwhile nothing is numbered and no head is signed.
//! The validity of the last head has to outlast it, and so does the lease. The new base is in memory beside the old one
//! until it is published.

use std::collections::BTreeSet;

use nightlatch_key::Digest;
use nightlatch_keyset::{Author, BaseInfo, Layout, Tag};

use super::blocking;
use super::config::PublisherConfig;
use super::cut::Made;
use super::error::Error;
use super::reason::CutReason;
use crate::store::{Store, publication};

/// Which keys may have come to their end since an earlier base: those that a change after `version` or between the
/// cutoffs has revoked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    pub(super) version: u64,
    /// The earlier base's cutoff, unix seconds.
    pub(super) cutoff: u64,
}

/// The cutoff of a base made at `now` (unix milliseconds). It never falls: what has left does not come back.
pub(super) fn cutoff(config: &PublisherConfig, now: u64, earlier: u64) -> u64 {
    (now / 1000).saturating_sub(config.limits.retention.as_secs()).max(earlier)
}

/// How the next base is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) layout: Layout,
    /// Unix seconds: keys that had ended before leave.
    pub(super) cutoff: u64,
    pub(super) reason: CutReason,
}

/// The layout of the next base, where it can be folded; `None` where more bits of each tag are to be stored than the old
/// base has, so that the next one has to be built from the database.
pub(super) fn layout(author: &Author) -> Option<Layout> {
    let (replica, keys) = (author.replica(), author.replica().len() as u64);
    let layout = replica.layout();
    if layout.still_suits(keys) {
        return Some(layout);
    }
    let other = Layout::for_keys(keys, layout.columns());
    (other.tag_bits() <= layout.tag_bits()).then_some(other)
}

/// Folds everything up to the author's version into the base of the next one.
///
/// The keys that leave are those that [`build`](super::build::build) leaves out with the same cutoff; the author knows
/// deadlines, but not when a key was revoked.
pub(super) async fn fold(
    store: &Store,
    config: &PublisherConfig,
    author: Author,
    pepper: &str,
    since: Since,
    next: Next,
) -> Result<Made, Error> {
    let Next { layout, cutoff, reason } = next;
    let ended = ended(store, config, &author, pepper, since, cutoff).await?;
    let (set, pepper) = (config.set.as_str().to_owned(), pepper.to_owned());
    blocking(move || {
        let replica = author.replica();
        let info = BaseInfo {
            set,
            workspace: replica.workspace().to_owned(),
            pepper,
            incarnation: replica.incarnation(),
            epoch: replica.epoch() + 1,
            version: replica.version() + 1,
            cutoff,
        };
        let folded = author.rebase(cutoff, layout, &of_set(&author, ended)?)?;
        Ok(Made::new(info, layout, reason, folded.files, folded.record))
    })
    .await
}

/// Makes the rebase record again that such a fold to the same layout has made, here or in the program of the format before.
pub(super) async fn record(
    store: &Store,
    config: &PublisherConfig,
    author: Author,
    pepper: &str,
    since: Since,
    cutoff: u64,
) -> Result<Vec<u8>, Error> {
    let ended = ended(store, config, &author, pepper, since, cutoff).await?;
    blocking(move || Ok(author.rebase_record(cutoff, &of_set(&author, ended)?)?)).await
}

/// Keys that may have come to their end by a revocation, and leave then.
async fn ended(
    store: &Store,
    config: &PublisherConfig,
    author: &Author,
    pepper: &str,
    since: Since,
    cutoff: u64,
) -> Result<Vec<Tag>, Error> {
    let pepper = config.pepper(pepper)?;
    let (mut read, through) = (store.read().await?, author.replica().version());
    let digests =
        publication::revoked_before(&mut read, &config.set, since.version, since.cutoff, through, cutoff).await?;
    Ok(digests.into_iter().map(|digest| pepper.tag(&Digest::from_bytes(digest))).collect())
}

/// Those of the tags that the set has.
fn of_set(author: &Author, tags: Vec<Tag>) -> Result<BTreeSet<Tag>, Error> {
    let mut there = BTreeSet::new();
    for tag in tags {
        if author.replica().lookup(&tag)?.is_some() {
            there.insert(tag);
        }
    }
    Ok(there)
}
