//! Every row of the database, as far as a call can change it.

use std::collections::BTreeMap;
use std::fmt;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

/// Tables that change by themselves: the publisher's work, leases, and the chain of the audit log. What is guessed at
/// passwords is counted for refusals, too.
const MOVING: &[&str] = &[
    "audit_chains",
    "audit_gaps",
    "audit_nodes",
    "audit_personal",
    "leases",
    "oidc_flows",
    "replicas",
    "set_epochs",
    "set_versions",
    "shared_secrets",
    "sign_in_guesses",
    "trust_notes",
];
/// Columns that do, by table; those of no table are of all. When something was last used is noted beside the call.
const MOVING_COLUMNS: &[(&str, &[&str])] = &[
    ("", &["last_used_at", "last_seen_at"]),
    ("audit", &["seq", "prev_hash", "hash"]),
    ("changes", &["seq", "version", "position"]),
    ("profile_changes", &["seq", "version", "position"]),
    ("receipts", &["committed_by", "incarnation", "version", "decided_at", "note"]),
    (
        "sets",
        &[
            "largest_validity_ms",
            "pepper_id",
            "incarnation",
            "epoch",
            "version",
            "commitment",
            "key_count",
            "head",
            "head_issued",
            "signer",
            "signed_by",
            "signed_since",
            "open_ms",
            "largest_open_ms",
        ],
    ),
];
/// Entries of what was refused and of what was only read are no change; which keys sign a new set is told by the publisher.
const OF_NO_CHANGE: &str = "action IN ('request.refused', 'set.trust_changed') OR action LIKE '%.exported'";

/// Rows by table.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Rows(BTreeMap<String, Vec<String>>);

impl Rows {
    /// All but the audit log: of some refusals it says more than that they were.
    pub(crate) fn without_log(mut self) -> Self {
        self.0.remove("audit");
        self
    }

    /// What is in one of the two only, line by line.
    pub(crate) fn difference(&self, after: &Self) -> String {
        let mut lines = Vec::new();
        for (sign, one, other) in [("-", self, after), ("+", after, self)] {
            for (table, rows) in &one.0 {
                let known = other.0.get(table);
                let new = rows.iter().filter(|row| !known.is_some_and(|known| known.contains(row)));
                lines.extend(new.map(|row| format!("{sign} {table} {row}")));
            }
        }
        lines.join("\n")
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, rows) in &self.0 {
            for row in rows {
                writeln!(f, "{table} {row}")?;
            }
        }
        Ok(())
    }
}

/// A connection beside the control plane, and what tables there are.
pub(crate) struct Database {
    connection: Connection,
    tables: BTreeMap<String, Vec<String>>,
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Database {
    pub(crate) async fn open(url: &str) -> Self {
        let (mut connection, columns) = if url.starts_with("sqlite:") {
            let columns = "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c \
                           WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'";
            (Connection::Sqlite(SqliteConnection::connect(url).await.unwrap()), columns)
        } else {
            let columns = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) \
                           FROM information_schema.columns WHERE table_schema = current_schema()";
            (Connection::Postgres(PgConnection::connect(url).await.unwrap()), columns)
        };
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, column) in connection.pairs(columns.to_owned()).await {
            let moves = MOVING_COLUMNS
                .iter()
                .any(|(of, moving)| (of.is_empty() || *of == table) && moving.contains(&column.as_str()));
            if !moves && !MOVING.contains(&table.as_str()) && !table.starts_with('_') {
                tables.entry(table).or_default().push(column);
            }
        }
        for table in ["accounts", "audit", "changes", "gateways", "keys", "partner_links", "role_scopes", "sessions"] {
            assert!(tables.contains_key(table), "{table}: {tables:?}");
        }
        Self { connection, tables }
    }

    /// All rows there are.
    pub(crate) async fn everything(&mut self) -> Rows {
        self.rows(&|_, _| Some("1 = 1".to_owned())).await
    }

    /// All rows of a workspace but those that links to another move lawfully: their own, and what is told of them.
    pub(crate) async fn across(&mut self, workspace: &str, links: &[String]) -> Rows {
        let links = links.iter().map(|link| format!("'{link}'")).collect::<Vec<_>>().join(", ");
        self.rows(&|table, columns| {
            let of = Self::of(table, columns, workspace)?;
            Some(match table {
                "partner_links" => format!("{of} AND id NOT IN ({links})"),
                "audit" => format!("{of} AND target_id NOT IN ({links})"),
                _ => of,
            })
        })
        .await
    }

    /// All rows of a workspace that are not those of a partner organisation in it.
    pub(crate) async fn beside(&mut self, workspace: &str, partner: u32) -> Rows {
        let members = format!("SELECT id FROM members WHERE partner = {partner}");
        let tokens = format!("SELECT id FROM tokens WHERE member_id IN ({members})");
        let keys = format!("SELECT id FROM keys WHERE subject = {partner}");
        let theirs = |table: &str| match table {
            "keys" | "changes" | "profile_changes" => Some(format!("subject = {partner}")),
            "principals" => Some(format!(
                "subject = {partner} OR subject IN (SELECT subject FROM members WHERE partner = {partner})"
            )),
            "members" => Some(format!("COALESCE(partner, 0) = {partner}")),
            "partner_links" => Some(format!("partner = {partner}")),
            "tokens" | "sessions" => Some(format!("COALESCE(member_id, '') IN ({members})")),
            "idempotency" => Some(format!("token_id IN ({tokens}) OR token_id IN ({members})")),
            "rotations" => Some(format!("predecessor IN ({keys})")),
            "receipts" | "key_scopes" => Some(format!("key_id IN ({keys})")),
            // What they did to what is theirs. Their refusals are no change.
            "audit" => Some(format!(
                "(actor_id IN ({tokens}) OR actor_id IN ({members})) AND (target_id IN ({keys}) \
                 OR target_id IN ({tokens}) OR target_id IN ({members}) OR target_id = 'prn_{partner}' \
                 OR target_id IN (SELECT id FROM rotations WHERE predecessor IN ({keys})) \
                 OR target_id IN (SELECT id FROM partner_links WHERE partner = {partner}) \
                 OR action = 'key.revoked_many')"
            )),
            // Numbers and names that are used up, whoever uses them.
            "workspaces" | "scopes" | "tiers" => Some("1 = 1".to_owned()),
            _ => None,
        };
        let beside = |table: &str, columns: &[String]| {
            let of = Self::of(table, columns, workspace)?;
            Some(match theirs(table) {
                Some(theirs) => format!("{of} AND NOT ({theirs})"),
                None => of,
            })
        };
        self.rows(&beside).await
    }

    fn of(table: &str, columns: &[String], workspace: &str) -> Option<String> {
        if table == "workspaces" {
            return Some(format!("id = '{workspace}'"));
        }
        columns.iter().any(|column| column == "workspace_id").then(|| format!("workspace_id = '{workspace}'"))
    }

    /// The rows of each table for which the condition holds; none of a table that has no condition.
    async fn rows(&mut self, condition: &(dyn Fn(&str, &[String]) -> Option<String> + Sync)) -> Rows {
        let mut parts = Vec::new();
        let mut rows = BTreeMap::new();
        for (table, columns) in &self.tables {
            let Some(condition) = condition(table, columns) else { continue };
            let quote = |column: &String| match &self.connection {
                Connection::Sqlite(_) => format!("quote({column})"),
                Connection::Postgres(_) => format!("quote_nullable(CAST({column} AS TEXT))"),
            };
            let row = columns.iter().map(quote).collect::<Vec<_>>().join(" || ',' || ");
            let but = if table == "audit" { format!(" AND NOT ({OF_NO_CHANGE})") } else { String::new() };
            parts.push(format!("SELECT '{table}' AS t, {row} AS r FROM {table} WHERE ({condition}){but}"));
            rows.insert(table.clone(), Vec::new());
        }
        let sql = format!("{} ORDER BY 1, 2", parts.join(" UNION ALL "));
        for (table, row) in self.connection.pairs(sql).await {
            rows.get_mut(&table).unwrap().push(row);
        }
        Rows(rows)
    }
}

impl Connection {
    async fn pairs(&mut self, sql: String) -> Vec<(String, String)> {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => sqlx::query_as(sql).fetch_all(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_as(sql).fetch_all(connection).await.unwrap(),
        }
    }
}
