//! `/v1/keys:revoke-many`: an emergency ends every key that passes a filter.

use axum::extract::State;
use nightlatch_api as api;
use nightlatch_api::{KeyFilter, OwnerKeys, Problem, RefusedKey, RevokeMany, RevokedMany, RouteRef};

use super::{filter, view};
use crate::api::App;
use crate::api::body::Json;
use crate::api::caller::Caller;
use crate::api::receipts;
use crate::api::refused::{Refused, code_of};
use crate::api::time::in_force;
use crate::domain::{KeyId, KeyRef, Reason, Refusal, reach};
use crate::store::revoke_many::{self, Seen, Survey};
use crate::store::{Context, keys, routes, workspaces};

/// Keys that one call revokes at most: an answer must come before its caller gives up.
const CALL: usize = 2_000;
/// Keys of one transaction: others wait for it.
const TRANSACTION: usize = 100;
/// Keys that a dry run shows.
const SHOWN: usize = 50;
/// Owners that an answer names.
const OWNERS: usize = 100;

/// Revokes every key that passes a filter and still could be used, some thousand in a call, each as if it were revoked
/// alone. While `remaining` is not 0, repeating the call goes on; whatever breaks off in between, what is revoked stays so.
/// Keys that the caller may not revoke are counted and named. With `dry_run` nothing is changed.
#[utoipa::path(
    post, path = "/v1/keys:revoke-many", tag = "keys", operation_id = "revokeManyKeys",
    request_body = RevokeMany,
    responses(
        (status = 200, description = "What was revoked, or would be.", body = RevokedMany),
        (status = 409, description = "The keys are not those of `expect`.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn revoke_many(
    State(app): State<App>,
    caller: Caller,
    body: Json<RevokeMany>,
) -> Result<axum::Json<RevokedMany>, Refused> {
    let RevokeMany { filter: asked, reason, dry_run, expect } = body.value;
    let asked = filter::without_secrets(asked);
    let (context, reason) = (caller.context(), Reason::new(reason)?);
    if asked.limit.is_some() || asked.cursor.is_some() {
        return Err(Refused::value("filter", "takes neither limit nor cursor"));
    }
    if asked == KeyFilter::default() {
        return Err(Refused::value("filter", "is empty; name at least one condition"));
    }
    let shown = serde_json::to_value(&asked).unwrap_or_default();
    // Every name has the empty text in it: a variable that was never set must not end every key.
    if let Some(name) = empty_text(&shown) {
        return Err(Refused::value(&format!("filter.{name}"), "is empty; say what to look for, or leave it out"));
    }
    let mut read = app.store().read().await?;
    let Some(filter) = filter::resolve(&mut read, &context, asked).await? else {
        return Ok(axum::Json(answer(&Survey::default(), &[])));
    };
    let survey = revoke_many::survey(&mut read, &context, &filter, CALL).await?;
    // A partner's people do not see routes.
    let policies = match context.authority.sees_only() {
        None => routes::policies(&mut read, caller.workspace()).await?,
        Some(_) => Vec::new(),
    };
    let reaches: Vec<_> = survey.reaches().collect();
    let names = reach::named(&policies, |route| reaches.iter().any(|reach| reach.passes(route)));
    let mut answer = answer(&survey, &names);
    if dry_run {
        let bound = workspaces::bound(&mut read, caller.workspace()).await?;
        // Of the keys that would be revoked: among all that pass, those that will be refused may be the first.
        for seen in survey.first.iter().take(SHOWN) {
            let key = keys::get(&mut read, caller.workspace(), &KeyRef::Id(seen.id.clone())).await?;
            answer.keys.push(view::listed(&key, filter.touched_by.as_ref(), bound));
        }
        return Ok(axum::Json(answer));
    }
    drop(read);
    if expect.is_some_and(|expect| expect != answer.plan) {
        return Err(Refusal::PlanChanged { plan: answer.plan }.into());
    }
    let mut plan = survey.plan;
    let mut announcement = Some((shown, survey.clone()));
    if survey.first.is_empty() && survey.refused > 0 {
        // Nothing will be revoked; that somebody tried is told all the same.
        revoke(&app, &context, Vec::new(), reason.clone(), announcement.take()).await?;
    }
    for keys in survey.first.chunks(TRANSACTION) {
        if app.stopping().is_cancelled() {
            break;
        }
        let revoked = revoke(&app, &context, keys.to_vec(), reason.clone(), announcement.take()).await?;
        for key in &revoked {
            plan.remove(key);
            answer.revoked_keys.push(key.id.to_string());
        }
        let ids: Vec<KeyId> = revoked.into_iter().map(|key| key.id).collect();
        receipts::committed_many(&app, caller.workspace(), ids).await?;
    }
    answer.revoked = answer.revoked_keys.len() as u64;
    answer.remaining = answer.matched - answer.revoked;
    answer.plan = plan.to_text();
    if answer.revoked > 0 {
        let bound = workspaces::bound(&mut app.store().read().await?, caller.workspace()).await?;
        answer.in_force_by = Some(in_force(app.store().now().await?, bound));
    }
    Ok(axum::Json(answer))
}

/// The name of a condition that is a text and empty.
fn empty_text(filter: &serde_json::Value) -> Option<&str> {
    let mut conditions = filter.as_object()?.iter();
    let empty = |value: &serde_json::Value| value.as_str().is_some_and(|text| text.trim().is_empty());
    conditions.find_map(|(name, value)| empty(value).then_some(name.as_str()))
}

/// One transaction of it.
async fn revoke(
    app: &App,
    context: &Context,
    keys: Vec<Seen>,
    reason: Reason,
    announcement: Option<(serde_json::Value, Survey)>,
) -> Result<Vec<Seen>, Refused> {
    let context = context.clone();
    let revoked = app.store().insist(move |tx| {
        let (context, keys, reason) = (context.clone(), keys.clone(), reason.clone());
        let announcement = announcement.clone();
        Box::pin(async move {
            if let Some((filter, survey)) = &announcement {
                revoke_many::announce(tx, &context, filter, survey, &reason).await?;
            }
            revoke_many::revoke(tx, &context, &keys, &reason).await
        })
    });
    Ok(revoked.await?)
}

fn answer(survey: &Survey, routes: &[reach::RouteName]) -> RevokedMany {
    let mut owners: Vec<_> = survey.owners.iter().collect();
    owners.sort_by_key(|(_, keys)| std::cmp::Reverse(**keys));
    let owner = |((owner, owner_member), keys): (&revoke_many::Owners, &u64)| OwnerKeys {
        owner: owner.clone(),
        owner_member: owner_member.clone(),
        keys: *keys,
    };
    RevokedMany {
        matched: survey.matched,
        revoked: 0,
        remaining: survey.matched,
        refused: survey.refused,
        refusals: survey.refusals.iter().map(|(key, refusal)| refused(key, refusal)).collect(),
        plan: survey.plan.to_text(),
        keys: Vec::new(),
        revoked_keys: Vec::new(),
        owners: owners.into_iter().take(OWNERS).map(owner).collect(),
        routes: routes.iter().map(|route| RouteRef::new(&route.method, &route.pattern)).collect(),
        in_force_by: None,
    }
}

fn refused(key: &KeyId, refusal: &Refusal) -> api::RefusedKey {
    RefusedKey {
        key: key.to_string(),
        code: code_of(refusal).as_str().to_owned(),
        detail: refusal.to_string(),
        call: match refusal {
            Refusal::NotRevocableHere { call } => Some(call.clone()),
            _ => None,
        },
    }
}
