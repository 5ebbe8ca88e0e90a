//! `/v1/edges/reports`: what edges observed.

use axum::extract::State;
use nightlatch_api::{Code, EdgeReport, EdgeReportAccepted, Problem};

use crate::api::App;
use crate::api::body::Json;
use crate::api::caller::{Caller, Who};
use crate::api::params::missing;
use crate::api::refused::Refused;
use crate::domain::{KeyRef, SetId};
use crate::store::Error;
use crate::store::edges::{self, Applied, Facts, Report, Taken};

/// Most sightings in one report.
const MAX_SEEN: usize = 1000;
/// The longest instance name, in characters.
const MAX_INSTANCE: usize = 64;
/// The longest runtime or version name, in characters.
const MAX_NAME: usize = 32;
/// Most formats an edge can name.
const MAX_FORMATS: usize = 16;
/// Most peppers an edge can hold.
const MAX_PEPPERS: usize = 8;

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
pub(in crate::api) async fn report(
    State(app): State<App>,
    caller: Caller,
    body: Json<EdgeReport>,
) -> Result<axum::Json<EdgeReportAccepted>, Refused> {
    let report = checked(body.value)?;
    let workspace = caller.workspace().clone();
    let Who::Token(token) = caller.who else { return Err(Code::Forbidden.into()) };
    let Taken { accepted, advanced } = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { edges::report(tx, &token, &report).await }))
        .await?;
    if advanced {
        app.heard().say(&workspace);
    }
    Ok(axum::Json(EdgeReportAccepted { accepted }))
}

/// Checks what a runtime and its version may be called.
pub(super) fn check_names(names: &[(&'static str, &String)]) -> Result<(), Refused> {
    names.iter().try_for_each(|(field, text)| check_word(field, text, MAX_NAME))
}

fn check_word(field: &str, text: &str, max: usize) -> Result<(), Refused> {
    if (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(Refused::invalid(field, format!("must be 1 to {max} visible ASCII characters")))
    }
}

fn checked(body: EdgeReport) -> Result<Report, Refused> {
    let set = SetId::parse(&body.set).ok_or_else(|| missing("set"))?;
    check_word("instance", &body.instance, MAX_INSTANCE)?;
    check_names(&[("runtime", &body.runtime), ("version", &body.version)])?;
    for (field, words, most) in [("formats", &body.formats, MAX_FORMATS), ("peppers", &body.peppers, MAX_PEPPERS)] {
        if words.len() > most {
            return Err(Refused::invalid(field, format!("must be at most {most}")));
        }
        words.iter().try_for_each(|word| check_word(field, word, MAX_NAME))?;
    }
    if let Some(failure) = &body.failure {
        check_word("failure", failure, MAX_INSTANCE)?;
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
    let signed = |field: &str, number: u64| i64::try_from(number).map_err(|_| Refused::invalid(field, "is too large"));
    let sequence = signed("sequence", body.sequence)?;
    let facts = Facts {
        formats: body.formats,
        peppers: body.peppers,
        trust: body.trust.map(|version| signed("trust", version)).transpose()?,
        data_age_ms: body.data_age_ms.map(|age| signed("data_age_ms", age)).transpose()?,
        sent_at: body.sent_at.map(|at| signed("sent_at", at)).transpose()?,
        clock_refused: body.clock_refused,
        failure: body.failure,
    };
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
        facts,
        seen: body.seen.into_iter().filter_map(sighting).collect(),
    })
}
