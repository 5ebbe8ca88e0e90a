//! Bodies on their way through.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

/// What is sent: an answer of our own, or somebody's body passed on.
pub(crate) enum Passing {
    /// Bytes at hand, until they are taken.
    Whole(Option<Bytes>),
    /// A stream, when it ends for good, and who is told that it gets on.
    Stream { inner: Incoming, end: Option<Pin<Box<Sleep>>>, pulse: Option<Pulse> },
}

/// When a body last got on, for whoever waits until it does not any more.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    /// One that begins now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Waits until nothing has got on for that long; of a body that is through, since its end.
    pub(crate) async fn quiet(&self, patience: Duration) {
        loop {
            let due = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + patience;
            if Instant::now() >= due {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Passing {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    /// These bytes.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    /// A body passed on as it comes, until `end` at most. Its trailers stay behind: they are fields like those before the
    /// body, who calls and with what key among them, and nobody looks at them.
    pub(crate) fn stream(inner: Incoming, end: Option<Instant>) -> Self {
        Self::Stream { inner, end: end.map(|end| Box::pin(sleep_until(end))), pulse: None }
    }

    /// The same, for somebody who wants to know that it gets on.
    pub(crate) fn watched(inner: Incoming, end: Option<Instant>, pulse: Pulse) -> Self {
        Self::Stream { inner, end: end.map(|end| Box::pin(sleep_until(end))), pulse: Some(pulse) }
    }
}

/// Why a body broke off.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The route's `max_connection_age` has come.
    Aged,
    /// The other side.
    Stream(hyper::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aged => f.write_str("the route's max_connection_age has come"),
            Self::Stream(error) => error.fmt(f),
        }
    }
}

impl Error for Broken {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Aged => None,
            Self::Stream(error) => Some(error),
        }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream { inner, end, pulse } => {
                if let Some(end) = end
                    && end.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Some(Err(Broken::Aged)));
                }
                loop {
                    let frame = ready!(Pin::new(&mut *inner).poll_frame(cx));
                    if let Some(pulse) = pulse {
                        pulse.beat();
                    }
                    if !matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
                        return Poll::Ready(frame.map(|frame| frame.map_err(Broken::Stream)));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream { inner, .. } => inner.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn patience_counts_from_what_got_on_last() {
        let pulse = Pulse::new();
        let hour = Duration::from_secs(3_600);
        assert!(timeout(Duration::ZERO, pulse.quiet(hour)).await.is_err());
        let began = *pulse.0.lock().unwrap();
        while Instant::now() == began {
            tokio::task::yield_now().await;
        }
        // What is over for the beginning is not over for what came since.
        let over = Instant::now() - began;
        assert!(timeout(hour, pulse.quiet(over)).await.is_ok());
        pulse.beat();
        assert!(*pulse.0.lock().unwrap() > began);
        assert!(timeout(Duration::ZERO, pulse.quiet(hour)).await.is_err());
    }
}
