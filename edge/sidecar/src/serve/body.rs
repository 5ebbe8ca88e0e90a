//! Bodies on their way through.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

/// What is sent: an answer of our own, or somebody's body passed on.
pub(crate) enum Passing {
    /// Bytes at hand, until they are taken.
    Whole(Option<Bytes>),
    /// A stream, and when it ends for good.
    Stream { inner: Incoming, end: Option<Pin<Box<Sleep>>> },
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

    /// A body passed on as it comes, until `end` at most.
    pub(crate) fn stream(inner: Incoming, end: Option<Instant>) -> Self {
        Self::Stream { inner, end: end.map(|end| Box::pin(sleep_until(end))) }
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
            Self::Stream { inner, end } => {
                if let Some(end) = end
                    && end.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Some(Err(Broken::Aged)));
                }
                Pin::new(inner).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Broken::Stream)))
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
