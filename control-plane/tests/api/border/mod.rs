//! Two workspaces and two partner organisations in one of them: whoever calls, wherever, with whatever ids, learns nothing
//! from across a border and changes nothing there.

mod calls;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use nightlatch::domain::{PrincipalKind, Role};
use nightlatch_tests::seed;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use secrecy::ExposeSecret as _;

use crate::app::TestApp;
use crate::dump::{Database, Rows};
use crate::durable::FakeEdge;
use crate::on_both;
use crate::operation::{Operation, Things};
use crate::people::People;
use crate::tenants::unknown;
use crate::walks::ready::{About, ready};
use calls::TEMPLATES;
use world::{Caller, Side, Thing, World, world};

/// How many batches of calls a run makes, and how many calls a batch has.
const BATCHES: usize = 56;
const CALLS: usize = 10;

/// Kinds of things that only bodies and queries name.
const ELSEWHERE: &[&str] =
    &["principal", "partner", "gateway", "service_account", "member", "token", "set", "link", "key"];

/// What nobody of this side may see: the rows it may not change either.
async fn others(database: &mut Database, world: &World, side: Side) -> BTreeMap<&'static str, Rows> {
    let mut rows = BTreeMap::new();
    if side != Side::Abroad {
        rows.insert("abroad", database.across(&world.abroad, &world.crossing).await);
    }
    match side {
        Side::Abroad => drop(rows.insert("home", database.across(&world.home, &world.crossing).await)),
        Side::Partner => drop(rows.insert("home", database.beside(&world.home, world.partner).await)),
        Side::Rival => drop(rows.insert("home", database.beside(&world.home, world.rival).await)),
        Side::Home | Side::Between => {}
    }
    rows
}

/// What came of the calls of one operation.
#[derive(Debug, Default)]
struct Tally {
    /// Calls of the workspace's own people, about their own things, that succeeded.
    done: usize,
    /// Calls about a thing of the right kind across a border from who called.
    across: usize,
}

on_both!(no_call_reads_or_writes_across_a_border);
async fn no_call_reads_or_writes_across_a_border(app: TestApp) {
    let seed = seed::seed().unwrap();
    println!("repeat with {}={seed}", seed::SEED);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let world = world(&app).await;
    app.server.publisher().flush().await.unwrap();
    let mut database = Database::open(app.config.store_url().expose_secret()).await;
    let operations = called();
    let (mut round, mut homely) = (Vec::new(), operations.iter());
    let mut tally: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut answered = BTreeMap::new();
    // What people of a workspace tried is in their own audit log, as they wrote it.
    let mut tried: BTreeSet<(bool, String)> = BTreeSet::new();
    for batch in 0..BATCHES {
        let caller = &world.callers[(batch + rng.random_range(0..2)) % world.callers.len()];
        let before = others(&mut database, &world, caller.side).await;
        let mut made = Vec::new();
        for _ in 0..CALLS {
            // Each as often as any other.
            if round.is_empty() {
                round = operations.iter().collect::<Vec<_>>();
                round.shuffle(&mut rng);
            }
            let operation = round.pop().unwrap();
            // What was not tried across a border yet is, whatever chance says.
            let tally = tally.entry(&operation.id).or_default();
            let (mut things, mut foreign) = (Things::default(), Vec::new());
            for kind in operation.named().into_iter().chain(ELSEWHERE.iter().copied()) {
                let across = tally.across == 0 || rng.random_bool(0.6);
                if things.get(kind).is_some() || !operation.named().contains(&kind) && !across && rng.random() {
                    continue;
                }
                let (id, is_across) = pick(&world, caller, operation, kind, across, &mut rng);
                if is_across {
                    foreign.push(id.clone());
                }
                tried.insert((caller.side == Side::Abroad, id.clone()));
                things = things.with(kind, id);
            }
            let things = things.with("text", world.texts.choose(&mut rng).unwrap());
            let (call, says) = call(&app, operation, &things, &foreign, &mut rng);
            tally.across += usize::from(foreign.iter().any(|id| says.contains(id)));
            let answer = call.token(&caller.text).send().await;
            *answered.entry(answer.status.as_u16()).or_insert(0) += 1;
            let what = format!("seed {seed}: {:?}: {} with {things:?}: {}", caller.side, operation.id, answer.status);
            let failed = answer.status.as_u16() >= 500 && !answer.text.contains("\"not_published\"");
            assert!(!failed, "{what}: {answer:?}");
            let abroad = caller.side == Side::Abroad;
            let hidden = |thing: &&Thing| {
                let told = operation.path.starts_with("/v1/audit") && tried.contains(&(abroad, thing.text.clone()));
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
        for (was, is) in before.values().zip(after.values()) {
            assert!(was == is, "a call changed rows across a border: {}\n{made:#?}", was.difference(is));
        }
        // The workspace's own people succeed with everything, and nothing abroad moves.
        let before = others(&mut database, &world, Side::Home).await;
        for operation in homely.by_ref().take(2) {
            let answer = ready(&app, operation, &About::default()).await.send(&app, "at-home").await;
            // There is no deny note, and nobody denies that.
            let absent = operation.id == "readDeny" && answer.status == 404;
            assert!(answer.status.is_success() || absent, "{operation:?}: {answer:?}");
            tally.entry(&operation.id).or_default().done += 1;
        }
        let after = others(&mut database, &world, Side::Home).await;
        for (was, is) in before.values().zip(after.values()) {
            assert!(was == is, "what was done at home changed rows abroad: {}", was.difference(is));
        }
    }
    for operation in &operations {
        let tally = tally.entry(&operation.id).or_default();
        let has_ids = !operation.named().is_empty() || ELSEWHERE.iter().any(|kind| mentions(operation, kind));
        assert!(tally.done > 0, "seed {seed}: {} never succeeded at home", operation.id);
        assert!(!has_ids || tally.across > 0, "seed {seed}: {} was never tried across a border", operation.id);
    }
    // A test in which nobody could do anything would find nothing.
    for status in [200, 201, 403, 404] {
        assert!(answered.contains_key(&status), "seed {seed}: {answered:?}");
    }
    assert!(!answered.contains_key(&401), "seed {seed}: a caller was shut out: {answered:?}");
    app.stop().await;
}

/// What is called with a token: not what nobody is asked for a token for, what edges say, or files of sets, whose names
/// nobody here knows.
fn called() -> Vec<Operation> {
    let beside = |operation: &Operation| ["reportEdge", "readFile"].contains(&operation.id.as_str());
    Operation::all().into_iter().filter(|operation| !operation.is_open() && !beside(operation)).collect()
}

/// Whether a body or the query of the call names a thing of this kind.
fn mentions(operation: &Operation, kind: &'static str) -> bool {
    let in_query = operation.query.iter().any(|name| asked(name).contains(&kind));
    let marked = Things::new([(kind, "a thing of this kind"), ("set", "set_0")]).with(kind, "a thing of this kind");
    let in_body = operation.changes()
        && operation.bodies(&marked).iter().any(|body| body.to_string().contains("a thing of this kind"));
    in_query || in_body
}

/// Which kinds of things a parameter of a query takes.
fn asked(name: &str) -> &'static [&'static str] {
    match name {
        "principal" => &["principal", "partner", "gateway", "service_account"],
        "partner" => &["partner"],
        "key" => &["key"],
        "set" => &["set"],
        "owner_member" | "touched_by" => &["member"],
        "issued_by" | "actor" => &["token", "member"],
        "target" => &["key", "member", "link"],
        _ => &[],
    }
}

/// The call, with one of its bodies and some of its query, and all that it says. What is foreign is said, where it can be.
fn call(
    app: &TestApp,
    operation: &Operation,
    things: &Things,
    foreign: &[String],
    rng: &mut ChaCha8Rng,
) -> (crate::app::Call, String) {
    let mut query = Vec::new();
    for name in &operation.query {
        let kinds: Vec<_> = asked(name).iter().filter_map(|kind| things.get(kind)).collect();
        match (name.as_str(), kinds.choose(rng)) {
            ("limit", _) if rng.random() => query.push("limit=2".to_owned()),
            ("owner" | "q", _) if rng.random_bool(0.3) => query.push(format!("{name}=key")),
            (_, Some(id)) if foreign.iter().any(|foreign| foreign == id) || rng.random() => {
                query.push(format!("{name}={id}"));
            }
            _ => {}
        }
    }
    let url = operation.url(things);
    let joint = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{joint}{}", query.join("&"));
    let call = operation.at(app, &url);
    if !operation.changes() {
        return (call, url);
    }
    let bodies = operation.bodies(things);
    let says = |body: &&serde_json::Value| {
        let text = body.to_string();
        foreign.iter().any(|id| text.contains(id))
    };
    let about: Vec<_> = bodies.iter().filter(says).collect();
    let body = match about.choose(rng) {
        Some(body) => body,
        None => bodies.choose(rng).unwrap(),
    };
    (operation.with(call, body), format!("{url} {body}"))
}

/// A thing of this kind, across a border from the caller or not, and whether it is. Not what would end a caller.
fn pick(
    world: &World,
    caller: &Caller,
    operation: &Operation,
    kind: &str,
    across: bool,
    rng: &mut ChaCha8Rng,
) -> (String, bool) {
    let fits = |thing: &&Thing| {
        let reach = caller.side.sees(thing.side);
        thing.kind == kind
            && (reach != across)
            && !(operation.changes() && reach && world.keeps(&operation.id, &thing.text))
    };
    let things: Vec<_> = world.things.iter().filter(fits).collect();
    match things.choose(rng) {
        Some(thing) => (thing.text.clone(), across),
        None => (unknown(world::of_kind(kind)), false),
    }
}

/// What is across a border from a caller: of keys two, of everything else one of each kind and side.
fn across<'w>(world: &'w World, caller: &Caller) -> Vec<&'w Thing> {
    // Numbers count in each workspace: the same number abroad is another thing here. A stranger's principals begin at 1000.
    let numbers = matches!(caller.side, Side::Partner | Side::Rival);
    let mut seen = BTreeMap::new();
    let across = world.things.iter().filter(|thing| {
        let number = thing.text.starts_with("kn_") || thing.text == "prn_1";
        // In which workspace they are, a partner's people know.
        let their_own = numbers && thing.kind == "workspace" && thing.side == Side::Home;
        let known = !their_own && (!number || numbers && thing.side != Side::Abroad);
        if thing.kind.is_empty() || caller.side.sees(thing.side) || !known {
            return false;
        }
        let count = seen.entry((thing.side, thing.kind)).or_insert(0);
        *count += 1;
        *count <= if thing.kind == "key" { 2 } else { 1 }
    });
    across.collect()
}

/// One of each kind that the caller sees.
fn own(world: &World, caller: &Caller) -> Things {
    let mut things = Things::default();
    for thing in world.things.iter().filter(|thing| !thing.kind.is_empty() && caller.side.sees(thing.side)) {
        if things.get(thing.kind).is_none() && !world.keeps("", &thing.text) {
            things = things.with(thing.kind, &thing.text);
        }
    }
    for kind in world::KINDS {
        if things.get(kind).is_none() {
            things = things.with(kind, unknown(world::of_kind(kind)));
        }
    }
    things
}

on_both!(what_is_across_a_border_is_answered_like_what_does_not_exist);
async fn what_is_across_a_border_is_answered_like_what_does_not_exist(app: TestApp) {
    let world = world(&app).await;
    let operations: Vec<_> = called().into_iter().filter(|operation| !operation.named().is_empty()).collect();
    assert!(operations.len() > 50);
    let mut wrong = Vec::new();
    let mut walked: BTreeSet<(&str, &str)> = BTreeSet::new();
    // What was tried with an id in the path is in the log of who tried: the log is asked before.
    // One partner organisation is to the other as that is to it; who may most, and who may least.
    let callers = || world.callers.iter().filter(|caller| caller.side != Side::Rival && caller.role != Role::Admin);
    for caller in callers() {
        for thing in across(&world, caller) {
            for template in TEMPLATES.iter().filter(|template| template.is_about(&thing.text)) {
                let call = async |id: &str| {
                    template.call(&app, id).header("x-request-id", "the-same").token(&caller.text).send().await
                };
                let nobody = unknown(&thing.text);
                let (mut theirs, nobodys) = (call(&thing.text).await, call(&nobody).await);
                // What somebody sent may be repeated to them.
                theirs.text = theirs.text.replace(&thing.text, &nobody);
                if shown(&theirs) != shown(&nobodys) {
                    wrong.push(format!("{:?}: {template:?} {}: {theirs:?} {nobodys:?}", caller.side, thing.text));
                }
            }
        }
    }
    for caller in callers() {
        let own = own(&world, caller);
        for thing in across(&world, caller) {
            for operation in operations.iter().filter(|operation| operation.named().contains(&thing.kind)) {
                // The founding workspace's people see that there are others.
                if caller.side == Side::Home && operation.id == "readWorkspace" {
                    continue;
                }
                // Both calls have the same body: what is in it is the caller's own.
                let body = if operation.changes() { operation.body(&own) } else { serde_json::json!({}) };
                let call = async |id: &str| {
                    let call = operation.call(&app, &own.with(thing.kind, id)).header("x-request-id", "the-same");
                    operation.with(call, &body).token(&caller.text).send().await
                };
                let (theirs, nobodys) = (call(&thing.text).await, call(&unknown(&thing.text)).await);
                if shown(&theirs) != shown(&nobodys) {
                    wrong.push(format!("{:?}: {} {}: {theirs:?} {nobodys:?}", caller.side, operation.id, thing.text));
                }
                walked.insert((&operation.id, thing.kind));
            }
        }
    }
    for operation in &operations {
        for kind in operation.named() {
            assert!(walked.contains(&(&operation.id, kind)), "{} was tried with no foreign {kind}", operation.id);
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
