//! A verifier's state: the head it relies on, the replica behind it, and how fresh both are.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Delta, FileName, Head, MAX_DELTA_LEN, Malformed, Pepper, Profile, Record, Refused, Replica};

use crate::{Clock, Mark, Refusal};

/// The most deltas an edge fetches to catch up.
const MAX_DELTAS: u64 = 1024;
/// The largest route policy an edge takes, in bytes.
const MAX_POLICY_LEN: u64 = 4 << 20;

/// What an edge is told once.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// The set it answers from.
    pub set: String,
    /// Whose heads it believes.
    pub verifiers: Vec<Verifier>,
    /// The peppers it holds.
    pub peppers: Vec<Pepper>,
    /// Milliseconds after which a head is due to be asked for again.
    pub poll_ms: u64,
    /// The largest base it has room for, in bytes.
    pub max_base_len: u64,
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
    /// Serve, and ask for a new head in the background.
    SoftStale,
}

/// What an edge answers from: a replica at exactly the state its head signs, and the policy of the same head.
pub struct Serving<P> {
    head: Head,
    replica: Replica,
    policy: P,
    pepper: Pepper,
}

impl<P> Serving<P> {
    /// The head in force.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The keys.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The route policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// Looks a key up by the digest of its text.
    ///
    /// # Errors
    /// [`Malformed`] where the replica holds nonsense and is not fit to answer.
    pub fn find(&self, digest: &nightlatch_key::Digest) -> Result<Option<(Record, &Profile)>, Malformed> {
        let Some(record) = self.replica.lookup(&self.pepper.tag(digest))? else {
            return Ok(None);
        };
        let profile = self.replica.profile(record.profile).ok_or(Malformed::Value("row"))?;
        Ok(Some((record, profile)))
    }
}

/// A file to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which.
    pub name: FileName,
    /// The most bytes it may have; a longer answer is to be cut off and refused.
    pub max_len: u64,
}

/// A believed head on its way into force.
#[derive(Clone, Debug)]
pub struct Attempt {
    head: Head,
    fetches: Vec<Fetch>,
}

impl Attempt {
    /// The files to fetch, in the order in which [`Edge::finish`] takes them.
    pub fn fetches(&self) -> &[Fetch] {
        &self.fetches
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }
}

/// What becomes of an offered head.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, for as long as its files are fetched")]
pub enum Offer {
    /// It is the head in force.
    Known,
    /// It is news; here is what it takes.
    News(Attempt),
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The head is in force.
    InForce,
    /// Another attempt got further meanwhile; nothing was lost.
    Superseded,
}

/// A verifier's state. `P` is the runtime's form of the route policy.
pub struct Edge<P> {
    config: EdgeConfig,
    clock: Clock,
    mark: Option<Mark>,
    checked_at: u64,
    serving: Option<Serving<P>>,
}

impl<P> Edge<P> {
    /// An edge that has loaded nothing. A durable one passes the mark it kept.
    pub fn new(config: EdgeConfig, mark: Option<Mark>) -> Self {
        let mut clock = Clock::default();
        if let Some(mark) = mark {
            clock.saw_issued(mark.issued);
        }
        Self { config, clock, mark, checked_at: 0, serving: None }
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
            Some(_) => Freshness::Fresh,
        }
    }

    /// What it answers from while its head is valid at `now`.
    pub fn serving(&self, now: u64) -> Option<&Serving<P>> {
        self.serving.as_ref().filter(|serving| now < serving.head.valid_until)
    }

    /// What is loaded, valid or not: for reports, never for answers.
    pub fn loaded(&self) -> Option<&Serving<P>> {
        self.serving.as_ref()
    }

    /// The greatest head accepted so far.
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Takes note that the source said its head had not changed, in answer to a question about the head in force.
    pub fn unchanged(&mut self, now: u64) {
        self.checked_at = now;
    }

    /// Looks at a head's note and says what it takes to put it into force.
    ///
    /// # Errors
    /// [`Refusal`] where it is not believed, not of this set, not timely, or older than one accepted before.
    pub fn offer(&mut self, note: &str, now: u64) -> Result<Offer, Refusal> {
        let head = Head::open(note, &self.config.verifiers)?;
        self.judge(&head, now)?;
        if self.serving.as_ref().is_some_and(|serving| serving.head == head) {
            self.checked_at = now;
            return Ok(Offer::Known);
        }
        let fetches = self.fetches(&head)?;
        Ok(Offer::News(Attempt { head, fetches }))
    }

    /// Puts an attempt's head into force, with the files it named, in the same order. All of it happens, or none.
    ///
    /// # Errors
    /// [`Refusal`] where a file is not what the head implies, or the head has become too old meanwhile.
    pub fn finish<E: fmt::Display>(
        &mut self,
        attempt: Attempt,
        files: Vec<Vec<u8>>,
        now: u64,
        decode_policy: impl Fn(&[u8]) -> Result<P, E>,
    ) -> Result<Outcome, Refusal> {
        let Attempt { head, fetches } = attempt;
        match self.judge(&head, now) {
            Err(Refusal::Rollback) => return Ok(Outcome::Superseded),
            other => other?,
        }
        if self.fetches(&head)? != fetches || files.len() != fetches.len() {
            return Ok(Outcome::Superseded);
        }

        let (mut policy, mut base, mut deltas) = (None, None, Vec::new());
        for (Fetch { name, max_len }, bytes) in fetches.into_iter().zip(files) {
            if bytes.len() as u64 > max_len {
                return Err(Refusal::TooLarge { what: "a file" });
            }
            match name {
                FileName::Policy(hash) => {
                    if nightlatch_keyset::Hash::of(&bytes) != hash {
                        return Err(Refused::Malformed(Malformed::Hash("the route policy")).into());
                    }
                    policy = Some(decode_policy(&bytes).map_err(|error| Refusal::Policy(error.to_string()))?);
                }
                FileName::Base { .. } => base = Some(Replica::load(bytes, &head).map_err(Refusal::Files)?),
                FileName::Delta { .. } => {
                    deltas.push(Delta::open(&bytes, &self.config.verifiers).map_err(Refused::Malformed)?);
                }
            }
        }
        self.put_into_force(head, policy, base, &deltas, now)
    }

    fn put_into_force(
        &mut self,
        head: Head,
        policy: Option<P>,
        base: Option<Replica>,
        deltas: &[Delta],
        now: u64,
    ) -> Result<Outcome, Refusal> {
        let pepper = self.pepper(&head)?.clone();
        let mark = Mark::of(&head);
        match (base, &mut self.serving) {
            (Some(mut replica), serving) => {
                replica.advance(deltas, &head)?;
                let held = serving.take().map(|serving| serving.policy);
                let Some(policy) = policy.or(held) else {
                    return Err(Refusal::Policy("it was not fetched".into()));
                };
                *serving = Some(Serving { head, replica, policy, pepper });
            }
            (None, Some(serving)) => {
                serving.replica.advance(deltas, &head)?;
                serving.head = head;
                serving.pepper = pepper;
                if let Some(policy) = policy {
                    serving.policy = policy;
                }
            }
            (None, None) => return Ok(Outcome::Superseded),
        }
        self.clock.saw_issued(mark.issued);
        self.mark = Some(mark);
        self.checked_at = now;
        Ok(Outcome::InForce)
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
        if self.mark.is_some_and(|accepted| mark < accepted) {
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

    /// The files that lead from what is loaded to `head`.
    fn fetches(&self, head: &Head) -> Result<Vec<Fetch>, Refusal> {
        let mut fetches = Vec::new();
        let same_policy = self.serving.as_ref().is_some_and(|serving| serving.head.policy == head.policy);
        if !same_policy {
            if head.policy_len > MAX_POLICY_LEN {
                return Err(Refusal::TooLarge { what: "the route policy" });
            }
            fetches.push(Fetch { name: head.policy_name(), max_len: head.policy_len });
        }
        let replica = self.serving.as_ref().map(|serving| &serving.replica);
        let start = match replica.filter(|r| (r.incarnation(), r.epoch()) == (head.incarnation, head.epoch)) {
            Some(replica) => replica.version(),
            None if head.base_len > self.config.max_base_len => return Err(Refusal::TooLarge { what: "the set" }),
            None => {
                fetches.push(Fetch { name: head.base_name(), max_len: head.base_len });
                head.base_version
            }
        };
        if head.version.saturating_sub(start) > MAX_DELTAS {
            return Err(Refusal::TooLarge { what: "the number of deltas" });
        }
        let deltas = (start..head.version).map(|from| head.delta_name(from));
        fetches.extend(deltas.map(|name| Fetch { name, max_len: MAX_DELTA_LEN as u64 }));
        Ok(fetches)
    }
}
