//! What can go wrong between a call and its commit.

use crate::domain::Refusal;

/// Why a read or a mutation failed. Nothing was changed, except that after [`Error::Commit`] on PostgreSQL the outcome is
/// unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transition is not possible.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No such record in this workspace.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The record changed since the caller read it (`If-Match`); the revision it has now.
    #[error("the record has changed since it was read: its revision is {0}")]
    Stale(i64),
    /// A 10-character key id was drawn three times in a row. Practically a broken random source.
    #[error("no free key id was drawn")]
    NoFreeId,
    /// The workspace has issued 2^32 - 1 keys.
    #[error("the workspace has no key number left")]
    NumbersExhausted,
    /// The database did not take the mutation.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The transaction could not be committed; all mutations in it failed alike.
    #[error("the transaction could not be committed")]
    Commit(#[source] std::sync::Arc<sqlx::Error>),
    /// The migrations do not fit the database.
    #[error("the database's schema could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A newer version has taken away what this program needs.
    #[error(
        "this version of nightlatch knows the database's schema up to number {known}; what it needs has been taken away, and \
         a program must know number {floor} to use it. Start the version that the other control planes run \
         (`nightlatch schema status` there shows them), or restore the database from before it was narrowed"
    )]
    SchemaTooNew {
        /// The oldest schema that will do.
        floor: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// A stored value is not what this program writes.
    #[error("the database holds an unreadable {0}")]
    Corrupt(&'static str),
    /// `DATABASE_URL` is neither `sqlite:` nor `postgres:`.
    #[error("the database URL must begin with sqlite: or postgres:")]
    Scheme,
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Whether the database undid the mutation because it and another one waited for each other: it may be tried again.
    pub(super) fn gave_way(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        // PostgreSQL: deadlock_detected, serialization_failure.
        matches!(error.code().as_deref(), Some("40P01" | "40001"))
    }
}
