//! Running a sidecar: checking, reloading, watching and stopping it.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nightlatch_keyset::Deny;
use nightlatch_tests::clock::now_ms;
use nightlatch_tests::origin::Origin;
use nightlatch_tests::program::sidecar_program;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::wait::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::stand::{SOON, Stand, signer};

#[tokio::test]
async fn check_says_all_that_is_wrong_and_starts_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let program = tokio::task::spawn_blocking(sidecar_program).await??;
    let file = directory.path().join("sidecar.toml");
    let exposed = directory.path().join("peppers");
    fs::write(&exposed, "p1:AAAA")?;
    fs::set_permissions(&exposed, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    fs::write(
        &file,
        format!(
            "mode = \"proxy\"\nset = \"set_a\"\nsource = \"ftp://x\"\npeppers_file = {exposed:?}\nverifiers = [\"x\"]\n"
        ),
    )?;
    let check = |arguments: &[&str]| -> Result<_> {
        Ok(Command::new(&program).arg("check").arg("--config").arg(&file).args(arguments).output()?)
    };
    let output = check(&[])?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success());
    for flaw in ["origin:", "source:", "peppers_file:", "chmod 600", "verifiers:", "state_dir:"] {
        ensure!(text.contains(flaw), "{flaw} is not in:\n{text}");
    }
    let output = check(&["--json"])?;
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(printed["ok"] == false && printed["flaws"].as_array().is_some_and(|flaws| flaws.len() >= 5), "{printed}");
    fs::write(&file, "lisen = 1\n")?;
    ensure!(String::from_utf8(check(&[])?.stderr)?.contains("lisen"));

    let stand = Stand::plain().await?;
    let output = Command::new(&program).arg("check").arg("--config").arg(stand.sidecar.config_file()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Flags stand above the file.
    let output = Command::new(&program)
        .args(["check", "--threads", "0", "--config"])
        .arg(stand.sidecar.config_file())
        .output()?;
    ensure!(String::from_utf8(output.stderr)?.contains("threads:"));
    Ok(())
}

/// SIGHUP: a new origin is used without a connection being dropped; a bad configuration changes nothing.
#[tokio::test]
async fn a_reload_takes_effect_or_changes_nothing() -> Result<()> {
    let mut stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.kept().await?;
    let second = Origin::start().await?;
    let url = second.url();
    stand.sidecar.configure(|config| config.setting("origin", url));
    stand.sidecar.reload()?;
    eventually("requests go to the new origin", SOON, async || {
        stand.caller.get("/status", stand.key.expose()).await?.allowed()?;
        ensure!(!second.received().is_empty());
        Ok(())
    })
    .await?;

    let log = stand.sidecar.log().len();
    let bad: [fn(nightlatch_tests::sidecar::SidecarConfig) -> _; 3] = [
        |config| config.setting("origin", "ftp://nowhere"),
        |config| config.number("threads", 1),
        |config| config.secret("peppers_file", "other:KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio="),
    ];
    for (number, bad) in bad.into_iter().enumerate() {
        let url = second.url();
        stand.sidecar.configure(|config| {
            let peppers = "p1:KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=";
            bad(config.setting("origin", url).number("threads", 2).secret("peppers_file", peppers))
        });
        stand.sidecar.reload()?;
        eventually("the configuration is refused", SOON, async || {
            let refused = stand.sidecar.log()[log..].matches("the new configuration is not taken").count();
            ensure!(refused == number + 1, "{}", stand.sidecar.log());
            Ok(())
        })
        .await?;
        stand.caller.get("/status", stand.key.expose()).await?.allowed()?;
    }
    Ok(())
}

/// SIGHUP: what is known is known afterwards, on the disk or not, and an open route that lives on an expired head goes on.
#[tokio::test]
async fn a_reload_forgets_nothing() -> Result<()> {
    let prepare = |set: &mut PublishedSet| {
        // The last that was heard is long enough ago for a deny note to be looked for.
        set.head.issued = now_ms() - 20_000;
        set.head.valid_until = now_ms() + 10_000;
        set.head.open_until = Some(now_ms() + 600_000);
        Ok(())
    };
    let mut stand = Stand::start(prepare, |config| config.number("wait_ms", 100)).await?;
    let denied = stand.set.issue(Key::default());
    let (head, issued) = (stand.set.head.valid_until, stand.set.head.issued);
    stand.set.publish()?;
    (stand.set.head.valid_until, stand.set.head.issued) = (head, issued);
    stand.source.take(&stand.set);
    stand.says(&denied, 200, None).await?;
    stand.kept().await?;
    fs::create_dir(stand.sidecar.state_dir().join("deny.draft"))?;
    let note = Deny { set: stand.set.head.set.clone(), number: 1, issued: now_ms(), digests: vec![denied.digest()] };
    stand.source.state().deny = Some(note.sign(&signer()?));
    stand.says(&denied, 401, Some("key_revoked")).await?;
    stand.source.state().failing = Some(503);
    let both = "p1:KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=,p2:KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=";
    stand.sidecar.configure(|config| config.secret("peppers_file", both));
    stand.sidecar.reload()?;
    stand.sidecar.logged("the new configuration is in force").await?;
    stand.caller.get("/status", denied.expose()).await?.refused("key_revoked")?;
    stand.caller.get("/status", stand.key.expose()).await?.allowed()?;

    stand.says(&stand.key, 503, Some("set_stale")).await?;
    stand.caller.get("/open", stand.key.expose()).await?.allowed()?;
    // The disk holds no head that could come into force, so neither may this one go.
    stand.sidecar.configure(|config| config.number("max_memory", 64 << 20));
    stand.sidecar.reload()?;
    stand.sidecar.logged("the new configuration is not taken").await?;
    stand.caller.get("/open", stand.key.expose()).await?.allowed()?;
    stand.caller.get("/open", denied.expose()).await?.refused("key_revoked")?;
    Ok(())
}

#[tokio::test]
async fn metrics_tell_how_it_goes() -> Result<()> {
    let stand = Stand::plain().await?;
    stand.says(&stand.key, 200, None).await?;
    stand.caller.get("/status", "nl_live_x").await?.refused("key_invalid")?;
    stand.kept().await?;
    let (status, text) = stand.sidecar.admin("/metrics").await?;
    ensure!(status == 200);
    for line in [
        r#"nightlatch_sidecar_verdicts_total{outcome="allowed"} 1"#,
        r#"nightlatch_sidecar_verdicts_total{outcome="key_invalid"} 1"#,
        "nightlatch_sidecar_set_keys 1",
        "nightlatch_sidecar_state_kept 1",
        "nightlatch_sidecar_data_age_seconds ",
    ] {
        ensure!(text.contains(line), "{line} is not in:\n{text}");
    }
    ensure!(stand.sidecar.metric("nightlatch_sidecar_kept_version").await? == stand.set.head.version as f64);
    ensure!(!text.contains(stand.key.expose()));
    ensure!(stand.sidecar.admin("/other").await?.0 == 404);
    Ok(())
}

/// SIGTERM: the request under way is answered, the next connection is not taken.
#[tokio::test]
async fn requests_under_way_are_finished() -> Result<()> {
    let slow = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", slow.local_addr()?);
    let mut stand = Stand::start(|_| Ok(()), |config| config.setting("origin", url)).await?;
    let caller = stand.caller.clone();
    let key = stand.key.clone();
    let call = tokio::spawn(async move { caller.get("/status", key.expose()).await });
    let (mut origin, _) = slow.accept().await?;
    let mut head = [0; 4096];
    ensure!(origin.read(&mut head).await? > 0);
    stand.sidecar.terminate()?;
    let address = stand.sidecar.address();
    eventually("no connection is taken any more", SOON, async || {
        ensure!(TcpStream::connect(&address).await.is_err(), "it still listens");
        Ok(())
    })
    .await?;
    origin.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await?;
    let answer = call.await?.context("the request under way")?;
    ensure!(answer.status == 200 && answer.body == "ok", "{answer:?}");
    stand.sidecar.stop()
}
