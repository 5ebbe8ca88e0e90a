//! The leader's way from one epoch to the next.
//!
//! Most often it folds what it holds. Where the set is to be made with another pepper, rows are to have other columns, the
//! base is one of the format before, or the set has grown so much that more bits of each tag are to be stored, a base is built from the database in the
//! background, while the epoch goes on. No other epoch begins meanwhile.

use nightlatch_keyset::{Author, BaseBuilder, BaseInfo, Columns, Layout, Replica};
use tokio::time::Instant;

use super::background::{Building, Built, Plan, Target, catch_up};
use super::blocking;
use super::build::{Watch, build};
use super::chores::Chores;
use super::config::Step;
use super::cut::{Before, Made, conclude};
use super::epoch::Epoch;
use super::error::Error;
use super::fold::{self, Next, Since, fold};
use super::leader::{Known, Leader, Tenure, keep};
use super::reason::CutReason;
use crate::store::publication::{self, SetState};
use crate::store::{self, versions};

impl Leader {
    /// Begins the first epoch, with an empty base: what is committed already follows as its versions. After a recovery, the
    /// first of the new incarnation, with everything that has a version.
    pub(super) async fn first_epoch(&mut self, tenure: &mut Tenure, state: &SetState) -> Result<(), Error> {
        if state.version > 0 {
            return self.recovered(tenure, state).await;
        }
        let started = Instant::now();
        let info = BaseInfo {
            set: self.config.set.as_str().to_owned(),
            workspace: state.workspace.clone(),
            pepper: state.pepper_id.clone(),
            incarnation: state.incarnation,
            epoch: state.epoch + 1,
            version: state.version + 1,
            cutoff: 0,
        };
        let layout = Layout::for_keys(0, Columns { subject: true, number: state.accepts_foreign });
        let files = BaseBuilder::new(info.clone(), layout, 0)?.finish()?;
        self.begin(tenure, started, Made::new(info, layout, CutReason::First, files, None), None).await
    }

    /// Builds the base of a new incarnation from the database. No epoch goes on meanwhile.
    async fn recovered(&mut self, tenure: &mut Tenure, state: &SetState) -> Result<(), Error> {
        let started = Instant::now();
        let (now, keys, earlier) = {
            let mut read = self.store.read().await?;
            let epochs = versions::epochs(&mut read, &self.config.set).await?;
            let now = u64::try_from(read.now().await?).map_err(|_| store::Error::Corrupt("clock"))?;
            let keys = publication::count_keys(&mut read, &self.config.set).await?;
            (now, keys, epochs.first().map_or(0, |row| row.cutoff))
        };
        let cutoff = fold::cutoff(&self.config, now, earlier);
        let mut columns = Columns { subject: true, number: state.accepts_foreign || tenure.imports };
        loop {
            let info = BaseInfo {
                set: self.config.set.as_str().to_owned(),
                workspace: state.workspace.clone(),
                pepper: state.pepper_id.clone(),
                incarnation: state.incarnation,
                epoch: state.epoch + 1,
                version: state.version + 1,
                cutoff,
            };
            let layout = Layout::for_keys(keys, columns);
            let show = |progress| self.status.send_modify(|status| status.build = progress);
            let watch = Watch { lease: Some(&tenure.lease), progress: &show };
            match build(&self.store, &self.config, info.clone(), layout, keys, &watch).await? {
                Some(files) => {
                    let made = Made::new(info, layout, CutReason::Recovery, files, None);
                    return self.begin(tenure, started, made, None).await;
                }
                // Imported keys are still in a set that no longer takes any.
                None => (tenure.imports, columns.number) = (true, true),
            }
        }
    }

    /// Ends the epoch, if that is due: by what has become of it, or because the set is to be made otherwise.
    pub(super) async fn next_epoch(&mut self, tenure: &mut Tenure, state: &SetState) -> Result<(), Error> {
        let Known::Published(Some(epoch)) = &tenure.state else { return Ok(()) };
        let target = Target {
            pepper: state.pepper_id.clone(),
            columns: Columns { subject: true, number: state.accepts_foreign || tenure.imports },
        };
        // The key that signs may have been stolen: that waits for no build. A base of another format is laid out anew on the way.
        if let (Some(_), Some(layout)) = (&self.next, fold::layout(&epoch.author)) {
            return self.rebase(tenure, CutReason::Signer, layout).await;
        }
        let reason = if epoch.head.pepper != target.pepper {
            CutReason::Pepper
        } else if epoch.columns() != target.columns {
            CutReason::Columns
        } else if !epoch.author.replica().has_current_format() {
            CutReason::Format
        } else {
            let reason =
                self.next.as_ref().map(|_| CutReason::Signer).or_else(|| epoch.cut_reason(&self.config.limits));
            if let (Some(reason), Some(layout)) = (reason, fold::layout(&epoch.author)) {
                return self.rebase(tenure, reason, layout).await;
            }
            match reason {
                Some(reason) => reason,
                None => {
                    tenure.building = None;
                    return Ok(());
                }
            }
        };
        match tenure.building.take() {
            Some(building) if building.target == target && building.is_finished() => {
                self.succeed(tenure, building).await
            }
            Some(building) if building.target == target => {
                tenure.building = Some(building);
                Ok(())
            }
            _ => {
                let keys = epoch.head.keys.saturating_add(self.status.borrow().unpublished);
                let cutoff = fold::cutoff(&self.config, epoch.head.issued, epoch.cutoff);
                let plan = Plan { head: epoch.head.clone(), keys, cutoff, target, reason };
                let (store, config) = (self.store.clone(), self.config.clone());
                let building = Building::start(store, config, self.status.clone(), self.built.clone(), plan);
                tenure.building = Some(building);
                Ok(())
            }
        }
    }

    /// Folds the epoch's base and changes into the next one's base.
    async fn rebase(&mut self, tenure: &mut Tenure, reason: CutReason, layout: Layout) -> Result<(), Error> {
        let started = Instant::now();
        let Known::Published(Some(epoch)) = std::mem::replace(&mut tenure.state, Known::Nothing) else {
            return Ok(());
        };
        let Epoch { head, author, cutoff, .. } = *epoch;
        let since = Since { version: head.base_version, cutoff };
        let next = Next { layout, cutoff: fold::cutoff(&self.config, head.issued, cutoff), reason };
        tenure.building = None;
        // The old base is let go as soon as the new one is there.
        let folding = fold(&self.store, &self.config, author, &head.pepper, since, next);
        let made = keep(&self.store, &tenure.lease, folding).await?;
        self.begin(tenure, started, made, Some(&head)).await
    }

    /// Publishes what a build in the background has come to.
    async fn succeed(&mut self, tenure: &mut Tenure, building: Building) -> Result<(), Error> {
        let (started, target, reason) = (Instant::now(), building.target.clone(), building.reason);
        let Some(Built { author, since }) = building.take().await? else {
            tenure.imports = true;
            return Ok(());
        };
        let Known::Published(Some(epoch)) = &tenure.state else { return Ok(()) };
        let head = epoch.head.clone();
        // Another epoch may have begun meanwhile, and then the base has the wrong number; the next turn starts anew.
        if (author.replica().incarnation(), author.replica().epoch()) != (head.incarnation, head.epoch) {
            return Ok(());
        }
        let Some(author) = catch_up(&self.store, &self.config, author, &target.pepper, head.version).await? else {
            tenure.imports = true;
            return Ok(());
        };
        tenure.state = Known::Nothing;
        // However many keys there have come to be: more bits of their tags are not at hand.
        let next = Next { layout: author.replica().layout(), cutoff: since.cutoff, reason };
        let folding = fold(&self.store, &self.config, author, &target.pepper, since, next);
        let folded = keep(&self.store, &tenure.lease, folding).await?;
        // Replicas of the epoch before have other tags or columns: the record would lead them nowhere.
        let made = folded.without_record();
        self.begin(tenure, started, made, Some(&head)).await
    }

    /// Publishes a base: its epoch begins.
    async fn begin(
        &mut self,
        tenure: &mut Tenure,
        started: Instant,
        made: Made,
        before: Option<&nightlatch_keyset::Head>,
    ) -> Result<(), Error> {
        self.config.reached(Step::BaseBuilt)?;
        if let Some(next) = self.next.take() {
            self.config = next;
        }
        let Made { files, record, facts } = made;
        let (config, lease, base) = (self.config.clone(), tenure.lease.clone(), facts.clone());
        let before = Before {
            commitment: before.map(|head| head.commitment),
            audit: before.map_or(tenure.audit, |head| head.audit),
        };
        let concluded = self.store.write(move |tx| Box::pin(conclude(tx, config, lease, base, before))).await?;
        self.config.reached(Step::CutConcluded)?;

        self.chained(tenure, &concluded.audit);
        let (head, note) = (concluded.head, concluded.note);
        self.write_policy(concluded.policy).await?;
        let index = self.write(head.base_name(), files.index).await?;
        self.config.reached(Step::IndexWritten)?;
        let mut parts = Vec::with_capacity(files.parts.len());
        for (name, part) in head.part_names().zip(files.parts) {
            parts.push(self.write(name, part).await?);
        }
        self.config.reached(Step::PartsWritten)?;
        if let Some(record) = record {
            self.write(head.rebase_name(), record).await?;
        }
        self.config.reached(Step::RecordWritten)?;
        let (cutoff, begun) = (facts.info.cutoff, concluded.begun);
        let epoch = blocking(move || {
            let replica = Replica::load(index, parts, &head).map_err(Error::Inapplicable)?;
            Epoch::new(head, note, Author::new(replica)?, cutoff, begun)
        })
        .await?;
        self.write_head(&epoch, started, Some(facts.reason)).await?;
        tracing::info!(
            set = %self.config.set,
            epoch = epoch.head.epoch,
            version = epoch.head.version,
            keys = epoch.head.keys,
            reason = %facts.reason,
            ms = started.elapsed().as_millis(),
            "an epoch begins"
        );
        tenure.signed_at = Some(started);
        tenure.state = Known::Published(Some(Box::new(epoch)));
        tenure.chores = Chores::default();
        Ok(())
    }
}
