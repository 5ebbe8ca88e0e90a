//! What callers' programs rely on in problems.

use nightlatch_api::{Code, Problem};
use serde_json::json;

use crate::app::TestApp;

/// Codes and statuses are a promise: a change of this text is a change of the API.
#[test]
fn codes_and_statuses_are_stable() {
    let mut lines: Vec<_> = Code::ALL.iter().map(|code| format!("{} {}", code.as_str(), code.status())).collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn a_problem_is_a_whole_document() {
    let app = TestApp::sqlite().await;
    let call = app.post("/v1/keys", json!({ "name": "n", "environment": "live", "tear": "gold" }));
    let answer = call.header("x-request-id", "fixed").send().await;
    insta::assert_json_snapshot!(answer.json());
    let problem: Problem = serde_json::from_str(&answer.text).unwrap();
    insta::assert_snapshot!(problem);
    app.stop().await;
}
