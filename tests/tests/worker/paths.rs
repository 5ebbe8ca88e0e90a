//! The shared vectors of path canonicalisation, as far as HTTP carries them to the Worker.

use anyhow::{Context as _, Result, ensure};
use nightlatch_gate::policy::{Draft, Policy, RouteDraft};
use nightlatch_tests::origin::Origin;
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::set_source::SetSource;
use nightlatch_tests::workerd::{Worker, repository_root};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stand::{TOKEN, config};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Debug, Deserialize)]
struct Vector {
    input: String,
    path: Option<String>,
    query: Option<String>,
    error: Option<String>,
}

/// What the runtime does before the Worker sees a target.
enum Expected {
    /// The Worker sees it as it is.
    AsWritten,
    /// `.` and `..` between slashes are resolved: what reaches the origin has none, and is another path.
    Resolved,
    /// It is no request line, or none that the runtime takes.
    Refused,
}

fn expected(vector: &Vector) -> Expected {
    let path = vector.input.split('?').next().unwrap_or_default();
    let carried = vector.input.bytes().all(|byte| byte.is_ascii_graphic());
    if !carried || !vector.input.starts_with('/') {
        Expected::Refused
    } else if path.split('/').any(|segment| segment == "." || segment == "..") {
        Expected::Resolved
    } else {
        Expected::AsWritten
    }
}

#[tokio::test]
async fn every_runtime_reads_a_path_alike() -> Result<()> {
    let text = std::fs::read_to_string(repository_root().join("crates/gate/vectors/paths.json"))?;
    let Vectors { vectors } = serde_json::from_str(&text)?;
    let policy = Policy::new(Draft::new("test").route(RouteDraft::new("GET", "/{*rest}")))?;
    let mut set = PublishedSet::new(&policy)?;
    let key = set.issue(Key::default());
    set.publish()?;
    let source = SetSource::serve(&set).await?;
    source.state().token = Some(TOKEN.to_owned());
    let origin = Origin::start().await?;
    let worker = Worker::start(&config(&set, &source, &origin)).await?;
    let address = worker.url().strip_prefix("http://").context("the Worker's address")?;

    let mut as_written = 0;
    for vector in vectors {
        let before = origin.received().len();
        let answer = send(address, &vector.input, key.expose()).await?;
        let received = origin.received().get(before).map(|received| received.target.clone());
        match (expected(&vector), &vector.error) {
            (Expected::AsWritten, Some(_)) => {
                ensure!(answer.contains("path_ambiguous"), "{vector:?}: {answer}");
                ensure!(received.is_none(), "{vector:?} reached the origin as {received:?}");
                as_written += 1;
            }
            (Expected::AsWritten, None) => {
                let query = vector.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
                let canonical = format!("{}{query}", vector.path.as_deref().unwrap_or_default());
                ensure!(received == Some(canonical), "{vector:?} reached the origin as {received:?}: {answer}");
                as_written += 1;
            }
            (Expected::Resolved, _) => {
                let dotted = |target: &String| target.split('/').any(|part| part == "." || part == "..");
                ensure!(!received.as_ref().is_some_and(dotted), "{vector:?} reached the origin as {received:?}");
            }
            (Expected::Refused, _) => ensure!(
                received.as_ref().is_none_or(|target| nightlatch_gate::path::canonicalize(target).is_ok()),
                "{vector:?} reached the origin as {received:?}"
            ),
        }
    }
    assert!(as_written > 60, "{as_written} vectors were carried as written");

    let long = format!("/{}", "a".repeat(17_000));
    let answer = send(address, &long, key.expose()).await?;
    assert!(answer.contains("path_too_long"), "{answer}");
    Ok(())
}

/// Sends a request line as it is and gives the whole answer.
async fn send(address: &str, target: &str, key: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // Latin-1, so that an octet beyond ASCII goes as one.
    let mut request: Vec<u8> = b"GET ".to_vec();
    request.extend(target.chars().map(|character| character as u8));
    let rest = format!(" HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
    request.extend_from_slice(rest.as_bytes());
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    // The runtime keeps connections open whatever a client asks: the answer's own length ends it.
    while !is_whole(&String::from_utf8_lossy(&answer)) && stream.read_buf(&mut answer).await? > 0 {}
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}
