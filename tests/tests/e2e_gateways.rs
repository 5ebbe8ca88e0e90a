//! A gateway, from its pairing to its end, at a real sidecar.

use anyhow::{Context as _, Result};
use nightlatch_api::{CreateGateway, Environment, OfferPairing, PairGateway, RotationOrder, UnpairGateway};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::origin::Origin;
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, put_routes, routes};

on_both_databases!(s1_18_s1_19_a_gateway_passes_the_gate_from_its_pairing_to_its_end,);

/// What pairing gives passes the gate; pairing again ends it where that was asked for; unpairing ends everything.
async fn s1_18_s1_19_a_gateway_passes_the_gate_from_its_pairing_to_its_end(database: Database) -> Result<()> {
    let control_plane = ControlPlane::start(ControlPlaneConfig::new(database).timing(Timing::SHORT)).await?;
    put_routes(control_plane.client(), &routes()).await?;
    let origin = Origin::start().await?;
    let config = SidecarConfig::beside(&control_plane.worker(&origin.url()).await?)?.number("poll_ms", 250);
    let sidecar = Sidecar::start(config.setting("mode", "proxy")).await?;
    let caller = Caller::new(&sidecar.url())?;
    let client = control_plane.client();
    let request = CreateGateway {
        name: "gate, Ulm".into(),
        environment: Environment::Live,
        scopes: Vec::new(),
        acknowledge_sensitive: false,
    };
    let made = client.create_gateway(&request).await?;
    let first = client.pair_gateway(&PairGateway { code: made.code }).await?;
    let allowed = async |key: &str| caller.get("/status", key).await?.allowed();
    let refused = async |key: &str| caller.get("/status", key).await?.refused("key_revoked");
    eventually("the gate lets the paired key through", SOON, async || allowed(first.secret.expose()).await)
        .await
        .with_context(|| sidecar.log())?;
    let offer = OfferPairing { order: Some(RotationOrder::RevokeFirst) };
    let code = client.offer_pairing(&made.gateway.id, &offer).await?.code;
    let second = client.pair_gateway(&PairGateway { code }).await?;
    eventually("the gate lets the new key through", SOON, async || allowed(second.secret.expose()).await).await?;
    eventually("the gate refuses the old key", SOON, async || refused(first.secret.expose()).await).await?;
    client.unpair_gateway(&made.gateway.id, &UnpairGateway { reason: "sold".into() }).await?;
    eventually("the gate refuses what was unpaired", SOON, async || refused(second.secret.expose()).await).await?;
    Ok(())
}
