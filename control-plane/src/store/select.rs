//! Selects whose conditions depend on the call, put together from fixed fragments.

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite};

use super::tx::{Conn, Read};
use super::{Cursor, Error, PageRequest};

/// An argument.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(i64),
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// A statement in the making. Its text consists of `'static` fragments and argument numbers: no value ever enters it.
#[derive(Clone, Debug)]
pub(super) struct Select {
    sql: String,
    values: Vec<Value>,
}

impl Select {
    pub(super) fn new(head: &'static str) -> Self {
        Self { sql: head.to_owned(), values: Vec::new() }
    }

    /// Appends a fragment.
    pub(super) fn push(&mut self, fragment: &'static str) -> &mut Self {
        self.sql.push_str(fragment);
        self
    }

    /// Adds an argument whose number stands in a fragment already: the first ones, in their order.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self
    }

    /// Appends an argument's number.
    pub(super) fn value(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.sql.push('$');
        self.sql.push_str(&self.values.len().to_string());
        self
    }

    /// Appends the argument numbers of a list, separated by commas.
    pub(super) fn list<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.push(", ");
            }
            self.value(value);
        }
        self
    }

    /// Appends the order, the place to continue from and the limit: one row more than asked for, which shows that there
    /// are more. `at` and `id` are the columns the list is ordered by.
    pub(super) fn page(&mut self, at: &'static str, id: &'static str, direction: Direction, page: &PageRequest) {
        self.behind(at, id, direction, page.after.as_ref());
        self.push(" LIMIT ").value(i64::from(page.limit) + 1);
    }

    /// As [`Select::page`], where the id is a number.
    pub(super) fn page_by_number(
        &mut self,
        at: &'static str,
        id: &'static str,
        direction: Direction,
        page: &PageRequest,
    ) {
        self.behind_number(at, id, direction, page.after.as_ref());
        self.push(" LIMIT ").value(i64::from(page.limit) + 1);
    }

    /// Appends the order and the place to continue from.
    pub(super) fn behind(
        &mut self,
        at: &'static str,
        id: &'static str,
        direction: Direction,
        after: Option<&Cursor>,
    ) -> &mut Self {
        self.behind_place(at, id, direction, after.map(|Cursor { at, id }| (*at, Value::from(id.as_str()))))
    }

    /// As [`Select::behind`], where the id is a number.
    pub(super) fn behind_number(
        &mut self,
        at: &'static str,
        id: &'static str,
        direction: Direction,
        after: Option<&Cursor>,
    ) -> &mut Self {
        // A cursor of another list: behind everything.
        let place = |Cursor { at, id }: &Cursor| (*at, Value::Int(id.parse().unwrap_or_default()));
        self.behind_place(at, id, direction, after.map(place))
    }

    fn behind_place(
        &mut self,
        at: &'static str,
        id: &'static str,
        direction: Direction,
        after: Option<(i64, Value)>,
    ) -> &mut Self {
        let (behind, order) = match direction {
            Direction::Ascending => (") > (", ""),
            Direction::Descending => (") < (", " DESC"),
        };
        if let Some((last_at, last_id)) = after {
            self.push(" AND (").push(at).push(", ").push(id).push(behind);
            self.value(last_at).push(", ").value(last_id).push(")");
        }
        self.push(" ORDER BY ").push(at).push(order).push(", ").push(id).push(order)
    }

    /// Appends a limit.
    pub(super) fn limit(&mut self, limit: u32) -> &mut Self {
        self.push(" LIMIT ").value(i64::from(limit))
    }

    /// Appends what leaves but one row, that many rows on.
    pub(super) fn nth(&mut self, number: u32) -> &mut Self {
        self.push(" LIMIT 1 OFFSET ").value(i64::from(number) - 1)
    }

    /// Runs it.
    pub(super) async fn fetch<R>(self, read: &mut Read) -> Result<Vec<R>, Error>
    where
        R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let sql = AssertSqlSafe(self.sql);
        macro_rules! run {
            ($database:ty, $conn:expr) => {{
                let mut query = sqlx::query_as::<$database, R>(sql);
                for value in self.values {
                    query = match value {
                        Value::Int(value) => query.bind(value),
                        Value::Text(value) => query.bind(value),
                    };
                }
                query.fetch_all($conn).await?
            }};
        }
        Ok(match read.conn() {
            Conn::Sqlite(conn) => run!(Sqlite, conn),
            Conn::Postgres(conn) => run!(Postgres, conn),
        })
    }
}

/// Which end of an order comes first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

/// The arguments of a statement over many rows: `count` rows of `width` values, bound first, and fixed ones behind them.
///
/// On SQLite rows are plain `?`: there each named argument is looked up in the list of all names, which for thousands of
/// them costs more than the inserts.
#[derive(Clone, Copy)]
pub(super) struct RowArguments {
    named: bool,
    count: usize,
    width: usize,
}

impl RowArguments {
    pub(super) fn new(read: &mut Read, count: usize, width: usize) -> Self {
        Self { named: matches!(read.conn(), Conn::Postgres(_)), count, width }
    }

    /// `(?, ?), (?, ?), …`
    pub(super) fn rows(self) -> String {
        let mut sql = String::with_capacity(self.count * self.width * 6);
        for row in 0..self.count {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..self.width {
                sql.push_str(if column == 0 { "" } else { "," });
                if self.named {
                    sql.push('$');
                    sql.push_str(&(row * self.width + column + 1).to_string());
                } else {
                    sql.push('?');
                }
            }
            sql.push(')');
        }
        sql
    }

    /// The fixed argument that is bound `place`th after the rows, counted from 1.
    pub(super) fn fixed(self, place: usize) -> String {
        format!("${}", self.count * self.width + place)
    }
}
