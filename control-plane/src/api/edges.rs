//! `/v1/edges/reports`: what edges observed.

use axum::extract::State;
use nightlatch_api::{EdgeReport, EdgeReportAccepted, Problem};

use super::App;
use super::body::Json;
use super::caller::Caller;
use super::params::missing;
use super::refused::Refused;
use crate::domain::{KeyRef, SetId};
use crate::store::Error;
use crate::store::edges::{self, Applied, Report};

/// Most sightings in one report.
const MAX_SEEN: usize = 1000;
/// The longest instance name, in characters.
const MAX_INSTANCE: usize = 64;
/// The longest runtime or version name, in characters.
const MAX_NAME: usize = 32;

/// Takes a report. Sent again, it is counted once.
#[utoipa::path(
    post, path = "/v1/edges/reports", tag = "edges", operation_id = "reportEdge",
    request_body = EdgeReport,
    responses(
        (status = 200, description = "Taken, now or before.", body = EdgeReportAccepted),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn report(
    State(app): State<App>,
    caller: Caller,
    body: Json<EdgeReport>,
) -> Result<axum::Json<EdgeReportAccepted>, Refused> {
    let report = checked(body.value)?;
    let token = caller.token;
    let accepted = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { edges::report(tx, &token, &report).await }))
        .await?;
    Ok(axum::Json(EdgeReportAccepted { accepted }))
}

fn checked(body: EdgeReport) -> Result<Report, Refused> {
    let set = SetId::parse(&body.set).ok_or_else(|| missing("set"))?;
    let texts = [
        ("instance", &body.instance, MAX_INSTANCE),
        ("runtime", &body.runtime, MAX_NAME),
        ("version", &body.version, MAX_NAME),
    ];
    for (field, text, max) in texts {
        if !(1..=max).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refused::invalid(field, format!("must be 1 to {max} visible ASCII characters")));
        }
    }
    if body.seen.len() > MAX_SEEN {
        return Err(Refused::invalid("seen", format!("must be at most {MAX_SEEN}")));
    }
    let applied = body.applied.map(|applied| {
        Some(Applied {
            incarnation: i64::from(applied.incarnation),
            epoch: i64::from(applied.epoch),
            version: i64::try_from(applied.version).ok()?,
            issued: i64::try_from(applied.issued).ok()?,
        })
    });
    let sequence = i64::try_from(body.sequence).map_err(|_| Refused::invalid("sequence", "is too large"))?;
    // A text that cannot name a key is ignored like a key that does not exist; a time beyond all clocks is now.
    let sighting =
        |s: nightlatch_api::Sighting| Some((KeyRef::parse(&s.key)?, i64::try_from(s.at).unwrap_or(i64::MAX)));
    Ok(Report {
        set,
        instance: body.instance,
        sequence,
        runtime: body.runtime,
        version: body.version,
        applied: match applied {
            Some(None) => return Err(Refused::invalid("applied", "has a number that is too large")),
            Some(applied) => applied,
            None => None,
        },
        seen: body.seen.into_iter().filter_map(sighting).collect(),
    })
}
