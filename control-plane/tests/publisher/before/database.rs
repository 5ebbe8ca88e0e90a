//! A database of that schema, and how its statements come into it.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

use super::{Round, Said, Value, founding, publishing};

const SCHEMA: i64 = 5;

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
            Value::Number(number) => number.to_string(),
            Value::Bytes(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                if sqlite { format!("x'{hex}'") } else { format!("'\\x{hex}'::bytea") }
            }
            Value::Null => "NULL".to_owned(),
        };
        sql = sql.replace(&format!("${}", place + 1), &literal);
    }
    sql
}
