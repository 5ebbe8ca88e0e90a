//! The matrix of role (or service account) × kind of principal × action, and that of role × route, each cell of it through HTTP.
//!
//! S0-14, S0-27, S0-28, S0-36, S1-02, S1-03, S1-18, S1-19, S3-21.

mod calls;
mod deeds;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use nightlatch::domain::authority::Seat;
use nightlatch::domain::{Action, Key, PrincipalKind, Role, RotationId};
use reqwest::Method;
use serde_json::json;

use crate::app::TestApp;
use crate::on_both;
use crate::people::{People, Person, SERVICE_ACCOUNT};
use crate::walks::lines;
use calls::{OPERATIONS, Subject, fresh, outcome};

/// A line of `cells.txt`.
struct Line {
    action: &'static str,
    kind: PrincipalKind,
    own: bool,
    cells: Vec<&'static str>,
    since: Option<&'static str>,
}

fn cells() -> Vec<Line> {
    let line = |words: Vec<&'static str>| {
        assert!(matches!(words.len(), 11 | 12), "{words:?}");
        assert!(["own", "others"].contains(&words[2]), "{words:?}");
        Line {
            action: words[0],
            kind: PrincipalKind::from_name(words[1]).unwrap(),
            own: words[2] == "own",
            cells: words[3..11].to_vec(),
            since: words.get(11).copied(),
        }
    };
    lines(include_str!("cells.txt")).map(line).collect()
}

/// A cell that nobody wrote down is nobody's decision.
#[test]
fn every_cell_is_written_down_once() {
    let written: Vec<_> = cells().iter().map(|line| (line.action, line.kind.as_str(), line.own)).collect();
    let mut expected = BTreeSet::new();
    for (action, _) in OPERATIONS {
        for kind in PrincipalKind::ALL {
            expected.insert((*action, kind.as_str(), false));
            if matches!(kind, PrincipalKind::User | PrincipalKind::Partner) {
                expected.insert((*action, kind.as_str(), true));
            }
        }
    }
    assert_eq!(written.iter().copied().collect::<BTreeSet<_>>(), expected);
    assert_eq!(written.len(), expected.len(), "a line is there twice");
}

/// Somebody in a column of the tables.
struct Actor {
    name: String,
    text: String,
    subject: u32,
    partner: Option<u32>,
}

/// One of every role and a service account, somebody else, two partner organisations and a gateway.
struct Cast {
    people: People,
    actors: Vec<Actor>,
    colleague: u32,
    organisations: [u32; 2],
    gateway: u32,
}

async fn cast(app: &TestApp) -> Cast {
    let people = People::of(app).await;
    let ours = people.principal(app, PrincipalKind::Partner, "ours").await;
    let theirs = people.principal(app, PrincipalKind::Partner, "theirs").await;
    let gateway = people.principal(app, PrincipalKind::Gateway, "gateway").await;
    let mut actors = Vec::new();
    for role in Role::ALL {
        let partner = role.is_partner().then_some(ours);
        let Person { member, text, .. } = people.person(role, partner, &format!("{role}@example.com")).await;
        actors.push(Actor { name: role.to_string(), text, subject: member.subject, partner: member.partner });
    }
    let account = people.principal(app, PrincipalKind::ServiceAccount, "program").await;
    let all = Action::ALL.iter().copied().filter(|action| Seat::ServiceAccount.may_ever(*action)).collect();
    let (_, text) = people.account_token(account, all).await;
    actors.push(Actor { name: "service_account".to_owned(), text, subject: account, partner: None });
    let colleague = people.member(Role::Operator, None, "colleague@example.com").await.subject;
    Cast { people, actors, colleague, organisations: [ours, theirs], gateway }
}

impl Cast {
    /// Whose keys a cell is about.
    fn subject(&self, line: &Line, caller: &Actor) -> u32 {
        let of_partner = caller.partner.is_some();
        match line.kind {
            PrincipalKind::User if line.own => caller.subject,
            PrincipalKind::User => self.colleague,
            PrincipalKind::ServiceAccount => SERVICE_ACCOUNT,
            PrincipalKind::Partner => self.organisations[usize::from(!line.own && of_partner)],
            PrincipalKind::Gateway => self.gateway,
        }
    }
}

on_both!(every_role_may_do_with_every_kind_of_key_what_the_matrix_says);
async fn every_role_may_do_with_every_kind_of_key_what_the_matrix_says(app: TestApp) {
    let cast = cast(&app).await;
    let paths = app.get("/openapi.json").send().await.json()["paths"].clone();
    for path in cells().iter().filter_map(|line| line.since) {
        assert!(paths.get(path).is_some(), "cells.txt has cells since {path}, which is no path any more");
    }
    // What nobody may change serves for every cell that is refused.
    let mut standing: BTreeMap<u32, (Key, String, Key, RotationId)> = BTreeMap::new();
    let (mut wrong, mut before) = (Vec::new(), None);
    for line in &cells() {
        for (caller, expected) in cast.actors.iter().zip(&line.cells) {
            if *expected == "-" {
                continue;
            }
            let subject = cast.subject(line, caller);
            if let Entry::Vacant(place) = standing.entry(subject) {
                let ((key, text), (turning, _)) = (cast.people.key(subject).await, cast.people.key(subject).await);
                let rotation = cast.people.rotation(&turning).await;
                place.insert((key, text, turning, rotation));
                before = None;
            }
            let (key, text, turning, rotation) = &standing[&subject];
            let target = if *expected == "ok" && calls::changes(line.action) {
                before = None;
                fresh(&app, &cast.people, line.action, subject).await
            } else {
                let turns = calls::needs_rotation(line.action);
                let key = if turns { turning } else { key };
                Subject { subject, key: key.clone(), text: text.clone(), rotation: rotation.clone() }
            };
            let footprint = match before {
                Some(footprint) => footprint,
                None => app.footprint().await.without_log(),
            };
            let got = outcome(&app, line.action, &target, &caller.text).await;
            let role = &caller.name;
            let cell =
                format!("{} {} {}: {role}", line.action, line.kind.as_str(), if line.own { "own" } else { "others" });
            if got != *expected {
                wrong.push(format!("{cell}: {got} instead of {expected}"));
            }
            let after = app.footprint().await.without_log();
            let changes = after != footprint;
            before = Some(after);
            if changes != (*expected == "ok" && calls::changes(line.action)) {
                wrong
                    .push(format!("{cell}: {}", if changes { "something was changed" } else { "nothing was changed" }));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}

on_both!(every_route_lets_those_roles_in_that_the_table_names);
async fn every_route_lets_those_roles_in_that_the_table_names(app: TestApp) {
    let cast = cast(&app).await;
    let edge = app.edge_token().await;
    let document = app.get("/openapi.json").send().await.json();
    let mut documented = BTreeSet::new();
    // Sessions are a person's own, whatever the role; tokens do not get there.
    let paths = document["paths"].as_object().unwrap().iter().filter(|(path, _)| !path.starts_with("/v1/session"));
    for (path, operations) in paths {
        documented.extend(operations.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    let table: Vec<_> = lines(include_str!("routes.txt")).collect();
    let written: BTreeSet<_> = table.iter().map(|words| (words[0].to_owned(), words[1].to_owned())).collect();
    assert_eq!(written, documented, "routes.txt and the OpenAPI document differ");
    let before = app.footprint().await;
    let mut wrong = Vec::new();
    for words in table {
        let (method, path) = (words[0], words[1]);
        assert_eq!(words.len(), 10, "{words:?}");
        let url = path.replace("{role}", "owner").replace(['{', '}'], "");
        let call = || {
            let call = app.call(Method::from_bytes(method.as_bytes()).unwrap(), &url);
            if method == "GET" { call } else { call.json(&json!({ "nobody reads": "this" })) }
        };
        let asks = words[2] != "any";
        let nobody = call().without_token().send().await;
        let missing = nobody.status == 401 && nobody.text.contains("token_missing");
        if missing != asks {
            wrong.push(format!("{method} {path}: {} for nobody", nobody.status));
        }
        for (caller, expected) in cast.actors.iter().zip(&words[2..]) {
            let answer = call().token(&caller.text).send().await;
            let got = match answer.status.as_u16() {
                403 => "no",
                401 if !answer.text.contains("_invalid") => "unknown",
                // Behind the door a body that nobody reads, or an id of nobody, is what is wrong: deeds.txt has what comes of good ones.
                200 if method == "GET" => {
                    if asks {
                        "may"
                    } else {
                        "any"
                    }
                }
                400 | 404 | 415 | 428 if asks => "may",
                400 if !asks => "any",
                _ => "neither",
            };
            if got != *expected {
                wrong.push(format!("{method} {path}: {} is {got} instead of {expected}: {answer:?}", caller.name));
            }
        }
        let edges = asks && (path.starts_with("/v1/sets/{set}") || path == "/v1/edges/reports");
        let answer = call().token(&edge).send().await;
        if asks && (answer.status == 403) == edges {
            wrong.push(format!("{method} {path}: {} for an edge", answer.status));
        }
    }
    let after = app.footprint().await;
    assert!(after == before, "something was changed: {}", before.difference(&after));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}

/// What only reads, and takes so much away that it needs a proof all the same.
const TAKES_AWAY: [&str; 3] = ["/v1/keys/export", "/v1/audit/export", "/v1/audit/checkpoint"];

on_both!(what_changes_something_needs_a_proof_that_is_fresh);
async fn what_changes_something_needs_a_proof_that_is_fresh(app: TestApp) {
    crate::session::join(&app, "ada@example.com", "owner").await;
    let mut ada = crate::session::Browser::new(&app).signed_in("ada@example.com").await;
    app.sql("UPDATE sessions SET elevated_until = 1").await;
    let mut wrong = Vec::new();
    for words in lines(include_str!("routes.txt")).filter(|words| words[2] == "may") {
        let (method, path) = (words[0], words[1]);
        let url = path.replace("{role}", "owner").replace(['{', '}'], "");
        let request = ada.request(Method::from_bytes(method.as_bytes()).unwrap(), &url);
        let request = request.header("x-nightlatch-csrf", ada.csrf.clone().unwrap());
        let answer = ada.send(if method == "GET" { request } else { request.json(&json!({})) }).await;
        let needs = TAKES_AWAY.contains(&path) || method != "GET" && path != "/v1/verify";
        // The log is read too, and tells of the refusals.
        let refused = answer.status == 403 && answer.text.contains("step_up_required");
        if refused != needs {
            wrong.push(format!("{method} {path}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}
