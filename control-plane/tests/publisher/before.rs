//! The program as it was before there were people: what it wrote, in its own words, into a database of schema 5.
//!
//! The statements are those of the store at that time, with the values it bound written in their places.

use std::path::Path;

use nightlatch_gate::policy::{Draft, Policy, RouteDraft};
use nightlatch_key::{Brand, Digest, Environment, KeyText, mint};
use nightlatch_keyset::{Hash, Status};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

pub(crate) const WORKSPACE: &str = "ws_0000000000000001";
pub(crate) const SET: &str = "set_000000000001";
const SCHEMA: i64 = 5;
/// When all of it happened, unix milliseconds.
const AT: i64 = 1_700_000_000_000;
/// When nothing has ended yet, unix seconds.
const LATER: i64 = 4_000_000_000;

const WORKSPACES: &str = "INSERT INTO workspaces (id, name, brand, next_key_number, next_subject, created_at) \
    VALUES ($1, $2, $3, 1, $4, $5)";
const PRINCIPALS: &str =
    "INSERT INTO principals (workspace_id, subject, kind, name, created_at) VALUES ($1, $2, $3, 'default', $4)";
const SETS: &str = "INSERT INTO sets (id, workspace_id, name, heartbeat_ms, validity_ms, skew_ms, largest_validity_ms, \
    pepper_id, accepts_foreign, incarnation, epoch, version, commitment, key_count, routes_revision, created_at) \
    VALUES ($1, $2, 'default', $3, $4, $5, $4, $6, $7, 0, 0, 0, $8, 0, 0, $9)";
const NUMBERS: &str = "UPDATE workspaces SET next_key_number = next_key_number + $2 WHERE id = $1";
const SCOPES: &str =
    "INSERT INTO scopes (workspace_id, name, first_used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const TIERS: &str = "INSERT INTO tiers (workspace_id, name, first_used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const KEYS: &str = "INSERT INTO keys (id, workspace_id, number, digest, prefix, name, state, disabled_by, environment, \
    subject, kind, scopes, tier, owner, labels, issued_by_type, issued_by_id, created_at, expires_at, rotate_by, \
    deadline, revoked_at, revoke_reason, last_used_at, lineage, predecessor, successor, imported, weak, revision) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, \
    $24, $25, $26, $27, $28, $29, $30) ON CONFLICT (id) DO NOTHING";
const KEY_SCOPES: &str = "INSERT INTO key_scopes (workspace_id, scope, created_at, key_id) VALUES ($1, $2, $3, $4)";
const KEY_CHANGED: &str = "UPDATE keys SET name = $3, state = $4, disabled_by = $5, tier = $6, owner = $7, labels = $8, \
    expires_at = $9, rotate_by = $10, deadline = $11, revoked_at = $12, revoke_reason = $13, successor = $14, \
    revision = $15 WHERE id = $1 AND revision = $2";
const CHANGES: &str = "INSERT INTO changes (set_id, workspace_id, key_number, digest, status, imported, deadline, kind, \
    environment, tier, scopes, subject, is_new, created_at) \
    SELECT id, workspace_id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM sets \
    WHERE workspace_id = $1 ORDER BY id";
const AUDIT: &str = "INSERT INTO audit (workspace_id, at, actor_type, actor_id, action, category, target_type, \
    target_id, prefix, short_prefix, scopes, before, after, reason, source, request_id) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
const RECEIPTS: &str = "INSERT INTO receipts (set_id, key_id, workspace_id, key_number, revoked_at) \
    SELECT id, $2, $1, $3, $4 FROM sets WHERE workspace_id = $1 ORDER BY id ON CONFLICT (set_id, key_id) DO NOTHING";
const RECEIPT_NOTED: &str =
    "UPDATE receipts SET committed_by = $3 WHERE set_id = $1 AND key_id = $2 AND committed_by IS NULL";
const ROTATIONS: &str = "INSERT INTO rotations (id, workspace_id, predecessor, successor, lineage, step_order, state, \
    outcome, reason, overlap_seconds, deadline, started_by_type, started_by_id, started_at, ended_by_type, ended_by_id, \
    ended_at, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
const ROTATION_CHANGED: &str = "UPDATE rotations SET state = $3, outcome = $4, overlap_seconds = $5, deadline = $6, \
    ended_by_type = $7, ended_by_id = $8, ended_at = $9, revision = revision + 1 WHERE id = $1 AND revision = $2";
const TOKENS: &str = "INSERT INTO tokens (id, workspace_id, kind, set_id, name, digest, prefix, scopes, \
    created_by_type, created_by_id, created_at, expires_at, edge_id) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
const TOKEN_USED: &str =
    "UPDATE tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)";
const TOKEN_REVOKED: &str =
    "UPDATE tokens SET revoked_at = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL";
const ENROLMENTS: &str =
    "INSERT INTO enrolments (digest, workspace_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
const IDEMPOTENCY: &str = "INSERT INTO idempotency (token_id, route, key_hash, workspace_id, request_hash, status, body, \
    had_secret, sealed_secret, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const ROUTES_MOVED: &str =
    "UPDATE sets SET routes_revision = $4 WHERE workspace_id = $1 AND id = $2 AND routes_revision = $3";
const ROUTES: &str = "INSERT INTO routes (set_id, workspace_id, revision, document, policy, policy_hash, created_at, \
    created_by_type, created_by_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const EDGES: &str = "INSERT INTO edges (id, workspace_id, set_id, name, class, code_digest, code_expires_at, \
    created_by_type, created_by_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const INSTANCES: &str = "INSERT INTO edge_instances (token_id, instance, workspace_id, set_id, runtime, version, \
    sequence, applied_incarnation, applied_epoch, applied_version, applied_issued, reported_at, edge_id, \
    first_reported_at, formats, peppers, trust, data_age_ms, clock_offset_ms, clock_refused, failure, ahead) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $12, $14, $15, $16, $17, $18, $19, $20, $21) \
    ON CONFLICT (token_id, instance) DO UPDATE SET set_id = excluded.set_id, runtime = excluded.runtime, \
    version = excluded.version, sequence = excluded.sequence, applied_incarnation = excluded.applied_incarnation, \
    applied_epoch = excluded.applied_epoch, applied_version = excluded.applied_version, \
    applied_issued = excluded.applied_issued, reported_at = excluded.reported_at, formats = excluded.formats, \
    peppers = excluded.peppers, trust = excluded.trust, data_age_ms = excluded.data_age_ms, \
    clock_offset_ms = excluded.clock_offset_ms, clock_refused = excluded.clock_refused, failure = excluded.failure, \
    ahead = excluded.ahead WHERE edge_instances.sequence < excluded.sequence";
const MARKS: &str = "INSERT INTO edge_marks (set_id, edge_id, instance, incarnation, version, workspace_id, at) \
    SELECT $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM edge_marks WHERE set_id = $1 AND edge_id = $2 \
    AND instance = $3 AND (incarnation, version) >= ($4, $5)) ON CONFLICT DO NOTHING";
const ENDED: &str = "INSERT INTO ended_digests (workspace_id, digest, created_at) VALUES ($1, $2, $3)";
const SHARED: &str = "INSERT INTO shared_secrets (kind, name, sealed, created_at) VALUES ($1, $2, $3, $4)";
const LEASE: &str =
    "INSERT INTO leases (set_id, term, holder, expires_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const TRUST: &str = "INSERT INTO trust_notes (set_id, version, note, created_at) VALUES ($1, $2, $3, $4)";
const EPOCHS: &str = "INSERT INTO set_epochs (set_id, incarnation, epoch, version, commitment, root, cutoff, key_count, \
    pepper_id, reason, created_at, bucket_bits, row_columns, rebase) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
const VERSIONS: &str = "INSERT INTO set_versions (set_id, version, incarnation, epoch, kind, issued, link, commitment, \
    change_count, reason) VALUES ($1, $2, $3, $4, 'delta', $5, $6, $7, $8, '')";
const NUMBERED: &str = "UPDATE changes SET version = $1, position = seq WHERE seq IN \
    (SELECT seq FROM changes WHERE set_id = $2 AND version IS NULL AND imported <= $3 ORDER BY seq LIMIT $4)";
const SIGNED: &str = "UPDATE sets SET incarnation = $1, epoch = $2, version = $3, commitment = $4, key_count = $5, \
    head = $6, head_issued = $7, largest_validity_ms = CASE WHEN largest_validity_ms < $8 THEN $8 ELSE \
    largest_validity_ms END WHERE id = $9";

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

/// A database of that schema.
pub(crate) struct Before {
    url: String,
}

impl Before {
    /// Makes it, empty.
    pub(crate) async fn migrate(url: &str) -> Self {
        let kind = if url.starts_with("sqlite:") { "sqlite" } else { "postgres" };
        let all = Migrator::new(Path::new("migrations").join(kind)).await.unwrap();
        let first: Vec<_> = all.iter().filter(|migration| migration.version <= SCHEMA).cloned().collect();
        assert_eq!(first.len() as i64, SCHEMA);
        let first = Migrator { migrations: first.into(), ..Migrator::DEFAULT };
        if kind == "sqlite" {
            let url = format!("{url}?mode=rwc");
            first.run(&mut SqliteConnection::connect(&url).await.unwrap()).await.unwrap();
        } else {
            first.run(&mut PgConnection::connect(url).await.unwrap()).await.unwrap();
        }
        let before = Self { url: url.to_owned() };
        before.say(&founding(), true).await;
        before
    }

    /// Writes a round, all of it or nothing.
    pub(crate) async fn write(&self, round: &Round) {
        self.say(&round.said, true).await;
    }

    /// Has the leader's statements run, and takes them back: what they would say is not true.
    pub(crate) async fn publish(&self, round: i64) {
        self.say(&publishing(round), false).await;
    }

    async fn say(&self, said: &[Said], keep: bool) {
        let sqlite = self.url.starts_with("sqlite:");
        let mut all = vec!["BEGIN".to_owned()];
        all.extend(said.iter().map(|(sql, values)| filled(sql, values, sqlite)));
        all.push(if keep { "COMMIT" } else { "ROLLBACK" }.to_owned());
        let mut connection = if sqlite {
            let url = format!("{}?mode=rw", self.url);
            Connection::Sqlite(SqliteConnection::connect(&url).await.unwrap())
        } else {
            Connection::Postgres(PgConnection::connect(&self.url).await.unwrap())
        };
        for sql in all {
            connection.execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Connection {
    async fn execute(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.map(drop),
            Self::Postgres(connection) => connection.execute(sql).await.map(drop),
        }
    }
}

/// The statement with its values in their places.
fn filled(sql: &str, values: &[Value], sqlite: bool) -> String {
    let mut sql = sql.to_owned();
    // From the last on: `$1` is the beginning of `$10`.
    for (place, value) in values.iter().enumerate().rev() {
        let literal = match value {
            Value::Text(text) => format!("'{text}'"),
            Number(number) => number.to_string(),
            Value::Bytes(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                if sqlite { format!("x'{hex}'") } else { format!("'\\x{hex}'::bytea") }
            }
            Null => "NULL".to_owned(),
        };
        sql = sql.replace(&format!("${}", place + 1), &literal);
    }
    sql
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
                replaces.clone().map_or(Null, text),
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
