//! The program as it was before there were people: what it wrote, in its own words, into a database of schema 5.
//!
//! The statements are those of the store at that time, with the values it bound written in their places.

mod database;
mod statements;

use nightlatch_gate::policy::{Draft, Policy, RouteDraft};
use nightlatch_key::{Brand, Digest, Environment, KeyText, mint};
use nightlatch_keyset::{Hash, Status};

pub(crate) use database::Before;
use statements::{
    AUDIT, CHANGES, EDGES, ENDED, ENROLMENTS, EPOCHS, IDEMPOTENCY, INSTANCES, KEY_CHANGED, KEY_SCOPES, KEYS, LEASE,
    MARKS, NUMBERED, NUMBERS, PRINCIPALS, RECEIPT_NOTED, RECEIPTS, ROTATION_CHANGED, ROTATIONS, ROUTES, ROUTES_MOVED,
    SCOPES, SETS, SHARED, SIGNED, TIERS, TOKEN_REVOKED, TOKEN_USED, TOKENS, TRUST, VERSIONS, WORKSPACES,
};

pub(crate) const WORKSPACE: &str = "ws_0000000000000001";
pub(crate) const SET: &str = "set_000000000001";
/// When all of it happened, unix milliseconds.
const AT: i64 = 1_700_000_000_000;
/// When nothing has ended yet, unix seconds.
const LATER: i64 = 4_000_000_000;

/// What it bound.
enum Value {
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
    Null,
}

use Value::{Null, Number};

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn bytes(bytes: impl AsRef<[u8]>) -> Value {
    Value::Bytes(bytes.as_ref().to_vec())
}

/// A statement with its values.
type Said = (&'static str, Vec<Value>);

/// A key as it left it.
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) text: String,
    pub(crate) status: Status,
    /// It has run out.
    pub(crate) expired: bool,
}

/// What it left in one go: the first, and what it goes on to write beside a newer one.
pub(crate) struct Round {
    pub(crate) keys: Vec<Written>,
    pub(crate) rotation: String,
    /// A management token that works, one that was revoked, and an edge's.
    pub(crate) tokens: [KeyText; 3],
    pub(crate) entries: i64,
    said: Vec<Said>,
}

/// What a first start wrote.
fn founding() -> Vec<Said> {
    vec![
        (WORKSPACES, vec![text(WORKSPACE), text("Acme"), text("nl"), Number(2), Number(AT)]),
        (PRINCIPALS, vec![text(WORKSPACE), Number(1), text("service_account"), Number(AT)]),
        (
            SETS,
            vec![
                text(SET),
                text(WORKSPACE),
                Number(crate::world::HEARTBEAT_MS),
                Number(crate::world::VALIDITY_MS),
                Number(crate::world::SKEW_MS),
                text("p1"),
                Number(1),
                bytes([0; 32]),
                Number(AT),
            ],
        ),
        (LEASE, vec![text(SET), Number(0), text(""), Number(0)]),
    ]
}

impl Round {
    /// A key in every state, an open rotation, tokens, routes, an edge and its report, and what goes with each.
    pub(crate) fn new(round: i64) -> Self {
        let mut this = Self {
            keys: Vec::new(),
            rotation: format!("rot_000000000000000{round}"),
            tokens: tokens(round),
            entries: 0,
            said: Vec::new(),
        };
        for scope in ["a:read", "b:write"] {
            this.say(SCOPES, vec![text(WORKSPACE), text(scope), Number(AT)]);
        }
        this.say(TIERS, vec![text(WORKSPACE), text("gold"), Number(AT)]);
        for (status, expired) in [
            (Status::Active, false),
            // The one that is replaced, once the last is there.
            (Status::Active, false),
            (Status::Disabled, false),
            (Status::Revoked, false),
            (Status::Active, true),
            (Status::Active, false),
        ] {
            this.key(round, status, expired);
        }
        this.rotate();
        this.tokens_and_edges(round);
        this.routes(round);
        this
    }

    fn say(&mut self, sql: &'static str, values: Vec<Value>) {
        self.said.push((sql, values));
    }

    fn key(&mut self, round: i64, status: Status, expired: bool) {
        let place = self.keys.len() as i64;
        let replaces = (place == 5).then(|| self.keys[1].id.clone());
        let number = round * 6 + place + 1;
        let minted = minted("nl", &[round as u8, place as u8, 1]);
        let id = format!("key_{}", minted.parts().id());
        let prefix = minted.parts().prefix().to_owned();
        self.say(NUMBERS, vec![text(WORKSPACE), Number(1)]);
        let expires = if expired { Number(1_600_000_000) } else { Null };
        let digest = bytes(minted.digest().as_bytes());
        self.say(
            KEYS,
            vec![
                text(&id),
                text(WORKSPACE),
                Number(number),
                digest,
                text(&prefix),
                text("a key"),
                text("active"),
                text(""),
                text("live"),
                Number(1),
                text("service_account"),
                text("a:read b:write"),
                text("gold"),
                text("ops"),
                text("{\"team\":\"x\"}"),
                text("token"),
                text(format!("tok_000000000000000{round}")),
                Number(AT + place),
                expires,
                Null,
                Null,
                Null,
                Null,
                Null,
                text(replaces.as_ref().unwrap_or(&id)),
                replaces.map_or(Null, text),
                Null,
                Number(0),
                Number(0),
                Number(1),
            ],
        );
        for scope in ["a:read", "b:write"] {
            self.say(KEY_SCOPES, vec![text(WORKSPACE), text(scope), Number(AT + place), text(&id)]);
        }
        let text = minted.expose().to_owned();
        self.keys.push(Written { id, number, text, status: Status::Active, expired });
        self.told(place as usize, true);
        self.noted("key.issued", place as usize);
        if matches!(status, Status::Disabled | Status::Revoked) {
            self.changed(place as usize, status, None);
        }
    }

    /// What a key has become.
    fn changed(&mut self, place: usize, status: Status, successor: Option<&str>) {
        let revoked = status == Status::Revoked;
        let retiring = status == Status::Retiring;
        let key = &mut self.keys[place];
        key.status = status;
        let (id, number) = (key.id.clone(), key.number);
        self.said.push((
            KEY_CHANGED,
            vec![
                text(&id),
                Number(1),
                text("a key"),
                text(if revoked {
                    "revoked"
                } else if retiring {
                    "retiring"
                } else {
                    "active"
                }),
                text(if status == Status::Disabled { "admin" } else { "" }),
                text("gold"),
                text("ops"),
                text("{\"team\":\"x\"}"),
                Null,
                Null,
                if retiring { Number(LATER) } else { Null },
                if revoked { Number(AT + 50) } else { Null },
                if revoked { text("leaked") } else { Null },
                successor.map_or(Null, text),
                Number(2),
            ],
        ));
        self.told(place, false);
        match status {
            Status::Revoked => {
                self.say(RECEIPTS, vec![text(WORKSPACE), text(&id), Number(number), Number(AT + 50)]);
                self.say(RECEIPT_NOTED, vec![text(SET), text(&id), Number(AT + 51)]);
                self.noted("key.revoked", place);
            }
            Status::Disabled => self.noted("key.disabled", place),
            Status::Retiring | Status::Active => {}
        }
    }

    /// What edges are to learn.
    fn told(&mut self, place: usize, is_new: bool) {
        let key = &self.keys[place];
        let deadline = match key.status {
            _ if key.expired => Number(1_600_000_000),
            Status::Retiring => Number(LATER),
            _ => Null,
        };
        let values = vec![
            text(WORKSPACE),
            Number(key.number),
            bytes(Digest::of(key.text.as_bytes()).as_bytes()),
            Number(key.status.code().into()),
            Number(0),
            deadline,
            text("service_account"),
            text("live"),
            text("gold"),
            text("a:read b:write"),
            Number(1),
            Number(is_new.into()),
            Number(AT),
        ];
        self.say(CHANGES, values);
    }

    fn noted(&mut self, action: &str, place: usize) {
        let key = &self.keys[place];
        let values = vec![
            text(WORKSPACE),
            Number(AT),
            text("token"),
            text("tok_0000000000000000"),
            text(action),
            text("user.updated"),
            text("key"),
            text(&key.id),
            text("nl_live_0123456789"),
            text("nl_live_"),
            text("a:read b:write"),
            Null,
            text("{\"state\":\"active\"}"),
            Null,
            text("192.0.2.1"),
            text("req_1"),
        ];
        self.entries += 1;
        self.say(AUDIT, values);
    }

    /// The second key is being replaced by the last.
    fn rotate(&mut self) {
        let (from, to) = (self.keys[1].id.clone(), self.keys[5].id.clone());
        let values = vec![
            text(&self.rotation),
            text(WORKSPACE),
            text(&from),
            text(&to),
            text(&from),
            text("issue_first"),
            text("open"),
            Null,
            text("quarterly"),
            Number(600),
            Number(LATER - 1),
            text("token"),
            text("tok_0000000000000000"),
            Number(AT),
            Null,
            Null,
            Null,
            Number(1),
        ];
        self.say(ROTATIONS, values);
        let changed = [Number(1), text("open"), Null, Number(600), Number(LATER), Null, Null, Null];
        let values = [text(&self.rotation)].into_iter().chain(changed).collect();
        self.say(ROTATION_CHANGED, values);
        self.changed(1, Status::Retiring, Some(&to));
        self.noted("rotation.started", 1);
    }

    fn tokens_and_edges(&mut self, round: i64) {
        let edge = format!("edg_000000000000000{round}");
        self.say(
            EDGES,
            vec![
                text(&edge),
                text(WORKSPACE),
                text(SET),
                text("one"),
                text("durable"),
                bytes(Digest::of(&[round as u8, 9]).as_bytes()),
                Number(AT),
                text("token"),
                text("tok_0000000000000000"),
                Number(AT),
            ],
        );
        for place in 0..3 {
            let is_edge = place == 2;
            let token = &self.tokens[place];
            let values = vec![
                text(token_id(round, place)),
                text(WORKSPACE),
                text(if is_edge { "edge" } else { "management" }),
                if is_edge { text(SET) } else { Null },
                text("a token"),
                bytes(token.digest().as_bytes()),
                text(token.parts().prefix()),
                text(if is_edge { "" } else { "*" }),
                text("system"),
                text("enrolment"),
                Number(AT),
                Null,
                if is_edge { text(&edge) } else { Null },
            ];
            self.say(TOKENS, values);
        }
        self.say(TOKEN_USED, vec![text(token_id(round, 0)), Number(AT + 1), Number(AT)]);
        self.say(TOKEN_REVOKED, vec![text(WORKSPACE), text(token_id(round, 1)), Number(AT + 1)]);
        let numbers = [Number(1), Number(0), Number(1), Number(0), Number(AT), Number(AT)];
        let head = [text(token_id(round, 2)), text("i"), text(WORKSPACE), text(SET), text("sidecar"), text("0.1.0")];
        let rest = [text(&edge), text("1 2"), text("p1"), Null, Number(3), Number(-1), Number(0), Null, Number(0)];
        self.say(INSTANCES, head.into_iter().chain(numbers).chain(rest).collect());
        let values = vec![text(SET), text(&edge), text("i"), Number(0), Number(0), text(WORKSPACE), Number(AT)];
        self.say(MARKS, values);
        let digest = bytes(Digest::of(&[round as u8, 8]).as_bytes());
        self.say(ENROLMENTS, vec![digest, text(WORKSPACE), Number(AT), Number(AT)]);
        let digest = bytes(Digest::of(&[round as u8, 7]).as_bytes());
        self.say(ENDED, vec![text(WORKSPACE), digest, Number(AT)]);
        let name = format!("n{round}");
        self.say(SHARED, vec![text("signer"), text(name), bytes([1, 2, 3]), Number(AT)]);
        let kept = [
            bytes([1; 32]),
            text(WORKSPACE),
            bytes([2; 32]),
            Number(201),
            text("{}"),
            Number(1),
            bytes([3]),
            Number(AT),
        ];
        let route = [text(token_id(round, 0)), text("POST /v1/keys")];
        self.say(IDEMPOTENCY, route.into_iter().chain(kept).collect());
    }

    fn routes(&mut self, round: i64) {
        let policy = policy();
        let hash = Hash::of(&policy);
        self.say(ROUTES_MOVED, vec![text(WORKSPACE), text(SET), Number(round), Number(round + 1)]);
        let values = vec![
            text(SET),
            text(WORKSPACE),
            Number(round + 1),
            text("{\"routes\":[]}"),
            bytes(policy),
            bytes(hash.0),
            Number(AT),
            text("token"),
            text("tok_0000000000000000"),
        ];
        self.say(ROUTES, values);
    }
}

/// The policy that its route documents were compiled to.
pub(crate) fn policy() -> Vec<u8> {
    let draft = Draft::new("API").route(RouteDraft::new("GET", "/things").scopes(["a:read"]));
    Policy::new(draft).unwrap().encode()
}

/// What its leader said, for versions that are none.
fn publishing(round: i64) -> Vec<Said> {
    let version = 1_000_000 + round;
    let link = || bytes([4; 32]);
    let whose = || [text(SET), Number(0), Number(version)];
    let epoch = [Number(version), link(), link(), Number(0), Number(1), text("p1"), text("first"), Number(AT)];
    let layout = [Number(4), Number(3), Null];
    vec![
        (TRUST, vec![text(SET), Number(version), text("note"), Number(AT)]),
        (EPOCHS, whose().into_iter().chain(epoch).chain(layout).collect()),
        (VERSIONS, vec![text(SET), Number(version), Number(0), Number(1), Number(AT), link(), link(), Number(1)]),
        (NUMBERED, vec![Number(version), text(SET), Number(1), Number(10)]),
        (
            SIGNED,
            vec![
                Number(0),
                Number(1),
                Number(version),
                link(),
                Number(5),
                text("head"),
                Number(AT),
                Number(60_000),
                text(SET),
            ],
        ),
    ]
}

pub(crate) fn token_id(round: i64, place: usize) -> String {
    format!("tok_00000000000000{round}{place}")
}

fn tokens(round: i64) -> [KeyText; 3] {
    [("nlm", 0), ("nlm", 1), ("nle", 2)].map(|(brand, place)| minted(brand, &[round as u8, place, 2]))
}

/// A text that is always the same for the same seed.
fn minted(brand: &str, seed: &[u8]) -> KeyText {
    let seed = Digest::of(seed);
    let mut stream = seed.as_bytes().iter().copied().cycle();
    let mut random = |bytes: &mut [u8]| {
        let mut counter = 0_u8;
        bytes.fill_with(|| {
            counter = counter.wrapping_add(37);
            stream.next().unwrap_or_default().wrapping_add(counter)
        });
    };
    mint(&Brand::new(brand).unwrap(), Environment::Live, 1_700_000_000, &mut random)
}
