//! A large workspace, written by SQL beside the control plane: what is measured is reading it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::wait::eventually;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

/// Who issued a tenth of all keys.
pub(super) const DIRECTOR: &str = "mem_0";
/// Who has to do with as many keys as most.
pub(super) const PLAIN_MEMBER: &str = "mem_7";
/// Carried by all keys and all members.
pub(super) const COMMON_SCOPE: &str = "invoices:read";
/// Carried by all members, and by no key.
pub(super) const MEMBERS_SCOPE: &str = "payments:read";
/// Carried by one key of a thousand.
pub(super) const RARE_SCOPE: &str = "rare:scope";
/// The subject of the first member.
pub(super) const FIRST_SUBJECT: u32 = 100_000;
/// The subject of the first service account.
pub(super) const FIRST_ACCOUNT: u32 = 500_000;
/// The deployment's workspace.
const WORKSPACE: &str = "(SELECT id FROM workspaces WHERE kind = 'tenant')";
/// How long chaining all of the audit log may take.
const CHAINING: Duration = Duration::from_secs(900);
/// Rows of one statement: the control plane writes in between.
const CHUNK: u32 = 25_000;

/// How much there is of each.
#[derive(Clone, Copy)]
pub(super) struct World {
    pub(super) keys: u32,
    pub(super) members: u32,
    pub(super) accounts: u32,
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

    async fn number(&mut self, sql: &'static str) -> Result<i64> {
        Ok(match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_one(connection).await?,
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await?,
        })
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
    /// Fills the deployment's workspace. Keys are spread over its members, service accounts, owners, scopes, states and
    /// ages; the oldest are long revoked. Nothing is published but the audit log, which the leader chains.
    pub(super) async fn load(self, url: &str) -> Result<()> {
        let mut connection = Connection::open(url).await?;
        let now = now_ms();
        for (first, end) in chunks(self.members) {
            self.people(&mut connection, now, first, end).await?;
        }
        for (first, end) in chunks(self.accounts) {
            let numbers = connection.numbers(first, end);
            connection
                .execute(format!(
                    "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
                     SELECT {WORKSPACE}, {FIRST_ACCOUNT} + n.n, 'service_account', 'service ' || n.n, {now} - n.n \
                     FROM {numbers}"
                ))
                .await?;
        }
        for scope in [COMMON_SCOPE, MEMBERS_SCOPE, RARE_SCOPE] {
            connection
                .execute(format!(
                    "INSERT INTO scopes (workspace_id, name, first_used_at) VALUES ({WORKSPACE}, '{scope}', {now}) \
                     ON CONFLICT DO NOTHING"
                ))
                .await?;
        }
        for (first, end) in chunks(self.keys) {
            self.keys(&mut connection, now, first, end).await?;
        }
        for (first, end) in chunks(self.audit) {
            self.audit(&mut connection, now, first, end).await?;
        }
        if let Connection::Postgres(_) = connection {
            // As its own housekeeping does soon after such a change.
            connection.execute("VACUUM ANALYZE".to_owned()).await?;
        }
        Ok(())
    }

    /// Waits until the leader has chained the audit log: until then it is busy with nothing else.
    pub(super) async fn settled(self, url: &str) -> Result<()> {
        let mut connection = Connection::open(url).await?;
        let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM audit WHERE seq IS NULL LIMIT 1) AS waiting";
        eventually("the audit log is chained", CHAINING, async || {
            let waiting = connection.number(sql).await?;
            ensure!(waiting == 0, "entries wait to be chained");
            Ok(())
        })
        .await
    }

    async fn people(self, connection: &mut Connection, now: u64, first: u32, end: u32) -> Result<()> {
        let numbers = connection.numbers(first, end);
        connection
            .execute(format!(
                "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
                 SELECT {WORKSPACE}, {FIRST_SUBJECT} + n.n, 'user', 'member ' || n.n, {now} FROM {numbers}"
            ))
            .await?;
        let numbers = connection.numbers(first, end);
        connection
            .execute(format!(
                "INSERT INTO members (id, workspace_id, subject, role, email, name, state, scopes, invited_by_type, \
                 invited_by_id, created_at, joined_at, suspended_at, removed_at, revision) \
                 SELECT 'mem_' || n.n, {WORKSPACE}, {FIRST_SUBJECT} + n.n, \
                 CASE WHEN n.n % 500 = 3 THEN 'viewer' WHEN n.n % 10 = 1 THEN 'admin' ELSE 'operator' END, \
                 n.n || '@example.com', 'member ' || n.n, \
                 CASE WHEN n.n % 100 = 1 THEN 'suspended' WHEN n.n % 10 = 2 THEN 'removed' ELSE 'active' END, \
                 '{COMMON_SCOPE} {MEMBERS_SCOPE}', 'system', 'bench', {now} - n.n, {now} - n.n, \
                 CASE WHEN n.n % 100 = 1 THEN {now} END, CASE WHEN n.n % 10 = 2 THEN {now} END, 1 FROM {numbers}"
            ))
            .await
    }

    async fn keys(self, connection: &mut Connection, now: u64, first: u32, end: u32) -> Result<()> {
        let (numbers, padded, digest) = (connection.numbers(first, end), connection.padded(), connection.digest());
        let (members, accounts, old) = (self.members, self.accounts, self.keys / 5);
        let created = format!("{now} - CAST({} - n.n AS BIGINT) * 1000", self.keys);
        let second = now / 1000;
        let revoked = format!("(n.n < {old} OR n.n % 50 = 7)");
        connection
            .execute(format!(
                "INSERT INTO keys (id, workspace_id, number, digest, prefix, name, state, disabled_by, environment, \
                 subject, kind, scopes, owner, labels, issued_by_type, issued_by_id, created_at, expires_at, rotate_by, \
                 deadline, revoked_at, revoke_reason, last_used_at, lineage, imported, weak, revision, owner_member, \
                 issuer_member) \
                 SELECT 'key_' || {padded}, {WORKSPACE}, 1000 + n.n, {digest}, 'nl_live_' || {padded}, \
                 'key ' || n.n || ' of the bench', \
                 CASE WHEN {revoked} THEN 'revoked' WHEN n.n % 200 = 9 THEN 'retiring' ELSE 'active' END, \
                 CASE WHEN n.n % 100 = 11 THEN 'admin' ELSE '' END, \
                 CASE WHEN n.n % 20 = 4 THEN 'test' ELSE 'live' END, \
                 CASE WHEN n.n % 10 = 3 THEN {FIRST_SUBJECT} + n.n / 10 % {members} \
                 WHEN n.n % 10 > 3 THEN {FIRST_ACCOUNT} + n.n / 10 % {accounts} ELSE 1 END, \
                 CASE WHEN n.n % 10 = 3 THEN 'user' ELSE 'service_account' END, \
                 CASE WHEN n.n % 10 = 3 THEN '' WHEN n.n % 1000 = 5 THEN '{COMMON_SCOPE} {RARE_SCOPE}' \
                 ELSE '{COMMON_SCOPE}' END, \
                 'team ' || (n.n % 100), '{{}}', 'member', \
                 CASE WHEN n.n % 10 = 0 THEN '{DIRECTOR}' ELSE 'mem_' || (n.n % {members}) END, {created}, \
                 CASE n.n % 40 WHEN 13 THEN {second} - 1000000 + n.n WHEN 14 THEN 4000000000 + n.n END, \
                 CASE WHEN n.n % 10 = 1 THEN 4000000000 + n.n END, \
                 CASE WHEN n.n % 200 = 9 AND NOT {revoked} THEN 4000000000 END, \
                 CASE WHEN {revoked} THEN {created} + 1000 END, CASE WHEN {revoked} THEN 'rotated away' END, \
                 CASE WHEN n.n % 4 <> 0 THEN {created} + 500 END, 'key_' || {padded}, 0, 0, 1, \
                 CASE WHEN n.n % 3 = 0 THEN 'mem_' || (n.n / 3 % {members}) END, \
                 CASE WHEN n.n % 10 = 0 THEN '{DIRECTOR}' ELSE 'mem_' || (n.n % {members}) END FROM {numbers}"
            ))
            .await?;
        // A member's key has no scopes of its own.
        for (scope, which) in [(COMMON_SCOPE, "n.n % 10 <> 3"), (RARE_SCOPE, "n.n % 1000 = 5")] {
            let numbers = connection.numbers(first, end);
            connection
                .execute(format!(
                    "INSERT INTO key_scopes (workspace_id, scope, created_at, key_id) \
                     SELECT {WORKSPACE}, '{scope}', {created}, 'key_' || {padded} FROM {numbers} WHERE {which}"
                ))
                .await?;
        }
        Ok(())
    }

    /// Entries without a source: with one, the chain would commit to each in a statement of its own, which it does for
    /// entries of before only.
    async fn audit(self, connection: &mut Connection, now: u64, first: u32, end: u32) -> Result<()> {
        let (numbers, padded) = (connection.numbers(first, end), connection.padded());
        let (members, keys) = (self.members, self.keys);
        let of_key = "n.n % 10 <> 9";
        connection
            .execute(format!(
                "INSERT INTO audit (workspace_id, at, actor_type, actor_id, action, category, target_type, target_id, \
                 prefix, short_prefix, scopes, after, reason, request_id) \
                 SELECT {WORKSPACE}, {now} - ({audit} - n.n) * 1000, \
                 CASE WHEN n.n % 5000 = 17 THEN 'partner' WHEN n.n % 4 = 0 THEN 'token' ELSE 'member' END, \
                 CASE WHEN n.n % 4 = 0 THEN 'tok_' || (n.n % 40) ELSE 'mem_' || (n.n % {members}) END, \
                 CASE WHEN n.n % 10 = 9 THEN 'member.updated' WHEN n.n % 20 = 0 THEN 'key.disabled' \
                 WHEN n.n % 20 = 1 THEN 'key.revoked' ELSE 'key.issued' END, \
                 CASE WHEN {of_key} THEN 'user.updated' ELSE 'workspace.updated' END, \
                 CASE WHEN {of_key} THEN 'key' ELSE 'member' END, \
                 CASE WHEN {of_key} THEN 'key_' || {padded} ELSE 'mem_' || (n.n % {members}) END, \
                 CASE WHEN {of_key} THEN 'nl_live_' || {padded} END, CASE WHEN {of_key} THEN 'abcdefgh' END, \
                 CASE WHEN {of_key} THEN '{COMMON_SCOPE}' END, '{{\"name\":\"a key\"}}', 'scheduled', \
                 'req_' || (n.n % {keys}) FROM {numbers}",
                audit = self.audit
            ))
            .await
    }
}

fn chunks(count: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..count).step_by(CHUNK as usize).map(move |first| (first, count.min(first + CHUNK)))
}
