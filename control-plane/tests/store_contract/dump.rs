//! Everything a database holds, to be compared.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::arena::Arena;

/// Rows as text, by table.
pub(crate) type Dump = BTreeMap<String, Vec<String>>;

impl Arena {
    /// Every row of every table.
    pub(crate) async fn dump(&self) -> Dump {
        let sqlite = self.url.starts_with("sqlite:");
        let columns = if sqlite {
            "SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' \
             AND m.name NOT LIKE 'sqlite_%' ORDER BY c.cid"
        } else {
            "SELECT table_name || '.' || column_name FROM information_schema.columns \
             WHERE table_schema = current_schema() ORDER BY ordinal_position"
        };
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.texts(columns.to_owned()).await {
            let (table, column) = name.split_once('.').unwrap();
            tables.entry(table.to_owned()).or_default().push(column.to_owned());
        }
        assert!(tables.len() > 20, "{tables:?}");
        let mut dump = Dump::new();
        for (table, columns) in tables {
            let quote = |column: &String| match sqlite {
                true => format!("'{column}=' || quote({column})"),
                false => format!("'{column}=' || quote_nullable(CAST({column} AS TEXT))"),
            };
            let row = columns.iter().map(quote).collect::<Vec<_>>().join(" || ' ' || ");
            dump.insert(table.clone(), self.texts(format!("SELECT {row} FROM {table} ORDER BY 1")).await);
        }
        dump
    }

    /// The texts that a query gives.
    pub(crate) async fn texts(&self, sql: String) -> Vec<String> {
        let sql = AssertSqlSafe(sql);
        if self.url.starts_with("sqlite:") {
            let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap()
        } else {
            let mut conn = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap()
        }
    }
}
