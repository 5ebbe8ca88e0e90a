//! What the Worker adds to the slowest answers when it forwards.

use anyhow::Result;

use super::numbers::median;
use super::row::{Row, Target};
use super::scene::{PATH, Scene};
use super::workerd::{Code, Workerd};
use super::wrk::{CONNECTIONS, Load};
use super::{Effort, say};

const ORIGIN: &str = r#"export default { fetch() { return new Response("Hello World!"); } };"#;

/// Measures in rounds: a JavaScript Worker that forwards everything, and ours. The origin is on the core of the load,
/// alike for both.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let origin =
        Workerd::start(&scene.cores.load(&scene.programs.workerd), vec![("origin", Code::Script(ORIGIN.into()))])
            .await?;
    let origin = (origin.url("origin")?, origin);
    let forward = format!(
        "export default {{ fetch(request) {{ return fetch({:?} + new URL(request.url).pathname, request); }} }};",
        origin.0
    );
    let workers = vec![("plain", Code::Script(forward)), ("edge", scene.edge(&origin.0).await?)];
    let workerd = Workerd::start(&scene.cores.server(&scene.programs.workerd), workers).await?;
    let key = scene.issue("forwarding").await?;
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
    let (plain, edge) = (load("plain")?, load("edge")?);
    for load in [&plain, &edge] {
        load.run(effort.warm_up).await?;
    }
    let (mut p99, mut pace) = (<[Vec<f64>; 2]>::default(), <[Vec<f64>; 2]>::default());
    for round in 1..=effort.rounds {
        for (at, load) in [&plain, &edge].into_iter().enumerate() {
            let outcome = load.run(effort.seconds).await?;
            say(&format!("round {round}: {:.0} requests/s, p99 {:.2} ms", outcome.per_second, outcome.p99));
            p99[at].push(outcome.p99);
            pace[at].push(outcome.per_second);
        }
    }
    let [plain_p99, edge_p99] = p99.map(|p99| median(&p99));
    let [plain_pace, edge_pace] = pace.map(|pace| median(&pace));
    Ok(vec![
        Row::new("forwarding / JavaScript Worker that only forwards (p99, ms)", edge_p99)
            .against(plain_p99)
            .target(Target::RatioAtMost(1.1)),
        Row::new("forwarding / JavaScript Worker that only forwards (requests/s)", edge_pace).against(plain_pace),
    ])
}
