//! `/v1/keys/{id}/receipt`: what is proven of when a revocation is in force.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use nightlatch_api as api;
use nightlatch_api::{Code, Problem, SetQuery};
use tokio::time::Instant;

use super::App;
use super::caller::Caller;
use super::params::{Id, Query};
use super::refused::Refused;
use super::routes::choose;
use super::time::from_ms;
use crate::domain::receipt::{self, Clock, LineState, Receipt, State as Proof};
use crate::domain::{KeyId, KeyRef, SetId, WorkspaceId};
use crate::store::receipts::{self, Decision, Evidence, Unrevoked};
use crate::store::{Error, edges, workspaces};

/// The longest wait, in seconds.
const MAX_WAIT: u64 = 30;
/// How often a wait looks again, when no edge of this process has said anything.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Reads what is proven of a revocation: `pending`, `confirmed` by every durable edge, or `bound_elapsed`.
#[utoipa::path(
    get, path = "/v1/keys/{id}/receipt", tag = "keys", operation_id = "readReceipt",
    params(("id" = String, Path, description = "`key_…`, or `kn_` and the key's number."), SetQuery),
    responses(
        (status = 200, description = "The receipt.", body = api::Receipt),
        (status = 404, description = "There is no such key, or it is not revoked.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<KeyRef>,
    Query(query): Query<SetQuery>,
) -> Result<axum::Json<api::Receipt>, Refused> {
    let set = {
        let mut read = app.store().read().await?;
        caller.key(&mut read, &id).await?;
        choose(&mut read, caller.workspace(), query.set.as_deref()).await?
    };
    match judge(&app, caller.workspace(), &set, &id).await? {
        Ok(receipt) => Ok(axum::Json(seen_by(&caller, receipt))),
        Err(why) => Err(Refused::new(Code::KeyNotRevoked).detail(match why {
            Unrevoked::Usable => "The key is not revoked, so there is nothing to prove.",
            Unrevoked::Lapsed => {
                "The key ended by its deadline, which every edge enforces by itself; nobody revoked it, so there is \
                 nothing to prove."
            }
        })),
    }
}

/// A receipt as a caller may see it. A partner's people learn whether and when, not which edges and routes their client
/// has; the note lists those as well.
pub(super) fn seen_by(caller: &Caller, receipt: api::Receipt) -> api::Receipt {
    if caller.authority.sees_only().is_none() {
        return receipt;
    }
    api::Receipt { edges: Vec::new(), open_routes: Vec::new(), connection_routes: Vec::new(), note: None, ..receipt }
}

/// Checks how long a caller wants to wait.
pub(super) fn check_wait(wait: Option<u64>) -> Result<Option<Duration>, Refused> {
    match wait {
        Some(seconds) if seconds > MAX_WAIT => Err(Refused::value(
            "wait",
            format!("must be 0 to {MAX_WAIT} seconds; ask for the receipt again after that"),
        )),
        other => Ok(other.map(Duration::from_secs)),
    }
}

/// Notes that a key's revocation is committed. Returns the clock after the commit, unix milliseconds; `None` where the key
/// was not revoked. To be called after the mutation has returned.
pub(super) async fn committed(app: &App, workspace: &WorkspaceId, key: &KeyId) -> Result<Option<i64>, Refused> {
    let (workspace, key) = (workspace.clone(), key.clone());
    let noted = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { receipts::note_commit(tx, &workspace, &key).await }));
    Ok(noted.await?)
}

/// As [`committed`], for many keys.
pub(super) async fn committed_many(app: &App, workspace: &WorkspaceId, mut keys: Vec<KeyId>) -> Result<(), Refused> {
    if keys.is_empty() {
        return Ok(());
    }
    // By key, then by set: whoever else notes several goes in the same order.
    keys.sort_unstable();
    let workspace = workspace.clone();
    let noted = app.store().write::<_, Error, _>(move |tx| {
        Box::pin(async move {
            for key in &keys {
                receipts::note_commit(tx, &workspace, key).await?;
            }
            Ok(())
        })
    });
    Ok(noted.await?)
}

/// Waits until the revocation of a key is proven for every set of the workspace, or the time is up, or the server stops.
/// Answers the receipt that is furthest from being proven; `None` where there is nothing to prove.
pub(super) async fn wait(
    app: &App,
    workspace: &WorkspaceId,
    key: &KeyRef,
    wait: Duration,
) -> Result<Option<api::Receipt>, Refused> {
    let until = Instant::now() + wait;
    let sets: Vec<SetId> = {
        let own = workspaces::sets(&mut app.store().read().await?, workspace).await?;
        own.into_iter().map(|set| set.id).collect()
    };
    let mut heard = app.heard().listen(workspace);
    loop {
        heard.mark_unchanged();
        let mut last = None;
        for set in &sets {
            let Ok(receipt) = judge(app, workspace, set, key).await? else { continue };
            let pending = receipt.state == api::ReceiptState::Pending;
            last = Some(receipt);
            if pending {
                break;
            }
        }
        let pending = last.as_ref().is_some_and(|receipt| receipt.state == api::ReceiptState::Pending);
        if !pending || Instant::now() >= until || app.stopping().is_cancelled() {
            return Ok(last);
        }
        tokio::select! {
            () = tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY)) => {}
            Ok(()) = heard.changed() => {}
            () = app.stopping().cancelled() => {}
        }
    }
}

/// Applies the rule to what is known now. What is proven is signed and kept, once and for all.
async fn judge(
    app: &App,
    workspace: &WorkspaceId,
    set: &SetId,
    key: &KeyRef,
) -> Result<Result<api::Receipt, Unrevoked>, Refused> {
    let facts = match evidence(app, workspace, set, key).await? {
        Err(why) => return Ok(Err(why)),
        Ok(Evidence::Decided(note)) => return show_note(app, workspace, note).await.map(Ok),
        Ok(Evidence::Open(facts)) => facts,
    };
    let receipt = receipt::evaluate(&facts.revocation, &facts.terms, &facts.edges, facts.now);
    if receipt.state == Proof::Pending {
        return show(app, workspace, &receipt, None).await.map(Ok);
    }
    let owned = workspaces::set(&mut app.store().read().await?, workspace, set).await?;
    let signer = app.signer(&owned).await?;
    let decision = Decision {
        set: set.clone(),
        key: key.clone(),
        at: receipt.at,
        committed_by: receipt.committed_by,
        note: signer.sign(&receipt.to_text()),
    };
    let owner = workspace.clone();
    let kept = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { receipts::decide(tx, &owner, &decision).await }))
        .await?;
    show_note(app, workspace, kept).await.map(Ok)
}

/// Reads what there is to judge by. A commit that nobody has noted is noted: whoever reads it knows that it is one.
async fn evidence(
    app: &App,
    workspace: &WorkspaceId,
    set: &SetId,
    key: &KeyRef,
) -> Result<Result<Evidence, Unrevoked>, Refused> {
    let found = receipts::evidence(&mut app.store().read().await?, workspace, set, key).await?;
    match &found {
        Ok(Evidence::Open(facts)) if facts.revocation.committed_by.is_none() => {
            if let Some(KeyRef::Id(id)) = KeyRef::parse(&facts.revocation.key) {
                committed(app, workspace, &id).await?;
            }
            Ok(receipts::evidence(&mut app.store().read().await?, workspace, set, key).await?)
        }
        _ => Ok(found),
    }
}

async fn show_note(app: &App, workspace: &WorkspaceId, note: String) -> Result<api::Receipt, Refused> {
    let text = note.rsplit_once("\n\n").map(|(text, _)| format!("{text}\n"));
    let receipt = text.as_deref().map(Receipt::parse);
    match receipt {
        Some(Ok(receipt)) => show(app, workspace, &receipt, Some(note)).await,
        other => {
            tracing::error!(?other, "a kept receipt cannot be read");
            Err(Code::Internal.into())
        }
    }
}

async fn show(
    app: &App,
    workspace: &WorkspaceId,
    receipt: &Receipt,
    note: Option<String>,
) -> Result<api::Receipt, Refused> {
    let names = if receipt.edges.is_empty() {
        BTreeMap::new()
    } else {
        edges::names(&mut app.store().read().await?, workspace).await?
    };
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(api::Receipt {
        state: match receipt.state {
            Proof::Pending => api::ReceiptState::Pending,
            Proof::Confirmed => api::ReceiptState::Confirmed,
            Proof::BoundElapsed => api::ReceiptState::BoundElapsed,
        },
        key: receipt.key.clone(),
        set: receipt.set.clone(),
        at: from_ms(receipt.at),
        revoked_at: from_ms(receipt.revoked_at),
        committed_by: from_ms(receipt.committed_by),
        published_version: receipt.published.map(|mark| count(mark.version)),
        bound_ms: count(receipt.bound_ms),
        in_force_by: from_ms(receipt.in_force_by()),
        counted: receipt.counted,
        proven: receipt.proven,
        uncounted: receipt.uncounted,
        edges: receipt
            .edges
            .iter()
            .map(|line| api::ReceiptEdge {
                id: line.edge.clone(),
                name: names.get(&line.edge).cloned().unwrap_or_default(),
                state: match line.state {
                    LineState::Confirmed => api::EdgeProof::Confirmed,
                    LineState::Waiting => api::EdgeProof::Waiting,
                    LineState::Silent => api::EdgeProof::Silent,
                    LineState::Removed => api::EdgeProof::Removed,
                },
                confirmed_at: line.confirmed_at.map(from_ms),
                clock_offset_ms: line.clock_offset_ms,
                clock: match line.clock {
                    Clock::Ok => api::EdgeClock::Ok,
                    Clock::Bad => api::EdgeClock::Bad,
                    Clock::Unknown => api::EdgeClock::Unknown,
                },
            })
            .collect(),
        open_routes: receipt
            .open_routes
            .iter()
            .map(|route| api::OpenRoute {
                method: route.method.clone(),
                pattern: route.pattern.clone(),
                open_until_bound: from_ms(route.until),
            })
            .collect(),
        connection_routes: receipt
            .connection_routes
            .iter()
            .map(|route| api::ConnectionRoute {
                method: route.method.clone(),
                pattern: route.pattern.clone(),
                max_connection_age: route.max_connection_age,
            })
            .collect(),
        note,
    })
}
