//! The filter of a list of keys, as the store takes it.

use nightlatch_api::KeyFilter;

use super::view;
use crate::api::noted;
use crate::api::refused::Refused;
use crate::api::time::to_seconds;
use crate::domain::ids::principal_subject;
use crate::domain::{LabelMatch, MemberId, Scope};
use crate::store::touched::Person;
use crate::store::{Context, Read, keys};

/// The longest text that anything is compared with, in bytes: 200 characters.
const MAX_TEXT: usize = 800;

/// The filter with every secret in it cut down to its prefix, which finds the same key: what a list was narrowed to is noted
/// for ever.
pub(super) fn without_secrets(mut filter: KeyFilter) -> KeyFilter {
    let KeyFilter { owner, owner_member, issued_by, touched_by, principal, scope, label, q, .. } = &mut filter;
    for text in [owner, owner_member, issued_by, touched_by, principal, scope, label, q].into_iter().flatten() {
        *text = noted::without_secrets(text);
    }
    filter
}

/// The store's filter; `None` where nothing can pass: an id that nobody can have belongs to no key.
pub(super) async fn resolve(
    read: &mut Read,
    context: &Context,
    filter: KeyFilter,
) -> Result<Option<keys::KeyFilter>, Refused> {
    let scope = filter.scope.map(|text| Scope::new(text).map_err(|_| Refused::invalid("scope", "is not a scope")));
    let subject = match filter.principal.as_deref().map(principal_subject) {
        Some(None) => return Ok(None),
        Some(subject) => subject,
        None => None,
    };
    // Who sees one principal's keys only sees those, whatever they ask for.
    let subject = match (subject, context.authority.sees_only()) {
        (Some(asked), Some(only)) if asked != only => return Ok(None),
        (asked, only) => only.or(asked),
    };
    let label = filter.label.as_deref().map(|text| {
        LabelMatch::parse(text)
            .ok_or_else(|| Refused::invalid("label", "is neither `name` nor `name=value` of a label"))
    });
    // No text of ours is longer, or has such a character: nothing can be equal to it or have it within.
    let texts = [&filter.owner, &filter.issued_by, &filter.q];
    if texts.into_iter().flatten().any(|text| text.len() > MAX_TEXT || text.contains('\0')) {
        return Ok(None);
    }
    let (Some(owner_member), Some(touched_by)) = (member(filter.owner_member), member(filter.touched_by)) else {
        return Ok(None);
    };
    let touched_by = match touched_by {
        Some(member) => Some(Person::find(read, &context.workspace, member).await?),
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
        label: label.transpose()?,
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
