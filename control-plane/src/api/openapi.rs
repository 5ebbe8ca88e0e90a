//! `/openapi.json`: the contract, generated from the handlers.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::router;

/// What surrounds the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Nightlatch control plane",
        description = "API keys that rotate without downtime, are checked at the edge with no network hop, and stop working everywhere within a bound.\n\nEvery refusal is an RFC 9457 problem with a stable `code`. Times are RFC 3339 in UTC. Unknown fields and parameters are refused.",
        license(name = "Apache-2.0 OR MIT"),
    ),
    modifiers(&Bearer),
    tags(
        (name = "keys", description = "Issue, read, change, import, verify and end keys."),
        (name = "rotations", description = "Replace a key by another while both work."),
        (name = "routes", description = "Which requests there are, and what each asks of a key."),
        (name = "tokens", description = "What callers of this API prove themselves with."),
        (name = "members", description = "People, their roles, and what a role brings."),
        (name = "service-accounts", description = "Programs of the workspace's own, and what becomes of their keys."),
        (name = "partners", description = "Partner organisations, their staff, and their links to clients."),
        (name = "links", description = "Links to partners of other workspaces, as their client has them."),
        (name = "gateways", description = "Devices that get their key by pairing."),
        (name = "audit", description = "What was done, by whom, when."),
        (name = "catalogue", description = "Scopes and tiers."),
        (name = "sets", description = "Published key sets, as edges and the sync job read them."),
        (name = "edges", description = "Edges, their credentials, and what they report."),
        (name = "workspaces", description = "The tenants of the deployment."),
        (name = "operations", description = "Health and metrics."),
    ),
)]
struct Frame;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A management token (`nlm_…`) or an edge token (`nle_…`)."))
            .build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The frame into which the handlers' paths are put.
pub(super) fn frame() -> Document {
    Frame::openapi()
}

/// The whole document as pretty JSON.
pub fn document() -> String {
    let (_, document) = router::parts();
    let mut text = document.to_pretty_json().expect("a generated document serialises");
    text.push('\n');
    text
}

/// The document as it is sent: made once.
static SENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document()));

/// Shows this document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations", operation_id = "openapi",
    responses((status = 200, description = "The document.", body = serde_json::Value)),
)]
pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], SENT.clone()).into_response()
}
