//! What every role may do with everything but keys, each cell of it through HTTP.

use nightlatch::domain::Role;
use serde_json::json;

use super::calls;
use crate::app::TestApp;
use crate::dump::Rows;
use crate::on_both;
use crate::operation::Operation;
use crate::people::{People, Person};
use crate::walks::ready::{About, Ready, ready};
use crate::walks::{lines, table};

/// A line of `deeds.txt`.
struct Line {
    /// What is done, and by which call.
    deed: &'static str,
    call: &'static str,
    own: bool,
    /// The role of the member it is about.
    role: Option<&'static str>,
    cells: Vec<&'static str>,
}

fn deeds() -> Vec<Line> {
    let line = |words: Vec<&'static str>| {
        assert_eq!(words.len(), 9, "{words:?}");
        let (whose, role) = words[1].split_once(':').map_or((words[1], None), |(whose, role)| (whose, Some(role)));
        assert!(["-", "own", "others"].contains(&whose), "{words:?}");
        // Ways of one call that are not alike.
        let call = match words[0] {
            "demoteStaff" | "promoteStaff" => "updateStaff",
            call => call,
        };
        Line { deed: words[0], call, own: whose == "own", role, cells: words[2..].to_vec() }
    };
    lines(include_str!("deeds.txt")).map(line).collect()
}

/// A call that nobody wrote down is nobody's decision.
#[test]
fn every_call_that_changes_something_is_in_the_matrix() {
    let deeds = deeds();
    for operation in Operation::whole_document().iter().filter(|operation| operation.changes()) {
        let id = operation.id.as_str();
        // What is open asks for no role, and what is one's own session's for none either: walks/by_session.rs has those.
        let beside = operation.is_open() || operation.is_of_sessions();
        let written = deeds.iter().any(|line| line.call == id);
        let of_keys = calls::OPERATIONS.iter().any(|(_, call)| *call == id);
        assert_eq!(
            usize::from(beside) + usize::from(written) + usize::from(of_keys),
            1,
            "{id}: add its cells to matrix/deeds.txt, or, where it is about keys, to matrix/cells.txt"
        );
    }
    for line in &deeds {
        assert!(Operation::whole_document().iter().any(|operation| operation.id == line.call), "{}", line.call);
    }
}

/// One of every role, in one partner organisation.
struct Cast {
    people: Vec<Person>,
    organisation: String,
    /// Somebody's token, who is nobody of them.
    stranger: String,
}

async fn cast(app: &TestApp) -> Cast {
    let people = People::of(app).await;
    let made = app.done("/v1/partners", json!({ "name": "ours" })).await;
    let organisation = made["id"].as_str().unwrap().to_owned();
    let subject = organisation.strip_prefix("prn_").unwrap().parse().unwrap();
    let mut cast = Vec::new();
    for role in Role::ALL {
        let partner = role.is_partner().then_some(subject);
        cast.push(people.person(role, partner, &format!("{role}@example.com")).await);
    }
    Cast { people: cast, organisation, stranger: app.member("owner", None).await.1 }
}

/// What the deed is done to, for this caller.
async fn target(app: &TestApp, cast: &Cast, line: &Line, caller: &Person) -> Ready {
    let operations = Operation::whole_document();
    let operation = operations.iter().find(|operation| operation.id == line.call).unwrap();
    let about = About {
        partner: line.own.then(|| cast.organisation.clone()),
        role: line.role,
        holder: Some(if line.own { caller.text.clone() } else { cast.stranger.clone() }),
        ..About::default()
    };
    let mut ready = ready(app, operation, &about).await;
    match line.deed {
        "demoteStaff" => ready.body = json!({ "role": "partner_staff" }),
        "promoteStaff" => ready.body = json!({ "role": "partner_owner" }),
        _ => {}
    }
    ready
}

on_both!(every_role_may_do_what_the_matrix_says);
async fn every_role_may_do_what_the_matrix_says(app: TestApp) {
    let cast = cast(&app).await;
    let statuses = table();
    let mut wrong = Vec::new();
    for line in deeds() {
        // What nobody may change serves for every cell that is refused.
        let mut kept: Option<(Ready, Rows)> = None;
        for (caller, expected) in cast.people.iter().zip(&line.cells) {
            if *expected == "-" {
                continue;
            }
            let (ready, before) = match kept.take() {
                Some(kept) if *expected != "done" => kept,
                _ => (target(&app, &cast, &line, caller).await, app.footprint().await),
            };
            let answer = ready.call(&app).token(&caller.text).send().await;
            let cell = format!("{} {:?} own: {} by {}", line.deed, line.role, line.own, caller.member.role);
            let done = statuses[line.call].status;
            let got = match answer.status.as_u16() {
                status if status == done => "done".to_owned(),
                status if (400..500).contains(&status) => answer.json()["code"].as_str().unwrap().to_owned(),
                status => format!("{status}: {}", answer.text),
            };
            if got != *expected {
                wrong.push(format!("{cell}: {got} instead of {expected}"));
            }
            let after = app.footprint().await;
            if *expected != "done" {
                if after != before {
                    wrong.push(format!("{cell}: refused, and changed {}", before.difference(&after)));
                }
                kept = Some((ready, after));
            } else if after == before && ready.operation.changes() {
                wrong.push(format!("{cell}: nothing was changed"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}
