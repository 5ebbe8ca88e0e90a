//! `/v1/gateways`: pairing, pairing again, unpairing.

use axum::extract::State;
use axum::http::Extensions;
use axum::response::Response;
use nightlatch_api as api;
use nightlatch_api::{
    CreateGateway, GatewayState, OfferPairing, OfferedPairing, Page, PageQuery, PairGateway, PairedGateway, Problem,
    UnpairGateway, UnpairedGateway,
};
use nightlatch_key::{Digest, KeyText};
use serde_json::json;

use super::{Gateway, words};
use crate::api::App;
use crate::api::body::{Json, OptionalJson};
use crate::api::caller::{Caller, request_id, source};
use crate::api::cursor::List;
use crate::api::idempotency::{self, Create, Created, Done, Once};
use crate::api::keys::view;
use crate::api::params::{Id, Query};
use crate::api::refused::Refused;
use crate::api::rotations;
use crate::api::time::{from_ms, from_seconds, in_force, surely_in_force};
use crate::api::tokens::mint_reserved;
use crate::domain::gateway;
use crate::domain::ids::principal_id;
use crate::domain::rotation::Order;
use crate::domain::{Name, Reason, Refusal, Scopes};
use crate::store::gateways::{self, GatewayView, NewGateway, Pair};
use crate::store::{Error, os_random, workspaces};

/// The brand of a pairing code's text.
const CODE_BRAND: &str = "nlp";

/// Makes a gateway, and the one-time code with which it pairs within the hour.
#[utoipa::path(
    post, path = "/v1/gateways", tag = "gateways", operation_id = "createGateway",
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same gateway and code are answered.")),
    request_body = CreateGateway,
    responses(
        (status = 201, description = "Made.", body = OfferedPairing),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn create(
    State(app): State<App>,
    caller: Caller,
    once: Once,
    body: Json<CreateGateway>,
) -> Result<Response, Refused> {
    let caller = caller.acknowledging(body.value.acknowledge_sensitive);
    let code = mint_reserved(CODE_BRAND, caller.now);
    let new = NewGateway {
        name: Name::new(body.value.name)?,
        environment: view::environment_from(body.value.environment),
        scopes: Scopes::new(body.value.scopes)?,
        code: code.digest(),
    };
    let context = caller.context();
    let create = Create {
        route: "POST /v1/gateways",
        secret: "code",
        request_hash: body.hash,
        work: Box::new(move |tx| Box::pin(async move { Ok((gateways::create(tx, &context, &new).await?, code)) })),
        answer: |(view, code)| offered(view, code),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((view, code)) => Ok(offered(&view, &code).into_response("code")),
    }
}

/// Lists gateways, newest first.
#[utoipa::path(
    get, path = "/v1/gateways", tag = "gateways", operation_id = "listGateways",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of gateways.", body = Page<api::Gateway>),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<api::Gateway>>, Refused> {
    let list = List::new("gateways", caller.workspace(), &());
    let page = app.cursors().page(&list, query.limit, query.cursor.as_deref())?;
    let found = gateways::list(&mut app.store().read().await?, caller.workspace(), &page).await?;
    Ok(axum::Json(app.cursors().answer(&list, found, |view| show(&view))))
}

/// Reads a gateway.
#[utoipa::path(
    get, path = "/v1/gateways/{id}", tag = "gateways", operation_id = "readGateway",
    params(("id" = String, Path, description = "`prn_…`")),
    responses(
        (status = 200, description = "The gateway.", body = api::Gateway),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(Gateway(id)): Id<Gateway>,
) -> Result<axum::Json<api::Gateway>, Refused> {
    let view = gateways::get(&mut app.store().read().await?, caller.workspace(), id).await?;
    Ok(axum::Json(show(&view)))
}

/// Makes another code for a gateway. The next pairing replaces its key. A code that was out before works no more.
#[utoipa::path(
    post, path = "/v1/gateways/{id}/pairing-code", tag = "gateways", operation_id = "offerPairing",
    params(
        ("id" = String, Path, description = "`prn_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body within 15 minutes, the same code is answered."),
    ),
    request_body = Option<OfferPairing>,
    responses(
        (status = 201, description = "Made.", body = OfferedPairing),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn offer(
    State(app): State<App>,
    caller: Caller,
    Id(Gateway(id)): Id<Gateway>,
    once: Once,
    OptionalJson(body): OptionalJson<OfferPairing>,
) -> Result<Response, Refused> {
    let order = body.order.map_or(Order::IssueFirst, rotations::order_from);
    let (context, code) = (caller.context(), mint_reserved(CODE_BRAND, caller.now));
    let create = Create {
        route: "POST /v1/gateways/{id}/pairing-code",
        secret: "code",
        request_hash: idempotency::request_hash(&[principal_id(id).as_bytes(), order.as_str().as_bytes()]),
        work: Box::new(move |tx| {
            Box::pin(async move {
                let view = gateways::offer(tx, &context, id, order, &code.digest()).await?;
                Ok((view, code))
            })
        }),
        answer: |(view, code)| offered(view, code),
    };
    match idempotency::create(&app, &caller, once, create).await? {
        Done::Replayed(response) => Ok(response),
        Done::Fresh((view, code)) => Ok(offered(&view, &code).into_response("code")),
    }
}

fn offered(view: &GatewayView, code: &KeyText) -> Created {
    let ends = view.gateway.offer.map(|offer| from_ms(offer.expires_at));
    Created::new(&json!({ "gateway": show(view), "code_expires_at": ends })).with_secret(code.expose())
}

/// Trades a one-time code for the gateway's key, once. The code is the proof: no token is sent.
#[utoipa::path(
    post, path = "/v1/gateways/pair", tag = "gateways", operation_id = "pairGateway",
    request_body = PairGateway,
    responses(
        (status = 201, description = "Paired.", body = PairedGateway),
        (status = 401, description = "The code is unknown, used or expired.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn pair(
    State(app): State<App>,
    extensions: Extensions,
    body: Json<PairGateway>,
) -> Result<Response, Refused> {
    let code = body.value.code;
    let text = code.expose().trim().as_bytes();
    // Shape and checksum first: junk costs neither a hash nor a look into the database.
    let parsed = nightlatch_key::parse(text).ok().filter(|parsed| parsed.brand().as_str() == CODE_BRAND);
    if parsed.is_none() {
        return Err(Refusal::PairingCodeUnusable.into());
    }
    let pair = Pair { code: Digest::of(text), request_id: request_id(&extensions), source: source(&extensions) };
    if !gateways::awaits(&mut app.store().read().await?, &pair.code).await? {
        return Err(Refusal::PairingCodeUnusable.into());
    }
    let paired = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { gateways::pair(tx, &pair, &mut os_random).await }))
        .await?;
    let mut key = view::key(&paired.key, None, paired.bound, paired.now);
    // Read after the commit: from `usable_from` on every edge knows the key, or refuses to answer.
    key.usable_from = in_force(app.store().now().await?, paired.bound);
    let old_ends_by = paired.old_ends_by.map(from_seconds);
    let body = json!({ "gateway": show(&paired.view), "key": key, "old_ends_by": old_ends_by });
    Ok(Created::new(&body).with_secret(paired.secret.expose()).into_response("secret"))
}

/// Ends a gateway's key and its code. It can be paired again with another code. Repeating it is no error.
#[utoipa::path(
    post, path = "/v1/gateways/{id}/unpair", tag = "gateways", operation_id = "unpairGateway",
    params(("id" = String, Path, description = "`prn_…`")),
    request_body = UnpairGateway,
    responses(
        (status = 200, description = "Unpaired, now or before.", body = UnpairedGateway),
        (status = "4XX", description = "Refused; nothing was changed.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(in crate::api) async fn unpair(
    State(app): State<App>,
    caller: Caller,
    Id(Gateway(id)): Id<Gateway>,
    body: Json<UnpairGateway>,
) -> Result<axum::Json<UnpairedGateway>, Refused> {
    let (context, reason) = (caller.context(), Reason::new(body.value.reason)?);
    let (unpaired, bound) = app
        .store()
        .insist(move |tx| {
            let (context, reason) = (context.clone(), reason.clone());
            Box::pin(async move {
                let unpaired = gateways::unpair(tx, &context, id, &reason).await?;
                Ok((unpaired, workspaces::bound(tx, &context.workspace).await?))
            })
        })
        .await?;
    // Read after the commit. What was ended before has been in force since then.
    let now = app.store().now().await?;
    let before = unpaired.view.gateway.unpaired_at.filter(|_| !unpaired.changed);
    Ok(axum::Json(UnpairedGateway {
        gateway: show(&unpaired.view),
        keys: unpaired.keys,
        in_force_by: before.map_or_else(|| in_force(now, bound), |at| surely_in_force(at, bound)),
    }))
}

fn show(view: &GatewayView) -> api::Gateway {
    let GatewayView { gateway, name, scopes, created_at, now } = view;
    let offer = gateway.open_offer(*now);
    api::Gateway {
        id: principal_id(gateway.subject),
        name: name.clone(),
        environment: view::environment(gateway.environment),
        scopes: words(scopes),
        state: match gateway.state(*now) {
            gateway::GatewayState::Waiting => GatewayState::Waiting,
            gateway::GatewayState::Paired => GatewayState::Paired,
            gateway::GatewayState::Unpaired => GatewayState::Unpaired,
        },
        key: gateway.key.as_ref().map(ToString::to_string),
        code_expires_at: offer.map(|offer| from_ms(offer.expires_at)),
        code_order: offer.map(|offer| rotations::order(offer.order)),
        created_at: from_ms(*created_at),
        paired_at: gateway.paired_at.map(from_ms),
        unpaired_at: gateway.unpaired_at.map(from_ms),
    }
}
