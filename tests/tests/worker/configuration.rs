//! A Worker that was told nonsense says which variable, and nothing of what it holds.

use anyhow::Result;

use crate::stand::Stand;

#[tokio::test]
async fn a_wrong_variable_is_named_and_not_shown() -> Result<()> {
    for (variable, value) in [
        ("NIGHTLATCH_PEPPERS", "p1:tooshort"),
        ("NIGHTLATCH_VERIFIER", ""),
        ("NIGHTLATCH_ORIGIN_KEY", "brief"),
        ("NIGHTLATCH_SOURCE", "file:///etc"),
    ] {
        let stand = Stand::start(|_| Ok(()), |config| config.variable(variable, value)).await?;
        let answer = stand.caller.get("/status", "nl_live_x").await?.expect(500, Some("edge_misconfigured"))?;
        assert!(answer.body.contains(variable), "{answer:?}");
        assert!(value.is_empty() || !answer.body.contains(value), "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        stand.caller.get("/status", "nl_live_x").await?.expect(500, Some("edge_misconfigured"))?;
        stand.worker.logged(variable).await?;
        let log = stand.worker.log();
        assert_eq!(log.matches(variable).count(), 1, "{log}");
        assert!(value.is_empty() || !log.contains(value), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_is_not_bound_is_an_unfit_set() -> Result<()> {
    let stand = Stand::start(|_| Ok(()), |config| config.variable("NIGHTLATCH_SOURCE", "r2:NOWHERE")).await?;
    stand.caller.get("/status", "nl_live_x").await?.expect(503, Some("set_stale"))?;
    stand.worker.logged("not bound").await?;
    Ok(())
}

#[test]
fn tests_and_deployments_ask_for_the_same_runtime() {
    let deployed = include_str!("../../../wrangler.toml");
    let line = format!("compatibility_date = \"{}\"\n", nightlatch_tests::workerd::COMPATIBILITY_DATE);
    assert!(deployed.contains(&line), "{line}");
}
