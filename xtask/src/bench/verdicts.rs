//! Verdicts a second: the Worker alone, against JavaScript Workers that check nothing.

use std::time::Duration;

use anyhow::Result;
use nightlatch_api::client::Client;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::numbers::median;
use super::row::{Row, Target};
use super::scene::{PATH, Scene, issue};
use super::workerd::{Code, Workerd};
use super::wrk::{CONNECTIONS, Load};
use super::{Effort, say};

const GOAL: Target = Target::RatioAtLeast(0.9, 0.85);

const HELLO: &str = r#"export default { fetch() { return new Response("Hello World!"); } };"#;

/// What our Worker answers in verdict-only mode, by a Worker that knows it beforehand.
const SAME_ANSWER: &str = r#"export default {
  fetch() {
    return new Response(null, {
      status: 204,
      headers: {
        "x-nightlatch-key-id": "key_0123456789",
        "x-nightlatch-principal": "prn_1",
        "x-nightlatch-workspace": "ws_0123456789",
        "x-nightlatch-scopes": "invoices:read",
      },
    });
  },
};"#;

/// Measures in rounds: hello-world, the same answer without a check, our Worker, and our Worker while its set changes
/// every second.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let workers = vec![
        ("hello", Code::Script(HELLO.into())),
        ("same", Code::Script(SAME_ANSWER.into())),
        ("edge", scene.edge("verdict").await?),
    ];
    let workerd = Workerd::start(&scene.cores.server(&scene.programs.workerd), workers).await?;
    let key = scene.issue("verdicts").await?;
    scene.let_through(&workerd.url("edge")?, &key).await?;

    let load = |name| -> Result<Load<'_>> {
        Ok(Load {
            cores: scene.cores,
            url: format!("{}{PATH}", workerd.url(name)?),
            connections: CONNECTIONS,
            headers: vec![format!("Authorization: Bearer {}", key.secret.expose())],
            script: None,
        })
    };
    let (hello, same, edge) = (load("hello")?, load("same")?, load("edge")?);
    for load in [&hello, &same, &edge] {
        load.run(effort.warm_up).await?;
    }
    let mut paces: [Vec<f64>; 4] = Default::default();
    for round in 1..=effort.rounds {
        let mut pace = [hello.run(effort.seconds).await?.per_second, 0.0, 0.0, 0.0];
        if !effort.quick {
            pace[1] = same.run(effort.seconds).await?.per_second;
        }
        pace[2] = edge.run(effort.seconds).await?.per_second;
        let changes = Changes::start(scene.client().clone());
        pace[3] = edge.run(effort.seconds).await?.per_second;
        changes.stop().await?;
        say(&format!("round {round}: requests/s {}", pace.map(|pace| format!("{pace:.0}")).join(" ")));
        for (paces, pace) in paces.iter_mut().zip(pace) {
            paces.push(pace);
        }
    }
    let [hello, same, edge, changing] = paces.map(|paces| median(&paces));
    let keys = scene.keys;
    let mut rows = vec![
        Row::new(format!("Worker, {keys} keys / JavaScript hello-world (requests/s)"), edge)
            .against(hello)
            .target(GOAL),
        Row::new("Worker, a change every second / JavaScript hello-world (requests/s)", changing)
            .against(hello)
            .target(GOAL),
    ];
    if !effort.quick {
        rows.push(Row::new("Worker / JavaScript giving the same answer unchecked (requests/s)", edge).against(same));
    }
    Ok(rows)
}

/// A change to the set every second.
struct Changes(JoinHandle<Result<()>>);

impl Changes {
    fn start(client: Client) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                issue(&client, "a change").await?;
            }
        }))
    }

    /// Ends the changes, and says if one could not be made.
    async fn stop(self) -> Result<()> {
        self.0.abort();
        match self.0.await {
            Ok(ended) => ended,
            Err(cancelled) if cancelled.is_cancelled() => Ok(()),
            Err(panicked) => Err(panicked.into()),
        }
    }
}
