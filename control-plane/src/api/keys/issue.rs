//! Issuing a key.

use axum::extract::State;
use axum::response::Response;
use nightlatch_api::{Environment, IssueKey, IssuedKey, Key, Problem};

use super::view;
use crate::api::App;
use crate::api::body::Json;
use crate::api::caller::Caller;
use crate::api::idempotency::{self, Create, Created, Done, Once};
use crate::api::params::missing;
use crate::api::refused::Refused;
use crate::api::time::{in_force, to_seconds};
use crate::domain::ids::principal_subject;
use crate::domain::{Issue, Labels, LinkId, Name, Owner, Refusal, Scopes, Tier};
use crate::store::keys::{self, Issued};
use crate::store::os_random;

/// Issues a key. The answer is the only one that ever shows its secret.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", operation_id = "issueKey",
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same key and secret are answered.")),
    request_body = IssueKey,
    responses(
        (status = 201, description = "Issued.", body = IssuedKey),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn issue(
    State(app): State<App>,
    caller: Caller,
    once: Once,
    body: Json<IssueKey>,
) -> Result<Response, Refused> {
    let (context, request) = (caller.context(), request(body.value)?);
    let create = Create {
        route: "POST /v1/keys",
        secret: "secret",
        request_hash: body.hash,
        work: Box::new(move |tx| Box::pin(async move { keys::issue(tx, &context, request, &mut os_random).await })),
        answer: |issued| answer(issued, None),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        // Read after the commit: from `usable_from` on every edge knows the key, or refuses to answer.
        Done::Fresh(issued) => Ok(answer(&issued, Some(app.store().now().await?)).into_response("secret")),
    }
}

fn answer(issued: &Issued, committed_by: Option<i64>) -> Created {
    let mut key: Key = view::key(&issued.key, None, issued.bound, issued.now);
    if let Some(now) = committed_by {
        key.usable_from = in_force(now, issued.bound);
    }
    Created::new(&serde_json::json!({ "key": key })).with_secret(issued.secret.expose())
}

fn request(body: IssueKey) -> Result<Issue, Refused> {
    Ok(Issue {
        name: Name::new(body.name)?,
        environment: environment(body.environment),
        subject: body.principal.as_deref().map(subject).transpose()?,
        scopes: Scopes::new(body.scopes)?,
        tier: body.tier.map(Tier::new).transpose()?,
        owner: body.owner.map(Owner::new).transpose()?,
        labels: Labels::new(body.labels)?,
        expires_at: body.expires_at.map(to_seconds),
        rotate_by: body.rotate_by.map(to_seconds),
        link: body.link.as_deref().map(link).transpose()?,
    })
}

fn environment(environment: Environment) -> nightlatch_key::Environment {
    view::environment_from(environment)
}

/// A link's id. A text that cannot be one is answered like a link that does not exist.
fn link(text: &str) -> Result<LinkId, Refused> {
    LinkId::parse(text).ok_or_else(|| missing("link"))
}

/// The subject of a principal's id. A text that cannot be one is answered like a principal that does not exist.
pub(in crate::api) fn subject(text: &str) -> Result<u32, Refusal> {
    principal_subject(text).ok_or(Refusal::PrincipalUnknown)
}
