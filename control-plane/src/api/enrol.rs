//! `/v1/enrol`: the first owner and its management token, against the one-time token of the data directory.

use axum::extract::State;
use axum::http::Extensions;
use axum::response::Response;
use nightlatch_api::{Code, Enrol, Enrolled, Problem};
use nightlatch_key::{Digest, KeyText};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::App;
use super::body::Json;
use super::caller::{request_id, source};
use super::idempotency::Created;
use super::members::{INVITE_BRAND, INVITE_LIFETIME_MS};
use super::refused::Refused;
use super::tokens::{self, mint_reserved};
use crate::domain::{Name, WorkspaceId};
use crate::secrets::Secrets;
use crate::store::enrolment::{self, Founder};
use crate::store::members::JoinCode;
use crate::store::{Error, os_random};

/// The brand of an enrolment token's text.
const BRAND: &str = "nlo";

/// Mints the text of an enrolment token. `now`, unix milliseconds, shows in its id.
pub(crate) fn mint(now: i64) -> KeyText {
    mint_reserved(BRAND, now)
}

/// Trades the enrolment token for an owner and its management token, once. An owner with an address gets a code too, with
/// which they make their account (`POST /v1/invites/accept`).
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
    let Enrol { token: offered, name, email } = body.value;
    let mut owner = Founder {
        join: None,
        name: name.map(Name::new).transpose()?,
        email: email.as_deref().map(super::members::email).transpose()?,
    };
    let text = offered.expose().trim().as_bytes();
    let parsed = nightlatch_key::parse(text).ok().filter(|parsed| parsed.brand().as_str() == BRAND);
    if parsed.is_none() {
        return Err(Code::EnrolmentInvalid.into());
    }
    let digest = Digest::of(text);
    if !enrolment::awaits(&mut app.store().read().await?, &digest).await? {
        return Err(Code::EnrolmentInvalid.into());
    }
    let code = mint_reserved(INVITE_BRAND, app.store().now().await?);
    owner.join = Some(JoinCode { digest: code.digest(), lifetime_ms: INVITE_LIFETIME_MS });
    let (request_id, source) = (request_id(&extensions), source(&extensions));
    let exchanged = app
        .store()
        .write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let source = source.as_deref();
                let enrolled = enrolment::exchange(tx, digest, owner, &request_id, source, &mut os_random).await?;
                Ok((enrolled, tx.now().await?))
            })
        })
        .await;
    let (enrolled, now) = match exchanged {
        Err(Error::NotFound(_)) => return Err(Code::EnrolmentInvalid.into()),
        other => other?,
    };
    remove_used(&app, &enrolled.member.workspace, &digest).await;
    let body = serde_json::json!({
        "member": super::members::show(&enrolled.member),
        "token": tokens::show(&enrolled.token, now),
    });
    let code = enrolled.member.email.is_some().then(|| ("code", SecretString::from(code.expose())));
    Ok(Created::new(&body).with_secret(enrolled.secret.expose()).into_response_and("secret", code.as_ref()))
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
