//! The guarantees of DESIGN §7, held against what edges have and answer.

use nightlatch_gate::policy::Policy;
use nightlatch_gate::{Found, Keys, Request, SetFacts, Unfit, Verdict, decide};
use nightlatch_key::Digest;
use nightlatch_keyset::{Commitment, Head, Status};
use nightlatch_sync::{Mark, Serving};

use crate::world::World;

/// A set that is fresh enough to answer, as the gate asks it.
struct Fresh<'a>(&'a Serving<Policy>, bool);

impl Keys for Fresh<'_> {
    fn find(&self, digest: &Digest) -> Result<Option<Found<'_>>, Unfit> {
        let found = self.0.find(digest).map_err(|_| Unfit::SetCorrupt)?;
        Ok(found.map(|(record, profile)| Found { record, profile, workspace: &self.0.head().workspace }))
    }

    fn only_open(&self) -> bool {
        self.1
    }
}

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    Refused,
    CannotTell,
}

impl World {
    /// A head has come into force: guarantees 3 and 4, and how long revocations took.
    pub(crate) fn check_in_force(&mut self, edge: usize, head: &Head, time: u64) {
        let now = self.now;
        let mark = Mark::of(head);
        let node = &self.edges[edge];
        if node.reached.is_some_and(|reached| mark < reached) {
            self.fail(4, format!("edge {edge} goes back to {mark:?} from {:?}", self.edges[edge].reached));
        }
        if time >= head.valid_until {
            self.fail(4, format!("edge {edge} puts a head into force that has ended"));
        }
        let few = self.edges.len() <= 16;
        if few || self.draw().is_multiple_of(64) {
            self.check_replica(edge);
            self.check_edge(edge, 4);
        }
        let node = &mut self.edges[edge];
        let (started, transport) = (node.started, node.spec.transport);
        let mut heard = node.heard;
        let mut delays = Vec::new();
        while let Some(revocation) = self.truth.revocations.get(heard) {
            if (revocation.incarnation, revocation.version) > (head.incarnation, head.version) {
                break;
            }
            if revocation.at >= started {
                delays.push(now - revocation.at);
            }
            heard += 1;
        }
        self.edges[edge].heard = heard;
        // A node that was stale in between refused earlier; what counts here is when it heard.
        let sums = self.counts.delays.entry(transport).or_default();
        delays.into_iter().for_each(|ms| sums.add(ms));
    }

    /// Guarantee 3: the replica is the set at its version.
    fn check_replica(&mut self, edge: usize) {
        let Some(serving) = self.edges[edge].edge.as_ref().and_then(|state| state.loaded()) else { return };
        let replica = serving.replica();
        let Some(model) = self.truth.model(replica.commitment()) else {
            return self.fail(3, format!("edge {edge} is at a state that was never committed"));
        };
        let Some(members) = self.truth.members.get(&replica.commitment().0.0) else {
            return self.fail(3, format!("edge {edge} is at a state of which nobody knows what it says of members"));
        };
        let mut wrong = (replica.len() != model.len()).then_some(u32::MAX);
        for (tag, (key, image)) in model.iter() {
            let same = matches!(replica.lookup(tag), Ok(Some(record)) if record.status == image.status
                && record.deadline == image.deadline
                && replica.profile(record.profile) == Some(&self.kit.profile(image.profile, members)));
            if !same {
                wrong = Some(*key);
            }
        }
        let version = replica.version();
        self.counts.replicas += 1;
        if let Some(key) = wrong {
            self.fail(3, format!("edge {edge} has something else of key {key} than version {version}"));
        }
    }

    /// Holds what an edge answers for a few keys against what is true; those first that were changed last.
    pub(crate) fn check_edge(&mut self, edge: usize, keys: usize) {
        let known = self.keys.len();
        for _ in 0..keys {
            let cursor = self.edges[edge].cursor;
            self.edges[edge].cursor += 1;
            // Every other look is at one of the keys that were revoked last.
            let revoked = &self.revoked;
            let key = match revoked.len() {
                0 => cursor % known,
                many if cursor.is_multiple_of(2) => revoked[many - 1 - (cursor / 2) % many.min(3)] as usize,
                _ => cursor / 2 % known,
            };
            self.check_key(edge, key);
        }
    }

    /// Looks at all that some edges answer.
    pub(crate) fn look(&mut self, sample: u64) {
        let edges = self.edges.len();
        let some = edges.min(16);
        for step in 0..some {
            let edge = (sample as usize + step * (edges / some)) % edges;
            if self.edges[edge].edge.is_some() && self.now >= self.edges[edge].frozen_until {
                for key in 0..self.keys.len() {
                    self.check_key(edge, key);
                }
            }
        }
    }

    fn check_key(&mut self, edge: usize, key: usize) {
        let now = self.now;
        let node = &mut self.edges[edge];
        let time = node.time(now);
        let Some(state) = &node.edge else { return };
        let Some(serving) = state.serving(time) else {
            self.counts.unfit += 1;
            return self.check_open(edge, key, time);
        };
        self.counts.verdicts += 1;
        let request =
            Request { authorization: Some(self.keys[key].header.as_bytes()), ..Request::new("GET", "/accounts") };
        let facts = SetFacts::from(serving.head());
        let answer = match decide(&request, serving.policy(), &facts, &Fresh(serving, false), time) {
            Verdict::Allow(_) => Answer::Allowed,
            Verdict::Deny(denial) if denial.status() < 500 => Answer::Refused,
            _ => Answer::CannotTell,
        };
        if time >= serving.head().valid_until {
            self.fail(4, format!("edge {edge} answers by a head that has ended"));
            return;
        }
        let commitment = *serving.replica().commitment();
        let denied = self.edges[edge].denied.contains(&key);
        let said = if denied { Answer::Refused } else { self.said(&commitment, key, time) };
        if said != answer {
            self.fail(3, format!("edge {edge} answers {answer:?} for key {key}; the set at its version says {said:?}"));
            return;
        }
        self.check_bounds(edge, key, answer, time);
        if answer == Answer::Allowed {
            self.check_scopes(edge, key, time);
        }
    }

    /// Guarantee 2 of scopes: what was taken from a member, or given to it, is so for its keys within the bound.
    fn check_scopes(&mut self, edge: usize, key: usize, time: u64) {
        let (now, bound, skew) = (self.now, self.bound(), self.setup.skew);
        let node = &self.edges[edge];
        let Some(replica) = node.edge.as_ref().and_then(|state| state.serving(time)).map(|serving| serving.replica())
        else {
            return;
        };
        let record = replica.lookup(&self.keys[key].tag).ok().flatten();
        let Some(profile) = record.and_then(|record| replica.profile(record.profile)) else { return };
        let Some(&(scopes, since)) = profile.live.and_then(|member| self.truth.scopes_since.get(&(member as usize)))
        else {
            return;
        };
        let behind = now as i64 - time as i64;
        let late = now > since + bound && profile.scopes != self.kit.profiles[scopes].scopes;
        if late && behind + self.ahead <= skew as i64 {
            let over = now - since - bound;
            self.fail(2, format!("edge {edge} gives key {key} other scopes than its member's {over} ms after the bound of their change"));
        }
    }

    /// What is answered past the validity: on open routes, for keys known good, and for as long as the head says. They have
    /// a bound of their own.
    fn check_open(&mut self, edge: usize, key: usize, time: u64) {
        let (now, skew) = (self.now, self.setup.skew);
        let Some(serving) = self.edges[edge].edge.as_ref().and_then(|state| state.serving_open(time)) else { return };
        let facts = SetFacts::from(serving.head());
        let ask = |target| {
            let authorization = Some(self.keys[key].header.as_bytes());
            let request = Request { authorization, ..Request::new("GET", target) };
            match decide(&request, serving.policy(), &facts, &Fresh(serving, true), time) {
                Verdict::Allow(_) => Answer::Allowed,
                Verdict::Deny(denial) if denial.status() < 500 => Answer::Refused,
                _ => Answer::CannotTell,
            }
        };
        let (open, closed) = (ask("/open/accounts"), ask("/accounts"));
        let is_open = |policy: &[u8]| Policy::decode(policy).is_ok_and(|policy| policy.realm() != "one");
        let has_open = is_open(&self.kit.policy(&serving.head().policy));
        let ended = serving.head().open_until.is_none_or(|until| time >= until);
        let commitment = *serving.replica().commitment();
        let denied = self.edges[edge].denied.contains(&key);
        let said = if denied { Answer::Refused } else { self.said(&commitment, key, time) };
        self.counts.open_answers += u64::from(open == Answer::Allowed);
        if closed != Answer::CannotTell {
            return self.fail(4, format!("edge {edge} answers {closed:?} on a closed route by a head that has ended"));
        }
        let wrong = open == Answer::Allowed && (said != Answer::Allowed || ended || !has_open);
        if wrong || open == Answer::Refused && said == Answer::Allowed {
            return self
                .fail(3, format!("edge {edge} answers {open:?} for key {key} on an open route, which is {said:?}"));
        }
        let bound = self.truth.largest_open + skew;
        let behind = now as i64 - time as i64;
        if open == Answer::Allowed
            && self.truth.keys[key].revoked_at.is_some_and(|at| now > at + bound)
            && behind + self.ahead <= skew as i64
        {
            self.fail(2, format!("edge {edge} accepts key {key} on an open route past that route's bound"));
        }
    }

    /// What the set at a state says of a key at a time.
    fn said(&self, commitment: &Commitment, key: usize, time: u64) -> Answer {
        let members = self.truth.members.get(&commitment.0.0);
        let (Some(model), Some(members)) = (self.truth.model(commitment), members) else { return Answer::CannotTell };
        let refused = |profile| self.kit.profile(profile, members).refused;
        match model.get(&self.keys[key].tag) {
            Some((_, image))
                if image.is_usable() && !refused(image.profile) && image.deadline.is_none_or(|at| time < at * 1000) =>
            {
                Answer::Allowed
            }
            _ => Answer::Refused,
        }
    }

    /// Guarantees 1 and 2.
    fn check_bounds(&mut self, edge: usize, key: usize, answer: Answer, time: u64) {
        let (now, bound, skew) = (self.now, self.bound(), self.setup.skew);
        let story = &self.truth.keys[key];
        let behind = now as i64 - time as i64;
        if answer == Answer::Allowed
            && let Some(at) = story.revoked_at.into_iter().chain(story.refused_since).min()
            && now > at + bound
        {
            let over = now - at - bound;
            if behind + self.ahead <= skew as i64 {
                self.fail(2, format!("edge {edge} accepts key {key} {over} ms after the bound of its revocation or its member's suspension"));
                return;
            }
            let node = &self.edges[edge];
            let accepted = node.lag_when_accepted;
            if accepted + self.ahead <= skew as i64 && behind - accepted <= skew as i64 {
                self.counts.late_between += 1;
            } else {
                self.counts.late_outside += 1;
            }
        }
        let deadline = self.database.data.keys.get(&(key as u32)).and_then(|row| row.deadline);
        let in_time = deadline.is_none_or(|deadline| now + skew < deadline * 1000);
        if answer == Answer::Refused
            && story.usable_since.is_some_and(|since| now > since + bound)
            && in_time
            && !self.edges[edge].denied.contains(&key)
            && behind.abs() + self.ahead <= skew as i64
        {
            self.fail(1, format!("edge {edge} refuses key {key}, which has been good for longer than the bound"));
        }
    }

    /// Guarantee 6: in no later state is a revoked key anything else.
    pub(crate) fn check_final(&mut self, commitment: &Commitment) {
        let Some(model) = self.truth.model(commitment) else { return };
        let alive = self.truth.keys.iter().enumerate().find(|(key, story)| {
            let there = model.get(&self.keys[*key].tag);
            story.revocation_published && there.is_some_and(|(_, image)| image.status != Status::Revoked)
        });
        if let Some((key, _)) = alive {
            self.fail(6, format!("key {key} was revoked and published so, and a later version says otherwise"));
        }
    }

    /// The world has had time to settle: nothing acknowledged is lost, and everybody knows everything.
    pub(crate) fn check_end(&mut self) {
        self.counts.edges += self.edges.len() as u64;
        let data = &self.database.data;
        let set = &data.set;
        let lost = self.truth.keys.iter().enumerate().find_map(|(key, story)| {
            let stored = data.keys.get(&(key as u32)).map(|row| row.image());
            (story.acknowledged.is_some() && story.acknowledged != stored).then_some(key)
        });
        if let Some(key) = lost {
            return self.fail(9, format!("what was acknowledged of key {key} is lost"));
        }
        if data.waits() {
            return self.fail(9, "committed changes are not published long after all faults have ended".into());
        }
        let state = (set.incarnation, set.epoch, set.version, set.commitment);
        let expected = self.truth.model(&set.commitment).cloned();
        let stored = data.images(set.version);
        let told = self.truth.members.get(&set.commitment.0.0).is_some_and(|members| *members == data.members);
        let same = told
            && expected.is_some_and(|model| {
                model.values().all(|(key, image)| stored.get(key).is_some_and(|(stored, _)| stored == image))
            });
        if !same {
            return self.fail(9, "the published set is not the database's".into());
        }
        for edge in 0..self.edges.len() {
            let now = self.now;
            let time = self.edges[edge].time(now);
            let serving = self.edges[edge].edge.as_ref().and_then(|edge| edge.serving(time));
            let at = serving.map(|serving| {
                let replica = serving.replica();
                (replica.incarnation(), replica.epoch(), replica.version(), *replica.commitment())
            });
            if at != Some(state) {
                let at = at.map(|(incarnation, epoch, version, _)| (incarnation, epoch, version));
                let state = (state.0, state.1, state.2);
                return self
                    .fail(9, format!("edge {edge} is at {at:?} long after all faults have ended, not at {state:?}"));
            }
            if edge < 16 {
                self.check_replica(edge);
            }
        }
        self.look(0);
    }
}
