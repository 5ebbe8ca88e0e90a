//! `ETag` and `If-Match`: a change says which state it was made for.

use axum::extract::FromRequestParts;
use axum::http::header::IF_MATCH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use nightlatch_api::Code;

use super::refused::Refused;

/// The tag of a revision, as a header's value.
pub(super) fn header(revision: i64) -> HeaderValue {
    HeaderValue::from_str(&text(revision)).expect("digits and quotes can be sent")
}

/// The tag of a revision.
pub(super) fn text(revision: i64) -> String {
    format!("\"{revision}\"")
}

/// Which state a change was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// Whatever there is (`*`).
    Any,
    /// This revision.
    Revision(i64),
}

impl IfMatch {
    /// The revision, if it is a certain one.
    pub(super) const fn revision(self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::Revision(revision) => Some(revision),
        }
    }

    fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let mut values = headers.get_all(IF_MATCH).iter();
        let (value, more) = (values.next(), values.next());
        let value = value.ok_or(Code::IfMatchMissing)?;
        if more.is_some() {
            return Err(Refused::invalid("If-Match", "must be sent once"));
        }
        match value.to_str().unwrap_or_default() {
            "*" => Ok(Self::Any),
            // A tag that is not one of ours, or a list, is a state we are not in.
            tag => tag
                .strip_prefix('"')
                .and_then(|tag| tag.strip_suffix('"'))
                .and_then(|digits| digits.parse().ok())
                .map(Self::Revision)
                .ok_or_else(|| Code::EtagStale.into()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        Self::of(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_a_revision() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, text.parse().unwrap());
            IfMatch::of(&headers).ok()
        };
        assert_eq!(of("\"7\""), Some(IfMatch::Revision(7)));
        assert_eq!(of("*"), Some(IfMatch::Any));
        assert_eq!(of("7"), None);
        assert_eq!(of("W/\"7\""), None);
        assert!(IfMatch::of(&HeaderMap::new()).is_err());
    }
}
