//! The filter of a list of keys, as the store takes it.

use nightlatch_api::KeyFilter;

use super::view;
use crate::api::refused::Refused;
use crate::api::time::to_seconds;
use crate::domain::ids::principal_subject;
use crate::domain::{MemberId, Scope, WorkspaceId};
use crate::store::touched::Person;
use crate::store::{Read, keys};

/// The store's filter; `None` where nothing can pass: an id that nobody can have belongs to no key.
pub(super) async fn resolve(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: KeyFilter,
) -> Result<Option<keys::KeyFilter>, Refused> {
    let scope = filter.scope.map(|text| Scope::new(text).map_err(|_| Refused::invalid("scope", "is not a scope")));
    let subject = match filter.principal.as_deref().map(principal_subject) {
        Some(None) => return Ok(None),
        Some(subject) => subject,
        None => None,
    };
    let (Some(owner_member), Some(touched_by)) = (member(filter.owner_member), member(filter.touched_by)) else {
        return Ok(None);
    };
    let touched_by = match touched_by {
        Some(member) => Some(Person::find(read, workspace, member).await?),
        None => None,
    };
    // What a member's tokens have issued was issued by the member.
    let (issued_by, issuer_member) = match filter.issued_by {
        Some(text) => match MemberId::parse(&text) {
            Some(member) => (None, Some(member)),
            None => (Some(text), None),
        },
        None => (None, None),
    };
    Ok(Some(keys::KeyFilter {
        state: filter.state.map(view::state_from),
        not_final: false,
        owner: filter.owner,
        owner_member,
        issued_by,
        issuer_member,
        touched_by,
        subject,
        kind: filter.kind.map(view::kind_from),
        scope: scope.transpose()?,
        environment: filter.environment.map(view::environment_from),
        created_after: filter.created_after.map(jiff::Timestamp::as_millisecond),
        created_before: filter.created_before.map(jiff::Timestamp::as_millisecond),
        never_used: filter.never_used,
        last_used_before: filter.last_used_before.map(jiff::Timestamp::as_millisecond),
        expires_before: filter.expires_before.map(to_seconds),
        rotate_by_before: filter.rotate_by_before.map(to_seconds),
        q: filter.q,
    }))
}

/// The id that a text names: the outer `None` where it names none, the inner one where there is no text.
fn member(text: Option<String>) -> Option<Option<MemberId>> {
    text.map_or(Some(None), |text| MemberId::parse(&text).map(Some))
}
