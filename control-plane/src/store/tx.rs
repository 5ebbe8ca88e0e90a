//! Handles: a read is a snapshot, a [`Tx`] is a read that may also write.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};

use super::{Error, dialect};

/// Runs one SQL text, with `$1`-style arguments, on whichever database the handle belongs to.
///
/// `sql!(read, "…", a, b => optional Row)`, `… => one Row`, `… => all Row`, `… => execute` (the number of rows touched).
/// The SQL is anything `sqlx` takes as safe: a literal or an asserted fragment list. `Row` implements `FromRow` for both.
macro_rules! sql {
    ($read:expr, $sql:expr $(, $arg:expr)* => execute) => {
        match $read.conn() {
            $crate::store::tx::Conn::Sqlite(conn) => ::sqlx::query::<::sqlx::Sqlite>($sql)
                $(.bind($arg))*.execute(conn).await.map(|done| done.rows_affected()),
            $crate::store::tx::Conn::Postgres(conn) => ::sqlx::query::<::sqlx::Postgres>($sql)
                $(.bind($arg))*.execute(conn).await.map(|done| done.rows_affected()),
        }
    };
    ($read:expr, $sql:expr $(, $arg:expr)* => optional $row:ty) => {
        $crate::store::tx::sql!(@fetch fetch_optional, $read, $sql, $row $(, $arg)*)
    };
    ($read:expr, $sql:expr $(, $arg:expr)* => one $row:ty) => {
        $crate::store::tx::sql!(@fetch fetch_one, $read, $sql, $row $(, $arg)*)
    };
    ($read:expr, $sql:expr $(, $arg:expr)* => all $row:ty) => {
        $crate::store::tx::sql!(@fetch fetch_all, $read, $sql, $row $(, $arg)*)
    };
    (@fetch $fetch:ident, $read:expr, $sql:expr, $row:ty $(, $arg:expr)*) => {
        match $read.conn() {
            $crate::store::tx::Conn::Sqlite(conn) =>
                ::sqlx::query_as::<::sqlx::Sqlite, $row>($sql)$(.bind($arg))*.$fetch(conn).await,
            $crate::store::tx::Conn::Postgres(conn) =>
                ::sqlx::query_as::<::sqlx::Postgres, $row>($sql)$(.bind($arg))*.$fetch(conn).await,
        }
    };
}
pub(crate) use sql;

/// The connection behind a handle, for the `sql!` macro and the few texts that differ between the databases.
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// How a handle holds its connection.
pub(super) enum Held {
    /// A snapshot from the read pool; ended by dropping it.
    SqliteRead(Transaction<'static, Sqlite>),
    /// The only writing connection; the writer task begins and ends its transactions.
    SqliteWrite(SqliteConnection),
    /// A snapshot or a mutation's own transaction.
    Postgres(Transaction<'static, Postgres>),
}

/// A consistent snapshot of the database. Dropping it ends it.
pub struct Read {
    held: Held,
}

impl Read {
    pub(super) fn new(held: Held) -> Self {
        Self { held }
    }

    pub(super) fn into_held(self) -> Held {
        self.held
    }

    pub(crate) fn conn(&mut self) -> Conn<'_> {
        match &mut self.held {
            Held::SqliteRead(transaction) => Conn::Sqlite(transaction),
            Held::SqliteWrite(conn) => Conn::Sqlite(conn),
            Held::Postgres(transaction) => Conn::Postgres(transaction),
        }
    }

    /// The database clock, unix milliseconds, read now: after any row lock that was waited for.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn now(&mut self) -> Result<i64, Error> {
        dialect::now(self).await
    }
}

/// A mutation in progress. It reads what [`Read`] reads, and sees its own writes.
pub struct Tx {
    read: Read,
    publishes: bool,
    confirmed: bool,
}

impl Tx {
    pub(super) fn new(read: Read) -> Self {
        Self { read, publishes: false, confirmed: false }
    }

    pub(super) fn into_read(self) -> Read {
        self.read
    }

    /// Forgets what was found out for the mutation before: another one begins.
    pub(super) fn begin_mutation(&mut self) {
        self.confirmed = false;
    }

    /// Whether it was not found out yet, in this mutation, that whoever acts still may; from now on it was.
    pub(super) fn first_confirmation(&mut self) -> bool {
        !std::mem::replace(&mut self.confirmed, true)
    }

    /// Says that the publisher has something to do once this is committed.
    pub(crate) fn wake_publisher(&mut self) {
        self.publishes = true;
    }

    /// Whether the publisher is to be woken; forgets it.
    pub(super) fn take_publishes(&mut self) -> bool {
        std::mem::take(&mut self.publishes)
    }
}

impl Deref for Tx {
    type Target = Read;

    fn deref(&self) -> &Read {
        &self.read
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Read {
        &mut self.read
    }
}
