//! What somebody tried and was refused: noted as what was done is.

use serde_json::json;

use super::audit::{self, Draft, Target};
use super::{Context, Error, Tx};
use crate::domain::Key;

/// An attempt that was refused.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Method and pattern of the route.
    pub route: String,
    /// What it was about: a kind and an id.
    pub target: Option<(&'static str, String)>,
    /// The key that it was tried with, where that is none for this API: what it was about then.
    pub key: Option<Box<Key>>,
    /// The stable code of the refusal.
    pub code: String,
    /// The HTTP status it was answered with.
    pub status: u16,
}

/// Notes an attempt.
///
/// # Errors
/// [`Error::Database`].
pub async fn note(tx: &mut Tx, context: &Context, attempt: &Attempt) -> Result<(), Error> {
    let now = tx.now().await?;
    let (kind, id) = attempt.target.as_ref().map_or(("route", attempt.route.as_str()), |(kind, id)| (kind, id));
    let target = attempt.key.as_deref().map_or(Target::Other(kind, id), Target::Key);
    let draft = Draft {
        action: "request.refused",
        target,
        before: None,
        after: Some(json!({ "route": attempt.route, "code": attempt.code, "status": attempt.status })),
        reason: None,
        personal: &[],
        about: None,
    };
    audit::append_refused(tx, context, &draft, now).await
}
