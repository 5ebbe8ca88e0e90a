//! What the audit log says of members.

use serde_json::{Map, Value, json};

use super::audit::{self, Draft, Target};
use super::{Context, Error, Tx, catalogue};
use crate::domain::{Member, Reason, Scopes, Tier};

/// What somebody may do now and could not do before.
pub(super) fn gained(before: &Scopes, after: &Scopes) -> Result<Scopes, Error> {
    Ok(Scopes::new(after.missing_in(before).iter().map(|scope| scope.as_str()))?)
}

/// Writes an entry about a member. What is personal in it can be erased.
pub(super) async fn note(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    before: Option<&Member>,
    after: &Member,
    reason: Option<&Reason>,
    now: i64,
) -> Result<(), Error> {
    let personal = personal(before, after);
    let none = Scopes::default();
    let gained = gained(before.map_or(&none, |before| &before.scopes), &after.scopes)?;
    let acknowledged = match context.acknowledged {
        true => catalogue::require_acknowledged(tx, context, &gained).await?,
        false => Vec::new(),
    };
    let (before, mut after_fields) = audit::difference(before.map(view), view(after));
    audit::acknowledged(&mut after_fields, &acknowledged);
    let draft = Draft {
        action,
        target: Target::Other("member", after.id.as_str()),
        before: before.filter(|fields| !fields.is_empty()).map(Value::Object),
        after: Some(Value::Object(after_fields)),
        reason: reason.map(Reason::as_str),
        personal: &personal,
        about: Some(after.id.as_str()),
    };
    audit::append(tx, context, &draft, now).await
}

/// What an entry keeps of a member that can be erased: its address and its name, where they are new or change.
fn personal(before: Option<&Member>, after: &Member) -> Vec<(&'static str, String)> {
    let fields = [
        ("email", "email.before", before.and_then(|before| before.email.as_ref()), after.email.as_ref()),
        ("name", "name.before", before.and_then(|before| before.name.as_ref()), after.name.as_ref()),
    ];
    let mut personal = Vec::new();
    for (now, before, old, new) in fields {
        if old != new {
            personal.extend(old.map(|old| (before, old.clone())));
            personal.extend(new.map(|new| (now, new.clone())));
        }
    }
    personal
}

/// What of a member can change, and is worth an entry: nothing that is personal.
fn view(member: &Member) -> Map<String, Value> {
    let scopes: Vec<_> = member.scopes.iter().map(|scope| scope.as_str()).collect();
    let fields = json!({
        "role": member.role.as_str(),
        "state": member.state.as_str(),
        "subject": member.subject,
        "partner": member.partner,
        "scopes": scopes,
        "tier": member.tier.as_ref().map(Tier::as_str),
        "account": member.account,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
