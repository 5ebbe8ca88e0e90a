//! A large workspace, written by SQL beside the control plane: what is measured is reading it.

use anyhow::{Context as _, Result};
use nightlatch_tests::clock::now_ms;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

/// Who issued a tenth of all keys.
pub(super) const DIRECTOR: &str = "mem_0";
/// Who has to do with as many keys as most.
pub(super) const PLAIN_MEMBER: &str = "mem_7";
/// The subject of the first member.
const FIRST_SUBJECT: u32 = 100_000;
/// Rows of one statement: the control plane writes in between.
const CHUNK: u32 = 25_000;

/// How much there is of each.
#[derive(Clone, Copy)]
pub(super) struct World {
    pub(super) keys: u32,
    pub(super) members: u32,
    pub(super) audit: u32,
}

/// A connection of one of the two kinds.
enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Connection {
    async fn open(url: &str) -> Result<Self> {
        if url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url).await?;
            connection.execute("PRAGMA busy_timeout = 30000").await?;
            // What is lost in a crash of the machine is loaded again.
            connection.execute("PRAGMA synchronous = OFF").await?;
            Ok(Self::Sqlite(connection))
        } else {
            let mut connection = PgConnection::connect(url).await?;
            connection.execute("SET synchronous_commit = off").await?;
            Ok(Self::Postgres(connection))
        }
    }

    async fn execute(&mut self, sql: String) -> Result<()> {
        let what = sql.chars().take(60).collect::<String>();
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.map(drop),
            Self::Postgres(connection) => connection.execute(sql).await.map(drop),
        }
        .context(what)
    }

    /// A table `n` with the numbers from `first` up to `end`, to be read as `n.n`.
    fn numbers(&self, first: u32, end: u32) -> String {
        match self {
            Self::Sqlite(_) => format!(
                "(WITH RECURSIVE c(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM c WHERE n + 1 < {end}) \
                 SELECT n FROM c) AS n"
            ),
            Self::Postgres(_) => format!("generate_series({first}, {}) AS n(n)", end - 1),
        }
    }

    /// An expression of 32 bytes that differ with every row.
    fn digest(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "randomblob(32)",
            Self::Postgres(_) => "sha256(convert_to('key ' || n.n, 'UTF8'))",
        }
    }

    /// An expression for the number in ten digits.
    fn padded(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "printf('%010d', n.n)",
            Self::Postgres(_) => "lpad(CAST(n.n AS TEXT), 10, '0')",
        }
    }
}

impl World {
    /// Fills the deployment's workspace. Keys are spread over its members, owners, scopes and ages; nothing is published.
    pub(super) async fn load(self, url: &str) -> Result<()> {
        let mut connection = Connection::open(url).await?;
        let now = now_ms();
        let workspace = "(SELECT id FROM workspaces WHERE kind = 'tenant')";
        for (first, end) in chunks(self.members) {
            let numbers = connection.numbers(first, end);
            connection
                .execute(format!(
                    "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
                     SELECT {workspace}, {FIRST_SUBJECT} + n.n, 'user', 'member ' || n.n, {now} FROM {numbers}"
                ))
                .await?;
            let numbers = connection.numbers(first, end);
            connection
                .execute(format!(
                    "INSERT INTO members (id, workspace_id, subject, role, email, name, state, scopes, invited_by_type, \
                     invited_by_id, created_at, joined_at, revision) \
                     SELECT 'mem_' || n.n, {workspace}, {FIRST_SUBJECT} + n.n, 'operator', n.n || '@example.com', \
                     'member ' || n.n, 'active', '', 'system', 'bench', {now} - n.n, {now} - n.n, 1 FROM {numbers}"
                ))
                .await?;
        }
        for (first, end) in chunks(self.keys) {
            self.keys(&mut connection, workspace, now, first, end).await?;
        }
        for (first, end) in chunks(self.audit) {
            let (numbers, padded) = (connection.numbers(first, end), connection.padded());
            let (members, keys) = (self.members, self.keys);
            connection
                .execute(format!(
                    "INSERT INTO audit (workspace_id, at, actor_type, actor_id, action, category, target_type, \
                     target_id, prefix, short_prefix, scopes, after, reason, source, request_id) \
                     SELECT {workspace}, {now} - ({} - n.n) * 1000, 'member', 'mem_' || (n.n % {members}), \
                     CASE n.n % 20 WHEN 0 THEN 'key.disabled' WHEN 1 THEN 'key.revoked' ELSE 'key.issued' END, \
                     'user.updated', 'key', 'key_' || {padded}, 'nl_live_' || {padded}, 'abcdefgh', 'invoices:read', \
                     '{{\"name\":\"a key\"}}', 'scheduled', '192.0.2.1', 'req_' || (n.n % {keys}) FROM {numbers}",
                    self.audit
                ))
                .await?;
        }
        if let Connection::Postgres(_) = connection {
            // As its own housekeeping does soon after such a change.
            connection.execute("ANALYZE".to_owned()).await?;
        }
        Ok(())
    }

    async fn keys(self, connection: &mut Connection, workspace: &str, now: u64, first: u32, end: u32) -> Result<()> {
        let (numbers, padded, digest) = (connection.numbers(first, end), connection.padded(), connection.digest());
        let members = self.members;
        let created = format!("{now} - CAST({} - n.n AS BIGINT) * 1000", self.keys);
        connection
            .execute(format!(
                "INSERT INTO keys (id, workspace_id, number, digest, prefix, name, state, disabled_by, environment, \
                 subject, kind, scopes, owner, labels, issued_by_type, issued_by_id, created_at, rotate_by, \
                 last_used_at, lineage, imported, weak, revision, owner_member, issuer_member) \
                 SELECT 'key_' || {padded}, {workspace}, 1000 + n.n, {digest}, 'nl_live_' || {padded}, \
                 'key ' || n.n || ' of the bench', 'active', '', 'live', \
                 CASE WHEN n.n % 10 = 3 THEN {FIRST_SUBJECT} + n.n / 10 % {members} ELSE 1 END, \
                 CASE WHEN n.n % 10 = 3 THEN 'user' ELSE 'service_account' END, \
                 CASE WHEN n.n % 1000 = 5 THEN 'invoices:read rare:scope' ELSE 'invoices:read' END, \
                 'team ' || n.n % 100, '{{}}', 'member', \
                 CASE WHEN n.n % 10 = 0 THEN '{DIRECTOR}' ELSE 'mem_' || n.n % {members} END, {created}, \
                 CASE WHEN n.n % 10 = 1 THEN 4000000000 + n.n END, \
                 CASE WHEN n.n % 4 <> 0 THEN {created} + 500 END, 'key_' || {padded}, 0, 0, 1, \
                 CASE WHEN n.n % 3 = 0 THEN 'mem_' || n.n / 3 % {members} END, \
                 CASE WHEN n.n % 10 = 0 THEN '{DIRECTOR}' ELSE 'mem_' || n.n % {members} END FROM {numbers}"
            ))
            .await?;
        for (scope, every) in [("invoices:read", "n.n = n.n"), ("rare:scope", "n.n % 1000 = 5")] {
            let numbers = connection.numbers(first, end);
            connection
                .execute(format!(
                    "INSERT INTO key_scopes (workspace_id, scope, created_at, key_id) \
                     SELECT {workspace}, '{scope}', {created}, 'key_' || {padded} FROM {numbers} WHERE {every}"
                ))
                .await?;
        }
        Ok(())
    }
}

fn chunks(count: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..count).step_by(CHUNK as usize).map(move |first| (first, count.min(first + CHUNK)))
}
