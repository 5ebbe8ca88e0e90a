//! One pass: read both heads, plan, copy, replace the head, remove what is long unneeded.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nightlatch_keyset::note::NoteError;
use nightlatch_keyset::{FileName, Head, StatementError};
use nightlatch_sync::{CopyPlan, implied_files, plan_copy};

use super::report::{Copied, Report};
use super::target::{HeldHead, Listed};
use super::verify::Checker;
use super::{SyncError, SyncJob};

/// Copies beyond this show a progress bar.
const WORTH_A_BAR: u64 = 1 << 20;
/// Files copied at the same time.
const AT_ONCE: usize = 8;
/// How long what is known of a target is believed, by the clock of the heads: others may have removed files there.
const LOOK_AGAIN_MS: u64 = 60_000;

/// What is known of the target from the last pass, as long as nobody else writes there.
#[derive(Debug)]
pub(super) struct Known {
    held: Option<HeldHead>,
    head: Option<Head>,
    present: BTreeMap<FileName, Listed>,
    /// `issued` of the source's head when the target was looked at.
    looked_at: u64,
}

impl SyncJob {
    pub(super) async fn try_pass(&mut self) -> Result<Report, SyncError> {
        self.refuse_same_place()?;
        let Some(note) = self.source.head().await? else {
            return Ok(self.nothing_new());
        };
        let head = Head::open(&note, &self.options.verifiers)
            .map_err(|error| SyncError::Untrusted(format!("the source's head: {error}")))?;
        let mut known = match self.known.take() {
            Some(known) if head.issued.saturating_sub(known.looked_at) < LOOK_AGAIN_MS => known,
            _ => self.look_at_target(&head).await?,
        };
        if self.options.check {
            self.drop_damaged(&head, &mut known).await?;
        }

        let plan = plan(&head, &known)?;
        let unneeded = if plan.stale.is_empty() { Vec::new() } else { self.removable(&plan, &known, &head) };
        let mut report = Report::of(&head, self.options.dry_run);
        if self.options.dry_run {
            let checker = Checker::new(&head, known.head.as_ref(), &self.options.verifiers);
            let file = |name: &FileName| Copied { name: name.to_text(), bytes: checker.len(name) };
            // Of the rest a source need not have all.
            report.copied = plan.copy.iter().map(file).collect();
            report.head = plan.head;
            report.removed = unneeded.iter().map(FileName::to_text).collect();
            return Ok(report);
        }

        report.copied = self.copy(&plan, &head, &mut known).await?;
        if plan.head {
            let version = self.target.put_head(&note, known.held.as_ref()).await?;
            known.held = Some(HeldHead { note, version });
            known.head = Some(head);
            report.head = true;
        }
        for name in unneeded {
            self.target.remove(&name).await?;
            known.present.remove(&name);
            report.removed.push(name.to_text());
        }
        self.known = Some(known);
        Ok(report)
    }

    /// Copying a directory onto itself would lock out whoever publishes there.
    fn refuse_same_place(&self) -> Result<(), SyncError> {
        if let (Some(source), Some(target)) = (self.source.directory(), self.target.path())
            && let (Ok(source), Ok(target)) = (source.canonicalize(), target.canonicalize())
            && source == target
        {
            return Err(SyncError::Usage("source and target are the same directory".into()));
        }
        Ok(())
    }

    fn nothing_new(&self) -> Report {
        let head = self.known.as_ref().and_then(|known| known.head.as_ref());
        // The source only says so to whoever has the head already.
        head.map_or_else(Report::default, |head| Report::of(head, self.options.dry_run))
    }

    async fn look_at_target(&self, head: &Head) -> Result<Known, SyncError> {
        let held = self.target.head().await?;
        let opened = held.as_ref().map(|held| Head::open(&held.note, &self.options.verifiers));
        let opened = match opened {
            None => None,
            Some(Ok(opened)) => Some(opened),
            Some(Err(StatementError::Note(NoteError::UnknownSigner))) => {
                return Err(SyncError::Untrusted(
                    "the target's head was signed by somebody else: is this the target of another set?".into(),
                ));
            }
            Some(Err(StatementError::Version)) => {
                return Err(SyncError::Untrusted(
                    "the target's head is of a newer format than this program's: use a newer program".into(),
                ));
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the target's head is damaged and will be replaced");
                None
            }
        };
        let mut present = self.target.list().await?;
        // A file of another length than was signed is damaged: as good as absent.
        let checker = Checker::new(head, None, &self.options.verifiers);
        let needed: BTreeSet<FileName> = implied_files(head).collect();
        present.retain(|name, listed| {
            !needed.contains(name) || checker.len(name).is_none_or(|expected| expected == listed.bytes)
        });
        Ok(Known { held, head: opened, present, looked_at: head.issued })
    }

    /// Reads what the target has of the head, and forgets what is not as it was signed.
    async fn drop_damaged(&self, head: &Head, known: &mut Known) -> Result<(), SyncError> {
        let checker = Checker::new(head, known.head.as_ref(), &self.options.verifiers);
        for name in implied_files(head) {
            if !known.present.contains_key(&name) {
                continue;
            }
            let bytes = self.target.read(&name, checker.limit(&name)).await?;
            if bytes.is_none_or(|bytes| checker.check(&name, &bytes).is_err()) {
                tracing::warn!(%name, "a file of the target is damaged and will be replaced");
                known.present.remove(&name);
                if matches!(name, FileName::BasePart { .. }) {
                    // Or else its index is.
                    known.present.remove(&head.base_name());
                }
            }
        }
        Ok(())
    }

    async fn copy(&self, plan: &CopyPlan, head: &Head, known: &mut Known) -> Result<Vec<Copied>, SyncError> {
        let checker = Checker::new(head, known.head.as_ref(), &self.options.verifiers);
        let bar = progress(plan.copy.iter().filter_map(|name| checker.len(name)).sum());
        let mut wanted: Vec<(FileName, bool)> = plan.copy.iter().map(|name| (*name, true)).collect();
        wanted.extend(plan.lagging.iter().map(|name| (*name, false)));
        let index = self.index_for_parts(head, known, &checker, &bar, &mut wanted).await?;
        let mut waiting = wanted.into_iter();
        let mut running = FuturesUnordered::new();
        let mut copied = Vec::new();
        let mut failure = None;
        loop {
            // After a failure none is begun, but those that are on their way are not left alone.
            while failure.is_none()
                && running.len() < AT_ONCE
                && let Some((name, needed)) = waiting.next()
            {
                running.push(self.copy_one(name, needed, &checker, &bar));
            }
            match running.next().await {
                None => break,
                Some(Ok(Some((name, bytes)))) => {
                    known.present.insert(name, Listed { bytes, modified: head.issued });
                    copied.push(Copied { name: name.to_text(), bytes: Some(bytes) });
                }
                Some(Ok(None)) => {}
                Some(Err(error)) => failure = failure.or(Some(error)),
            }
        }
        bar.finish_and_clear();
        if let Some(error) = failure {
            return Err(error);
        }
        if let Some(bytes) = index {
            let (name, len) = (head.base_name(), bytes.len() as u64);
            self.target.put(&name, Bytes::from(bytes)).await?;
            known.present.insert(name, Listed { bytes: len, modified: head.issued });
            copied.push(Copied { name: name.to_text(), bytes: Some(len) });
        }
        Ok(copied)
    }

    /// Fetches the index of a base of which something is `wanted`: its parts are checked against it, and it against them.
    /// Returns it where it is to be written, after them; parts that the target has and that do not fit it are added to
    /// what is wanted.
    async fn index_for_parts(
        &self,
        head: &Head,
        known: &Known,
        checker: &Checker<'_>,
        bar: &ProgressBar,
        wanted: &mut Vec<(FileName, bool)>,
    ) -> Result<Option<Vec<u8>>, SyncError> {
        let name = head.base_name();
        let of_base = |wanted: &FileName| matches!(wanted, FileName::Base { .. } | FileName::BasePart { .. });
        if head.base_parts.is_empty() || !wanted.iter().any(|(name, _)| of_base(name)) {
            return Ok(None);
        }
        wanted.retain(|(wanted, _)| *wanted != name);
        let bytes = self.source.file(&name, checker.limit(&name), &|part| bar.inc(part)).await?;
        let bytes = bytes.ok_or_else(|| SyncError::Source(format!("{name} is not there")))?;
        checker.check(&name, &bytes)?;
        if self.target.read(&name, checker.limit(&name)).await?.as_ref() == Some(&bytes) {
            return Ok(None);
        }
        for part in head.part_names().filter(|part| known.present.contains_key(part)) {
            let there = self.target.read(&part, checker.limit(&part)).await?;
            if there.is_none_or(|bytes| checker.check(&part, &bytes).is_err()) {
                wanted.push((part, true));
            }
        }
        Ok(Some(bytes))
    }

    /// Nothing is written that has not been checked. `None` where the source lacks a file that is not `needed`.
    async fn copy_one(
        &self,
        name: FileName,
        needed: bool,
        checker: &Checker<'_>,
        bar: &ProgressBar,
    ) -> Result<Option<(FileName, u64)>, SyncError> {
        let bytes = match self.source.file(&name, checker.limit(&name), &|part| bar.inc(part)).await? {
            Some(bytes) => bytes,
            None if needed => return Err(SyncError::Source(format!("{name} is not there"))),
            None => return Ok(None),
        };
        checker.check(&name, &bytes)?;
        let len = bytes.len() as u64;
        self.target.put(&name, Bytes::from(bytes)).await?;
        Ok(Some((name, len)))
    }

    fn removable(&mut self, plan: &CopyPlan, known: &Known, head: &Head) -> Vec<FileName> {
        self.stale.removable(&plan.stale, &known.present, head, self.options.grace)
    }
}

fn plan(head: &Head, known: &Known) -> Result<CopyPlan, SyncError> {
    let names = known.present.keys().copied().collect();
    let mut plan = plan_copy(head, known.head.as_ref(), &names)
        .map_err(|refusal| SyncError::Refused { what: "the source against the target", refusal })?;
    // A damaged head of the target is replaced even where nothing else is to do.
    plan.head |= known.held.is_some() && known.head.is_none();
    Ok(plan)
}

fn progress(bytes: u64) -> ProgressBar {
    if bytes < WORTH_A_BAR {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}, {eta} left  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr()).with_style(style)
}
