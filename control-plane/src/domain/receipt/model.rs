//! The rule against a small world: edges that keep their contract, a network that keeps nothing, and one question after
//! every step. Has a receipt ever said that the key is refused while an edge would still have let it through?

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const VALIDITY: i64 = 60;
const SKEW: i64 = 5;

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes.
    Wait(u8),
    /// A head is signed: of a new version where changes wait or `true` asks for one.
    Sign(bool),
    /// The key is revoked.
    Revoke,
    /// The control plane notes the clock after the commit.
    NoteCommit,
    /// Somebody enrols, up to three edges.
    Enrol,
    /// An edge fetches a head, the newest or one that a cache still has.
    Fetch(u8, u8),
    /// An edge reports.
    Report(u8),
    /// The network delivers a report: any that was ever sent, once more or late.
    Deliver(u8),
    /// The network delivers a report that nobody sent.
    Forge(u8, bool),
    /// An edge starts again, with what is on its disk.
    Restart(u8),
    /// An edge is removed. It runs on with what it has, and its reports are no longer taken.
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..30).prop_map(Step::Wait),
        4 => any::<bool>().prop_map(Step::Sign),
        2 => Just(Step::Revoke),
        2 => Just(Step::NoteCommit),
        2 => Just(Step::Enrol),
        6 => (any::<u8>(), prop_oneof![3 => Just(0_u8), 1 => any::<u8>()]).prop_map(|(edge, age)| Step::Fetch(edge, age)),
        6 => any::<u8>().prop_map(Step::Report),
        6 => prop_oneof![3 => Just(0_u8), 1 => any::<u8>()].prop_map(Step::Deliver),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(edge, future)| Step::Forge(edge, future)),
        1 => any::<u8>().prop_map(Step::Restart),
        1 => any::<u8>().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..80)
}

#[derive(Clone, Copy, Debug)]
struct Head {
    mark: Mark,
    issued: i64,
}

/// A durable edge as it really is.
#[derive(Clone, Debug)]
struct Edge {
    enrolled_at: i64,
    removed_at: Option<i64>,
    /// On disk.
    floor: Option<Mark>,
    /// In memory.
    serving: Option<Head>,
    instance: u32,
    sequence: u32,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    edge: usize,
    instance: u32,
    sequence: u32,
    claim: Claim,
}

/// What the control plane has noted of an instance.
#[derive(Clone, Debug)]
struct Noted {
    first: i64,
    last: i64,
    sequence: u32,
    marks: Vec<(Mark, i64)>,
}

#[derive(Default)]
struct World {
    now: i64,
    heads: Vec<Head>,
    /// When the key was revoked, and the version that says so.
    revoked: Option<(i64, Option<Mark>)>,
    committed_by: Option<i64>,
    edges: Vec<Edge>,
    sent: Vec<Message>,
    noted: BTreeMap<(usize, u32), Noted>,
    /// Edges that the first `confirmed` spoke for.
    confirmed: Option<Vec<usize>>,
    elapsed: bool,
}

impl World {
    fn signed(&self) -> SignedState {
        let last = self.heads.last();
        SignedState {
            mark: last.map_or(Mark { incarnation: 0, version: 0 }, |head| head.mark),
            epoch: 1,
            issued: last.map(|head| head.issued),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(ms) => self.now += i64::from(ms),
            Step::Sign(more) => {
                let waiting = self.revoked.is_some_and(|(_, published)| published.is_none());
                let version = self.signed().mark.version + i64::from(more || waiting || self.heads.is_empty());
                let mark = Mark { incarnation: 0, version };
                if let Some((_, published @ None)) = &mut self.revoked {
                    *published = Some(mark);
                }
                self.heads.push(Head { mark, issued: self.now });
                self.now += 1;
            }
            Step::Revoke if self.revoked.is_none() => {
                self.revoked = Some((self.now, None));
                self.now += 1;
            }
            Step::NoteCommit if self.revoked.is_some() && self.committed_by.is_none() => {
                self.committed_by = Some(self.now);
            }
            Step::Enrol if self.edges.len() < 3 => self.edges.push(Edge {
                enrolled_at: self.now,
                removed_at: None,
                floor: None,
                serving: None,
                instance: 0,
                sequence: 0,
            }),
            Step::Fetch(edge, age) => self.fetch(edge, age),
            Step::Report(edge) => {
                if let Some((index, edge)) = pick(&mut self.edges, edge)
                    && let Some(head) = edge.serving
                {
                    edge.sequence += 1;
                    let claim = Claim { mark: head.mark, epoch: 1, issued: head.issued };
                    let (instance, sequence) = (edge.instance, edge.sequence);
                    self.sent.push(Message { edge: index, instance, sequence, claim });
                }
            }
            Step::Deliver(age) => {
                if let Some(message) = self.sent.iter().rev().nth(usize::from(age) % self.sent.len().max(1)) {
                    self.deliver(*message);
                }
            }
            Step::Forge(edge, future) => {
                let signed = self.signed();
                if let Some((index, edge)) = pick(&mut self.edges, edge) {
                    let mark = if future {
                        Mark { version: signed.mark.version + 1, ..signed.mark }
                    } else {
                        Mark { incarnation: 1, ..signed.mark }
                    };
                    let claim = Claim { mark, epoch: 1, issued: signed.issued.unwrap_or_default() };
                    let (instance, sequence) = (edge.instance, edge.sequence + 1);
                    edge.sequence += 1;
                    self.deliver(Message { edge: index, instance, sequence, claim });
                }
            }
            Step::Restart(edge) => {
                if let Some((_, edge)) = pick(&mut self.edges, edge) {
                    (edge.instance, edge.sequence, edge.serving) = (edge.instance + 1, 0, None);
                }
            }
            Step::Remove(edge) => {
                let now = self.now;
                if let Some((_, edge)) = pick(&mut self.edges, edge) {
                    edge.removed_at.get_or_insert(now);
                }
            }
            Step::Revoke | Step::NoteCommit | Step::Enrol => {}
        }
    }

    /// The edge accepts a head that is valid and not below its floor, and writes the floor before anything else.
    fn fetch(&mut self, edge: u8, age: u8) {
        let now = self.now;
        let Some(head) = self.heads.iter().rev().nth(usize::from(age) % self.heads.len().max(1)).copied() else {
            return;
        };
        if let Some((_, edge)) = pick(&mut self.edges, edge)
            && edge.floor.is_none_or(|floor| head.mark >= floor)
            && now < head.issued + VALIDITY
            // Its question may have been held open since before it was removed.
            && edge.removed_at.is_none_or(|at| now < at + HELD_MS)
        {
            edge.floor = Some(head.mark);
            edge.serving = Some(head);
        }
    }

    fn deliver(&mut self, message: Message) {
        if self.edges[message.edge].removed_at.is_some() {
            return;
        }
        let (now, signed) = (self.now, self.signed());
        let noted = self.noted.entry((message.edge, message.instance)).or_insert(Noted {
            first: now,
            last: now,
            sequence: 0,
            marks: Vec::new(),
        });
        if message.sequence <= noted.sequence {
            return;
        }
        (noted.sequence, noted.last) = (message.sequence, now);
        if is_plausible(&message.claim, &signed) {
            noted.marks.push((message.claim.mark, now));
        }
    }

    fn receipt(&self) -> Option<Receipt> {
        let (revoked_at, published) = self.revoked?;
        let instance = |noted: &Noted| Instance {
            first: noted.first,
            last: noted.last,
            reached: noted.marks.iter().find(|(mark, _)| Some(*mark) >= published).map(|(_, at)| *at),
        };
        let edges = self.edges.iter().enumerate().map(|(index, edge)| DurableEdge {
            id: index.to_string(),
            enrolled_at: edge.enrolled_at,
            removed_at: edge.removed_at,
            instances: self.noted.iter().filter(|((of, _), _)| *of == index).map(|(_, n)| instance(n)).collect(),
            clock_offset_ms: Some(0),
            clock_refused: false,
        });
        let revocation = Revocation {
            set: "set_a".into(),
            workspace: "ws_a".into(),
            key: "key_a".into(),
            revoked_at,
            committed_by: self.committed_by,
            published,
        };
        let terms = Terms {
            largest_validity_ms: VALIDITY,
            skew_ms: SKEW,
            open_ms: None,
            open_routes: Vec::new(),
            connection_routes: Vec::new(),
            uncounted: 0,
        };
        Some(evaluate(&revocation, &terms, &edges.collect::<Vec<_>>(), self.now))
    }

    /// Whether the edge would let the revoked key through, its clock as slow as it may be.
    fn accepts(&self, edge: &Edge) -> bool {
        let Some((_, published)) = self.revoked else { return false };
        edge.serving.is_some_and(|head| {
            published.is_none_or(|published| head.mark < published) && self.now - SKEW < head.issued + VALIDITY
        })
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let Some(receipt) = self.receipt() else { return Ok(()) };
        prop_assert_eq!(&Receipt::parse(&receipt.to_text()), &Ok(receipt.clone()));
        if receipt.state == State::Confirmed && self.confirmed.is_none() {
            // Those too that were removed: they still run.
            self.confirmed = Some((0..self.edges.len()).collect());
        }
        self.elapsed |= receipt.state == State::BoundElapsed;
        for edge in self.confirmed.iter().flatten() {
            prop_assert!(!self.accepts(&self.edges[*edge]), "confirmed, and edge {} accepts the key", edge);
        }
        if self.elapsed || self.committed_by.is_some() && self.now >= receipt.in_force_by() {
            prop_assert_ne!(receipt.state, State::Pending, "nothing is pending after the bound");
            prop_assert!(
                !self.edges.iter().any(|edge| self.accepts(edge)),
                "the bound has passed, and a key is accepted"
            );
        }
        Ok(())
    }
}

fn pick(edges: &mut [Edge], number: u8) -> Option<(usize, &mut Edge)> {
    let index = usize::from(number) % edges.len().max(1);
    edges.get_mut(index).map(|edge| (index, edge))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_receipt_never_says_more_than_is_true(steps in steps()) {
        let mut world = World::default();
        for step in steps {
            world.step(step);
            world.check()?;
        }
    }
}

/// The model would find it if the rule were wrong: without the floor on disk, `confirmed` is a lie.
#[test]
fn the_model_sees_an_edge_that_forgets() {
    let mut world = World::default();
    for step in [Step::Sign(true), Step::Enrol, Step::Revoke, Step::Sign(true), Step::Fetch(0, 0), Step::Report(0)] {
        world.step(step);
    }
    world.step(Step::Deliver(0));
    world.check().unwrap();
    assert!(world.confirmed.is_some());
    world.edges[0].floor = None;
    world.step(Step::Restart(0));
    world.step(Step::Fetch(0, 1));
    assert!(world.check().is_err());
}
