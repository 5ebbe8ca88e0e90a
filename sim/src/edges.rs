//! Edges: the real state machine, in a shell that asks, fetches, keeps its mark on a disk, freezes, dies and starts cold.

use std::collections::BTreeSet;
use std::rc::Rc;

use nightlatch_gate::policy::Policy;
use nightlatch_keyset::FileName;
use nightlatch_sync::{Attempt, Edge, EdgeConfig, Mark, Offer, REBASE_FROM, Refusal};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::Plant;
use crate::clock::Clocks;
use crate::kit::SET;
use crate::plan::{EdgeSpec, Node, Transport};
use crate::store::{Bytes, Object};
use crate::world::{Event, World};

/// Milliseconds between polls.
const POLL: u64 = 1_000;
/// Milliseconds after which an answer is no longer waited for; longer where the question waits for news.
const TIMEOUT: u64 = 3_000;
const LONG_WAIT: u64 = 25_000;

/// An edge and its machine.
pub(crate) struct EdgeNode {
    pub(crate) spec: EdgeSpec,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) generation: u32,
    pub(crate) clocks: Clocks,
    pub(crate) frozen_until: u64,
    pub(crate) disk_full_until: u64,
    pub(crate) edge: Option<Edge<Policy>>,
    /// The head in force, as it came: what it names when it asks again.
    pub(crate) note: Option<Bytes>,
    pub(crate) flight: Option<(u32, u64)>,
    flights: u32,
    /// A question that waits for news.
    waiting: Option<u32>,
    /// What a restart finds: the mark, the trust note and the deny note.
    pub(crate) disk: Option<Mark>,
    disk_notes: [Option<String>; 2],
    /// Keys that a deny note has ended here.
    pub(crate) denied: BTreeSet<usize>,
    /// The head on its way into force, as it came.
    pub(crate) offered: Option<(Mark, Bytes)>,
    /// The greatest state it has put into force since it started, or kept from before.
    pub(crate) reached: Option<Mark>,
    /// Revocations up to here have been looked at.
    pub(crate) heard: usize,
    pub(crate) started: u64,
    /// Which key is looked at next.
    pub(crate) cursor: usize,
    /// How far its clock was behind when it accepted the head in force.
    pub(crate) lag_when_accepted: i64,
    /// When the last poll of the chain was.
    polled_at: Option<u64>,
}

/// What happens to an edge.
pub(crate) enum EdgeStep {
    Poll,
    Ask(u32),
    Head(u32, Option<Option<Bytes>>),
    AskTrust(u32, Bytes),
    Trust(u32, Bytes, Option<Bytes>),
    AskDeny,
    Deny(Bytes),
    Fetch(u32, Box<Attempt>),
    Files(u32, Box<Attempt>, Fetched),
    Work,
    Persist(Mark),
    Report(u64),
}

/// What came of a fetch.
pub(crate) enum Fetched {
    All(Vec<Vec<u8>>),
    Missing(FileName),
    NoAnswer,
}

impl EdgeNode {
    pub(crate) fn new(spec: EdgeSpec, rng: ChaCha8Rng, now: u64) -> Self {
        Self {
            clocks: Clocks::new(now, spec.offset, spec.ppm),
            spec,
            rng,
            generation: 0,
            frozen_until: 0,
            disk_full_until: 0,
            edge: None,
            note: None,
            flight: None,
            flights: 0,
            waiting: None,
            disk: None,
            disk_notes: [None, None],
            denied: BTreeSet::new(),
            offered: None,
            reached: None,
            heard: 0,
            started: now,
            cursor: 0,
            lag_when_accepted: 0,
            polled_at: None,
        }
    }

    /// What it takes the time to be.
    pub(crate) fn time(&mut self, now: u64) -> u64 {
        let monotonic = self.spec.monotonic.then(|| self.clocks.elapsed(now));
        let wall = self.clocks.wall(now);
        self.edge.as_mut().map_or(wall, |edge| edge.now(wall, monotonic))
    }
}

impl World {
    fn edge_config(&self, edge: usize) -> EdgeConfig {
        EdgeConfig {
            set: SET.into(),
            roots: vec![self.kit.root.verifier()],
            verifiers: Vec::new(),
            peppers: vec![self.kit.pepper.clone()],
            poll_ms: POLL,
            room: 1 << 30,
            rebase_from: if self.edges[edge].spec.rebases { 0 } else { REBASE_FROM },
        }
    }

    pub(crate) fn start_edge(&mut self, edge: usize, generation: u32) {
        if self.edges[edge].generation != generation || self.edges[edge].edge.is_some() {
            return;
        }
        let config = self.edge_config(edge);
        let revocations = self.truth.revocations.len();
        let node = &mut self.edges[edge];
        let kept = node.disk.filter(|_| node.spec.durable);
        let mut state = Edge::new(config, kept);
        (node.denied, node.offered) = (BTreeSet::new(), None);
        let [trust, deny] = if node.spec.durable { node.disk_notes.clone() } else { [None, None] };
        if trust.is_some_and(|note| state.take_trust(&note).is_err()) {
            return self.fail(4, format!("edge {edge} does not take its own trust note back"));
        }
        node.edge = Some(state);
        (node.reached, node.heard, node.started) = (kept, revocations, self.now);
        (node.note, node.flight, node.waiting, node.polled_at) = (None, None, None, None);
        if let Some(note) = deny {
            self.deny_came(edge, &Rc::new(note.into_bytes()));
        }
        self.later_edge(edge, 0, EdgeStep::Poll);
    }

    pub(crate) fn kill_edge(&mut self, edge: usize, ms: u64) {
        let node = &mut self.edges[edge];
        if node.spec.durable && node.edge.is_some() && node.reached > node.disk {
            self.counts.unconfirmed_lost += 1;
        }
        node.generation += 1;
        node.edge = None;
        let generation = node.generation;
        self.push(self.now + ms, Event::StartEdge(edge, generation));
    }

    pub(crate) fn later_edge(&mut self, edge: usize, wait: u64, step: EdgeStep) {
        let generation = self.edges[edge].generation;
        self.push(self.now + wait, Event::Edge(edge, generation, Box::new(step)));
    }

    pub(crate) fn send(&mut self, edge: usize, step: EdgeStep) {
        if let Some(wait) = self.travel(Node::Edge(edge)) {
            self.later_edge(edge, wait, step);
        }
    }

    /// A new head is where the publisher writes: whoever waits for it is told.
    pub(crate) fn wake_edges(&mut self) {
        for edge in 0..self.edges.len() {
            match self.edges[edge].spec.transport {
                Transport::LongPoll => {
                    if let Some(flight) = self.edges[edge].waiting.take() {
                        let (head, _) = self.stores[0].head();
                        self.send(edge, EdgeStep::Head(flight, Some(head)));
                    }
                }
                Transport::Push if self.edges[edge].edge.is_some() => self.send(edge, EdgeStep::Poll),
                _ => {}
            }
        }
    }

    pub(crate) fn edge(&mut self, edge: usize, generation: u32, step: EdgeStep) {
        let node = &self.edges[edge];
        if node.generation != generation || node.edge.is_none() {
            return;
        }
        // What is on its way is not held up by who has sent it.
        let away = matches!(
            step,
            EdgeStep::Ask(_) | EdgeStep::AskTrust(..) | EdgeStep::AskDeny | EdgeStep::Fetch(..) | EdgeStep::Report(_)
        );
        if self.now < node.frozen_until && !away {
            return self.push(self.thaws(node.frozen_until), Event::Edge(edge, generation, Box::new(step)));
        }
        match step {
            EdgeStep::Poll => self.poll(edge),
            EdgeStep::Ask(flight) => self.asked(edge, flight),
            EdgeStep::Head(flight, answer) => self.head_came(edge, flight, answer),
            EdgeStep::AskTrust(flight, head) => {
                if let Some(Some(note)) = self.read_object(edge, Object::Trust) {
                    self.send(edge, EdgeStep::Trust(flight, head, Some(note)));
                } else {
                    self.send(edge, EdgeStep::Trust(flight, head, None));
                }
            }
            EdgeStep::Trust(flight, head, note) => self.trust_came(edge, flight, head, note),
            EdgeStep::AskDeny => {
                if let Some(Some(note)) = self.read_object(edge, Object::Deny) {
                    self.send(edge, EdgeStep::Deny(note));
                }
            }
            EdgeStep::Deny(note) => self.deny_came(edge, &note),
            EdgeStep::Fetch(flight, attempt) => self.fetched(edge, flight, attempt),
            EdgeStep::Files(flight, attempt, fetched) => self.files_came(edge, flight, *attempt, fetched),
            EdgeStep::Work => self.work(edge),
            EdgeStep::Persist(mark) => self.persist(edge, mark),
            EdgeStep::Report(wall) => self.reported(wall),
        }
        if !away {
            self.check_edge(edge, 1);
        }
    }

    fn poll(&mut self, edge: usize) {
        let now = self.now;
        let node = &mut self.edges[edge];
        let long = node.spec.transport == Transport::LongPoll;
        let under_way = node.flight.is_some_and(|(_, until)| now < until);
        if !under_way {
            node.flights += 1;
            let flight = node.flights;
            node.flight = Some((flight, now + if long { LONG_WAIT + TIMEOUT } else { TIMEOUT }));
            self.send(edge, EdgeStep::Ask(flight));
        }
        // One chain of polls; a push's comes beside it and ends at once.
        let node = &mut self.edges[edge];
        if node.polled_at.is_none_or(|at| now >= at + POLL) {
            node.polled_at = Some(now);
            let jitter = node.rng.random_range(0..40);
            self.later_edge(edge, POLL + jitter, EdgeStep::Poll);
        }
    }

    fn read_object(&mut self, edge: usize, object: Object) -> Option<Option<Bytes>> {
        let now = self.now;
        let node = &mut self.edges[edge];
        let EdgeSpec { transport, store, location, .. } = node.spec;
        self.stores[store].read(object, transport, location, now, &mut node.rng)
    }

    fn trust_came(&mut self, edge: usize, flight: u32, head: Bytes, note: Option<Bytes>) {
        let Some(note) = note else { return self.land(edge, flight) };
        let node = &mut self.edges[edge];
        let Some(state) = &mut node.edge else { return };
        let text = String::from_utf8_lossy(&note);
        let had = state.mark();
        match state.take_trust(&text) {
            Ok(_) => {
                // What was accepted from a key that is listed no more does not count.
                if had.is_some() && state.mark().is_none() {
                    node.reached = None;
                }
                node.disk_notes[0] = state.trust_note().map(str::to_owned);
                self.offer(edge, flight, head, true);
            }
            Err(refusal) => self.refused(edge, flight, &refusal),
        }
    }

    fn deny_came(&mut self, edge: usize, note: &Bytes) {
        let node = &mut self.edges[edge];
        let Some(state) = &mut node.edge else { return };
        let text = String::from_utf8_lossy(note);
        match state.take_deny(&text) {
            Ok(true) => {
                node.disk_notes[1] = state.deny_note().map(str::to_owned);
                // Notes only grow: so many names are in it.
                let names = text.lines().filter(|line| line.starts_with("digest ")).count();
                node.denied.extend(self.denied.iter().take(names).map(|key| *key as usize));
                self.counts.denied_by_note += 1;
            }
            Ok(false) => {}
            Err(refusal) => {
                *self.counts.refusals.entry(refusal.code()).or_default() += 1;
            }
        }
    }

    /// The question arrives.
    fn asked(&mut self, edge: usize, flight: u32) {
        let now = self.now;
        let node = &mut self.edges[edge];
        let EdgeSpec { transport, store, location, .. } = node.spec;
        let answer = self.stores[store].read(Object::Head, transport, location, now, &mut node.rng);
        if transport == Transport::LongPoll && answer.is_some() && answer.as_ref() == Some(&node.note) {
            node.waiting = Some(flight);
            return;
        }
        if self.arrives_twice(Node::Edge(edge)) {
            self.send(edge, EdgeStep::Head(flight, answer.clone()));
        }
        self.send(edge, EdgeStep::Head(flight, answer));
    }

    fn head_came(&mut self, edge: usize, flight: u32, answer: Option<Option<Bytes>>) {
        let Some(Some(note)) = answer else { return self.land(edge, flight) };
        self.offer(edge, flight, note, false);
    }

    /// Offers a head; `again` after a trust note was fetched for it.
    fn offer(&mut self, edge: usize, flight: u32, note: Bytes, again: bool) {
        let now = self.now;
        let head = self.open(&note);
        let config = self.edge_config(edge);
        let node = &mut self.edges[edge];
        let time = node.time(now);
        if self.setup.plant == Some(Plant::OldHead)
            && !again
            && node.spec.transport == Transport::Cdn
            && head.as_ref().is_some_and(|head| Some(Mark::of(head)) < node.reached)
        {
            (node.edge, node.note) = (Some(Edge::new(config, None)), None);
            node.denied.clear();
        }
        let Some(state) = &mut node.edge else { return };
        if node.note.as_ref() == Some(&note) && !state.is_damaged() {
            state.unchanged(time);
            return self.land(edge, flight);
        }
        let text = String::from_utf8_lossy(&note);
        match state.offer(&text, time) {
            Ok(Offer::Known) => {
                node.note = Some(note);
                self.land(edge, flight);
            }
            Ok(Offer::NeedsTrust) if again => {
                *self.counts.refusals.entry("trust_missing").or_default() += 1;
                self.land(edge, flight);
            }
            Ok(Offer::NeedsTrust) => self.send(edge, EdgeStep::AskTrust(flight, note)),
            Ok(Offer::Working) => self.later_edge(edge, 1, EdgeStep::Work),
            Ok(Offer::News(attempt)) => {
                // What `issued` gives away must not pass.
                if let Some(head) = head
                    && head.issued > time + head.skew
                {
                    self.fail(4, format!("edge {edge} takes a head from its future"));
                }
                self.edges[edge].offered = Some((Mark::of(attempt.head()), note));
                self.fetch(edge, flight, attempt);
            }
            Err(refusal) => self.refused(edge, flight, &refusal),
        }
    }

    pub(crate) fn refused(&mut self, edge: usize, flight: u32, refusal: &Refusal) {
        *self.counts.refusals.entry(refusal.code()).or_default() += 1;
        self.land(edge, flight);
    }

    pub(crate) fn land(&mut self, edge: usize, flight: u32) {
        let node = &mut self.edges[edge];
        if node.flight.is_some_and(|(under_way, _)| under_way == flight) {
            node.flight = None;
        }
        let long = node.spec.transport == Transport::LongPoll;
        let time = node.time(self.now);
        let wants = node.edge.as_ref().is_some_and(|state| state.wants_deny(time));
        if long {
            self.later_edge(edge, 10, EdgeStep::Poll);
        }
        if wants {
            self.send(edge, EdgeStep::AskDeny);
        }
    }

    fn reported(&mut self, wall: u64) {
        let clock = self.database.clock(self.now);
        // A report takes some time; a clock that is ahead is wrong at once.
        let wrong = wall > clock + self.setup.skew || wall + self.setup.skew + 1_000 < clock;
        self.counts.clocks_reported += u64::from(wrong);
    }
}
