//! What comes of a head that an edge has taken: its files are fetched and put into force, its mark goes to the disk.

use nightlatch_gate::policy::Policy;
use nightlatch_keyset::Head;
use nightlatch_sync::{Attempt, Mark, Outcome, Work};
use rand::RngExt as _;

use crate::edges::{EdgeStep, Fetched};
use crate::plan::EdgeSpec;
use crate::store::Object;
use crate::world::World;

impl World {
    pub(crate) fn fetch(&mut self, edge: usize, flight: u32, attempt: Attempt) {
        if attempt.fetches().is_empty() {
            return self.files_came(edge, flight, attempt, Fetched::All(Vec::new()));
        }
        self.send(edge, EdgeStep::Fetch(flight, Box::new(attempt)));
    }

    /// The fetches arrive.
    pub(crate) fn fetched(&mut self, edge: usize, flight: u32, attempt: Box<Attempt>) {
        let now = self.now;
        let node = &mut self.edges[edge];
        let EdgeSpec { transport, store, location, .. } = node.spec;
        let mut fetched = Fetched::All(Vec::new());
        for fetch in attempt.fetches() {
            let answer = self.stores[store].read(Object::File(fetch.name), transport, location, now, &mut node.rng);
            match (&mut fetched, answer) {
                (Fetched::All(files), Some(Some(bytes))) => files.push(bytes.to_vec()),
                (_, Some(_)) => fetched = Fetched::Missing(fetch.name),
                (_, None) => fetched = Fetched::NoAnswer,
            }
            if !matches!(fetched, Fetched::All(_)) {
                break;
            }
        }
        self.send(edge, EdgeStep::Files(flight, attempt, fetched));
    }

    pub(crate) fn files_came(&mut self, edge: usize, flight: u32, attempt: Attempt, fetched: Fetched) {
        let now = self.now;
        let node = &mut self.edges[edge];
        let time = node.time(now);
        let Some(state) = &mut node.edge else { return };
        let files = match fetched {
            Fetched::All(files) => files,
            Fetched::NoAnswer => return self.land(edge, flight),
            Fetched::Missing(name) => match state.by_base(attempt, &name) {
                Ok(Some(other)) => return self.fetch(edge, flight, other),
                Ok(None) => {
                    *self.counts.refusals.entry("file_missing").or_default() += 1;
                    return self.land(edge, flight);
                }
                Err(refusal) => return self.refused(edge, flight, &refusal),
            },
        };
        state.make_room(&attempt);
        let head = attempt.head().clone();
        match state.finish(attempt, files, time, Policy::decode) {
            Ok(Outcome::InForce) => {
                self.in_force(edge, &head, time);
                self.land(edge, flight);
            }
            Ok(Outcome::Working) => self.later_edge(edge, 1, EdgeStep::Work),
            Ok(Outcome::Superseded) => self.land(edge, flight),
            Err(refusal) => self.refused(edge, flight, &refusal),
        }
    }

    /// Goes on with a rebase.
    pub(crate) fn work(&mut self, edge: usize) {
        let now = self.now;
        let node = &mut self.edges[edge];
        let time = node.time(now);
        let Some(state) = node.edge.as_mut().filter(|state| state.is_working()) else { return };
        for _ in 0..4 {
            match state.work(time) {
                Ok(Work::Left) => {}
                Ok(Work::Done) => {
                    node.flight = None;
                    let head = state.loaded().map(|serving| serving.head().clone());
                    if let Some(head) = head {
                        self.in_force(edge, &head, time);
                    }
                    return;
                }
                Err(refusal) => {
                    node.flight = None;
                    *self.counts.refusals.entry(refusal.code()).or_default() += 1;
                    return;
                }
            }
        }
        self.later_edge(edge, 5, EdgeStep::Work);
    }

    /// A head has come into force.
    fn in_force(&mut self, edge: usize, head: &Head, time: u64) {
        self.counts.in_force += 1;
        let now = self.now;
        let mark = Mark::of(head);
        let node = &mut self.edges[edge];
        // What the edge names when it asks again.
        node.note = node.offered.take().filter(|(offered, _)| *offered == mark).map(|(_, note)| note);
        node.lag_when_accepted = now as i64 - time as i64;
        let durable = node.spec.durable;
        let wait = node.rng.random_range(1..6);
        let wall = node.clocks.wall(now);
        self.check_in_force(edge, head, time);
        let node = &mut self.edges[edge];
        node.reached = node.reached.max(Some(mark));
        if durable {
            self.later_edge(edge, wait, EdgeStep::Persist(mark));
        } else {
            self.send(edge, EdgeStep::Report(wall));
        }
    }

    /// The mark is on the disk: written beside the old one, flushed, and put in its place, so that neither a crash nor a
    /// full disk leaves half of it. Only then is it reported.
    pub(crate) fn persist(&mut self, edge: usize, mark: Mark) {
        let now = self.now;
        let node = &mut self.edges[edge];
        if now < node.disk_full_until {
            return self.later_edge(edge, 500, EdgeStep::Persist(mark));
        }
        node.disk = node.disk.max(Some(mark));
        let wall = node.clocks.wall(now);
        self.send(edge, EdgeStep::Report(wall));
    }
}
