//! What is left standing when the module traps.

use anyhow::Result;
use nightlatch_tests::published::{Key, PublishedSet};

use crate::stand::Stand;

#[tokio::test]
async fn after_a_trap_the_next_request_finds_a_fresh_module() -> Result<()> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    // A text that reaches the module far outside its memory.
    let stand = Stand::start(prepare, |config| {
        let entry = "function passStringToWasm0(arg,malloc,realloc){";
        let wild = "if(arg.includes('/any/trap')){WASM_VECTOR_LEN=64;return 4294967200}";
        config.sabotage(entry, &format!("{entry}{wild}"))
    })
    .await?;
    let Some(key) = key else { unreachable!("prepared above") };
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    for _ in 0..3 {
        let refused = stand.caller.get("/any/trap", key.expose()).await?.expect(503, Some("set_stale"))?;
        assert_eq!(refused.header("retry-after"), "2");
        // Cold again, so the set is fetched again.
        let asked = stand.source.state().heads_asked;
        stand.caller.get("/status", key.expose()).await?.allowed()?;
        assert_eq!(stand.source.state().heads_asked, asked + 1);
    }
    stand.worker.logged("the module trapped and starts anew").await?;
    Ok(())
}

#[tokio::test]
async fn a_trap_while_the_set_is_fetched_hangs_nobody() -> Result<()> {
    let mut key = None;
    let prepare = |set: &mut PublishedSet| {
        key = Some(set.issue(Key::default()));
        set.publish()
    };
    // The first flight dies in the middle of the module.
    let stand = Stand::start(prepare, |config| {
        let entry = "function passArray8ToWasm0(arg,malloc){";
        let wild = "if(!globalThis.sabotaged){globalThis.sabotaged=1;WASM_VECTOR_LEN=64;return 4294967200}";
        config.sabotage(entry, &format!("{entry}{wild}"))
    })
    .await?;
    let Some(key) = key else { unreachable!("prepared above") };
    let refused = stand.caller.get("/status", key.expose()).await?.expect(503, Some("set_stale"))?;
    let took = refused.received.duration_since(refused.sent).as_millis();
    assert!(took < 4_000, "{took} ms");
    stand.caller.get("/status", key.expose()).await?.allowed()?;
    Ok(())
}
