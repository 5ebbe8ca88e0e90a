//! The steps of a flight. JavaScript (`js/flight.mjs`) goes from one to the next: it fetches what a step names and hands over
//! what came. A step whose flight is not known any more does nothing.

use nightlatch_gate::Unfit;
use nightlatch_gate::policy::Policy;
use nightlatch_sync::{Offer, Outcome, Refusal, Work};

use crate::host;
use crate::instance::Instance;

/// Bytes per millisecond at which a base is loaded at the slowest; beyond what a small file may take.
const SLOWEST: u64 = 4_000;
/// The most milliseconds that loading a base may take: the runtime ends what outlives its request by 30 s.
const LONGEST_LOAD_MS: u64 = 25_000;

/// What a flight is to do next. `js/step.mjs` holds the same numbers; a test compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Land: it came to nothing, and what was in force stays.
    Failed = 0,
    /// Land: the head is in force.
    InForce = 1,
    /// Land: another flight is at it, or got further.
    Passed = 2,
    /// Go on with the rebase under way until nothing is left of it, then ask for the head again.
    Working = 3,
    /// Fetch the head's files.
    Fetch = 4,
    /// Fetch the trust note, then offer the head again.
    NeedsTrust = 5,
}

/// What a flight finds when it begins; `js/step.mjs` holds the same numbers.
pub(crate) const KNOWS_HEAD: u32 = 1;
pub(crate) const IS_WORKING: u32 = 2;
pub(crate) const LACKS_TRUST: u32 = 4;

/// What a flight came to; `js/step.mjs` holds the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// It failed.
    Failed = 0,
    /// The set is as new as its source.
    Landed = 1,
    /// And the request that flew is to send a report.
    LandedReport = 2,
}

impl Instance {
    pub(crate) fn now(&mut self) -> u64 {
        self.edge.now(host::now(), None)
    }

    /// Begins a flight, or begins it again, and says what there is.
    pub(crate) fn set_out(&mut self, flight: u32) -> u32 {
        self.journeys.begin(flight);
        // The text of the head in force is needed again where something behind it is damaged.
        let knows = self.edge.loaded().is_some() && !self.edge.is_damaged();
        let lacks_trust = !self.config.roots.is_empty() && self.edge.trust().is_none();
        u32::from(knows) * KNOWS_HEAD
            + u32::from(self.edge.is_working()) * IS_WORKING
            + u32::from(lacks_trust) * LACKS_TRUST
    }

    /// Takes note that the source's head is the one in force.
    pub(crate) fn unchanged(&mut self) {
        let now = self.now();
        self.edge.unchanged(now);
    }

    /// Looks at a head.
    pub(crate) fn offer(&mut self, flight: u32, note: &str) -> Step {
        let now = self.now();
        let offer = self.edge.offer(note, now);
        match (offer, self.journeys.of(flight)) {
            (Ok(Offer::Known), _) => Step::InForce,
            (Ok(Offer::Working), _) => Step::Working,
            (Ok(Offer::NeedsTrust), _) => Step::NeedsTrust,
            (Ok(Offer::News(attempt)), Some(journey)) => {
                journey.head_for(attempt);
                Step::Fetch
            }
            (Err(refusal), _) => self.refuse(flight, refusal),
            (Ok(_), None) => Step::Passed,
        }
    }

    /// Takes the trust note that a head needed, empty where the source has none, and looks at the head again.
    pub(crate) fn trust(&mut self, flight: u32, note: &str, head: &str) -> Step {
        if !note.is_empty()
            && let Err(refusal) = self.edge.take_trust(note)
        {
            return self.refuse(flight, refusal);
        }
        match self.offer(flight, head) {
            Step::NeedsTrust => self.refuse(flight, Refusal::TrustMissing),
            step => step,
        }
    }

    /// Takes a deny note, and says whether it is believed. One that is not is no reason to refuse anything else.
    pub(crate) fn deny(&mut self, note: &str) -> bool {
        let taken = self.edge.take_deny(note);
        if let Err(refusal) = &taken {
            host::warn(&format!("nightlatch: a deny note is refused ({})", refusal.code()));
        }
        taken.is_ok()
    }

    /// Whether it is time to look for a deny note. While nothing is loaded there is nothing that it could take back.
    pub(crate) fn wants_deny(&mut self) -> bool {
        let now = self.now();
        self.edge.loaded().is_some() && self.edge.wants_deny(now)
    }

    /// Whether what came last was not what was signed, until something is: then a file is not to come from a cache that may
    /// keep it for long.
    pub(crate) fn doubts_files(&mut self) -> bool {
        // Remembered, because a damaged base may have to go before the next one has come.
        self.has_doubts |= self.edge.is_damaged();
        self.has_doubts
    }

    /// Makes the file under way longer; false where it may not be.
    pub(crate) fn append(&mut self, flight: u32, bytes: &[u8]) -> bool {
        let Some(journey) = self.journeys.of(flight) else {
            return false;
        };
        let fits = journey.append(bytes);
        self.has_doubts |= !fits;
        fits
    }

    /// Goes by the base, where the source lacks a file that only a shorter way needs.
    pub(crate) fn by_base(&mut self, flight: u32, missing: usize) -> Step {
        let Some(journey) = self.journeys.of(flight) else {
            return Step::Passed;
        };
        let missing = |attempt: &nightlatch_sync::Attempt| attempt.fetches().get(missing).map(|fetch| fetch.name);
        let Some((attempt, name)) =
            journey.take().and_then(|(attempt, _)| missing(&attempt).map(|name| (attempt, name)))
        else {
            return Step::Failed;
        };
        match self.edge.by_base(attempt, &name) {
            Ok(Some(other)) => {
                journey.head_for(other);
                Step::Fetch
            }
            Ok(None) => Step::Failed,
            Err(refusal) => self.refuse(flight, refusal),
        }
    }

    /// The parts of a base, when everything else has come: how many milliseconds they may take, and their names, a line
    /// each. Nothing where there are none, and `-` where another flight is loading a base.
    pub(crate) fn parts(&mut self, flight: u32) -> String {
        let now = self.now();
        let Some(journey) = self.journeys.of(flight) else {
            return "-".into();
        };
        let names = journey.names(true);
        let Some(attempt) = journey.attempt.as_ref().filter(|_| !names.is_empty()) else {
            return names;
        };
        let bytes: u64 = attempt.parts().iter().map(|part| part.max_len).sum();
        let ms = (self.config.fetch_timeout_ms + bytes / SLOWEST).min(LONGEST_LOAD_MS);
        if !self.flights.begin_load(flight, now, ms) {
            return "-".into();
        }
        self.edge.make_room(attempt);
        journey.load();
        self.journeys.alone(flight);
        format!("{ms}\n{names}")
    }

    /// Puts the head into force, or begins to.
    pub(crate) fn finish(&mut self, flight: u32) -> Step {
        let now = self.now();
        let Some((attempt, files)) = self.journeys.of(flight).and_then(crate::journey::Journey::take) else {
            return Step::Passed;
        };
        let outcome = self.edge.finish(attempt, files, now, Policy::decode);
        self.has_doubts &= !matches!(outcome, Ok(Outcome::InForce | Outcome::Working));
        match outcome {
            Ok(Outcome::InForce) => Step::InForce,
            Ok(Outcome::Superseded) => Step::Passed,
            Ok(Outcome::Working) => Step::Working,
            Err(refusal) => self.refuse(flight, refusal),
        }
    }

    /// Goes on with a rebase by one step; true where more are left.
    pub(crate) fn work(&mut self) -> bool {
        let now = self.now();
        match self.edge.work(now) {
            Ok(work) => work == Work::Left,
            Err(refusal) => {
                self.doubt(&refusal);
                self.failed(Some(&refusal), "");
                false
            }
        }
    }

    fn refuse(&mut self, flight: u32, refusal: Refusal) -> Step {
        self.doubt(&refusal);
        if let Some(journey) = self.journeys.of(flight) {
            journey.refusal = Some(refusal);
        }
        Step::Failed
    }

    fn doubt(&mut self, refusal: &Refusal) {
        self.has_doubts |= matches!(refusal, Refusal::Files(_) | Refusal::Policy(_));
    }

    /// Ends a flight. `trouble` is what JavaScript met, where it did. A head that was `pushed` and came to nothing is no
    /// trouble of the source's: nothing but the log hears of it.
    pub(crate) fn land(&mut self, flight: u32, trouble: &str, pushed: bool) -> Landing {
        let now = self.now();
        let refusal = self.journeys.end(flight);
        let failed = refusal.is_some() || !trouble.is_empty();
        self.flights.end(flight, pushed || !failed);
        if failed {
            if pushed {
                let code = refusal.as_ref().map_or("fetch_failed", Refusal::code);
                if self.last_pushed_failure.replace(code) != Some(code) {
                    host::warn(&format!("nightlatch: a pushed head came to nothing ({code})"));
                }
            } else {
                self.failed(refusal.as_ref(), trouble);
            }
            return Landing::Failed;
        }
        if pushed {
            self.last_pushed_failure = None;
        } else {
            if self.last_failure.take().is_some() {
                host::log("nightlatch: the set is up to date again");
            }
            self.unfit = Unfit::SetStale;
        }
        match self.edge.mark() {
            Some(mark) if self.config.reports && self.sightings.applied(mark, now) => Landing::LandedReport,
            _ => Landing::Landed,
        }
    }

    fn failed(&mut self, refusal: Option<&Refusal>, trouble: &str) {
        let code = refusal.map_or("fetch_failed", Refusal::code);
        self.unfit = match refusal {
            Some(Refusal::PepperMissing { .. }) => Unfit::PepperMissing,
            Some(Refusal::Files(_) | Refusal::Policy(_)) => Unfit::SetCorrupt,
            _ => Unfit::SetStale,
        };
        // Once per kind of trouble, not once per poll.
        if self.last_failure != Some(code) {
            self.last_failure = Some(code);
            let text = refusal.map(ToString::to_string);
            let text = text.as_deref().unwrap_or(trouble);
            host::warn(&format!("nightlatch: the set cannot be refreshed ({code}): {text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javascript_has_the_same_numbers() {
        let script = include_str!("../js/step.mjs");
        for (name, number) in [
            ("FAILED", Step::Failed as u32),
            ("IN_FORCE", Step::InForce as u32),
            ("PASSED", Step::Passed as u32),
            ("WORKING", Step::Working as u32),
            ("FETCH", Step::Fetch as u32),
            ("NEEDS_TRUST", Step::NeedsTrust as u32),
            ("KNOWS_HEAD", KNOWS_HEAD),
            ("IS_WORKING", IS_WORKING),
            ("LACKS_TRUST", LACKS_TRUST),
            ("LANDED_REPORT", Landing::LandedReport as u32),
        ] {
            assert!(script.contains(&format!("export const {name} = {number};\n")), "{name} = {number}");
        }
    }
}
