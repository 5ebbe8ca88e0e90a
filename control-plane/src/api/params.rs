//! Query strings and ids in paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use nightlatch_api::Code;
use serde::de::DeserializeOwned;

use super::body::only_expectations;
use super::refused::Refused;
use crate::domain::{EdgeId, KeyRef, MemberId, Role, RotationId, SessionId, SetId, TokenId, WorkspaceId};
use crate::store::PageRequest;

/// The largest page.
const MAX_LIMIT: u32 = 200;
/// The page when nobody asks.
const DEFAULT_LIMIT: u32 = 50;

/// A query string. Unknown parameters are refused.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Reads a query string.
pub(super) fn read<T: DeserializeOwned>(query: &str) -> Result<T, Refused> {
    // No text of the database can hold it, and nothing is called so.
    if form_urlencoded::parse(query.as_bytes()).any(|(_, value)| value.contains('\0')) {
        return Err(Refused::invalid("query", "must not contain the character NUL"));
    }
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let (place, told) = (error.path().to_string(), only_expectations(error.inner().to_string()));
        Refused::invalid(if place == "." { "query" } else { &place }, told)
    })
}

/// A thing named in the path. A text that cannot be an id is answered like an id that does not exist.
#[derive(Debug)]
pub(super) struct Id<T>(pub(super) T);

/// What can be named in a path.
pub(super) trait Named: Sized {
    /// What a person calls it.
    const WHAT: &'static str;

    /// Reads its name.
    fn of(text: &str) -> Option<Self>;
}

impl<S: Send + Sync, T: Named> FromRequestParts<S> for Id<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        text.and_then(|Path(text)| T::of(&text)).map(Self).ok_or_else(|| missing(T::WHAT))
    }
}

/// Two things named in the path, the second in the first.
#[derive(Debug)]
pub(super) struct Ids<T, U>(pub(super) T, pub(super) U);

impl<S: Send + Sync, T: Named, U: Named> FromRequestParts<S> for Ids<T, U> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let texts = Path::<(String, String)>::from_request_parts(parts, state).await;
        // Whichever of them is no text: there is nothing like it in anything.
        let Path((outer, inner)) = texts.map_err(|_| missing(U::WHAT))?;
        let outer = T::of(&outer).ok_or_else(|| missing(T::WHAT))?;
        Ok(Self(outer, U::of(&inner).ok_or_else(|| missing(U::WHAT))?))
    }
}

/// The answer where there is nothing, or nothing of the caller's.
pub(super) fn missing(what: &str) -> Refused {
    Refused::new(Code::NotFound).detail(format!("There is no such {what} here."))
}

impl Named for KeyRef {
    const WHAT: &'static str = "key";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Named for RotationId {
    const WHAT: &'static str = "rotation";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Named for TokenId {
    const WHAT: &'static str = "token";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Named for EdgeId {
    const WHAT: &'static str = "edge";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Named for MemberId {
    const WHAT: &'static str = "member";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Named for SessionId {
    const WHAT: &'static str = "session";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Named for Role {
    const WHAT: &'static str = "role";

    fn of(text: &str) -> Option<Self> {
        Self::from_name(text)
    }
}

impl Named for SetId {
    const WHAT: &'static str = "set";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Named for WorkspaceId {
    const WHAT: &'static str = "workspace";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// Checks `limit`; the cursor is added by who knows the list.
pub(super) fn page(limit: Option<u32>) -> Result<PageRequest, Refused> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(PageRequest { limit, after: None })
    } else {
        Err(Refused::invalid("limit", format!("must be 1 to {MAX_LIMIT}")))
    }
}
