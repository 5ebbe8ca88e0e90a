//! The copy of a set: which heads it believes, and how it gets from one to the next.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Delta, Head, Pepper, Profile, Refused, Replica, StatementError};

use crate::attempt::{Attempt, Start};
use crate::trusted::Trusted;

/// What verdicts are given from: a replica at the state its head signs.
pub(crate) struct Serving {
    pub(crate) head: Head,
    /// Who has signed the head.
    signer: [u8; 4],
    pub(crate) replica: Replica,
}

/// The next epoch while it is being built.
struct Rebase {
    head: Head,
    signer: [u8; 4],
    deltas: Vec<Delta>,
}

/// A copy of one set.
pub(crate) struct Copy {
    set: String,
    trusted: Trusted,
    pub(crate) pepper: Pepper,
    serving: Option<Serving>,
    rebase: Option<Rebase>,
    /// The next epoch could not be built here: its base is to be fetched.
    whole: bool,
    /// The latest time that the caller has told.
    latest: u64,
}

/// Why a head does not come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is not believed.
    Head(StatementError),
    /// It is of another set.
    OtherSet,
    /// It was issued later than now, by more than clocks may differ.
    Future,
    /// It is no longer valid.
    Expired,
    /// A newer one was accepted before.
    Rollback,
    /// It signs another history of the version in force.
    OtherHistory,
    /// Its pepper is not the one at hand.
    Pepper,
    /// A file that was not asked for, or too few of them.
    Files,
    /// A file is longer than it may be.
    TooLong,
    /// A file is not what the head implies.
    Refused(Refused),
    /// No trust note says whose key has signed the head.
    Trust,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head(error) => return error.fmt(f),
            Self::Refused(error) => return error.fmt(f),
            Self::OtherSet => "the head or note is of another set",
            Self::Future => "the head was issued in the future; a clock is wrong",
            Self::Expired => "the head is no longer valid",
            Self::Rollback => "the head or note is older than one accepted before",
            Self::OtherHistory => "the head signs another history of the version in force",
            Self::Pepper => "the head's pepper is not the one at hand",
            Self::Files => "a file is missing, or was not asked for",
            Self::TooLong => "a file is longer than the head says",
            Self::Trust => "no trust note says whose key has signed the head",
        })
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        Self::Refused(error)
    }
}

/// What becomes of an offered head.
#[expect(clippy::large_enum_variant, reason = "one at a time, for as long as its files are fetched")]
pub(crate) enum Offer {
    /// It is in force, or must wait for a rebase.
    Nothing,
    /// It is news.
    News(Attempt),
    /// A newer trust note has to say whether it is to be believed.
    NeedsTrust,
}

impl Copy {
    /// A copy of nothing yet, which goes by root keys or believes the heads of these signers.
    pub(crate) fn new(set: String, roots: Vec<Verifier>, signers: Vec<Verifier>, pepper: Pepper) -> Self {
        let trusted = Trusted::new(roots, signers);
        Self { set, trusted, pepper, serving: None, rebase: None, whole: false, latest: 0 }
    }

    /// The time to go by where the caller says that it is `told`: the latest time ever told, so that a clock which is set back
    /// makes no head last longer. The end of all time is what stands for no time at all, and is not remembered.
    pub(crate) fn now(&mut self, told: u64) -> u64 {
        if told < u64::MAX {
            self.latest = self.latest.max(told);
        }
        self.latest.max(told)
    }

    /// Takes a trust note. Where it no longer lists who signed the head in force, that head is let go.
    pub(crate) fn take_trust(&mut self, note: &str) -> Result<(), Failure> {
        self.trusted.take(note, &self.set)?;
        let gone = |signer: &[u8; 4]| !self.trusted.believes(signer);
        let pending = self.rebase.as_ref().map(|rebase| &rebase.signer);
        if self.serving.as_ref().map(|serving| &serving.signer).into_iter().chain(pending).any(gone) {
            (self.serving, self.rebase) = (None, None);
        }
        Ok(())
    }

    pub(crate) fn replica(&self) -> Option<&Replica> {
        self.serving.as_ref().map(|serving| &serving.replica)
    }

    pub(crate) fn profile(&self, number: u32) -> Option<&Profile> {
        self.replica()?.profile(number)
    }

    /// What may be answered from at `now`, see [`Self::now`]. A clock that lags behind the head in force does not make it last longer.
    pub(crate) fn serving(&self, now: u64) -> Option<(&Serving, u64)> {
        let serving = self.serving.as_ref()?;
        let now = now.max(serving.head.issued);
        (now < serving.head.valid_until).then_some((serving, now))
    }

    /// Looks at a head and says what it takes.
    pub(crate) fn offer(&self, note: &str, now: u64) -> Result<Offer, Failure> {
        let Some((head, signer)) = self.trusted.open(note).map_err(Failure::Head)? else {
            return Ok(Offer::NeedsTrust);
        };
        self.judge(&head, now)?;
        let in_force =
            self.serving.as_ref().is_some_and(|serving| serving.head == head && !serving.replica.is_corrupt());
        if in_force || self.rebase.is_some() {
            return Ok(Offer::Nothing);
        }
        Ok(Offer::News(Attempt::new(head, signer, self.replica(), self.whole)))
    }

    /// Whether a believed head may be relied on now and follows on the one in force.
    fn judge(&self, head: &Head, now: u64) -> Result<(), Failure> {
        if head.set != self.set {
            return Err(Failure::OtherSet);
        }
        if head.issued > now.saturating_add(head.skew) {
            return Err(Failure::Future);
        }
        if now >= head.valid_until {
            return Err(Failure::Expired);
        }
        if head.pepper != self.pepper.id() || head.pepper_check != self.pepper.check() {
            return Err(Failure::Pepper);
        }
        let state = |head: &Head| [head.incarnation, head.epoch, head.version];
        if self.trusted.floor().is_some_and(|floor| state(head) < floor) {
            return Err(Failure::Rollback);
        }
        let Some(serving) = &self.serving else {
            return Ok(());
        };
        if (state(head), head.issued) < (state(&serving.head), serving.head.issued) {
            return Err(Failure::Rollback);
        }
        if state(head) == state(&serving.head) && head.commitment != serving.head.commitment {
            return Err(Failure::OtherHistory);
        }
        Ok(())
    }

    /// Puts an attempt's head into force, or begins to: true where [`Self::work`] has to go on.
    pub(crate) fn finish(&mut self, attempt: Attempt, now: u64) -> Result<bool, Failure> {
        let signer = attempt.signer;
        if !self.trusted.believes(&signer) {
            return Err(Failure::Trust);
        }
        self.judge(&attempt.head, now)?;
        let (head, start, mut files, parts) = attempt.into_parts();
        let verifiers = self.trusted.signers();
        let open = |files: Vec<Vec<u8>>| -> Result<Vec<Delta>, Failure> {
            let opened = files.iter().map(|bytes| Delta::open(bytes, verifiers));
            opened.collect::<Result<_, _>>().map_err(|error| Refused::Malformed(error).into())
        };
        match (start, &mut self.serving) {
            (Start::Base, serving) => {
                let deltas = open(files.split_off(1))?;
                let index = files.pop().ok_or(Failure::Files)?;
                let mut replica = Replica::load(index, parts, &head)?;
                replica.advance(&deltas, &head)?;
                *serving = Some(Serving { head, signer, replica });
                self.whole = false;
            }
            (Start::Here, Some(serving)) => {
                serving.replica.advance(&open(files)?, &head)?;
                (serving.head, serving.signer) = (head, signer);
            }
            (Start::Rebase(count), Some(serving)) => {
                // Whatever goes wrong from here on, the base is the way.
                self.whole = true;
                let deltas = open(files.split_off(count + 1))?;
                let record = files.pop().ok_or(Failure::Files)?;
                let ending = open(files)?;
                if let Some(last) = ending.last() {
                    let commitment = *last.to_commitment();
                    // The head signs what its base was made from: without that, nothing vouches for where these lead.
                    if commitment.then(&head.base_root) != head.base_commitment {
                        return Err(Refused::OtherHistory.into());
                    }
                    serving.replica.advance_to(&ending, head.base_version - 1, &commitment)?;
                }
                serving.replica.begin_rebase(&record, &head)?;
                self.rebase = Some(Rebase { head, signer, deltas });
                return Ok(true);
            }
            (Start::Here | Start::Rebase(_), None) => return Err(Failure::Files),
        }
        Ok(false)
    }

    /// Does one slice of a rebase; true where another one is left.
    pub(crate) fn work(&mut self) -> Result<bool, Failure> {
        let (Some(serving), Some(rebase)) = (&mut self.serving, &self.rebase) else {
            return Ok(false);
        };
        let outcome = match serving.replica.rebase_step() {
            Ok(false) => return Ok(true),
            Ok(true) => serving.replica.advance(&rebase.deltas, &rebase.head),
            Err(error) => Err(error),
        };
        let Some(Rebase { head, signer, .. }) = self.rebase.take() else {
            return Ok(false);
        };
        outcome?;
        self.whole = false;
        // Where building took longer than it is valid, verdicts say so until the next head.
        (serving.head, serving.signer) = (head, signer);
        Ok(false)
    }
}
