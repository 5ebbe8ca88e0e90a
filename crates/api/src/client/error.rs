//! Why a call failed.

use crate::{Code, Problem};

/// Why a call failed. Prints as a person can use it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server refused, and said why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The base address is not an `http` or `https` URL.
    #[error("`{0}` is not an http or https URL")]
    BadAddress(String),
    /// The token cannot be sent: it holds characters that no header may.
    #[error("the token holds characters that cannot be sent; copy it again")]
    BadToken,
    /// The server could not be reached, or the connection broke.
    #[error("{url} cannot be reached: {}", innermost(.source))]
    Transport {
        /// The address called.
        url: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// The answer is not one of this API's.
    #[error("{url} answered {status} with something that is not this API's: {start}")]
    Foreign {
        /// The address called.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The start of the body.
        start: String,
    },
}

impl ClientError {
    /// The problem, where the server refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the server refused with this code.
    pub fn is(&self, code: Code) -> bool {
        self.problem().is_some_and(|problem| problem.is(code))
    }
}

/// The deepest cause says most: "connection refused" rather than "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
