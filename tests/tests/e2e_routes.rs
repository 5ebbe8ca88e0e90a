//! Which requests there are is published with the keys, and changes at the edge within the poll interval.

use anyhow::{Result, ensure};
use nightlatch_api::{Code, RouteDocument, RouteRule};
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::on_both_databases;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, World, put_routes, routes};

on_both_databases!(s4_02_a_change_of_routes_takes_effect_at_the_edge);

/// A route is tightened, another added; a document that contradicts itself or is based on an old one changes nothing.
async fn s4_02_a_change_of_routes_takes_effect_at_the_edge(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let key = world.issue_and_use("caller", &[]).await?;
    let key = key.secret.expose();
    let before = world.api().routes(None).await?;

    let mut document = routes();
    document.routes[0] = RouteRule::new("GET", "/status").scopes(["status:read"]);
    document.routes.push(RouteRule::new("GET", "/reports/{name}"));
    put_routes(world.api(), &document).await?;
    eventually("the tightened route refuses", SOON, async || {
        world.caller.get("/status", key).await?.expect(403, Some("scope_insufficient")).map(drop)
    })
    .await?;
    world.caller.get("/reports/march", key).await?.allowed()?;

    let stale = world.api().put_routes(None, &before.etag, &routes()).await.unwrap_err();
    ensure!(stale.is(Code::EtagStale), "{stale}");
    let twice = vec![RouteRule::new("GET", "/a/{x}"), RouteRule::new("GET", "/a/{y}")];
    let refused = put_routes(world.api(), &RouteDocument { routes: twice, ..RouteDocument::default() }).await;
    ensure!(refused.is_err_and(|error| format!("{error:#}").contains("routes_invalid")));
    ensure!(world.api().routes(None).await?.value.document == document);
    world.caller.get("/reports/april", key).await?.allowed()?;
    Ok(())
}
