//! RFC 9457 problem documents.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Code;

/// The media type of a problem.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// A refusal, as every call that fails answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The kind of problem as a URI: `urn:nightlatch:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// A stable name of the kind of problem, for programs.
    pub code: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The id of the request, also in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The parts of the request that were wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Further members, by kind of problem, such as `last_used_at`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One part of a request that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Which part: a field's path such as `scopes[0]`, a query parameter or a header; empty for the whole body.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    /// A problem of the registry.
    pub fn new(code: Code) -> Self {
        Self {
            kind: format!("urn:nightlatch:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: None,
            code: code.as_str().to_owned(),
            next: Some(code.next().to_owned()),
            request_id: None,
            errors: Vec::new(),
            more: Map::new(),
        }
    }

    /// Says what went wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names a part of the request that was wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), detail: detail.into() });
        self
    }

    /// Adds a further member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Whether it is this kind of problem.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.as_str()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.title, self.status, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        for error in &self.errors {
            let place = if error.field.is_empty() { "body" } else { &error.field };
            write!(f, "\n  {place}: {}", error.detail)?;
        }
        for (name, value) in &self.more {
            write!(f, "\n  {name}: {value}")?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n  What to do: {next}")?;
        }
        if let Some(request_id) = &self.request_id {
            write!(f, "\n  Request: {request_id}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_the_wire_with_its_further_members() {
        let problem =
            Problem::new(Code::PredecessorInUse).detail("seen 3 s ago").with("last_used_at", "2026-01-01T00:00:00Z");
        let text = serde_json::to_string(&problem).unwrap();
        assert!(text.contains(r#""last_used_at":"2026-01-01T00:00:00Z""#));
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
    }

    #[test]
    fn a_problem_reads_well() {
        let problem = Problem::new(Code::InvalidRequest).field("limit", "must be 1 to 200");
        let text = problem.to_string();
        assert!(text.starts_with("The request is not well formed (400 invalid_request)"));
        assert!(text.contains("\n  limit: must be 1 to 200"));
        assert!(text.contains("What to do:"));
    }
}
