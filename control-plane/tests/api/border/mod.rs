//! Two workspaces and two partner organisations in one of them: whoever calls, wherever, with whatever ids, learns nothing
//! from across a border and changes nothing there.

mod calls;
mod dump;

use std::collections::BTreeMap;

use nightlatch::domain::{PrincipalKind, Role};
use nightlatch_tests::seed;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::app::TestApp;
use crate::durable::FakeEdge;
use crate::on_both;
use crate::people::{People, Person, SERVICE_ACCOUNT};
use calls::{Operation, TEMPLATES, operations};
use dump::Database;

/// How many batches of calls a run makes, and how many calls a batch has.
const BATCHES: usize = 60;
const CALLS: usize = 12;

/// A side of a border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// A workspace, with its own people.
    Home,
    /// A partner organisation in it.
    Partner,
    /// Another partner organisation in it.
    Rival,
    /// Another workspace.
    Abroad,
}

impl Side {
    /// Whether people of this side see what is on another.
    fn sees(self, other: Self) -> bool {
        self == other || self == Self::Home && other != Self::Abroad
    }
}

/// Something that belongs to a side.
#[derive(Clone, Debug)]
struct Thing {
    side: Side,
    text: String,
    /// Nothing else is called so: it may not show up across a border.
    unique: bool,
    /// Of the kind that is called by in a path, a query or a body.
    id: bool,
}

struct Caller {
    side: Side,
    text: String,
    /// What must not be ended while the test runs: its own token and member.
    own: Vec<String>,
}

/// Everybody and everything.
struct World {
    home: String,
    abroad: String,
    partner: u32,
    rival: u32,
    callers: Vec<Caller>,
    things: Vec<Thing>,
    texts: Vec<String>,
}

impl World {
    fn add(&mut self, side: Side, text: impl Into<String>, unique: bool, id: bool) {
        self.things.push(Thing { side, text: text.into(), unique, id });
    }

    /// A key with all that is known of it, and one that is being replaced.
    async fn keys(&mut self, people: &People, side: Side, subject: u32) {
        let ((key, text), (turning, other)) = (people.key(subject).await, people.key(subject).await);
        let rotation = people.rotation(&turning).await;
        for key in [&key, &turning] {
            self.add(side, key.id.as_str(), true, true);
            self.add(side, &key.prefix, true, false);
            self.add(side, format!("kn_{}", key.number), false, true);
        }
        self.add(side, rotation.as_str(), true, true);
        self.add(side, format!("prn_{subject}"), false, true);
        self.add(side, format!("\"key of {subject} in {}\"", people.workspace.as_str()), true, false);
        self.texts.extend([text, other]);
    }

    async fn person(&mut self, people: &People, side: Side, role: Role, partner: Option<u32>) {
        let email = format!("{role}.{side:?}.{}@example.com", self.callers.len()).to_lowercase();
        let Person { member, token, text } = people.person(role, partner, &email).await;
        let own = vec![member.id.to_string(), token.id.to_string()];
        for id in &own {
            self.add(side, id, true, true);
        }
        self.add(side, &token.prefix, true, false);
        self.add(side, format!("prn_{}", member.subject), false, true);
        self.add(side, email, true, false);
        self.callers.push(Caller { side, text, own });
        if !role.is_partner() {
            self.keys(people, side, member.subject).await;
        }
    }
}

async fn world(app: &TestApp) -> World {
    let stranger = crate::tenants::foreign(app).await;
    let (home, abroad) = (People::of(app).await, People::of_set(app, &stranger.set).await);
    let mut world = World {
        home: home.workspace.to_string(),
        abroad: abroad.workspace.to_string(),
        partner: home.principal(app, PrincipalKind::Partner, "organisation one").await,
        rival: home.principal(app, PrincipalKind::Partner, "organisation two").await,
        callers: Vec::new(),
        things: Vec::new(),
        texts: Vec::new(),
    };
    for (people, side) in [(&home, Side::Home), (&abroad, Side::Abroad)] {
        for role in [Role::Owner, Role::Admin, Role::Viewer] {
            world.person(people, side, role, None).await;
        }
        world.keys(people, side, SERVICE_ACCOUNT).await;
        let invited = people.invite(Role::Operator, None, &format!("invited.{side:?}@example.com")).await;
        world.add(side, invited.id.as_str(), true, true);
        world.add(side, format!("invited.{side:?}@example.com").to_lowercase(), true, false);
    }
    for (side, subject) in [(Side::Partner, world.partner), (Side::Rival, world.rival)] {
        for role in [Role::PartnerOwner, Role::PartnerAdmin, Role::PartnerStaff] {
            world.person(&home, side, role, Some(subject)).await;
        }
        world.keys(&home, side, subject).await;
    }
    let theirs = abroad.principal(app, PrincipalKind::Partner, "organisation abroad").await;
    world.person(&abroad, Side::Abroad, Role::PartnerOwner, Some(theirs)).await;
    world.callers.pop();
    for id in [&stranger.key, &stranger.rotation, &stranger.token_id, &stranger.set, &stranger.edge] {
        world.add(Side::Abroad, id, true, true);
    }
    // One that is counted in receipts.
    let edge = FakeEdge::durable(app, "edge of the home").await;
    world.add(Side::Home, &edge.id, true, true);
    world.add(Side::Home, "edge of the home", true, false);
    // Names, too, tell nobody across a border anything. Which workspace they are in, and which set has their keys, a
    // partner's people may know.
    for (side, name) in
        [(Side::Partner, "organisation one"), (Side::Rival, "organisation two"), (Side::Abroad, "organisation abroad")]
    {
        world.add(side, name, true, false);
    }
    for (side, workspace) in [(Side::Home, world.home.clone()), (Side::Abroad, world.abroad.clone())] {
        world.add(side, workspace, side == Side::Abroad, true);
    }
    world.add(Side::Home, &app.set.id, false, true);
    world
}

/// What nobody of this side may see: the rows it may not change either.
async fn others(database: &mut Database, world: &World, side: Side) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if side != Side::Abroad {
        rows.extend(database.workspace(&world.abroad).await);
    }
    match side {
        Side::Abroad => rows.extend(database.workspace(&world.home).await),
        Side::Partner => rows.extend(database.beside(&world.home, world.partner).await),
        Side::Rival => rows.extend(database.beside(&world.home, world.rival).await),
        Side::Home => {}
    }
    rows
}

on_both!(no_call_reads_or_writes_across_a_border);
async fn no_call_reads_or_writes_across_a_border(app: TestApp) {
    let seed = seed::seed().unwrap();
    println!("repeat with {}={seed}", seed::SEED);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let world = world(&app).await;
    let mut database = Database::open(&app).await;
    let operations = operations(&app).await;
    let mut answered = BTreeMap::new();
    // What people of a workspace tried is in their own audit log, as they wrote it.
    let mut tried: Vec<(bool, String)> = Vec::new();
    for batch in 0..BATCHES {
        let caller = &world.callers[(batch + rng.random_range(0..2)) % world.callers.len()];
        let before = others(&mut database, &world, caller.side).await;
        let mut made = Vec::new();
        for _ in 0..CALLS {
            let operation = operations.choose(&mut rng).unwrap();
            let mut pick = || pick(&world, caller, operation, &mut rng);
            let ids = [pick(), pick(), pick()];
            let text = world.texts.choose(&mut rng).unwrap();
            let abroad = caller.side == Side::Abroad;
            tried.extend(ids.iter().map(|id| (abroad, id.clone())));
            let call = operation.call(&app, &ids, text, rng.random());
            let answer = call.token(&caller.text).send().await;
            *answered.entry(answer.status.as_u16()).or_insert(0) += 1;
            let what = format!("seed {seed}: {:?}: {operation:?} with {ids:?}", caller.side);
            let failed = answer.status.as_u16() >= 500 && !answer.text.contains("\"not_published\"");
            assert!(!failed, "{what}: {answer:?}");
            let hidden = |thing: &&Thing| {
                let told = operation.is_of_audit() && tried.iter().any(|tried| *tried == (abroad, thing.text.clone()));
                // The founding workspace's people see that there are others.
                let founder = caller.side == Side::Home && operation.path.starts_with("/v1/workspaces");
                thing.unique && !caller.side.sees(thing.side) && !told && !founder
            };
            for thing in world.things.iter().filter(hidden) {
                let shows = answer.text.contains(&thing.text)
                    || answer
                        .headers
                        .values()
                        .any(|value| value.to_str().is_ok_and(|value| value.contains(&thing.text)));
                assert!(!shows, "{what} shows {thing:?}: {answer:?}");
            }
            made.push(what);
        }
        let after = others(&mut database, &world, caller.side).await;
        for (was, is) in before.iter().zip(&after) {
            assert_eq!(was, is, "one of these calls changed rows of {} across a border: {made:#?}", was.0);
        }
    }
    // A test in which nobody could do anything would find nothing.
    for status in [200, 201, 403, 404] {
        assert!(answered.contains_key(&status), "seed {seed}: {answered:?}");
    }
    assert!(!answered.contains_key(&401), "seed {seed}: a caller was shut out: {answered:?}");
    app.stop().await;
}

/// An id of any side, and mostly of another than the caller's. Not what would end a caller.
fn pick(world: &World, caller: &Caller, operation: &Operation, rng: &mut ChaCha8Rng) -> String {
    let across = rng.random_bool(0.6);
    let fits = |thing: &&Thing| {
        let kept = world.callers.iter().any(|caller| caller.own.contains(&thing.text));
        let reach = caller.side.sees(thing.side);
        thing.id && (reach != across) && !(operation.changes() && reach && kept)
    };
    // Mostly of the kind that the route is about.
    let things: Vec<_> = world.things.iter().filter(fits).collect();
    let kind: Vec<_> = things.iter().filter(|thing| operation.is_about(&thing.text)).copied().collect();
    let things = if kind.is_empty() || rng.random_bool(0.1) { things } else { kind };
    things.choose(rng).map_or_else(|| "key_0000000000".to_owned(), |thing| thing.text.clone())
}

/// Of the same shape, and of nobody.
fn unknown(id: &str) -> String {
    let (kind, tail) = id.split_once('_').unwrap();
    match kind {
        "kn" | "prn" => format!("{kind}_4000000000"),
        _ => format!("{kind}_{}", "0".repeat(tail.len())),
    }
}

/// What is across a border from a caller: two things of each kind will do.
fn across<'w>(world: &'w World, caller: &Caller) -> Vec<&'w Thing> {
    // Numbers count in each workspace: the same number abroad is another thing here.
    let numbers = matches!(caller.side, Side::Partner | Side::Rival);
    let mut seen = BTreeMap::new();
    let across = world.things.iter().filter(|thing| {
        let known = thing.unique || numbers && thing.side != Side::Abroad;
        if !thing.id || caller.side.sees(thing.side) || !known {
            return false;
        }
        let count = seen.entry((thing.side as u8, thing.text.split('_').next())).or_insert(0);
        *count += 1;
        *count <= 2
    });
    across.collect()
}

on_both!(what_is_across_a_border_is_answered_like_what_does_not_exist);
async fn what_is_across_a_border_is_answered_like_what_does_not_exist(app: TestApp) {
    let world = world(&app).await;
    let operations: Vec<_> = operations(&app).await.into_iter().filter(Operation::names).collect();
    assert!(operations.len() > 20);
    let mut wrong = Vec::new();
    // What was tried with an id in the path is in the log of who tried: the log is asked before.
    for caller in &world.callers {
        for thing in across(&world, caller) {
            for template in TEMPLATES.iter().filter(|template| template.is_about(&thing.text)) {
                let call = async |id: &str| {
                    template.call(&app, id).header("x-request-id", "the-same").token(&caller.text).send().await
                };
                let (theirs, nobodys) = (call(&thing.text).await, call(&unknown(&thing.text)).await);
                if shown(&theirs) != shown(&nobodys) {
                    wrong.push(format!("{:?}: {template:?} {}: {theirs:?} {nobodys:?}", caller.side, thing.text));
                }
            }
        }
    }
    for caller in &world.callers {
        for thing in across(&world, caller) {
            for operation in operations.iter().filter(|operation| operation.is_about(&thing.text)) {
                let call = async |id: &str| {
                    let ids = [id.to_owned(), id.to_owned(), id.to_owned()];
                    let call = operation.call(&app, &ids, "", false).header("x-request-id", "the-same");
                    call.token(&caller.text).send().await
                };
                let (theirs, nobodys) = (call(&thing.text).await, call(&unknown(&thing.text)).await);
                if shown(&theirs) != shown(&nobodys) {
                    wrong.push(format!("{:?}: {operation:?} {}: {theirs:?} {nobodys:?}", caller.side, thing.text));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}

on_both!(a_receipt_tells_a_partner_nothing_of_its_clients_edges);
async fn a_receipt_tells_a_partner_nothing_of_its_clients_edges(app: TestApp) {
    let people = People::of(&app).await;
    let organisation = people.principal(&app, PrincipalKind::Partner, "organisation").await;
    let partner = people.person(Role::PartnerOwner, Some(organisation), "partner@example.com").await;
    let edge = FakeEdge::durable(&app, "edge of the home").await;
    let (key, _) = people.key(organisation).await;
    let revoke = app.post(&format!("/v1/keys/{}/revoke", key.id), serde_json::json!({ "reason": "test", "wait": 0 }));
    let revoked = revoke.token(&partner.text).send().await;
    let path = format!("/v1/keys/{}/receipt", key.id);
    let (theirs, ours) = (app.get(&path).token(&partner.text).send().await, app.get(&path).send().await);
    for answer in [&revoked, &theirs] {
        assert!(answer.status.is_success() && !answer.text.contains(&edge.id), "{answer:?}");
        assert!(!answer.text.contains("edge of the home"), "{answer:?}");
    }
    assert_eq!((theirs.json()["counted"].clone(), theirs.json()["edges"].clone()), (1.into(), serde_json::json!([])));
    assert!(ours.text.contains(&edge.id), "{ours:?}");
    app.stop().await;
}

/// All of an answer but when it was made.
fn shown(answer: &crate::app::Answer) -> (u16, String, Vec<(String, String)>) {
    let headers = answer.headers.iter().filter(|(name, _)| name.as_str() != "date");
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    (answer.status.as_u16(), answer.text.clone(), headers.collect())
}
