//! Guarantee 10: tenants are strangers, through the API and in what is published.

use std::path::PathBuf;
use std::time::Duration;

use nightlatch::domain::SetId;
use nightlatch::secrets::Secrets;
use nightlatch_api::client::Client;
use nightlatch_api::{Environment, ImportOptions, IssueKey, RevokeKey, VerifyKey};
use nightlatch_key::Digest;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Pepper, Status};
use nightlatch_tests::follower::Follower;
use nightlatch_tests::wait::eventually;
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;
use crate::operation::Operation;
use crate::tenants::{foreign, ours, unknown};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

on_both!(g10_ids_of_others_answer_as_unknown_ones);
async fn g10_ids_of_others_answer_as_unknown_ones(app: TestApp) {
    let (theirs, ours) = (foreign(&app).await, ours(&app).await);
    app.server.publisher().flush().await.unwrap();
    let edge_token = app.post("/v1/tokens", json!({ "name": "edge", "kind": "edge", "set": theirs.set }));
    let edge_token = edge_token.token(&theirs.token).send().await.json()["secret"].as_str().unwrap().to_owned();
    let before = app.footprint().await;
    let mut walked = 0;
    for operation in Operation::all().iter().filter(|operation| !operation.named().is_empty()) {
        // Whose things are named, who names them, and what is theirs.
        for (strangers, token, own) in
            [(&ours, &theirs.token, &theirs), (&ours, &edge_token, &theirs), (&theirs, &app.token, &ours)]
        {
            // The founding workspace's see that others exist.
            let seen = *token == app.token && operation.id == "readWorkspace";
            // Edge tokens may not even ask for most.
            if seen || (*token == edge_token && operation.named() != ["set"]) {
                continue;
            }
            let (strangers, own) = (strangers.things(), own.things());
            // All that is named is theirs; and of several, each alone.
            let mut cases = vec![(strangers.clone(), strangers.map(unknown))];
            for kind in operation.named() {
                let stranger = strangers.id(kind);
                cases.push((own.with(kind, stranger), own.with(kind, unknown(stranger))));
            }
            for (known, unknown) in cases {
                let mut answers = Vec::new();
                for things in [&known, &unknown] {
                    let file = format!("delta-{}", "0".repeat(8));
                    let call = operation.call(&app, &things.with("file", file)).token(token);
                    let call = if operation.changes() { operation.with(call, &operation.body(&own)) } else { call };
                    let answer = call.send().await;
                    assert_eq!(answer.status, 404, "{operation:?} {things:?}: {answer:?}");
                    answer.is_problem(404, "not_found");
                    let mut told = answer.json();
                    told.as_object_mut().unwrap().remove("request_id");
                    let headers: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
                    answers.push((told, headers));
                    walked += 1;
                }
                assert_eq!(answers[0], answers[1], "{operation:?}");
            }
        }
    }
    assert!(walked > 240, "{walked}");
    assert_eq!(app.footprint().await, before, "something was changed");
    app.stop().await;
}

on_both!(g10_metrics_of_many_are_for_the_founding_workspace);
async fn g10_metrics_of_many_are_for_the_founding_workspace(app: TestApp) {
    assert_eq!(app.get("/metrics").without_token().send().await.status, 200, "there is only one workspace");
    let theirs = foreign(&app).await;
    app.get("/metrics").without_token().send().await.is_problem(401, "token_missing");
    app.get("/metrics").token(&theirs.token).send().await.is_problem(403, "forbidden");
    let edge = app.edge_token().await;
    app.get("/metrics").token(edge).send().await.is_problem(403, "forbidden");
    assert!(app.get("/metrics").send().await.text.contains(&theirs.set));
    app.stop().await;
}

/// An edge of a set, and the directory it follows.
struct Gate {
    follower: Follower,
    directory: PathBuf,
}

fn pepper(app: &TestApp, set: &str, own: bool) -> Pepper {
    let secrets = Secrets::open(&app.config.data_dir).unwrap();
    let held = &secrets.peppers_of(set, own)[0];
    Pepper::new(&held.id, set, held.expose()).unwrap()
}

impl Gate {
    fn of(app: &TestApp, set: &str, verifier: &str, pepper: Pepper) -> Self {
        let follower = Follower::new(set, Vec::new(), vec![Verifier::from_vkey(verifier).unwrap()], vec![pepper]);
        Self { follower, directory: app.config.sets().join(set) }
    }

    async fn knows(&mut self, text: &str, wanted: Option<Status>) {
        let digest = Digest::of(text.as_bytes());
        eventually("its set says so", SOON, async || {
            self.follower.poll(&self.directory).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
            anyhow::ensure!(self.follower.answers() && self.follower.status(&digest) == wanted);
            Ok(())
        })
        .await
        .unwrap();
    }
}

on_both!(g10_s2_01_a_key_of_one_workspace_never_passes_the_gate_of_another);
async fn g10_s2_01_a_key_of_one_workspace_never_passes_the_gate_of_another(app: TestApp) {
    let other = foreign(&app).await;
    let stranger = Client::new(&app.server.url()).unwrap().with_token(other.token.clone());
    let publishers = app.server.publishers();
    let id = SetId::parse(&other.set).unwrap();
    eventually("the set is published", SOON, async || {
        let published = publishers.of(&id).ok_or_else(|| anyhow::anyhow!("not yet"))?;
        Ok(published.publisher().flush().await?)
    })
    .await
    .unwrap();
    let our_key = app.issue("ours", &[]).await;
    let their_key = stranger.issue_key(&IssueKey::new("theirs", Environment::Live)).await.unwrap();
    let (our_text, their_text) = (our_key.secret.expose(), their_key.secret.expose());
    // The same text in both, and each has its own key of it.
    let shared = "a text that two tenants have imported";
    let line = json!({ "key": shared, "name": "shared", "environment": "live", "entropy_bits": 128 }).to_string();
    for client in [&app.client, &stranger] {
        let report = client.import_keys(ImportOptions::default(), line.clone().into_bytes()).await.unwrap();
        assert_eq!((report.created, report.existing), (1, 0), "a collision is not visible: {report:?}");
    }
    let their_set = stranger.set(&other.set).await.unwrap();
    assert!(their_set.own_pepper && !app.set.own_pepper);
    let mut our_gate = Gate::of(&app, &app.set.id, &app.set.verifier, pepper(&app, &app.set.id, false));
    let mut their_gate = Gate::of(&app, &other.set, &their_set.verifier, pepper(&app, &other.set, true));
    our_gate.knows(our_text, Some(Status::Active)).await;
    our_gate.knows(their_text, None).await;
    their_gate.knows(their_text, Some(Status::Active)).await;
    their_gate.knows(our_text, None).await;
    for gate in [&mut our_gate, &mut their_gate] {
        gate.knows(shared, Some(Status::Active)).await;
    }
    // At the control plane as at the edge.
    let verify = async |client: &Client, text: &str| {
        let request = VerifyKey { key: text.into(), method: None, path: None, set: None };
        client.verify_key(&request).await.unwrap()
    };
    let (ours, theirs) = (verify(&app.client, shared).await, verify(&stranger, shared).await);
    assert!(ours.allowed && theirs.allowed);
    assert_ne!(ours.key.as_ref().unwrap().id, theirs.key.as_ref().unwrap().id);
    assert!(!verify(&app.client, their_text).await.allowed && !verify(&stranger, our_text).await.allowed);
    // What one revokes goes on for the other.
    let revoke = RevokeKey { reason: "leaked".to_owned(), wait: None };
    app.client.revoke_key(&ours.key.unwrap().id, &revoke).await.unwrap();
    our_gate.knows(shared, Some(Status::Revoked)).await;
    their_gate.knows(shared, Some(Status::Active)).await;
    assert!(verify(&stranger, shared).await.allowed);
    app.stop().await;
}

on_both!(g10_what_edges_of_one_workspace_hold_opens_nothing_of_another);
async fn g10_what_edges_of_one_workspace_hold_opens_nothing_of_another(app: TestApp) {
    let other = foreign(&app).await;
    let stranger = Client::new(&app.server.url()).unwrap().with_token(other.token.clone());
    let publishers = app.server.publishers();
    let id = SetId::parse(&other.set).unwrap();
    eventually("the set is published", SOON, async || {
        let published = publishers.of(&id).ok_or_else(|| anyhow::anyhow!("not yet"))?;
        Ok(published.publisher().flush().await?)
    })
    .await
    .unwrap();
    let their_set = stranger.set(&other.set).await.unwrap();
    assert_eq!(their_set.pepper, app.set.pepper, "one id, so that peppers are rotated alike");
    let (ours, theirs) = (pepper(&app, &app.set.id, false), pepper(&app, &other.set, true));
    let digest = Digest::of(b"a text");
    // The founding workspace's bytes under their set's id, which is what its edges could try.
    let tried = pepper(&app, &other.set, false);
    assert_ne!(tried.tag(&digest).as_bytes(), theirs.tag(&digest).as_bytes());
    assert_ne!(ours.tag(&digest).as_bytes(), theirs.tag(&digest).as_bytes());
    let mut edge = Gate::of(&app, &other.set, &their_set.verifier, tried);
    let refused = edge.follower.poll(&edge.directory).map(|()| edge.follower.answers());
    assert!(!matches!(refused, Ok(true)), "an edge with another's pepper answers nothing");
    // A head of one set is a stranger's to the edges of the other, though the same key has signed both.
    let key_of = |verifier: &str| verifier.rsplit('+').next().unwrap().to_owned();
    assert_eq!(key_of(&their_set.verifier), key_of(&app.set.verifier), "signing keys are shared");
    let mut edge = Gate::of(&app, &app.set.id, &app.set.verifier, ours);
    app.server.publisher().flush().await.unwrap();
    let theirs = app.config.sets().join(&other.set);
    edge.follower.poll(&theirs).unwrap_err();
    assert!(!edge.follower.answers());
    edge.follower.poll(&edge.directory).unwrap();
    assert!(edge.follower.answers());
    app.stop().await;
}

on_both!(g10_idempotency_keys_of_two_workspaces_do_not_meet);
async fn g10_idempotency_keys_of_two_workspaces_do_not_meet(app: TestApp) {
    let other = foreign(&app).await;
    let issue = |token: &str| {
        let call =
            app.post("/v1/keys", json!({ "name": "k", "environment": "live" })).header("idempotency-key", "once");
        call.token(token).send()
    };
    let (ours, theirs) = (issue(&app.token).await, issue(&other.token).await);
    assert_eq!((ours.status.as_u16(), theirs.status.as_u16()), (201, 201));
    assert_eq!((ours.header("idempotency-replayed"), theirs.header("idempotency-replayed")), ("", ""));
    assert_ne!(ours.json()["secret"], theirs.json()["secret"]);
    assert!(theirs.json()["key"]["prefix"].as_str().unwrap().starts_with("stranger_live_"));
    app.stop().await;
}
