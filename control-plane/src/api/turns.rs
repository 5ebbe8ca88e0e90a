//! Imports take turns.
//!
//! One of ten thousand lines is a transaction of a second, and everybody else's mutations wait for it: SQLite has one
//! writer, which takes all that is queued into one transaction, and PostgreSQL's pool has few connections. The leader signs
//! heads through the same door, and heads are good for seconds only: where many imports came at once, every edge would
//! close.

use std::sync::Arc;
use std::time::Duration;

use nightlatch_api::Code;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refused::Refused;

/// Imports at a time.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// In how many seconds it may try again.
const RETRY_SECONDS: i64 = 2;

/// Hands out turns, in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Turns(Arc<Semaphore>);

/// Being the one whose turn it is, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Turns {
    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Code::Unavailable`] where there was none in that time.
    pub(super) async fn next(&self, patience: Duration) -> Result<Turn, Refused> {
        let permit = tokio::time::timeout(patience, Arc::clone(&self.0).acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or_else(|| {
            let busy =
                Refused::new(Code::Unavailable).detail("Other imports are running; nothing of this one was done.");
            busy.retry_after(RETRY_SECONDS)
        })?;
        Ok(Turn { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::http::header::RETRY_AFTER;
    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test]
    async fn two_imports_run_and_another_is_told_to_come_back() {
        let turns = Turns::default();
        let (first, second) = (turns.next(PATIENCE).await.unwrap(), turns.next(PATIENCE).await.unwrap());
        let refused = turns.next(Duration::ZERO).await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[RETRY_AFTER], "2");
        drop(second);
        turns.next(Duration::ZERO).await.unwrap();
        drop(first);
    }
}
