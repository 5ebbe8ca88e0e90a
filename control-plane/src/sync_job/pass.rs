//! One pass: read both heads, plan, copy, replace the head, remove what is long unneeded.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nightlatch_keyset::note::NoteError;
use nightlatch_keyset::{FileName, Head, StatementError};
use nightlatch_sync::{CopyPlan, Mark, implied_files, plan_copy};

use super::kv::{MAX_VALUE, MIN_VALIDITY_MS, Namespace};
use super::note::{NoteName, claimed_set};
use super::report::{Copied, Report};
use super::target::{HeldNote, Listed, Written};
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
    held: Option<HeldNote>,
    head: Option<Head>,
    present: BTreeMap<FileName, Listed>,
    /// `issued` of the source's head when the target was looked at.
    looked_at: u64,
}

/// How far a pass has come.
#[derive(Debug)]
pub(super) enum Step {
    /// To its end; and what is wrong with trust or deny notes.
    Done(Report, Option<SyncError>),
    /// To the head, which the target takes only after so long.
    Later { report: Report, wait: Duration },
}

/// What became of a file, or of several.
enum Did {
    Fetched(FileName, Bytes),
    Wrote(Vec<(FileName, u64)>),
    Nothing,
}

impl SyncJob {
    pub(super) async fn try_pass(&mut self, hold: bool) -> Result<Step, SyncError> {
        self.refuse_same_place()?;
        let offered = self.next_head(hold).await;
        // First, and also where there is no head to be had.
        let (mut notes, trouble) = self.carry().await;
        let Some(note) = offered? else {
            return Ok(Step::Done(Report { notes, ..self.nothing_new() }, trouble));
        };
        let (head, trust) = self.open_head(&note).await?;
        notes.extend(trust.then_some(NoteName::Trust.as_str()));
        let validity = head.valid_until.saturating_sub(head.issued);
        if self.target.is_kv() && validity < MIN_VALIDITY_MS {
            return Err(SyncError::TooBrief { validity_seconds: validity / 1000 });
        }
        let mut known = match self.known.take() {
            Some(known) if head.issued.saturating_sub(known.looked_at) < LOOK_AGAIN_MS => known,
            before => {
                if before.is_some() {
                    // Of the notes, too, the next pass sees whether they are still there.
                    self.carrying.forget_target();
                }
                self.look_at_target(&head).await?
            }
        };
        if self.options.check {
            self.drop_damaged(&head, &mut known).await?;
        }

        let plan = plan(&head, &known)?;
        self.refuse_what_does_not_fit(&plan, &Checker::new(&head, None, self.trusted.signers()))?;
        let unneeded = if plan.stale.is_empty() { Vec::new() } else { self.removable(&plan, &known, &head) };
        let mut report = Report { notes, ..Report::of(&head, self.options.dry_run) };
        if self.options.dry_run {
            let checker = Checker::new(&head, known.head.as_ref(), self.trusted.signers());
            let file = |name: &FileName| Copied { name: name.to_text(), bytes: checker.len(name) };
            // Of the rest a source need not have all.
            report.copied = plan.copy.iter().map(file).collect();
            report.head = plan.head;
            report.removed = unneeded.iter().map(FileName::to_text).collect();
            return Ok(Step::Done(report, trouble));
        }

        report.copied = self.copy(&plan, &head, &mut known).await?;
        if plan.head {
            match self.replace_head(&note, &head, &known).await? {
                Written::Yes(version) => {
                    self.heads.send_replace(Some(Arc::from(note.as_str())));
                    known.held = Some(HeldNote { text: note, version });
                    known.head = Some(head);
                    report.head = true;
                }
                Written::Later(wait) => {
                    self.known = Some(known);
                    return Ok(Step::Later { report, wait });
                }
                Written::Raced => return Err(SyncError::Raced),
            }
        } else if self.heads.borrow().is_none() {
            // Somebody before us wrote it; whoever tells edges begins with it all the same.
            self.heads.send_replace(Some(Arc::from(note.as_str())));
        }
        if !unneeded.is_empty() {
            self.target.remove_all(&unneeded).await?;
            report.removed = unneeded.iter().map(FileName::to_text).collect();
            known.present.retain(|name, _| !unneeded.contains(name));
        }
        self.known = Some(known);
        Ok(Step::Done(report, trouble))
    }

    /// Writes the head, unless somebody else has written a greater one meanwhile. A target that cannot compare by itself
    /// is looked at once more; between the look and the write another job may still come first, and then readers keep
    /// what they have, because they take the greater head, until the next pass.
    async fn replace_head(&self, note: &str, head: &Head, known: &Known) -> Result<Written, SyncError> {
        if !self.target.compares()
            && let Some(there) = self.target.note(NoteName::Head).await?
            && Head::open(&there.text, self.trusted.signers()).is_ok_and(|there| Mark::of(&there) > Mark::of(head))
        {
            return Ok(Written::Raced);
        }
        self.target.put_note(NoteName::Head, note, known.held.as_ref()).await
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
        let held = self.target.note(NoteName::Head).await?;
        let opened = held.as_ref().map(|held| Head::open(&held.text, self.trusted.signers()));
        let opened = match opened {
            None => None,
            Some(Ok(opened)) => Some(opened),
            // A root says who signs; whoever did sign there is believed no more, and only the bucket was theirs.
            Some(Err(StatementError::Note(NoteError::UnknownSigner)))
                if self.trusted.has_roots()
                    && held.as_ref().and_then(|held| claimed_set(&held.text)) == Some(&head.set) =>
            {
                tracing::warn!("the target's head is signed by a key that is not trusted, and will be replaced");
                None
            }
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
        let checker = Checker::new(head, None, self.trusted.signers());
        let needed: BTreeSet<FileName> = implied_files(head).collect();
        present.retain(|name, listed| {
            let told = checker.len(name).zip(listed.bytes);
            !needed.contains(name) || told.is_none_or(|(expected, there)| expected == there)
        });
        Ok(Known { held, head: opened, present, looked_at: head.issued })
    }

    /// Reads what the target has of the head, and forgets what is not as it was signed.
    async fn drop_damaged(&self, head: &Head, known: &mut Known) -> Result<(), SyncError> {
        let checker = Checker::new(head, known.head.as_ref(), self.trusted.signers());
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
        let checker = Checker::new(head, known.head.as_ref(), self.trusted.signers());
        let bar = progress(plan.copy.iter().filter_map(|name| checker.len(name)).sum());
        let mut wanted: Vec<(FileName, bool)> = plan.copy.iter().map(|name| (*name, true)).collect();
        wanted.extend(plan.lagging.iter().map(|name| (*name, false)));
        let index = self.index_for_parts(head, known, &checker, &bar, &mut wanted).await?;
        let mut waiting = wanted.into_iter();
        let mut running: FuturesUnordered<BoxFuture<'_, Result<Did, SyncError>>> = FuturesUnordered::new();
        let mut gathered = Vec::new();
        let mut copied = Vec::new();
        let mut failure = None;
        loop {
            // After a failure none is begun, but those that are on their way are not left alone.
            while failure.is_none()
                && running.len() < AT_ONCE
                && let Some((name, needed)) = waiting.next()
            {
                running.push(self.copy_one(name, needed, &checker, &bar).boxed());
            }
            let bytes = gathered.iter().map(|(_, bytes): &(FileName, Bytes)| bytes.len()).sum();
            let is_time = running.is_empty() || Namespace::is_full(gathered.len(), bytes);
            if failure.is_none() && !gathered.is_empty() && is_time {
                running.push(self.write_all(mem::take(&mut gathered), head.issued).boxed());
            }
            match running.next().await {
                None => break,
                Some(Ok(Did::Fetched(name, bytes))) => gathered.push((name, bytes)),
                Some(Ok(Did::Wrote(files))) => {
                    for (name, bytes) in files {
                        known.present.insert(name, Listed { bytes: Some(bytes), modified: head.issued });
                        copied.push(Copied { name: name.to_text(), bytes: Some(bytes) });
                    }
                }
                Some(Ok(Did::Nothing)) => {}
                Some(Err(error)) => failure = failure.or(Some(error)),
            }
        }
        bar.finish_and_clear();
        if let Some(error) = failure {
            return Err(error);
        }
        if let Some(bytes) = index {
            let (name, len) = (head.base_name(), bytes.len() as u64);
            self.target.put_all(&[(name, Bytes::from(bytes))], head.issued).await?;
            known.present.insert(name, Listed { bytes: Some(len), modified: head.issued });
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

    /// Nothing is written that has not been checked. What the target takes together with others is only fetched; nothing
    /// is done where the source lacks a file that is not `needed`.
    async fn copy_one(
        &self,
        name: FileName,
        needed: bool,
        checker: &Checker<'_>,
        bar: &ProgressBar,
    ) -> Result<Did, SyncError> {
        let bytes = match self.source.file(&name, checker.limit(&name), &|part| bar.inc(part)).await? {
            Some(bytes) => bytes,
            None if needed => return Err(SyncError::Source(format!("{name} is not there"))),
            None => return Ok(Did::Nothing),
        };
        checker.check(&name, &bytes)?;
        if self.target.gathers(&name, bytes.len()) {
            return Ok(Did::Fetched(name, Bytes::from(bytes)));
        }
        let len = bytes.len() as u64;
        self.target.put(&name, Bytes::from(bytes)).await?;
        Ok(Did::Wrote(vec![(name, len)]))
    }

    async fn write_all(&self, files: Vec<(FileName, Bytes)>, written: u64) -> Result<Did, SyncError> {
        self.target.put_all(&files, written).await?;
        Ok(Did::Wrote(files.into_iter().map(|(name, bytes)| (name, bytes.len() as u64)).collect()))
    }

    /// What no value of KV can hold is refused before anything is written.
    fn refuse_what_does_not_fit(&self, plan: &CopyPlan, checker: &Checker<'_>) -> Result<(), SyncError> {
        let too_large = |name: &&FileName| self.target.is_kv() && checker.len(name).is_some_and(|len| len > MAX_VALUE);
        match plan.copy.iter().find(too_large) {
            None => Ok(()),
            Some(name) => Err(SyncError::Target(format!(
                "{name} has {}, and a value of Workers KV has at most {}: copy this set to an object store (s3://…)",
                HumanBytes(checker.len(name).unwrap_or_default()),
                HumanBytes(MAX_VALUE)
            ))),
        }
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
