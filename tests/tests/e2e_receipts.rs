//! Receipts: real sidecars that enrolled as durable edges say what they refuse, and the control plane signs what that proves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use nightlatch_api::client::Client;
use nightlatch_api::{
    CreateEdge, EdgeClass, EdgeClock, EdgeProof, EdgeState, EnrolEdge, Environment, IssueKey, IssuedKey, Receipt,
    ReceiptEdge, ReceiptState, RevokeKey, RevokedKey, Secret,
};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::clock::{now, until};
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database, Timing};
use nightlatch_tests::load::{Consumer, Load};
use nightlatch_tests::on_both_databases;
use nightlatch_tests::origin::Origin;
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::{SOON, put_routes, routes};
use reqwest::Method;
use tempfile::TempDir;

/// Requests a second.
const PACE: u32 = 100;
/// How many requests show that a key stays out.
const AGAIN: usize = 50;

on_both_databases!(
    s3_10_a_receipt_is_confirmed_by_every_durable_edge,
    s2_14_a_silent_edge_leaves_only_the_bound,
    s0_22_a_sighting_moves_the_time_a_key_was_last_used,
    s3_12_a_credential_is_changed_without_a_failed_request,
    s3_12_a_pepper_is_changed_once_every_durable_edge_holds_it,
);

/// A durable edge and what calls it.
struct DurableEdge {
    id: String,
    name: &'static str,
    credential: Secret,
    sidecar: Sidecar,
    caller: Caller,
}

/// A control plane, durable edges of its set that forward to one origin, and a place for files.
struct World {
    control_plane: ControlPlane,
    edges: Vec<DurableEdge>,
    /// The root key that the edges were told of when they enrolled.
    root: String,
    _origin: Origin,
    scratch: TempDir,
}

impl World {
    async fn start(database: Database, timing: Timing, names: &[&'static str]) -> Result<Self> {
        let control_plane = ControlPlane::start(ControlPlaneConfig::new(database).timing(timing)).await?;
        put_routes(control_plane.client(), &routes()).await?;
        let origin = Origin::start().await?;
        let (mut edges, mut root) = (Vec::new(), None);
        for &name in names {
            let request = CreateEdge { name: name.into(), class: EdgeClass::Durable, set: None };
            let created = control_plane.client().create_edge(&request).await?;
            ensure!(created.edge.state == EdgeState::Pending, "{:?}", created.edge);
            let enrol = EnrolEdge { code: created.code, runtime: "sidecar".into(), version: "0.0.0".into() };
            let anonymous = Client::new(&control_plane.url())?;
            let enrolled = anonymous.enrol_edge(&enrol).await?;
            ensure!(anonymous.enrol_edge(&enrol).await.is_err(), "the code of {name} is good twice");
            let config = SidecarConfig::enrolled(&control_plane.url(), &enrolled, control_plane.pepper()?)?
                .setting("mode", "proxy")
                .setting("origin", origin.url())
                .number("threads", 1);
            let sidecar = Sidecar::start(config).await?;
            let caller = Caller::new(&sidecar.url())?;
            root = enrolled.config.roots.into_iter().next();
            edges.push(DurableEdge { id: created.edge.id, name, credential: enrolled.credential, sidecar, caller });
        }
        let (root, scratch) = (root.context("a root")?, TempDir::with_prefix("nightlatch-receipts-")?);
        let world = Self { control_plane, edges, root, _origin: origin, scratch };
        for edge in &world.edges {
            world.reports(edge).await?;
        }
        Ok(world)
    }

    fn api(&self) -> &Client {
        self.control_plane.client()
    }

    /// Waits until an edge has told the control plane what it holds, long poll included.
    async fn reports(&self, edge: &DurableEdge) -> Result<()> {
        eventually("the edge reports", SOON, async || {
            let seen = self.api().edge(&edge.id).await?;
            ensure!(seen.state == EdgeState::Active && seen.runtime.as_deref() == Some("sidecar"), "{seen:?}");
            ensure!(seen.applied.is_some() && !seen.ahead && seen.failure.is_none(), "{seen:?}");
            ensure!(seen.trust.is_some() && !seen.clock_refused && seen.clock_offset_ms.is_some(), "{seen:?}");
            ensure!(!seen.peppers.is_empty() && !seen.formats.is_empty() && seen.instances >= 1, "{seen:?}");
            ensure!(edge.sidecar.metric("nightlatch_sidecar_source_holds").await? == 1.0, "it does not poll long");
            Ok(())
        })
        .await
        .with_context(|| edge.sidecar.log())
    }

    /// Issues a key and waits until every edge lets it through.
    async fn issue_and_use(&self, name: &str) -> Result<IssuedKey> {
        let issued = self.api().issue_key(&IssueKey::new(name, Environment::Live)).await?;
        for edge in &self.edges {
            eventually("the key is let through", SOON, async || {
                edge.caller.get("/status", issued.secret.expose()).await?.allowed()
            })
            .await?;
        }
        Ok(issued)
    }

    /// Revokes a key and waits for the receipt; what came back, with its status.
    async fn revoke_and_wait(&self, id: &str) -> Result<(u16, RevokedKey)> {
        let request = RevokeKey { reason: "the test says so".into(), wait: Some(30) };
        let url = format!("{}/v1/keys/{id}/revoke", self.control_plane.url());
        let sent = reqwest::Client::new().post(url).bearer_auth(self.control_plane.token()).json(&request);
        let response = sent.send().await?;
        let (status, text) = (response.status().as_u16(), response.text().await?);
        let revoked = serde_json::from_str(&text).with_context(|| format!("{status} {text}"))?;
        Ok((status, revoked))
    }

    /// Runs `nightlatch pepper` on the server's machine; what it complains of, where it refuses.
    async fn pepper(&self, verb: &str) -> Result<Result<(), String>> {
        let mut command = tokio::process::Command::from(self.control_plane.host_command()?);
        let output = command.args(["pepper", verb]).output().await?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(if output.status.success() { Ok(()) } else { Err(complaint) })
    }

    /// Writes the signed receipt and the set's trust note into files.
    async fn evidence(&self, receipt: &Receipt) -> Result<Evidence> {
        let note = receipt.note.clone().with_context(|| format!("no note in {receipt:?}"))?;
        let trust = self.scratch.path().join("trust");
        std::fs::write(&trust, self.api().trust(&receipt.set).await?)?;
        Ok(Evidence { note, file: self.scratch.path().join("receipt"), trust, root: self.root.clone() })
    }
}

/// A signed receipt and what it is checked with.
struct Evidence {
    note: String,
    file: PathBuf,
    trust: PathBuf,
    root: String,
}

impl Evidence {
    /// Has `nightlatch receipt verify` check a text as the receipt: whether it does, and what it prints.
    async fn check(&self, text: &[u8]) -> Result<(bool, String)> {
        std::fs::write(&self.file, text)?;
        let (file, trust): (&Path, &Path) = (&self.file, &self.trust);
        let mut command = tokio::task::spawn_blocking(nightlatch_tests::program::nightlatch).await??;
        command.args(["receipt", "verify", "--json"]).arg(file).args(["--root", &self.root]).arg("--trust").arg(trust);
        let output = tokio::process::Command::from(command).output().await?;
        let printed = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&printed).into_owned()))
    }

    /// The note is good, says `state`, and is good no more with a byte changed, wherever that is.
    async fn proves(&self, state: &str) -> Result<()> {
        let (good, printed) = self.check(self.note.as_bytes()).await?;
        ensure!(good, "the receipt is refused: {printed}");
        let facts: serde_json::Value = serde_json::from_str(&printed)?;
        ensure!(facts["state"] == state, "{facts}");
        let length = self.note.len();
        for place in [0, length / 4, length / 2, length * 3 / 4, length - 2] {
            let mut forged = self.note.clone().into_bytes();
            forged[place] ^= 1;
            let (good, printed) = self.check(&forged).await?;
            ensure!(!good, "byte {place} can be changed: {printed}");
        }
        Ok(())
    }
}

fn line<'a>(receipt: &'a Receipt, edge: &DurableEdge) -> Result<&'a ReceiptEdge> {
    receipt.edges.iter().find(|line| line.id == edge.id).with_context(|| format!("no {} in {receipt:?}", edge.id))
}

/// The edge, when it has confirmed in time and its clock is good.
fn confirmed(receipt: &Receipt, edge: &DurableEdge) -> Result<()> {
    let line = line(receipt, edge)?;
    ensure!(line.name == edge.name && line.state == EdgeProof::Confirmed, "{line:?}");
    let at = line.confirmed_at.context("a confirmed edge has a time")?;
    ensure!(receipt.revoked_at <= at && at <= receipt.in_force_by && line.clock == EdgeClock::Ok, "{line:?}");
    Ok(())
}

/// S3-10: a revocation that waits is answered when every durable edge has said that it refuses the key; from then on it is
/// refused everywhere, and the signed receipt can be checked by anybody, offline.
async fn s3_10_a_receipt_is_confirmed_by_every_durable_edge(database: Database) -> Result<()> {
    // The bound is longer than the wait: whatever is proven here is proven by the edges.
    let world = World::start(database, Timing::DEFAULT, &["gate, left", "gate, right"]).await?;
    let kept = world.issue_and_use("kept").await?;
    let mut took = Vec::new();
    for number in 0..3 {
        let doomed = world.issue_and_use(&format!("revoked {number}")).await?;
        let sent = now();
        let (status, revoked) = world.revoke_and_wait(&doomed.key.id).await?;
        for edge in &world.edges {
            for _ in 0..AGAIN {
                edge.caller.get("/status", doomed.secret.expose()).await?.refused("key_revoked")?;
            }
            edge.caller.get("/status", kept.secret.expose()).await?.allowed()?;
        }
        let receipt = revoked.receipt.clone().with_context(|| format!("no receipt in {revoked:?}"))?;
        ensure!(status == 200 && receipt.state == ReceiptState::Confirmed, "{status} {revoked:?}");
        ensure!((receipt.counted, receipt.proven, receipt.uncounted) == (2, 2, 0), "{receipt:?}");
        ensure!(receipt.edges.len() == 2 && receipt.published_version.is_some(), "{receipt:?}");
        world.edges.iter().try_for_each(|edge| confirmed(&receipt, edge))?;
        took.push(receipt.at.duration_since(sent));
        // It is kept as it was signed.
        ensure!(world.api().receipt(&doomed.key.id, None).await? == receipt);
        if number == 0 {
            world.evidence(&receipt).await?.proves("confirmed").await?;
        }
    }
    println!("{}: revoke to confirmed: {took:?}", database.as_str());
    Ok(())
}

/// S2-14: of two edges that cannot be heard, one killed and one stopped, nothing is proven but by the bound, after which
/// neither accepts the key: not the one that goes on, and not the one that starts again from what it kept.
async fn s2_14_a_silent_edge_leaves_only_the_bound(database: Database) -> Result<()> {
    let timing = Timing { validity: 10, ..Timing::SHORT };
    let mut world = World::start(database, timing, &["heard", "killed", "stopped"]).await?;
    let doomed = world.issue_and_use("revoked").await?;
    let secret = doomed.secret.expose();
    world.edges[1].sidecar.kill()?;
    world.edges[2].sidecar.pause(true)?;
    let revoked = world.api().revoke_key(&doomed.key.id, &RevokeKey::new("the test says so")).await?;
    let pending = eventually("the edge that is heard confirms", timing.bound(), async || {
        let receipt = world.api().receipt(&doomed.key.id, None).await?;
        confirmed(&receipt, &world.edges[0])?;
        Ok(receipt)
    })
    .await?;
    ensure!(pending.state == ReceiptState::Pending && pending.note.is_none(), "{pending:?}");
    ensure!((pending.counted, pending.proven) == (3, 1), "{pending:?}");
    for edge in &world.edges[1..] {
        let line = line(&pending, edge)?;
        ensure!(line.state == EdgeProof::Waiting && line.confirmed_at.is_none() && line.name == edge.name, "{line:?}");
    }
    world.edges[0].caller.get("/status", secret).await?.refused("key_revoked")?;
    // A request that is on its way to the stopped one when it goes on.
    let held = {
        let (caller, secret) = (world.edges[2].caller.clone(), secret.to_owned());
        tokio::spawn(async move { caller.get("/status", &secret).await })
    };
    until(revoked.in_force_by).await;
    let elapsed = eventually("the bound passes", SOON, async || {
        let receipt = world.api().receipt(&doomed.key.id, None).await?;
        ensure!(receipt.state == ReceiptState::BoundElapsed, "{receipt:?}");
        Ok(receipt)
    })
    .await?;
    ensure!(elapsed.at >= elapsed.in_force_by && elapsed.proven == 1, "{elapsed:?}");
    for edge in &world.edges[1..] {
        ensure!(line(&elapsed, edge)?.state != EdgeProof::Confirmed, "{elapsed:?}");
    }
    world.evidence(&elapsed).await?.proves("bound_elapsed").await?;

    // While there is nobody to ask, they have only what they hold.
    world.control_plane.stop()?;
    world.edges[2].sidecar.pause(false)?;
    let answer = held.await??;
    ensure!(answer.status != 200, "{answer:?}");
    world.edges[1].sidecar.restart().await?;
    for edge in &world.edges[1..] {
        edge.caller.get("/status", secret).await?.expect(503, Some("set_stale"))?;
    }
    world.control_plane.restart().await?;
    for edge in &world.edges[1..] {
        eventually("the key is refused for good", SOON, async || {
            let answer = edge.caller.get("/status", secret).await?;
            assert_ne!(answer.status, 200, "{answer:?}");
            answer.refused("key_revoked")
        })
        .await
        .with_context(|| edge.sidecar.log())?;
        // What was decided stays, also when they confirm at last.
        world.reports(edge).await?;
    }
    ensure!(world.api().receipt(&doomed.key.id, None).await? == elapsed);
    Ok(())
}

/// S0-22: what an edge saw arrives, and the later sighting of two edges wins.
async fn s0_22_a_sighting_moves_the_time_a_key_was_last_used(database: Database) -> Result<()> {
    let world = World::start(database, Timing::SHORT, &["first", "second"]).await?;
    let issued = world.api().issue_key(&IssueKey::new("used", Environment::Live)).await?;
    ensure!(issued.key.last_used_at.is_none(), "{:?}", issued.key);
    let mut before = None;
    for edge in &world.edges {
        let answer = eventually("the key is let through", SOON, async || {
            edge.caller.get("/status", issued.secret.expose()).await?.allowed()
        })
        .await?;
        before = eventually("the sighting arrives", SOON, async || {
            let used = world.api().key(&issued.key.id).await?.value.last_used_at;
            ensure!(used > before, "{used:?}");
            Ok(used)
        })
        .await?;
        let used = before.context("it was used")?;
        ensure!(used <= answer.received, "used at {used}, answered at {}", answer.received);
    }
    Ok(())
}

/// A running edge gets another credential by the real programs: a file is written, the process is told to look, and nobody
/// who calls through it notices. The credential before ends with the first use of the new one.
async fn s3_12_a_credential_is_changed_without_a_failed_request(database: Database) -> Result<()> {
    let mut world = World::start(database, Timing::DEFAULT, &["changing", "other"]).await?;
    let kept = Arc::new(world.issue_and_use("kept").await?.secret);
    let callers: Vec<_> = world.edges.iter().map(|edge| edge.caller.clone()).collect();
    let load = Load::start(&callers, vec![Consumer::new("/status", &kept)], PACE)?;
    for number in 0..2 {
        let file = world.scratch.path().join(format!("credential {number}"));
        let mut command = tokio::process::Command::from(world.control_plane.command()?);
        command.args(["edge", "rotate", &world.edges[0].id, "--overlap", "1h", "--secret-out"]).arg(&file);
        let output = command.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let new = std::fs::read_to_string(&file)?.trim_end().to_owned();
        let edge = &mut world.edges[0];
        let old = std::mem::replace(&mut edge.credential, Secret::from(new.as_str()));
        edge.sidecar.configure(|config| config.secret("credential_file", new));
        edge.sidecar.reload()?;
        let head = format!("/v1/sets/{}/head", world.control_plane.set().id);
        let source = Caller::new(&world.control_plane.url())?;
        eventually("the old credential has ended", SOON, async || {
            source.get(&head, old.expose()).await?.expect(401, Some("token_invalid"))
        })
        .await
        .with_context(|| world.edges[0].sidecar.log())?;
        source.send(Method::GET, &head, Some(world.edges[0].credential.expose())).await?.allowed()?;
        world.reports(&world.edges[0]).await?;
        // It still counts as one edge, and confirms with the new credential.
        let doomed = world.issue_and_use(&format!("revoked {number}")).await?;
        let (status, revoked) = world.revoke_and_wait(&doomed.key.id).await?;
        let receipt = revoked.receipt.with_context(|| format!("{status}"))?;
        ensure!(status == 200 && (receipt.counted, receipt.proven) == (2, 2), "{status} {receipt:?}");
        confirmed(&receipt, &world.edges[0])?;
    }
    let report = load.finish().await?;
    println!("{}: {report}", database.as_str());
    report.without_failure()?;
    let log = world.edges[0].sidecar.log();
    ensure!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
    Ok(())
}

/// The next pepper comes to two edges in the two ways there are: by a restart, and by a signal. As soon as both hold it the
/// control plane may use it, whatever an instance of before held; keys go on working.
async fn s3_12_a_pepper_is_changed_once_every_durable_edge_holds_it(database: Database) -> Result<()> {
    let mut world = World::start(database, Timing::DEFAULT, &["restarted", "reloaded"]).await?;
    let kept = world.issue_and_use("kept").await?;
    world.pepper("next").await?.map_err(anyhow::Error::msg)?;
    let mut command = tokio::process::Command::from(world.control_plane.command()?);
    command.args(["edge", "config", "--runtime", "sidecar", "--json", "--data-dir"]);
    let output = command.arg(world.control_plane.data_dir()).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let both = printed["secrets"]["peppers"].as_str().context("the peppers")?;
    let refused = world.pepper("switch").await?.err().context("no edge holds the next pepper yet")?;
    ensure!(world.edges.iter().all(|edge| refused.contains(&edge.id)), "{refused}");
    for edge in &mut world.edges {
        edge.sidecar.configure(|config| config.secret("peppers_file", both));
    }
    world.edges[0].sidecar.kill()?;
    world.edges[0].sidecar.restart().await?;
    world.edges[1].sidecar.reload()?;
    eventually("the next pepper may be used", SOON, async || world.pepper("switch").await?.map_err(anyhow::Error::msg))
        .await?;
    let later = world.issue_and_use("later").await?;
    for edge in &world.edges {
        eventually("the set is made with the next pepper", SOON, async || {
            let set = world.api().set(&world.control_plane.set().id).await?;
            let head = std::fs::read_to_string(edge.sidecar.state_dir().join("head"))?;
            ensure!(set.pepper != world.control_plane.set().pepper, "{set:?}");
            ensure!(head.contains(&format!("\npepper {}\n", set.pepper)), "{head}");
            Ok(())
        })
        .await?;
        for key in [&kept, &later] {
            edge.caller.get("/status", key.secret.expose()).await?.allowed()?;
        }
    }
    Ok(())
}
