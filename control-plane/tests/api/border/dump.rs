//! Everything the database has of one side of a border.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::app::TestApp;

/// What changes by itself: the publisher's work, what edges say, and entries that follow from time.
const MOVING: &[&str] = &[
    "sets",
    "set_epochs",
    "set_versions",
    "changes",
    "profile_changes",
    "receipts",
    "trust_notes",
    "audit",
    "audit_personal",
    "audit_chains",
    "audit_nodes",
    "audit_gaps",
];
/// When something was last used is noted beside the call.
const NOTED: &[&str] = &["last_used_at"];

/// A connection beside the control plane, and what tables there are.
pub(super) struct Database {
    connection: Connection,
    tables: BTreeMap<String, Vec<String>>,
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Connection {
    async fn texts(&mut self, sql: String) -> Vec<String> {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_all(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_all(connection).await.unwrap(),
        }
    }
}

impl Database {
    pub(super) async fn open(app: &TestApp) -> Self {
        let url = app.config.store_url();
        let url = url.expose_secret();
        let (mut connection, columns) = if url.starts_with("sqlite:") {
            let columns = "SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c \
                           WHERE m.type = 'table'";
            (Connection::Sqlite(SqliteConnection::connect(url).await.unwrap()), columns)
        } else {
            let columns = "SELECT table_name || '.' || column_name FROM information_schema.columns \
                           WHERE table_schema = current_schema()";
            (Connection::Postgres(PgConnection::connect(url).await.unwrap()), columns)
        };
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in connection.texts(columns.to_owned()).await {
            let (table, column) = name.split_once('.').unwrap();
            tables.entry(table.to_owned()).or_default().push(column.to_owned());
        }
        let of_workspaces = |table: &String, columns: &mut Vec<String>| {
            let kept = columns.iter().any(|column| column == "workspace_id") && !MOVING.contains(&table.as_str());
            columns.retain(|column| !NOTED.contains(&column.as_str()));
            kept
        };
        tables.retain(of_workspaces);
        for table in ["keys", "rotations", "tokens", "members", "principals", "edges", "routes", "role_scopes"] {
            assert!(tables.contains_key(table), "{table}: {tables:?}");
        }
        Self { connection, tables }
    }

    /// All rows of a workspace.
    pub(super) async fn workspace(&mut self, workspace: &str) -> BTreeMap<String, String> {
        let mut rows = self.rows(workspace, &|_| None).await;
        let sql = format!("SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE workspace_id = '{workspace}'");
        rows.insert("audit".to_owned(), self.connection.texts(sql).await.remove(0));
        rows
    }

    /// All rows of a workspace that are not those of a partner organisation in it.
    pub(super) async fn beside(&mut self, workspace: &str, partner: u32) -> BTreeMap<String, String> {
        let theirs = |table: &str| match table {
            "keys" | "principals" => Some(format!("subject = {partner}")),
            "members" => Some(format!("COALESCE(partner, 0) = {partner}")),
            "tokens" => Some(format!("COALESCE(member_id, '') IN (SELECT id FROM members WHERE partner = {partner})")),
            "rotations" => Some(format!("predecessor IN (SELECT id FROM keys WHERE subject = {partner})")),
            _ => None,
        };
        self.rows(workspace, &theirs).await
    }

    async fn rows(
        &mut self,
        workspace: &str,
        without: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for (table, columns) in &self.tables {
            let but = without(table).map(|condition| format!(" AND NOT ({condition})")).unwrap_or_default();
            let quote = |column: &String| match &self.connection {
                Connection::Sqlite(_) => format!("quote({column})"),
                Connection::Postgres(_) => format!("quote_nullable(CAST({column} AS TEXT))"),
            };
            let row = columns.iter().map(quote).collect::<Vec<_>>().join(" || ',' || ");
            let sql = format!("SELECT {row} FROM {table} WHERE workspace_id = '{workspace}'{but} ORDER BY 1");
            all.insert(table.clone(), self.connection.texts(sql).await.join("\n"));
        }
        all
    }
}
