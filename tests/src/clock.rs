//! The machine's clock: tests are among the few who may read it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The time now. Control plane, database and Worker run on the same machine and read the same clock.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a test compares what it saw with what it was promised")]
    Timestamp::now()
}

/// Unix milliseconds now.
#[must_use]
pub fn now_ms() -> u64 {
    now().as_millisecond().try_into().unwrap_or_default()
}

/// The time that unix milliseconds name.
#[must_use]
pub fn at_ms(ms: u64) -> Timestamp {
    ms.try_into().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// How long from `earlier` to `later`; nothing where it is the other way round.
#[must_use]
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// A later time.
#[must_use]
pub fn after(start: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| start.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// An earlier time.
#[must_use]
pub fn before(end: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| end.checked_sub(span).ok()).unwrap_or(Timestamp::MIN)
}

/// Waits for a moment that was promised.
pub async fn until(moment: Timestamp) {
    tokio::time::sleep(between(now(), moment)).await;
}
