//! `/v1/enrol`: the first management token, against the one-time token of the data directory.

use axum::extract::State;
use axum::http::Extensions;
use axum::response::Response;
use nightlatch_api::{Code, Enrol, Enrolled, Problem};
use nightlatch_key::{Digest, KeyText};
use zeroize::Zeroizing;

use super::App;
use super::body::Json;
use super::caller::{request_id, source};
use super::idempotency::Created;
use super::refused::Refused;
use super::tokens::{self, mint_reserved};
use crate::domain::WorkspaceId;
use crate::secrets::Secrets;
use crate::store::tokens::TokenKind;
use crate::store::{Error, enrolment};

/// The brand of an enrolment token's text.
const BRAND: &str = "nlo";

/// Mints the text of an enrolment token. `now`, unix milliseconds, shows in its id.
pub(crate) fn mint(now: i64) -> KeyText {
    mint_reserved(BRAND, now)
}

/// Trades the enrolment token for a management token, once.
#[utoipa::path(
    post, path = "/v1/enrol", tag = "tokens", operation_id = "enrol",
    request_body = Enrol,
    responses(
        (status = 201, description = "Enrolled.", body = Enrolled),
        (status = 401, description = "The token is unknown, used or expired.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn enrol(
    State(app): State<App>,
    extensions: Extensions,
    body: Json<Enrol>,
) -> Result<Response, Refused> {
    let offered = body.value.token;
    let text = offered.expose().trim().as_bytes();
    let parsed = nightlatch_key::parse(text).ok().filter(|parsed| parsed.brand().as_str() == BRAND);
    if parsed.is_none() {
        return Err(Code::EnrolmentInvalid.into());
    }
    let digest = Digest::of(text);
    if !enrolment::awaits(&mut app.store().read().await?, &digest).await? {
        return Err(Code::EnrolmentInvalid.into());
    }
    let minted = tokens::mint(TokenKind::Management, app.store().now().await?);
    let new = tokens::management("enrolment", &minted);
    let (request_id, source) = (request_id(&extensions), source(&extensions));
    let exchanged = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let token = enrolment::exchange(tx, digest, &new, &request_id, source.as_deref()).await?;
                Ok((token, tx.now().await?))
            })
        })
        .await;
    let (token, now) = match exchanged {
        Err(Error::NotFound(_)) => return Err(Code::EnrolmentInvalid.into()),
        other => other?,
    };
    remove_used(&app, &token.workspace, &digest).await;
    let body = serde_json::json!({ "token": tokens::show(&token, now) });
    Ok(Created::new(&body).with_secret(minted.expose()).into_response("secret"))
}

/// A used token is worth nothing; the file with it goes, so that nobody tries it. Another workspace's stays.
async fn remove_used(app: &App, workspace: &WorkspaceId, used: &Digest) {
    let directory = app.data_dir();
    for file in [None, Some(workspace)].map(|further| Secrets::enrolment_file(directory, further)) {
        let Ok(text) = tokio::fs::read(&file).await.map(Zeroizing::new) else { continue };
        if Digest::of(text.trim_ascii()) != *used {
            continue;
        }
        if let Err(error) = tokio::fs::remove_file(&file).await {
            tracing::warn!(%error, file = %file.display(), "the used enrolment token could not be removed");
        }
    }
}
