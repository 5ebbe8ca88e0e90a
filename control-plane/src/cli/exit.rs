//! How a command fails: a text for people and a code for programs.

use std::fmt;
use std::io;
use std::process::ExitCode;

use nightlatch_api::client::ClientError;

use crate::secrets::SecretsError;

/// Why a command failed, by exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Other = 1,
    Usage = 2,
    Token = 3,
    NotFound = 4,
    Unavailable = 5,
    InPart = 6,
    Configuration = 7,
}

/// A failed command.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    text: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn other(text: impl Into<String>) -> Self {
        Self::new(Kind::Other, text)
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    /// The same, said of something.
    pub(super) fn about(self, what: &str) -> Self {
        // What is not worth a word stays so.
        if self.text.is_empty() { self } else { Self { text: format!("{what}: {}", self.text), ..self } }
    }

    /// The same, with what is not lost by it.
    pub(super) fn but(self, what: &str) -> Self {
        Self { text: format!("{}; {what}", self.text), ..self }
    }

    /// Tells the person, and gives the program its code.
    pub(super) fn report(self) -> ExitCode {
        if !self.text.is_empty() {
            eprintln!("{self}");
        }
        ExitCode::from(self.kind as u8)
    }

    #[cfg(test)]
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nightlatch: {}", self.text)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::Problem(problem) => match problem.status {
                401 | 403 => Kind::Token,
                404 => Kind::NotFound,
                408 | 429 | 503 => Kind::Unavailable,
                _ => Kind::Other,
            },
            ClientError::BadAddress(_) | ClientError::BadToken => Kind::Usage,
            ClientError::Transport { .. } => Kind::Unavailable,
            _ => Kind::Other,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SecretsError> for Failure {
    fn from(error: SecretsError) -> Self {
        Self::other(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever reads our output has seen enough: no cause for complaint.
        let text = if error.kind() == io::ErrorKind::BrokenPipe { String::new() } else { error.to_string() };
        Self::other(text)
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_api::{Code, Problem};

    use super::*;

    #[test]
    fn a_problem_has_the_exit_code_of_its_status() {
        let kind = |code| Failure::from(ClientError::Problem(Box::new(Problem::new(code)))).kind();
        assert_eq!(kind(Code::TokenInvalid), Kind::Token);
        assert_eq!(kind(Code::Forbidden), Kind::Token);
        assert_eq!(kind(Code::NotFound), Kind::NotFound);
        assert_eq!(kind(Code::Unavailable), Kind::Unavailable);
        assert_eq!(kind(Code::TooLate), Kind::Other);
    }
}
