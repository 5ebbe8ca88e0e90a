//! All routes, and what surrounds them.

use axum::{Router, middleware};
use nightlatch_api::Code;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::principals::{gateways, links, partners, service_accounts, staff};
use super::refused::Refused;
use super::{
    App, access, audit, catalogue, edges, enrol, frame, head, health, import, keys, members, openapi, receipts,
    rotations, sets, tokens, verify, workspaces,
};

/// The handlers by path, and the document they make.
pub(super) fn parts() -> (Router<App>, OpenApi) {
    use super::routes as route_documents;
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(enrol::enrol))
        .routes(routes!(keys::issue, keys::list))
        .routes(routes!(import::import))
        .routes(routes!(keys::read, keys::update))
        .routes(routes!(keys::disable))
        .routes(routes!(keys::enable))
        .routes(routes!(keys::revoke))
        .routes(routes!(receipts::read))
        .routes(routes!(rotations::start))
        .routes(routes!(rotations::list))
        .routes(routes!(rotations::read))
        .routes(routes!(rotations::extend))
        .routes(routes!(rotations::cancel))
        .routes(routes!(rotations::complete))
        .routes(routes!(verify::verify))
        .routes(routes!(route_documents::read, route_documents::replace))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::rotate))
        .routes(routes!(tokens::revoke))
        .routes(routes!(members::invite, members::list))
        .routes(routes!(members::read, members::update))
        .routes(routes!(members::reinvite))
        .routes(routes!(members::suspend))
        .routes(routes!(members::resume))
        .routes(routes!(members::remove))
        .routes(routes!(members::list_roles))
        .routes(routes!(members::replace_role))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(audit::checkpoint))
        .routes(routes!(audit::erase))
        .routes(routes!(catalogue::scopes))
        .routes(routes!(catalogue::tiers))
        .routes(routes!(sets::list))
        .routes(routes!(sets::read))
        .routes(routes!(head::head))
        .routes(routes!(sets::trust))
        .routes(routes!(sets::deny))
        .routes(routes!(sets::file))
        .routes(routes!(edges::create, edges::list))
        .routes(routes!(edges::enrol))
        .routes(routes!(edges::read))
        .routes(routes!(edges::rotate))
        .routes(routes!(edges::remove))
        .routes(routes!(edges::report))
        .routes(routes!(workspaces::create, workspaces::list))
        .routes(routes!(workspaces::read, workspaces::update))
        .routes(routes!(service_accounts::create, service_accounts::list))
        .routes(routes!(service_accounts::read, service_accounts::update))
        .routes(routes!(service_accounts::suspend))
        .routes(routes!(service_accounts::resume))
        .routes(routes!(service_accounts::remove))
        .routes(routes!(partners::create, partners::list))
        .routes(routes!(partners::read, partners::update))
        .routes(routes!(partners::suspend))
        .routes(routes!(partners::resume))
        .routes(routes!(partners::remove))
        .routes(routes!(staff::invite, staff::list))
        .routes(routes!(staff::read, staff::update))
        .routes(routes!(staff::remove))
        .routes(routes!(links::create, links::list))
        .routes(routes!(links::end))
        .routes(routes!(links::accept))
        .routes(routes!(links::accepted))
        .routes(routes!(links::read, links::update))
        .routes(routes!(links::end_accepted))
        .routes(routes!(gateways::create, gateways::list))
        .routes(routes!(gateways::pair))
        .routes(routes!(gateways::read))
        .routes(routes!(gateways::offer))
        .routes(routes!(gateways::unpair))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::openapi))
        .split_for_parts()
}

/// The whole HTTP service.
pub fn router(app: App) -> Router {
    let (router, _) = parts();
    router
        .route_layer(middleware::from_fn_with_state(app.clone(), access::check))
        .fallback(async || Refused::new(Code::NotFound).detail("There is no such path."))
        .layer(middleware::from_fn_with_state(app.clone(), frame::run))
        .with_state(app)
}
