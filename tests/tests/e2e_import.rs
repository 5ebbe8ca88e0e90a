//! Keys that were minted elsewhere work at the edge as they are.

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::{ImportLine, ImportOptions, KeyFilter};
use nightlatch_tests::caller::Answer;
use nightlatch_tests::control_plane::Database;
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, World};
use nightlatch_tests::{import, on_both_databases};

on_both_databases!(a_foreign_key_works_with_the_text_its_holder_has);

/// Imported by digest, the server never saw the text; by text, it did. Both pass, the origin learns the key as
/// `kn_<number>`, and revoking by that name works.
async fn a_foreign_key_works_with_the_text_its_holder_has(database: Database) -> Result<()> {
    let world = World::start(database).await?;
    let (digested, texted) = ("crun_live_4f2e9ad01c5b4f7c8e3a", "old/gateway+key==");
    let scopes = vec!["invoices:read".to_owned()];
    let lines = [
        ImportLine { scopes: scopes.clone(), ..import::by_digest("from the old gateway", digested) },
        import::by_text("from the older gateway", texted),
    ];
    let report = world.api().import_keys(ImportOptions::default(), import::lines(&lines)?).await?;
    ensure!((report.created, report.errors.len()) == (2, 0), "{report:?}");
    let again = world.api().import_keys(ImportOptions::default(), import::lines(&lines)?).await?;
    ensure!((again.created, again.existing) == (0, 2), "{again:?}");

    world.allowed_soon(digested).await?;
    let answer = world.caller.get("/invoices", digested).await?.allowed()?;
    let filter = KeyFilter { q: Some("old gateway".into()), ..KeyFilter::default() };
    let listed = world.api().list_keys(&filter).await?.items.pop().context("the imported key is listed")?;
    ensure!(listed.imported && !listed.weak && listed.scopes == scopes, "{listed:?}");
    let name = format!("kn_{}", listed.number);
    ensure!(identity(&answer)? == name, "{answer:?}");

    world.allowed_soon(texted).await?;
    world.caller.get("/status", "never imported").await?.refused("key_invalid")?;

    eventually("its use is known", SOON * 2, async || {
        world.api().key(&name).await?.value.last_used_at.context("no use is known")
    })
    .await?;
    world.revoke(&name).await?;
    world.refused_soon(digested, "key_revoked").await?;
    Ok(())
}

/// Who the origin was told is calling.
fn identity(answer: &Answer) -> Result<String> {
    let echo: serde_json::Value = serde_json::from_str(&answer.body)?;
    let key = echo["headers"]["x-nightlatch-key-id"].as_str().context("the origin learnt no key")?;
    Ok(key.to_owned())
}
