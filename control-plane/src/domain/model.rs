//! The transitions against a small model: random histories, and what must hold after every step of them.
//!
//! The model keeps per key only what a bystander could tell: whether somebody revoked it, until when it was promised to
//! verify, whether it is switched off. It decides by itself which calls are to be accepted.

use std::collections::BTreeMap;

use nightlatch_key::{Digest, Environment};
use proptest::prelude::*;

use super::rotate::{self, Ending, Started, Turned};
use super::rotation::{IN_USE_MS, Order, Start, SuccessorFate};
use super::*;

const BOUND: Bound = Bound::from_ms(65_000);
/// 2026-01-01, in milliseconds, and not a whole second.
const BEGINNING: i64 = 1_767_225_600_123;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait { ms: i64 },
    Issue { life: Option<i64> },
    SetExpiry { key: usize, life: Option<i64> },
    Disable { key: usize },
    Enable { key: usize },
    Use { key: usize },
    Revoke { key: usize },
    Start { key: usize, order: Order, overlap: i64 },
    Extend { rotation: usize, overlap: i64 },
    Cancel { rotation: usize, fate: SuccessorFate },
    Complete { rotation: usize, force: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let life = || proptest::option::of(-5..400_i64);
    let place = 0..12_usize;
    let order = prop_oneof![3 => Just(Order::IssueFirst), 1 => Just(Order::RevokeFirst)];
    let fate = prop_oneof![Just(SuccessorFate::Keep), Just(SuccessorFate::Revoke)];
    let step = prop_oneof![
        4 => prop_oneof![0..3_000_i64, 0..90_000_i64].prop_map(|ms| Step::Wait { ms }),
        2 => life().prop_map(|life| Step::Issue { life }),
        2 => (place.clone(), life()).prop_map(|(key, life)| Step::SetExpiry { key, life }),
        1 => place.clone().prop_map(|key| Step::Disable { key }),
        1 => place.clone().prop_map(|key| Step::Enable { key }),
        2 => place.clone().prop_map(|key| Step::Use { key }),
        1 => place.clone().prop_map(|key| Step::Revoke { key }),
        4 => (place.clone(), order, 0..300_i64).prop_map(|(key, order, overlap)| Step::Start { key, order, overlap }),
        3 => (place.clone(), 0..400_i64).prop_map(|(rotation, overlap)| Step::Extend { rotation, overlap }),
        2 => (place.clone(), fate).prop_map(|(rotation, fate)| Step::Cancel { rotation, fate }),
        2 => (place, any::<bool>()).prop_map(|(rotation, force)| Step::Complete { rotation, force }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a bystander knows of a key.
#[derive(Clone, Debug, Default)]
struct Seen {
    revoked: bool,
    disabled: bool,
    expiry: Option<i64>,
    /// The end of its overlap, while it is in one.
    overlap_end: Option<i64>,
    last_used: Option<i64>,
}

impl Seen {
    /// From when it is refused, in milliseconds.
    fn until(&self) -> Option<i64> {
        [self.expiry, self.overlap_end].into_iter().flatten().min().map(|second| second * 1000)
    }

    fn is_final(&self, now: i64) -> bool {
        self.revoked || self.until().is_some_and(|until| now >= until)
    }

    /// Whether every edge would hear of a later end before it refused the key by the present one.
    fn can_be_prolonged(&self, now: i64) -> bool {
        self.until().is_none_or(|until| now + BOUND.ms() <= until)
    }
}

struct World {
    now: i64,
    by: Actor,
    keys: Vec<Key>,
    rotations: Vec<Rotation>,
    seen: Vec<Seen>,
    /// By rotation: predecessor and successor, and whether the model holds it open.
    turns: Vec<(usize, usize, bool)>,
    /// Keys that were seen final, and how.
    finals: BTreeMap<usize, State>,
}

impl World {
    fn new() -> Self {
        Self {
            now: BEGINNING,
            by: Actor::system(),
            keys: Vec::new(),
            rotations: Vec::new(),
            seen: Vec::new(),
            turns: Vec::new(),
            finals: BTreeMap::new(),
        }
    }

    fn birth(&self) -> Birth {
        let number = self.keys.len() as u32 + 1;
        Birth {
            id: KeyId::of_text(&format!("{number:010}")),
            workspace: WorkspaceId::from_stored("ws_1".to_owned()),
            number,
            digest: Digest::of(&number.to_le_bytes()),
            prefix: String::new(),
            subject: 1,
            kind: PrincipalKind::ServiceAccount,
            by: self.by.clone(),
            issuer_member: None,
            now: self.now,
        }
    }

    fn expiry(&self, life: Option<i64>) -> Option<i64> {
        life.map(|life| self.now / 1000 + life)
    }

    /// The open rotation of a predecessor, as the store would find it.
    fn open_of(&self, key: usize) -> Option<&Rotation> {
        self.rotations.iter().find(|rotation| rotation.predecessor == self.keys[key].id && rotation.is_open(self.now))
    }

    fn turn_of(&self, key: usize) -> Option<usize> {
        self.turns.iter().position(|(predecessor, _, open)| *predecessor == key && *open)
    }

    fn put(&mut self, rotation: Rotation) {
        let place = self.rotations.iter_mut().find(|known| known.id == rotation.id);
        *place.expect("a changed rotation is a known one") = rotation;
    }

    /// The model's own view of passing time.
    fn pass(&mut self) {
        for (predecessor, _, open) in &mut self.turns {
            *open &= !self.seen[*predecessor].is_final(self.now);
        }
    }

    fn step(&mut self, step: Step) {
        self.pass();
        match step {
            Step::Wait { ms } => self.now += ms,
            Step::Issue { life } => self.issue(life),
            Step::SetExpiry { key, life } if key < self.keys.len() => self.set_expiry(key, life),
            Step::Disable { key } if key < self.keys.len() => self.switch(key, true),
            Step::Enable { key } if key < self.keys.len() => self.switch(key, false),
            Step::Use { key } if key < self.keys.len() => {
                self.keys[key].last_used_at = Some(self.now);
                self.seen[key].last_used = Some(self.now);
            }
            Step::Revoke { key } if key < self.keys.len() => self.revoke(key),
            Step::Start { key, order, overlap } if key < self.keys.len() => self.start(key, order, overlap),
            Step::Extend { rotation, overlap } if rotation < self.rotations.len() => self.extend(rotation, overlap),
            Step::Cancel { rotation, fate } if rotation < self.rotations.len() => self.cancel(rotation, fate),
            Step::Complete { rotation, force } if rotation < self.rotations.len() => self.complete(rotation, force),
            _ => {}
        }
        self.pass();
        self.check();
    }

    fn issue(&mut self, life: Option<i64>) {
        let expiry = self.expiry(life);
        let request = Issue {
            name: Name::new("a key").unwrap(),
            environment: Environment::Live,
            subject: None,
            scopes: Scopes::new(["a:read", "b:write"]).unwrap(),
            tier: Some(Tier::new("standard").unwrap()),
            owner: None,
            owner_member: None,
            labels: Labels::default(),
            expires_at: expiry,
            rotate_by: None,
            link: None,
        };
        let issued = super::issue(request, self.birth());
        assert_eq!(issued.is_ok(), expiry.is_none_or(|expiry| expiry * 1000 > self.now));
        if let Ok(key) = issued {
            self.keys.push(key);
            self.seen.push(Seen { expiry, ..Seen::default() });
        }
    }

    fn set_expiry(&mut self, key: usize, life: Option<i64>) {
        let expiry = self.expiry(life);
        let seen = &self.seen[key];
        let later = match (seen.expiry, expiry) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(old), Some(new)) => new > old,
        };
        let expected = !seen.is_final(self.now)
            && (expiry == seen.expiry || expiry.is_none_or(|expiry| expiry * 1000 > self.now))
            && (!later || seen.can_be_prolonged(self.now));
        let patch = KeyPatch { expires_at: Some(expiry), ..KeyPatch::default() };
        let patched = super::patch(&self.keys[key], self.open_of(key), patch, BOUND, self.now);
        assert_eq!(patched.is_ok(), expected, "{patched:?}");
        if let Ok(Patched { key: after, rotation, .. }) = patched {
            self.keys[key] = after;
            if let Some(rotation) = rotation {
                self.put(rotation);
            }
            let seen = &mut self.seen[key];
            seen.expiry = expiry;
            seen.overlap_end = seen.overlap_end.map(|end| expiry.map_or(end, |expiry| expiry.min(end)));
        }
    }

    fn switch(&mut self, key: usize, off: bool) {
        let before = &self.keys[key];
        let changed = if off {
            super::disable(before, Cause::Admin, self.now)
        } else {
            super::enable(before, Cause::Admin, self.now)
        };
        assert_eq!(changed.is_ok(), !self.seen[key].is_final(self.now));
        if let Ok(changed) = changed {
            assert_eq!(changed.is_some(), self.seen[key].disabled != off, "repeating changes nothing");
            self.keys[key] = changed.unwrap_or_else(|| before.clone());
            self.seen[key].disabled = off;
        }
    }

    fn revoke(&mut self, key: usize) {
        let as_successor = self.rotations.iter().find(|r| r.successor == self.keys[key].id && r.is_open(self.now));
        let revoked = super::revoke(&self.keys[key], self.open_of(key), as_successor, None, &self.by, self.now);
        let orphans = self.turns.iter().any(|(_, successor, open)| *successor == key && *open);
        assert_eq!(revoked.warnings == [Warning::NoSuccessor], orphans);
        assert_eq!(revoked.completed.is_some(), self.turn_of(key).is_some());
        if let Some(completed) = revoked.completed {
            self.put(completed);
        }
        if let Some(after) = revoked.key {
            self.keys[key] = after;
        }
        self.model_revoke(key);
    }

    fn model_revoke(&mut self, key: usize) {
        if let Some(turn) = self.turn_of(key) {
            self.turns[turn].2 = false;
        }
        let seen = &mut self.seen[key];
        // One whose overlap ran out was revoked by that.
        seen.revoked = true;
    }

    fn start(&mut self, key: usize, order: Order, overlap: i64) {
        let seen = &self.seen[key];
        let expected = match order {
            Order::RevokeFirst => true,
            Order::IssueFirst => {
                !seen.is_final(self.now)
                    && !seen.disabled
                    && self.turn_of(key).is_none()
                    && overlap * 1000 >= BOUND.ms()
            }
        };
        let request = Start {
            order,
            overlap_seconds: overlap,
            reason: Reason::new("due").unwrap(),
            name: None,
            scopes: None,
            expires_at: None,
        };
        let id = RotationId::from_stored(format!("rot_{}", self.rotations.len()));
        let started = rotate::start(&self.keys[key], self.open_of(key), request, id, self.birth(), BOUND);
        assert_eq!(started.is_ok(), expected, "{started:?}");
        let Ok(Started { predecessor, successor, rotation, ended, warnings }) = started else { return };
        let end = rotation.deadline;
        match order {
            Order::IssueFirst => {
                let end = end.expect("an overlap ends");
                let short = end * 1000 < self.now + BOUND.ms();
                assert_eq!(warnings.contains(&Warning::OverlapBelowBound), short);
                assert!(!short || self.seen[key].expiry == Some(end), "only the predecessor's own expiry shortens it");
                self.seen[key].overlap_end = Some(end);
            }
            Order::RevokeFirst => self.model_revoke(key),
        }
        assert_eq!(successor.scopes, predecessor.scopes);
        assert_eq!(successor.tier, predecessor.tier);
        assert_eq!(successor.lineage, predecessor.lineage);
        self.keys[key] = predecessor;
        self.keys.push(successor);
        self.seen.push(Seen::default());
        if let Some(ended) = ended {
            self.put(ended);
        }
        self.rotations.push(rotation);
        self.turns.push((key, self.keys.len() - 1, order == Order::IssueFirst));
    }

    fn extend(&mut self, rotation: usize, overlap: i64) {
        let (predecessor, _, open) = self.turns[rotation];
        let seen = &self.seen[predecessor];
        let asked = (self.now + 999) / 1000 + overlap;
        let new = seen.expiry.map_or(asked, |expiry| expiry.min(asked));
        let expected = open && seen.can_be_prolonged(self.now) && seen.overlap_end.is_some_and(|end| new > end);
        let turned = rotate::extend(&self.rotations[rotation], &self.keys[predecessor], overlap, BOUND, self.now);
        assert_eq!(turned.is_ok(), expected, "{turned:?}");
        if let Ok(turned) = turned {
            self.seen[predecessor].overlap_end = Some(new);
            self.turn(rotation, turned);
        }
    }

    fn cancel(&mut self, rotation: usize, fate: SuccessorFate) {
        let (predecessor, successor, open) = self.turns[rotation];
        let expected = open && self.seen[predecessor].can_be_prolonged(self.now);
        let ending = Ending { by: &self.by, reason: None, now: self.now };
        let (before, next) = (&self.keys[predecessor], &self.keys[successor]);
        let own = self.open_of(successor);
        let turned = rotate::cancel(&self.rotations[rotation], before, next, own, ending, fate, BOUND);
        assert_eq!(turned.is_ok(), expected, "{turned:?}");
        if let Ok(turned) = turned {
            self.turns[rotation].2 = false;
            self.seen[predecessor].overlap_end = None;
            if fate == SuccessorFate::Revoke {
                self.model_revoke(successor);
            }
            self.turn(rotation, turned);
        }
    }

    fn complete(&mut self, rotation: usize, force: bool) {
        let (predecessor, successor, open) = self.turns[rotation];
        let in_use = self.seen[predecessor].last_used.is_some_and(|seen| seen > self.now - IN_USE_MS);
        let reason = force.then(|| Reason::new("the caller is gone").unwrap());
        let ending = Ending { by: &self.by, reason, now: self.now };
        let (before, next) = (&self.keys[predecessor], &self.keys[successor]);
        let turned = rotate::complete(&self.rotations[rotation], before, next, ending, force);
        match turned {
            Ok(turned) => {
                assert!(!open || force || !in_use);
                assert_eq!(turned.rotation.is_some(), open);
                if open {
                    self.model_revoke(predecessor);
                }
                self.turn(rotation, turned);
            }
            Err(Refusal::RotationClosed) => assert!(!open),
            Err(refusal) => assert!(open && in_use && !force, "{refusal:?}"),
        }
    }

    fn turn(&mut self, rotation: usize, turned: Turned) {
        let (predecessor, successor, _) = self.turns[rotation];
        if let Some(after) = turned.rotation {
            self.put(after);
        }
        if let Some(after) = turned.predecessor {
            self.keys[predecessor] = after;
        }
        if let Some(after) = turned.successor {
            self.keys[successor] = after;
        }
        if let Some(completed) = turned.successor_completed {
            self.put(completed);
        }
    }

    fn check(&mut self) {
        for (place, (key, seen)) in self.keys.iter().zip(&self.seen).enumerate() {
            let state = key.state(self.now);
            assert_eq!(key.is_usable(self.now), !seen.is_final(self.now) && !seen.disabled, "{key:?} {seen:?}");
            assert!(!seen.revoked || state == State::Revoked, "revoked is revoked for ever");
            if let (Some(deadline), Some(expiry)) = (key.deadline(), key.expires_at) {
                assert!(deadline <= expiry, "a deadline is never later than the expiry");
            }
            // What edges are told refuses whatever the record refuses.
            let image = key.edge_image();
            let edge = image.status != Status::Revoked
                && image.status != Status::Disabled
                && image.deadline.is_none_or(|deadline| self.now < deadline * 1000);
            assert_eq!(edge, key.is_usable(self.now));
            // Final means final: an expired key may still be revoked, and that is all.
            match self.finals.get(&place) {
                Some(State::Revoked) => assert_eq!(state, State::Revoked),
                Some(_) => assert!(matches!(state, State::Expired | State::Revoked)),
                None => {}
            }
            if matches!(state, State::Revoked | State::Expired) {
                self.finals.insert(place, state);
            }
            let open = self.rotations.iter().filter(|r| r.predecessor == key.id && r.is_open(self.now));
            let open: Vec<_> = open.collect();
            assert!(open.len() <= 1, "one open rotation per predecessor");
            assert_eq!(open.len(), usize::from(key.deadline().is_some() && !seen.is_final(self.now)));
            if let [rotation] = open[..] {
                assert_eq!(rotation.deadline, key.deadline());
            }
        }
        for (rotation, (_, _, open)) in self.rotations.iter().zip(&self.turns) {
            assert_eq!(rotation.is_open(self.now), *open, "{rotation:?}");
            let lapsed = rotate::lapse(rotation, self.now);
            assert_eq!(lapsed.is_some(), rotation.end.is_none() && !*open);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// S2-17, S3-18: nothing leaves `revoked`, and no history makes a key verify longer than it could be promised.
    #[test]
    fn s2_17_no_history_brings_a_key_back(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }
}
