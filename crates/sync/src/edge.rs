//! A verifier's state: the head it relies on, the replica behind it, and how fresh both are.

mod belief;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use nightlatch_keyset::note::{NoteError, Verifier};
use nightlatch_keyset::{Delta, FileName, Hash, Head, Pepper, Refused, Replica, StatementError};

use crate::denied::Denied;
use crate::plan::{Held, Limits, Way, plan};
use crate::trusted::Trusted;
use crate::{Attempt, Clock, Fetch, Mark, Refusal, Serving};

/// What an edge is told once.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// The set it answers from.
    pub set: String,
    /// The root keys it goes by: they say, in a trust note, whose heads are to be believed. Empty where the keys that sign
    /// heads are pinned themselves.
    pub roots: Vec<Verifier>,
    /// Keys whose heads it believes whatever a trust note says.
    pub verifiers: Vec<Verifier>,
    /// The peppers it holds.
    pub peppers: Vec<Pepper>,
    /// Milliseconds after which a head is due to be asked for again.
    pub poll_ms: u64,
    /// Bytes of memory for the set: its base and [`crate::OVERHEAD`], and a second base beside it while one takes the
    /// other's place.
    ///
    /// A base that does not fit is refused before anything of it is fetched. One that fits only alone makes the edge let
    /// go of what it has before the new base's first part is fetched, and after everything else has been: files are memory
    /// from their first byte on, so there is no later moment. Until the last part has come the edge is cold. That happens
    /// only where the set changes its layout or pepper, where an edge has fallen too far behind, or where a replica is
    /// damaged; in all other cases a replica rebases itself, in place, which needs no second base.
    ///
    /// For an isolate of 128 MB, of which the runtime, the program and what requests hold have to be kept free, 97 MB is
    /// right: 4.5 million keys without a subject column, or 3.5 million with one. Up to half as many never go cold.
    pub room: u64,
    /// The smallest base, in bytes, that a replica rebases itself to; a smaller one is fetched. [`crate::REBASE_FROM`],
    /// unless a test wants otherwise.
    pub rebase_from: u64,
}

/// How far an edge may rely on what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing is loaded: a request must wait for the set or be refused.
    Cold,
    /// Serve.
    Fresh,
    /// The head's validity is over: a request must wait for a new one or be refused.
    HardStale,
    /// Serve, and refresh in the background: ask for a new head, or go on with the work that is under way.
    SoftStale,
}

/// What becomes of an offered head.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, for as long as its files are fetched")]
pub enum Offer {
    /// It is the head in force.
    Known,
    /// It is news; here is what it takes.
    News(Attempt),
    /// Whether it is to be believed, a newer trust note has to say: the object `trust` beside the head is to be read and
    /// given to [`Edge::take_trust`], and then the head is to be offered again. Offered twice with this outcome, the head is
    /// refused.
    NeedsTrust,
    /// A rebase is under way. It is brought to its end with [`Edge::work`]; then the head is to be offered again.
    Working,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The head is in force.
    InForce,
    /// Another attempt got further meanwhile; nothing was lost.
    Superseded,
    /// The replica is rebasing; [`Edge::work`] puts the head into force at its end. The head before stays in force so long.
    Working,
}

/// What is left of a rebase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: either it came to its end, or none was under way.
    Done,
    /// At least one more step.
    Left,
}

/// A head that comes into force when the replica has been rebased.
struct Pending<P> {
    head: Head,
    signer: [u8; 4],
    /// From the new base to the head.
    deltas: Vec<Delta>,
    policy: Option<P>,
}

/// A verifier's state. `P` is the runtime's form of the route policy.
pub struct Edge<P> {
    config: EdgeConfig,
    clock: Clock,
    trusted: Trusted,
    denied: Denied,
    mark: Option<Mark>,
    /// The id of the key that signed the head which the mark is of; `None` after a restart.
    marked_by: Option<[u8; 4]>,
    checked_at: u64,
    serving: Option<Serving<P>>,
    pending: Option<Pending<P>>,
    /// Another way than by the base has failed.
    by_base: bool,
}

impl<P> Edge<P> {
    /// An edge that has loaded nothing. A durable one passes the mark it kept.
    pub fn new(config: EdgeConfig, mark: Option<Mark>) -> Self {
        let mut clock = Clock::default();
        if let Some(mark) = mark {
            clock.saw_issued(mark.issued);
        }
        let trusted = Trusted::new(&config);
        Self {
            config,
            clock,
            trusted,
            denied: Denied::default(),
            mark,
            marked_by: None,
            checked_at: 0,
            serving: None,
            pending: None,
            by_base: false,
        }
    }

    /// The time now in unix milliseconds. To be asked at the start of each request and after each wait.
    pub fn now(&mut self, wall: u64, monotonic: Option<u64>) -> u64 {
        self.clock.read(wall, monotonic)
    }

    /// How far this edge may rely on what it has at `now`.
    pub fn freshness(&self, now: u64) -> Freshness {
        match &self.serving {
            None => Freshness::Cold,
            Some(serving) if now >= serving.head.valid_until => Freshness::HardStale,
            Some(_) if now.saturating_sub(self.checked_at) >= self.config.poll_ms => Freshness::SoftStale,
            Some(_) if self.is_working() || self.is_damaged() => Freshness::SoftStale,
            Some(_) => Freshness::Fresh,
        }
    }

    /// What it answers from while its head is valid at `now`.
    pub fn serving(&self, now: u64) -> Option<&Serving<P>> {
        self.serving.as_ref().filter(|serving| now < serving.head.valid_until)
    }

    /// What routes that are open may be answered from while the head is not valid any more: for keys known good, and only
    /// as long as the head says.
    pub fn serving_open(&self, now: u64) -> Option<&Serving<P>> {
        let is_open = |head: &Head| now >= head.valid_until && head.open_until.is_some_and(|until| now < until);
        self.serving.as_ref().filter(|serving| is_open(&serving.head))
    }

    /// What is loaded, valid or not: for reports, never for answers.
    pub fn loaded(&self) -> Option<&Serving<P>> {
        self.serving.as_ref()
    }

    /// The greatest head accepted so far.
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Whether the replica, or a part of it, has turned out to be damaged. What is whole still answers; the head in force has
    /// to be read and offered again, although it is known, to have the base fetched anew.
    pub fn is_damaged(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.replica.is_corrupt())
    }

    /// Whether a rebase is under way.
    pub fn is_working(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes note that the source said its head had not changed, in answer to a question about the head in force.
    pub fn unchanged(&mut self, now: u64) {
        self.checked_at = now;
    }

    /// Looks at a head's note and says what it takes to put it into force.
    ///
    /// # Errors
    /// [`Refusal`] where it is not believed, not of this set, not timely, older than one accepted before, or of a set that
    /// this edge has no room for.
    pub fn offer(&mut self, note: &str, now: u64) -> Result<Offer, Refusal> {
        let (head, signer) = match Head::open_by(note, self.trusted.signers()) {
            Ok((head, signer)) => (head, signer.id()),
            Err(StatementError::Note(NoteError::UnknownSigner)) if self.trusted.has_roots() => {
                return Ok(Offer::NeedsTrust);
            }
            Err(error) => return Err(error.into()),
        };
        if head.set == self.config.set && self.trusted.lacks(head.trust) {
            return Ok(Offer::NeedsTrust);
        }
        self.judge(&head, now)?;
        if self.is_working() {
            return Ok(Offer::Working);
        }
        if !self.is_damaged()
            && let Some(serving) = self.serving.as_mut().filter(|serving| serving.head == head)
        {
            serving.signer = signer;
            (self.marked_by, self.checked_at) = (Some(signer), now);
            return Ok(Offer::Known);
        }
        self.plan(head, signer, false).map(Offer::News)
    }

    /// The way by the base to the head of an attempt that needs a file which its source does not have. `None` where that
    /// would need the same file.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] where this edge has no room for the base.
    pub fn by_base(&self, attempt: Attempt, missing: &FileName) -> Result<Option<Attempt>, Refusal> {
        let other = self.plan(attempt.head, attempt.signer, true)?;
        let needs_it = other.fetches.iter().any(|fetch| fetch.name == *missing);
        Ok(Some(other).filter(|_| !needs_it))
    }

    /// Lets go of what is loaded, where an attempt's base has no room beside it. To be called when its small files
    /// ([`Attempt::small`]) have come, and before the first of its parts is asked for. True where it is cold now.
    pub fn make_room(&mut self, attempt: &Attempt) -> bool {
        if attempt.alone {
            self.mark = self.floor();
            (self.serving, self.pending) = (None, None);
        }
        attempt.alone
    }

    /// Puts an attempt's head into force, with the files it named, in the same order, parts whole or in pieces; or begins
    /// the rebase that leads there. All of it happens, or none; only where a rebase is refused, the replica may have got to the last version of
    /// its epoch.
    ///
    /// # Errors
    /// [`Refusal`] where a file is not what the head implies, or the head has become too old meanwhile. After
    /// [`Refusal::Files`] the next attempt takes another way, if there is one.
    pub fn finish<E: fmt::Display>(
        &mut self,
        attempt: Attempt,
        files: Vec<Vec<u8>>,
        now: u64,
        decode_policy: impl Fn(&[u8]) -> Result<P, E>,
    ) -> Result<Outcome, Refusal> {
        let Attempt { head, signer, way, fetches, .. } = attempt;
        if !self.trusted.signers().iter().any(|key| key.id() == signer) {
            return Ok(Outcome::Superseded);
        }
        match self.judge(&head, now) {
            Err(Refusal::Rollback) => return Ok(Outcome::Superseded),
            other => other?,
        }
        // A base stands for itself; any other way begins where the replica was.
        let by_base = way == Way::Base;
        let again = self.plan(head, signer, by_base)?;
        let (small, parts) = (again.small().len(), again.parts().len());
        let enough = files.len() >= small + parts && (parts > 0 || files.len() == small);
        if again.fetches != fetches || !enough || (self.is_working() && !by_base) {
            return Ok(Outcome::Superseded);
        }
        let result = self.open(&again, files, decode_policy).and_then(|opened| self.follow(again, opened, now));
        match &result {
            Ok(_) => self.by_base = false,
            // A base that is broken too does not get its turn again before the cheaper way had its own.
            Err(Refusal::Files(_)) => self.by_base = !by_base,
            Err(_) => {}
        }
        result
    }

    /// Goes on with a rebase by one step of at most a few milliseconds, and after the last one puts the head into force
    /// that it leads to. That head may have run out meanwhile; then the edge is hard-stale. Between two steps, requests are
    /// answered as ever.
    ///
    /// # Errors
    /// [`Refusal::Files`] where the way does not lead to that head. The replica then [answers nothing any
    /// more](Self::is_damaged), and the next attempt takes the base.
    pub fn work(&mut self, now: u64) -> Result<Work, Refusal> {
        let (Some(serving), Some(_)) = (&mut self.serving, &self.pending) else {
            return Ok(Work::Done);
        };
        let step = serving.replica.rebase_step();
        if step == Ok(false) {
            return Ok(Work::Left);
        }
        let Some(pending) = self.pending.take() else {
            return Ok(Work::Done);
        };
        let advanced = step.and_then(|_| serving.replica.advance(&pending.deltas, &pending.head));
        if let Err(refused) = advanced {
            self.by_base = true;
            return Err(refused.into());
        }
        // The base has the root that was signed, whatever led to it.
        serving.led_by = signers_of(&pending.deltas);
        let pepper = self.pepper(&pending.head)?.clone();
        self.put_into_force(pending.head, pending.signer, pepper, pending.policy, now);
        Ok(Work::Done)
    }
}

/// The keys that have signed these deltas.
fn signers_of(deltas: &[Delta]) -> Vec<[u8; 4]> {
    let mut signers: Vec<_> = deltas.iter().map(Delta::signer).collect();
    signers.dedup();
    signers
}

/// An attempt's files, each checked as far as it can be by itself.
struct Opened<P> {
    policy: Option<P>,
    index: Vec<u8>,
    parts: Vec<Vec<u8>>,
    record: Vec<u8>,
    /// Of the epoch before the head's.
    old_deltas: Vec<Delta>,
    deltas: Vec<Delta>,
}

impl<P> Edge<P> {
    fn plan(&self, head: Head, signer: [u8; 4], by_base: bool) -> Result<Attempt, Refusal> {
        let held = self.serving.as_ref().map(|serving| Held { head: &serving.head, replica: &serving.replica });
        let limits = Limits { room: self.config.room, rebase_from: self.config.rebase_from };
        plan(head, signer, held, by_base || self.by_base || self.is_damaged(), limits)
    }

    fn open<E: fmt::Display>(
        &self,
        attempt: &Attempt,
        files: Vec<Vec<u8>>,
        decode_policy: impl Fn(&[u8]) -> Result<P, E>,
    ) -> Result<Opened<P>, Refusal> {
        let (mut index, mut record) = (Vec::new(), Vec::new());
        let (mut policy, mut old_deltas, mut deltas) = (None, Vec::new(), Vec::new());
        let mut files = files.into_iter();
        for (Fetch { name, max_len }, bytes) in attempt.small().iter().zip(&mut files) {
            let (needed, allowed) = (bytes.len() as u64, *max_len);
            if needed > allowed {
                return Err(Refusal::TooLarge { what: "bytes of a file", needed, allowed });
            }
            match name {
                FileName::Policy(hash) => {
                    if Hash::of(&bytes) != *hash {
                        return Err(Refusal::Policy("its hash is not the one the head says".into()));
                    }
                    policy = Some(decode_policy(&bytes).map_err(|error| Refusal::Policy(error.to_string()))?);
                }
                FileName::Base { .. } => index = bytes,
                // None of those is small.
                FileName::BasePart { .. } => {}
                FileName::Rebase { .. } => record = bytes,
                FileName::Delta { epoch, .. } => {
                    let delta = Delta::open(&bytes, self.trusted.signers()).map_err(Refused::Malformed)?;
                    if *epoch == attempt.head.epoch { deltas.push(delta) } else { old_deltas.push(delta) }
                }
            }
        }
        Ok(Opened { policy, index, parts: files.collect(), record, old_deltas, deltas })
    }

    fn follow(&mut self, attempt: Attempt, opened: Opened<P>, now: u64) -> Result<Outcome, Refusal> {
        let Attempt { head, signer, way, .. } = attempt;
        let Opened { policy, index, parts, record, old_deltas, deltas } = opened;
        let pepper = self.pepper(&head)?.clone();
        if way == Way::Base {
            let mut replica = Replica::load(index, parts, &head)?;
            replica.advance(&deltas, &head)?;
            let held = self.serving.take().map(|serving| serving.policy);
            let Some(policy) = policy.or(held) else {
                return Err(Refusal::Policy("it was not fetched".into()));
            };
            let mark = Mark::of(&head);
            let (led_by, denied) = (signers_of(&deltas), self.denied.digests());
            self.serving = Some(Serving { head, signer, replica, policy, pepper, led_by, denied });
            self.pending = None;
            self.accept(mark, signer, now);
            return Ok(Outcome::InForce);
        }
        let Some(Serving { replica, led_by, .. }) = &mut self.serving else {
            return Ok(Outcome::Superseded);
        };
        if way == Way::Deltas {
            replica.advance(&deltas, &head)?;
            led_by.extend(signers_of(&deltas));
            led_by.dedup();
            self.put_into_force(head, signer, pepper, policy, now);
            return Ok(Outcome::InForce);
        }
        // The head signs what its base was made from, so it vouches for the last state of the epoch before.
        let commitment = *old_deltas.last().map_or_else(|| replica.commitment(), Delta::to_commitment);
        if commitment.then(&head.base_root) != head.base_commitment {
            return Err(Refused::OtherHistory.into());
        }
        replica.advance_to(&old_deltas, head.base_version.saturating_sub(1), &commitment)?;
        led_by.extend(signers_of(&old_deltas));
        led_by.dedup();
        replica.begin_rebase(&record, &head)?;
        self.pending = Some(Pending { head, signer, deltas, policy });
        Ok(Outcome::Working)
    }

    fn put_into_force(&mut self, head: Head, signer: [u8; 4], pepper: Pepper, policy: Option<P>, now: u64) {
        self.accept(Mark::of(&head), signer, now);
        if let Some(serving) = &mut self.serving {
            (serving.head, serving.signer, serving.pepper) = (head, signer, pepper);
            if let Some(policy) = policy {
                serving.policy = policy;
            }
        }
    }

    fn accept(&mut self, mark: Mark, signer: [u8; 4], now: u64) {
        self.clock.saw_issued(mark.issued);
        (self.mark, self.marked_by, self.checked_at) = (Some(mark), Some(signer), now);
    }

    /// What no head may be behind.
    fn floor(&self) -> Option<Mark> {
        self.mark.max(self.serving.as_ref().map(Serving::reached)).max(self.trusted.floor())
    }

    /// Whether a believed head may be relied on now, and follows on what was accepted before.
    fn judge(&self, head: &Head, now: u64) -> Result<(), Refusal> {
        if head.set != self.config.set {
            return Err(Refusal::OtherSet);
        }
        if head.issued > now.saturating_add(head.skew) {
            return Err(Refusal::FromFuture { by_ms: head.issued - now });
        }
        if now >= head.valid_until {
            return Err(Refusal::Expired { for_ms: now - head.valid_until });
        }
        let mark = Mark::of(head);
        if self.floor().is_some_and(|floor| mark < floor) {
            return Err(Refusal::Rollback);
        }
        if let Some(serving) = &self.serving
            && Mark::of(&serving.head).state() == mark.state()
            && serving.head.commitment != head.commitment
        {
            return Err(Refusal::OtherHistory);
        }
        self.pepper(head).map(drop)
    }

    fn pepper(&self, head: &Head) -> Result<&Pepper, Refusal> {
        let held =
            self.config.peppers.iter().find(|pepper| pepper.id() == head.pepper && pepper.check() == head.pepper_check);
        held.ok_or_else(|| Refusal::PepperMissing { id: head.pepper.clone() })
    }
}
