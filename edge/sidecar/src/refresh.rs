//! The one task that keeps the set fresh: ask for the head, fetch what it implies, put it into force, and have its mark on
//! the disk before anybody is told.

mod keeping;

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use nightlatch_gate::Unfit;
use nightlatch_gate::policy::Policy;
use nightlatch_keyset::{FileName, Head};
use nightlatch_sync::{Attempt, Offer, Outcome, Refusal, Work};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::Config;
use crate::mark::Kept;
use crate::shared::Shared;
use crate::source::{Answer, FetchError, Source};
use crate::store::Note;
use crate::supply::Supply;
use crate::{mark, reload, warm};

/// The longest that a source is asked to hold a question open, in seconds.
const LONGEST_HOLD: u64 = 25;
/// Between two attempts that requests ask for, when they fail.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Between two attempts when nothing helps.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A head that is in force, and its note.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    pub(crate) note: String,
    pub(crate) head: Head,
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}: {1}")]
    Fetch(String, FetchError),
    #[error(transparent)]
    Refusal(#[from] Refusal),
}

impl Failure {
    fn code(&self) -> &'static str {
        match self {
            Self::Fetch(..) => "fetch_failed",
            Self::Refusal(refusal) => refusal.code(),
        }
    }

    fn unfit(&self) -> Unfit {
        match self {
            Self::Refusal(Refusal::PepperMissing { .. }) => Unfit::PepperMissing,
            Self::Refusal(Refusal::Files(_) | Refusal::Policy(_)) => Unfit::SetCorrupt,
            Self::Refusal(_) | Self::Fetch(..) => Unfit::SetStale,
        }
    }
}

/// The task's own state.
pub(crate) struct Refresher {
    shared: Arc<Shared>,
    supply: Arc<Supply>,
    /// What the mirror is to bring the disk up to.
    in_force: watch::Sender<Option<InForce>>,
    /// A configuration that was checked and is to be taken over.
    reloaded: watch::Receiver<Arc<Config>>,
    /// The entity tags of the head in force and of the deny note held.
    etag: Option<HeaderValue>,
    deny_etag: Option<HeaderValue>,
    /// What the mark's file says: what nothing is accepted below.
    kept: Kept,
    /// Notes that are on the disk.
    kept_trust: Option<String>,
    kept_deny: Option<String>,
    /// What the disk had of a damaged base has been dropped; what is there now came later.
    mending: bool,
    failures: u32,
}

impl Refresher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        supply: Arc<Supply>,
        in_force: watch::Sender<Option<InForce>>,
        reloaded: watch::Receiver<Arc<Config>>,
        kept: Kept,
    ) -> Self {
        let (kept_trust, kept_deny) = (supply.store.note(Note::Trust), supply.store.note(Note::Deny));
        Self {
            shared,
            supply,
            in_force,
            reloaded,
            etag: None,
            deny_etag: None,
            kept,
            kept_trust,
            kept_deny,
            mending: false,
            failures: 0,
        }
    }

    /// Refreshes the set for as long as the process lives. It never gives up.
    pub(crate) async fn run(mut self) {
        loop {
            let asked = self.ask().await;
            let number = self.shared.attempts.borrow().begun;
            let held = matches!(asked, Ok((_, true)));
            let result = match asked {
                Ok((answer, _)) => self.take(answer).await,
                Err(failure) => Err(failure),
            };
            self.look_for_denials().await;
            let fine = result.is_ok();
            self.note(result, held);
            self.shared.attempts.send_modify(|attempts| attempts.ended = number);
            self.pause(fine, held).await;
        }
    }

    /// Asks for the head. A source that holds the question open is asked anew as soon as somebody cannot wait.
    async fn ask(&mut self) -> Result<(Answer, bool), Failure> {
        let source = self.supply.source();
        let (etag, hold) = self.question(&source);
        let fetch = |error| Failure::Fetch("the head".into(), error);
        self.shared.attempts.send_modify(|attempts| attempts.begun += 1);
        if hold.is_some() {
            let mut reloaded = self.reloaded.clone();
            tokio::select! {
                answer = source.note(Note::Head, etag.as_ref(), hold) => return answer.map_err(fetch),
                () = self.shared.wanted.notified() => {}
                _ = reloaded.changed() => {}
            }
            self.shared.attempts.send_modify(|attempts| attempts.begun += 1);
        }
        source.note(Note::Head, etag.as_ref(), None).await.map_err(fetch)
    }

    /// The entity tag to ask with, unless the text is needed again, and for how many seconds the source may hold the
    /// question: no longer than a third of what the head in force is good for, so that a dead connection shows in time.
    fn question(&self, source: &Source) -> (Option<HeaderValue>, Option<u64>) {
        let now = self.shared.clock.now();
        let gate = self.shared.gate();
        let (Some(loaded), Some(etag)) = (gate.edge.loaded(), self.etag.clone()) else {
            return (None, None);
        };
        if gate.edge.is_damaged() || gate.edge.is_working() {
            return (None, None);
        }
        let head = loaded.head();
        let seconds = (head.valid_until - head.issued) / 3_000;
        let valid = now < head.valid_until && self.failures == 0 && source.is_web();
        (Some(etag), valid.then_some(seconds.clamp(1, LONGEST_HOLD)))
    }

    /// Does what an answer asks for.
    async fn take(&mut self, answer: Answer) -> Result<(), Failure> {
        let (note, etag) = match answer {
            Answer::Unchanged => {
                let now = self.shared.clock.now();
                self.shared.gate_mut().edge.unchanged(now);
                return Ok(());
            }
            Answer::Missing => return Err(Failure::Fetch("the head".into(), FetchError::Missing)),
            Answer::Note { text, etag } => (text, etag),
        };
        self.work().await?;
        if self.lacks_trust() {
            // Whoever the head's signer is, it may have been removed by the note that is lost.
            self.fetch_trust().await?;
        }
        match self.offer(&note)? {
            Offer::NeedsTrust => {
                self.fetch_trust().await?;
                match self.offer(&note)? {
                    Offer::NeedsTrust => return Err(Refusal::TrustMissing.into()),
                    offer => self.follow(offer).await?,
                }
            }
            offer => self.follow(offer).await?,
        }
        self.etag = etag;
        self.has_in_force(note).await;
        Ok(())
    }

    fn offer(&self, note: &str) -> Result<Offer, Refusal> {
        let now = self.shared.clock.now();
        self.shared.gate_mut().edge.offer(note, now)
    }

    async fn follow(&mut self, offer: Offer) -> Result<(), Failure> {
        let Offer::News(attempt) = offer else {
            return Ok(());
        };
        self.drop_damaged(&attempt);
        let (attempt, files) = self.fetch(attempt).await?;
        let names: Vec<_> = attempt.fetches().iter().map(|fetch| fetch.name).collect();
        let now = self.shared.clock.now();
        let finished = self.shared.gate_mut().edge.finish(attempt, files, now, Policy::decode);
        match finished {
            Ok(outcome) => {
                if std::mem::take(&mut self.mending) {
                    // The head may be the same; its files are to be kept again.
                    self.in_force.send_replace(None);
                }
                if outcome == Outcome::Working { self.work().await } else { Ok(()) }
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::Files(_) | Refusal::Policy(_)) {
                    // Whatever came from the disk is not asked of it again.
                    names.iter().for_each(|name| self.supply.store.drop_file(name));
                }
                Err(refusal.into())
            }
        }
    }

    /// Drops what the disk has of a base that turned out to be damaged. Parts show their damage only when they are touched,
    /// so that the same bytes would be put into force again and again. Once is enough: what is kept afterwards was fetched
    /// afterwards.
    fn drop_damaged(&mut self, attempt: &Attempt) {
        if self.shared.gate().edge.is_damaged() && !std::mem::replace(&mut self.mending, true) {
            let is_base = |name: &FileName| matches!(name, FileName::Base { .. } | FileName::BasePart { .. });
            let names = attempt.fetches().iter().map(|fetch| fetch.name);
            names.filter(is_base).for_each(|name| self.supply.store.drop_file(&name));
        }
    }

    /// Brings a rebase to its end, step by step; between two, requests have their turn.
    async fn work(&self) -> Result<(), Failure> {
        loop {
            let now = self.shared.clock.now();
            if self.shared.gate_mut().edge.work(now)? == Work::Done {
                return Ok(());
            }
            yield_now().await;
        }
    }

    /// Fetches what an attempt needs: from the disk where it is there, else from the source; by the base, where the source
    /// lacks what only a shorter way needs. It may take longer than a head is good for: then the next attempt begins with what
    /// this one has on the disk.
    async fn fetch(&mut self, mut attempt: Attempt) -> Result<(Attempt, Vec<Vec<u8>>), Failure> {
        let mut files = Vec::new();
        'way: loop {
            for fetch in attempt.small() {
                match self.fetch_one(fetch, &warm::piece_lens(fetch, None)).await {
                    Ok(pieces) => files.extend(pieces),
                    Err(error) => {
                        let name = fetch.name;
                        let other = match error {
                            FetchError::Missing => self.shared.gate().edge.by_base(attempt, &name)?,
                            _ => None,
                        };
                        attempt = other.ok_or_else(|| Failure::Fetch(name.to_text(), error))?;
                        files.clear();
                        continue 'way;
                    }
                }
            }
            break;
        }
        if !attempt.parts().is_empty() {
            self.shared.gate_mut().edge.make_room(&attempt);
        }
        let index = warm::index_of(&attempt, &files);
        for fetch in attempt.parts() {
            if self.shared.gate().edge.loaded().is_some() {
                // What still answers is not to miss one for as long as this takes.
                self.look_for_denials().await;
            }
            let pieces = self.fetch_one(fetch, &warm::piece_lens(fetch, index.as_ref())).await;
            files.extend(pieces.map_err(|error| Failure::Fetch(fetch.name.to_text(), error))?);
        }
        Ok((attempt, files))
    }

    async fn fetch_one(&self, fetch: &nightlatch_sync::Fetch, lens: &[usize]) -> Result<Vec<Vec<u8>>, FetchError> {
        let store = &self.supply.store;
        let kept = store.file(&fetch.name, fetch.max_len);
        if let Some(bytes) = kept.or_else(|| store.draft(&fetch.name, fetch.is_exact().then_some(fetch.max_len)?)) {
            return Ok(crate::source::cut(bytes, lens));
        }
        let pieces = self.supply.source().file(fetch, lens).await?;
        // Kept without a flush, which the mirror sees to when the set is in force: nobody waits for the disk.
        if let Err(error) = store.stage(&fetch.name, &pieces) {
            tracing::debug!("{} is not kept: {error}", fetch.name);
        }
        Ok(pieces)
    }

    async fn fetch_trust(&mut self) -> Result<(), Failure> {
        let (answer, _) = self.note_of(Note::Trust, None).await?;
        let Answer::Note { text, .. } = answer else {
            return Err(Refusal::TrustMissing.into());
        };
        let roots = self.shared.gate().config.edge.roots.clone();
        let news = warm::take_trust(&mut self.shared.gate_mut().edge, &roots, &text, self.kept.trust)?;
        if news {
            // A deny note may have gone with who signed it.
            self.kept.deny = None;
            tracing::info!("took a trust note");
            // A note that ends a stolen key ends what was accepted from it, on the disk too.
            self.keep().await;
        }
        Ok(())
    }

    /// Whether there was a trust note, and neither it nor a later one is here.
    fn lacks_trust(&self) -> bool {
        let gate = self.shared.gate();
        warm::lacks_trust(&gate.edge, &gate.config.edge.roots, &self.kept)
    }

    async fn note_of(&self, note: Note, etag: Option<&HeaderValue>) -> Result<(Answer, bool), Failure> {
        let answer = self.supply.source().note(note, etag, None).await;
        answer.map_err(|error| Failure::Fetch(format!("the {} note", note.name()), error))
    }

    /// Looks for a deny note while the control plane is not heard, or one is lost that was here.
    async fn look_for_denials(&mut self) {
        let now = self.shared.clock.now();
        let due = {
            let gate = self.shared.gate();
            gate.edge.wants_deny(now) || gate.edge.deny_note().and_then(mark::deny_number) < self.kept.deny
        };
        if !due {
            return;
        }
        let Ok((Answer::Note { text, etag }, _)) = self.note_of(Note::Deny, self.deny_etag.as_ref()).await else {
            // There is none, none that is new, or nobody to ask.
            return;
        };
        let taken = self.shared.gate_mut().edge.take_deny(&text);
        match taken {
            Ok(news) => {
                self.deny_etag = etag;
                if news {
                    tracing::warn!("took a deny note: its keys are refused from now on");
                    self.keep().await;
                }
            }
            Err(refusal) => tracing::warn!("the deny note is not taken: {refusal}"),
        }
    }

    fn note(&mut self, result: Result<(), Failure>, held: bool) {
        let mut status = self.shared.status();
        status.held = held;
        match result {
            Ok(()) => {
                self.failures = 0;
                status.refreshes.0 += 1;
                status.from_future = false;
                if status.failure.take().is_some() {
                    tracing::info!("the set is up to date again");
                }
                self.shared.set_unfit(Unfit::SetStale);
            }
            Err(failure) => {
                self.failures += 1;
                status.refreshes.1 += 1;
                status.from_future = matches!(failure, Failure::Refusal(Refusal::FromFuture { .. }));
                // Once per kind of trouble, not once per attempt.
                if status.failure.replace(failure.code()) != Some(failure.code()) {
                    tracing::warn!("the set cannot be refreshed ({}): {failure}", failure.code());
                    self.shared.news.notify_one();
                }
                self.shared.set_unfit(failure.unfit());
            }
        }
    }

    /// Waits until the next attempt is due, or asked for.
    async fn pause(&mut self, fine: bool, held: bool) {
        let earliest = Instant::now() + if fine && held { Duration::from_millis(5) } else { SHORTEST_PAUSE };
        let poll = Duration::from_millis(self.shared.gate().config.edge.poll_ms);
        let pause = match (fine, held) {
            (true, true) => Duration::ZERO,
            (true, false) => poll,
            (false, _) => backoff(self.failures),
        };
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.wanted.notified() => {}
            changed = self.reloaded.changed() => {
                if changed.is_ok() {
                    self.reload();
                } else {
                    // The process is ending.
                    std::future::pending::<()>().await;
                }
            }
        }
        sleep_until(earliest).await;
    }

    /// Takes a new configuration over.
    fn reload(&mut self) {
        let config = Arc::clone(&self.reloaded.borrow_and_update());
        if let Err(error) = reload::take_over(&self.shared, &self.supply, &self.kept, config) {
            tracing::error!("the new configuration is not taken: {error}; the one before stays in force");
            return;
        }
        (self.etag, self.deny_etag) = (None, None);
        tracing::info!("the new configuration is in force");
        // Somebody may be waiting to hear that this edge holds another pepper, or uses another credential.
        self.shared.news.notify_one();
    }
}

/// How long to wait after that many failures in a row: longer every time, and not the same for all.
fn backoff(failures: u32) -> Duration {
    let most = SHORTEST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    let mut random = [0; 2];
    // Without randomness all wait alike, which is no harm to any.
    let _ = getrandom::fill(&mut random);
    most.mul_f64(0.5 + f64::from(u16::from_le_bytes(random)) / 131_072.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_but_never_end() {
        for failures in [1, 2, 5, 10, 1_000, u32::MAX] {
            let pause = backoff(failures);
            assert!(pause >= SHORTEST_PAUSE && pause <= LONGEST_PAUSE, "{failures}: {pause:?}");
        }
        assert!(backoff(1) <= SHORTEST_PAUSE * 2);
    }
}
