//! Building a base from the database: the rows of keys and profiles up to its version, which no longer change.

use std::time::Duration;

use nightlatch_keyset::{BaseBuilder, BaseFiles, BaseInfo, Layout, Pepper};
use tokio::time::Instant;

use super::blocking;
use super::config::{PublisherConfig, Step};
use super::error::Error;
use super::image::Image;
use super::status::{Phase, Progress};
use crate::store::Store;
use crate::store::lease::Lease;
use crate::store::profile_rows::{self, Profiles};
use crate::store::publication::{self, ChangeRow, Place};

/// Rows read at a time.
const PAGE: u32 = 4096;
/// How often a long build renews the lease, where nobody else does, and says how far it is.
const RENEWAL: Duration = Duration::from_secs(2);

/// Who hears of a build while it goes on.
pub(super) struct Watch<'a> {
    /// The lease to be renewed, where nobody else does.
    pub(super) lease: Option<&'a Lease>,
    /// Hears how far it is.
    pub(super) progress: &'a (dyn Fn(Option<Progress>) + Send + Sync),
}

/// Builds a base from the change rows up to its version: of every key the last, but for keys that had ended before the
/// cutoff. The same rows, `info` and `layout` give the same bytes. `None` where an imported key is met and rows have no
/// column for its number.
///
/// # Errors
/// [`Error::Deposed`] where there is a lease to be renewed and it passes to another meanwhile.
pub(super) async fn build(
    store: &Store,
    config: &PublisherConfig,
    info: BaseInfo,
    layout: Layout,
    expected_keys: u64,
    watch: &Watch<'_>,
) -> Result<Option<BaseFiles>, Error> {
    let through = info.version;
    let expected = publication::count_changes(&mut store.read().await?, &config.set, through).await?;
    let mut progress = Progress { phase: Phase::Reading, rows: 0, expected };
    (watch.progress)(Some(progress));
    let profiles = profiles_at(store, config, through).await?;
    let mut filling = Filling::new(info, layout, expected_keys, profiles, config)?;
    let mut renewed = Instant::now();
    let mut place = Place::default();
    let mut whole = true;
    while whole {
        // A snapshot per page: rows up to this version do not change, and a long snapshot would hold up the database.
        let page = publication::changes_page(&mut store.read().await?, &config.set, through, place, PAGE).await?;
        let Some(last) = page.last() else { break };
        place = last.place();
        progress.rows += page.len() as u64;
        for row in page {
            whole &= filling.take(row)?;
        }
        config.reached(Step::PageRead)?;
        if renewed.elapsed() >= RENEWAL {
            if let Some(lease) = watch.lease {
                renew(store, lease).await?;
            }
            (watch.progress)(Some(progress));
            tracing::info!(set = %config.set, rows = progress.rows, expected, "building a base from the database");
            renewed = Instant::now();
        }
    }
    (watch.progress)(Some(Progress { phase: Phase::Packing, ..progress }));
    let built = if whole { blocking(move || filling.finish()).await? } else { None };
    (watch.progress)(None);
    Ok(built)
}

/// The live profiles at a version.
async fn profiles_at(store: &Store, config: &PublisherConfig, through: u64) -> Result<Profiles, Error> {
    let (mut profiles, mut place) = (Profiles::default(), profile_rows::Place::default());
    while let Some((rows, next)) =
        profile_rows::page(&mut store.read().await?, &config.set, through, place, PAGE).await?
    {
        profiles.take(&rows)?;
        place = next;
    }
    Ok(profiles)
}

async fn renew(store: &Store, lease: &Lease) -> Result<(), Error> {
    let lease = lease.clone();
    let held = store.write(move |tx| Box::pin(async move { lease.renew(tx).await })).await?;
    if held { Ok(()) } else { Err(Error::Deposed) }
}

/// A base on its way.
struct Filling {
    builder: BaseBuilder,
    pepper: Pepper,
    profiles: Profiles,
    cutoff: u64,
    numbers: bool,
    /// The last row read of the key that the pages have reached; a later row of the same key replaces it.
    latest: Option<ChangeRow>,
}

impl Filling {
    fn new(
        info: BaseInfo,
        layout: Layout,
        expected_keys: u64,
        profiles: Profiles,
        config: &PublisherConfig,
    ) -> Result<Self, Error> {
        let pepper = config.pepper(&info.pepper)?.clone();
        let (cutoff, numbers) = (info.cutoff, layout.columns().number);
        let builder = BaseBuilder::new(info, layout, expected_keys)?;
        Ok(Self { builder, pepper, profiles, cutoff, numbers, latest: None })
    }

    /// Takes the next row. `false` where a key cannot be in this base.
    fn take(&mut self, row: ChangeRow) -> Result<bool, Error> {
        let number = row.key_number;
        match self.latest.replace(row) {
            Some(before) if before.key_number != number => self.push(&before),
            _ => Ok(true),
        }
    }

    fn push(&mut self, row: &ChangeRow) -> Result<bool, Error> {
        let image = Image::decode(row, &self.profiles, &self.pepper)?;
        if image.ended_before(self.cutoff) {
            return Ok(true);
        }
        if image.is_foreign() && !self.numbers {
            return Ok(false);
        }
        self.builder.push(&image.change())?;
        Ok(true)
    }

    fn finish(mut self) -> Result<Option<BaseFiles>, Error> {
        if let Some(last) = self.latest.take()
            && !self.push(&last)?
        {
            return Ok(None);
        }
        Ok(Some(self.builder.finish()?))
    }
}
