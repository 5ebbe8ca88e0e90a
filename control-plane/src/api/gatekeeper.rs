//! The gate before this API: management tokens are keys, and are judged as every other key is, by the code that edges run
//! and a route policy made from the table of who may call what.

use std::sync::LazyLock;

use axum::http::Method;
use nightlatch_api::Code;
use nightlatch_gate as gate;
use nightlatch_gate::SetFacts;
use nightlatch_gate::policy::{Draft, Policy, RouteDraft};
use nightlatch_key::{Brand, Digest};

use super::access::{Need, TABLE};
use super::caller::MANAGEMENT_BRAND;
use super::refused::Refused;
use super::verify::Row;
use crate::domain::{Action, Key, Refusal, Scopes, WorkspaceId};
use crate::store::tokens::ALL_RIGHTS;

/// The table as a route policy: every call needs the scope that is named like its action.
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let routes = TABLE.iter().filter_map(|(method, path, need)| match need {
        Need::May(action) | Need::EdgeOr(action) => Some(RouteDraft::new(method, path).scopes([action.as_str()])),
        Need::Anyone | Need::Edge | Need::Session => None,
    });
    Policy::new(routes.fold(Draft::new("nightlatch"), Draft::route)).expect("the table is a route policy")
});

/// Judges a management token for a call. `path` is the pattern of the route it was made to; `now` unix milliseconds.
///
/// # Errors
/// `token_invalid` where the key does not work, `forbidden` where its scopes do not reach.
pub(super) fn judge(text: &[u8], key: &Key, method: &Method, path: &str, now: i64) -> Result<(), Refused> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let (digest, workspace) = (Digest::of(text), WorkspaceId::reserved());
    let now = u64::try_from(now).unwrap_or_default();
    let brand = Brand::new(MANAGEMENT_BRAND).map_err(|_| Code::Internal)?;
    let facts = SetFacts { workspace: workspace.as_str(), brand, accepts_foreign: false, issued: now, skew: 0 };
    let key = with_all_rights(key)?;
    let row = Row::of(&digest, Some((&key, false)), workspace.as_str());
    match gate::check(text, POLICY.find(method, path), &facts, &row, now) {
        Ok(_) => Ok(()),
        Err(denial) if denial.code == gate::Code::ScopeInsufficient => Err(beyond(method, path)),
        Err(_) => Err(Code::TokenInvalid.into()),
    }
}

/// The refusal of a call that the token's scopes do not reach: it names the scope.
fn beyond(method: &str, path: &str) -> Refused {
    let need = TABLE.iter().find(|(m, p, _)| *m == method && *p == path).map(|(_, _, need)| *need);
    match need {
        Some(Need::May(action) | Need::EdgeOr(action)) => Refusal::Forbidden { action }.into(),
        _ => Code::Forbidden.into(),
    }
}

/// A token for everything has every scope there is now.
fn with_all_rights(key: &Key) -> Result<Key, Refused> {
    let mut key = key.clone();
    if key.scopes.iter().any(|scope| scope.as_str() == ALL_RIGHTS) {
        key.scopes = Scopes::new(Action::ALL.iter().map(|action| action.as_str()))?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_that_needs_a_right_has_a_route() {
        for (method, path, need) in TABLE {
            let scopes = POLICY.find(method, path).map(|route| route.scopes().to_vec());
            match need {
                Need::May(action) | Need::EdgeOr(action) => {
                    assert_eq!(scopes, Some(vec![action.as_str().to_owned()]), "{method} {path}");
                }
                Need::Anyone | Need::Edge | Need::Session => {}
            }
        }
    }
}
