//! The contract as it is committed.

use std::fs;
use std::path::Path;

use crate::app::TestApp;

/// The committed copy is what reviewers and other programs read. `NIGHTLATCH_UPDATE_OPENAPI=1` writes it anew.
#[test]
fn the_committed_document_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let generated = nightlatch::api::openapi_document();
    if std::env::var_os("NIGHTLATCH_UPDATE_OPENAPI").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "the API has changed: look at the difference after NIGHTLATCH_UPDATE_OPENAPI=1 cargo nextest run -p nightlatch --test api openapi"
    );
}

#[tokio::test]
async fn the_server_shows_the_document_to_everybody() {
    let app = TestApp::sqlite().await;
    let answer = app.get("/openapi.json").without_token().send().await;
    assert_eq!(answer.text, nightlatch::api::openapi_document());
    assert_eq!(answer.header("content-type"), "application/json");
    app.stop().await;
}
