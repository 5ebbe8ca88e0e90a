//! Whether the place where edges read a set asks who they are.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use super::Fault;
use super::check::Finding;

/// How long a source may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for a set's head as a stranger would, without credentials. Whoever can read a set's files learns when keys are
/// issued and revoked, and could try keys offline once the pepper leaks: a source that answers is refused.
pub async fn check_source(url: &str) -> Vec<Finding> {
    let fault = |advice: String| vec![Finding::Fault(Fault { subject: "source".into(), origin: url.into(), advice })];
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return fault("is not an http or https URL".into());
    }
    let client = match Client::builder().timeout(PATIENCE).redirect(Policy::limited(5)).build() {
        Ok(client) => client,
        Err(error) => return fault(format!("cannot be asked: {error}")),
    };
    match client.get(format!("{}/head", url.trim_end_matches('/'))).send().await {
        Ok(response) if response.status().is_success() => fault(format!(
            "the head can be read without credentials ({}); take public access away from the bucket, and give edges a \
             read credential of their own",
            response.status().as_u16()
        )),
        Ok(response) if response.status() == StatusCode::NOT_FOUND => vec![Finding::Note(format!(
            "{url} answers a stranger that there is nothing: as it should be, if the address is right"
        ))],
        Ok(response) if response.status().is_client_error() => Vec::new(),
        Ok(response) => {
            let status = response.status().as_u16();
            fault(format!("answered {status}, so nobody knows whether strangers can read it; try again when it works"))
        }
        Err(error) => fault(format!("cannot be reached: {}", error.without_url())),
    }
}
