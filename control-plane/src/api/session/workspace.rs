//! `POST /v1/session/workspace`: goes on in another workspace.

use axum::extract::State;
use axum::response::Response;
use nightlatch_api::{Problem, SignedIn, SwitchWorkspace};

use super::{Holder, view};
use crate::api::App;
use crate::api::body::Json;
use crate::api::refused::Refused;
use crate::signin::SessionSecret;
use crate::store::sessions::{self, NewSession, Which};
use crate::store::{Error, accounts, members, os_random};

/// Ends this session and starts one in another workspace of the account's, in another cookie. Its age is this one's.
#[utoipa::path(
    post, path = "/v1/session/workspace", tag = "session", operation_id = "switchWorkspace",
    request_body = SwitchWorkspace,
    responses(
        (status = 200, description = "Signed in there.", body = SignedIn),
        (status = 404, description = "The account is no active member of such a workspace.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("session" = [])),
)]
pub(in crate::api) async fn switch(
    State(app): State<App>,
    holder: Holder,
    body: Json<SwitchWorkspace>,
) -> Result<Response, Refused> {
    let wanted = body.value.workspace;
    let (context, from) = (holder.context(), holder.session.clone());
    let secret = SessionSecret::draw(&mut os_random);
    let digest = secret.digest();
    let started = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let account = accounts::lock(tx, &from.account).await?;
                let memberships = accounts::memberships(tx, account.id.as_str()).await?;
                let there = memberships.into_iter().find(|one| one.workspace.as_str() == wanted);
                let there = there.ok_or(Error::NotFound("workspace"))?;
                // Before the good session ends: the other would be dead where the partner organisation is suspended.
                members::standing(tx, &there.workspace, &there.member).await?.ok_or(Error::NotFound("workspace"))?;
                let ended = sessions::end(tx, &context, Which::One(&account.id, &from.id), "went to another workspace");
                if ended.await? == 0 {
                    return Err(Error::NotFound("session"));
                }
                let context = super::holder::context(&there, context.request_id, context.source);
                let new = NewSession {
                    account: account.id,
                    member: there.member,
                    method: from.method,
                    digest,
                    signed_in_at: from.times.signed_in_at,
                    elevated_until: from.times.elevated_until,
                };
                let now = tx.now().await?;
                sessions::start(tx, &context, &new, now, &mut os_random).await?;
                sessions::by_digest(tx, &digest).await?.ok_or(Error::NotFound("session"))
            })
        })
        .await?;
    let (session, now) = started;
    Ok(view::with_cookie(&app, &session, &secret, now))
}
