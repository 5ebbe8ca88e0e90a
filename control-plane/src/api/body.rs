//! Request bodies: of the right type, not too large, with no field that nobody reads.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use nightlatch_api::Code;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use sha2::{Digest as _, Sha256};

use super::refused::Refused;

/// The largest JSON body, in bytes.
pub(super) const MAX_JSON: usize = 1 << 20;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A JSON body and the hash of its bytes.
#[derive(Debug)]
pub(super) struct Json<T> {
    pub(super) value: T,
    pub(super) hash: [u8; 32],
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refused> {
        require_type(request.headers(), "application/json")?;
        let bytes = read(request, MAX_JSON).await?;
        Ok(Self { value: parse(&bytes)?, hash: Sha256::digest(&bytes).into() })
    }
}

/// A JSON body that may be left out altogether.
#[derive(Debug)]
pub(super) struct OptionalJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refused> {
        let typed = require_type(request.headers(), "application/json");
        let bytes = read(request, MAX_JSON).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        typed?;
        parse(&bytes).map(Self)
    }
}

/// Refuses a body of another media type. Parameters such as `charset` are ignored: JSON is UTF-8.
pub(super) fn require_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refused> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        Ok(())
    } else {
        Err(Refused::new(Code::UnsupportedMediaType).detail(format!("This call takes {wanted}.")))
    }
}

/// Reads a whole body of at most `limit` bytes.
pub(super) async fn read(request: Request, limit: usize) -> Result<Bytes, Refused> {
    let too_large = || Refused::new(Code::BodyTooLarge).with("limit_bytes", limit);
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refused::invalid("", "the body broke off")),
        Err(_) => Err(Refused::new(Code::RequestTimeout)),
    }
}

/// Reads JSON; a mistake is told with the path of the field.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    parse_quietly(bytes).map_err(|(field, detail)| Refused::invalid(&field, detail))
}

/// Reads JSON; a mistake is a field's path and what is wrong with it, without any value of the body.
pub(super) fn parse_quietly<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, (String, String)> {
    // serde takes a list for a structure, field by field; this API does not.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err((String::new(), "wrong type; expected an object".to_owned()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        (field, without_values(error.inner()))
    })?;
    deserializer.end().map_err(|error| (String::new(), without_values(&error)))?;
    Ok(value)
}

fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if error.classify() != Category::Data {
        return text;
    }
    // The field is told; where serde stopped reading says no more.
    let end = text.rfind(" at line ").unwrap_or(text.len());
    only_expectations(text[..end].to_owned())
}

/// What serde says, less the values it quotes: a secret may stand where something else should.
pub(super) fn only_expectations(text: String) -> String {
    let names_only = ["unknown field `", "missing field `", "duplicate field `"];
    if names_only.iter().any(|start| text.starts_with(start)) {
        return text;
    }
    // The last one: what comes before it may be the caller's.
    match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!("wrong type or value; expected {expected}"),
        None => of_a_query(&text).unwrap_or("wrong value; times look like 2026-01-31T12:00:00Z").to_owned(),
    }
}

/// What a query string's numbers and choices want: the standard library says only what is wrong with a text.
fn of_a_query(text: &str) -> Option<&'static str> {
    match text {
        "invalid digit found in string" | "cannot parse integer from empty string" => Some("must be a whole number"),
        "number too large to fit in target type" | "number too small to fit in target type" => Some("is out of range"),
        "provided string was not `true` or `false`" => Some("must be true or false"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_api::IssueKey;

    use super::*;

    fn fault(text: &str) -> (String, String) {
        parse_quietly::<IssueKey>(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        assert_eq!(fault(r#"{"name":"a","environment":"live","scopes":["x",7]}"#).0, "scopes[1]");
        assert!(fault(r#"{"name":"a","environment":"live"} x"#).1.contains("trailing"));
        assert!(fault("{").1.contains("EOF"));
        assert!(fault(r#"{"name":"a","environment":"live","tear":"x"}"#).1.contains("unknown field `tear`"));
        assert!(fault(r#"{"name":"a","name":"b","environment":"live"}"#).1.contains("duplicate field"));
    }

    #[test]
    fn s0_15_a_value_of_the_body_is_not_repeated() {
        let (field, detail) = fault(r#"{"name":"a","environment":"live","labels":"nl_live_secret, expected x"}"#);
        assert_eq!(field, "labels");
        assert!(!detail.contains("secret"), "{detail}");
        assert!(detail.starts_with("wrong type or value; expected a map"), "{detail}");
        for text in [
            r#"{"name":"a","environment":"nl_live_secret, expected secret"}"#,
            r#"{"name":"a","environment":"live","expires_at":"nl_live_secret"}"#,
        ] {
            assert!(!fault(text).1.contains("secret"), "{:?}", fault(text));
        }
    }

    #[test]
    fn a_mistake_in_a_query_says_what_is_wanted() {
        let told = |error: &dyn std::error::Error| only_expectations(error.to_string());
        for text in ["abc", ""] {
            assert_eq!(told(&text.parse::<u32>().unwrap_err()), "must be a whole number");
        }
        assert_eq!(told(&"99999999999".parse::<u32>().unwrap_err()), "is out of range");
        assert_eq!(told(&"yes".parse::<bool>().unwrap_err()), "must be true or false");
    }
}
