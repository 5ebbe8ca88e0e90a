//! What the Worker adds to the slowest answers when it forwards.

use std::fs;

use anyhow::Result;
use tempfile::TempDir;

use super::numbers::median;
use super::row::{Row, Target};
use super::scene::{PATH, Scene};
use super::workerd::{Code, Workerd};
use super::wrk::{CONNECTIONS, Load, Outcome};
use super::{Effort, say};

const ORIGIN: &str = r#"export default { fetch() { return new Response("Hello World!"); } };"#;

/// Each connection waits this many milliseconds between an answer and its next request: together they ask for somewhat
/// under half of what a Worker can forward, so that answers are slow for what is done for them and not for a queue.
const PAUSE: &str = "function delay() return 4 end\n";

/// Measures in rounds: a JavaScript Worker that forwards everything, and ours; with as many requests as come back, and,
/// unless it is to be quick, also at a pace. The origin is on the core of the load, alike for both.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let origin = Code::Script(ORIGIN.into());
    let origin = Workerd::start(&scene.cores.load(&scene.programs.workerd), vec![("origin", origin)]).await?;
    let origin_url = origin.url("origin")?;
    let forward = format!(
        "export default {{ fetch(request) {{ return fetch({origin_url:?} + new URL(request.url).pathname, request); }} }};"
    );
    let workers = vec![("plain", Code::Script(forward)), ("edge", scene.edge(&origin_url).await?)];
    let workerd = Workerd::start(&scene.cores.server(&scene.programs.workerd), workers).await?;
    let key = scene.issue("forwarding").await?;
    scene.let_through(&workerd.url("edge")?, &key).await?;

    let directory = TempDir::with_prefix("nightlatch-bench-forwarding-")?;
    let pause = directory.path().join("pause.lua");
    fs::write(&pause, PAUSE)?;
    let load = |name, script| -> Result<Load<'_>> {
        Ok(Load {
            cores: scene.cores,
            url: format!("{}{PATH}", workerd.url(name)?),
            connections: CONNECTIONS,
            headers: vec![format!("Authorization: Bearer {}", key.secret.expose())],
            script,
        })
    };
    let flat_out = [load("plain", None)?, load("edge", None)?];
    let paced = [load("plain", Some(pause.as_path()))?, load("edge", Some(pause.as_path()))?];
    for load in &flat_out {
        load.run(effort.warm_up).await?;
    }
    let (mut at_a_pace, mut at_most) = (Pair::default(), Pair::default());
    for round in 1..=effort.rounds {
        at_most.measure(&flat_out, effort, round).await?;
        if !effort.quick {
            at_a_pace.measure(&paced, effort, round).await?;
        }
    }
    let [plain, edge] = at_most.p99();
    let [plain_pace, edge_pace] = at_most.per_second();
    let mut rows = vec![
        Row::new("forwarding flat out / JavaScript Worker that only forwards (p99, ms)", edge)
            .against(plain)
            .target(Target::RatioAtMost(1.1)),
        Row::new("forwarding flat out / JavaScript Worker that only forwards (requests/s)", edge_pace)
            .against(plain_pace),
    ];
    if !effort.quick {
        let [plain, edge] = at_a_pace.p99();
        rows.push(
            Row::new("forwarding at a pace / JavaScript Worker that only forwards (p99, ms)", edge)
                .against(plain)
                .target(Target::RatioAtMost(1.1)),
        );
    }
    Ok(rows)
}

/// What came of the plain Worker and of ours, round by round.
#[derive(Default)]
struct Pair([Vec<Outcome>; 2]);

impl Pair {
    async fn measure(&mut self, loads: &[Load<'_>; 2], effort: Effort, round: usize) -> Result<()> {
        for (load, outcomes) in loads.iter().zip(&mut self.0) {
            let outcome = load.run(effort.seconds).await?;
            say(&format!("round {round}: {:.0} requests/s, p99 {:.2} ms", outcome.per_second, outcome.p99));
            outcomes.push(outcome);
        }
        Ok(())
    }

    fn p99(&self) -> [f64; 2] {
        self.medians(|outcome| outcome.p99)
    }

    fn per_second(&self) -> [f64; 2] {
        self.medians(|outcome| outcome.per_second)
    }

    fn medians(&self, of: fn(&Outcome) -> f64) -> [f64; 2] {
        self.0.each_ref().map(|outcomes| median(&outcomes.iter().map(of).collect::<Vec<_>>()))
    }
}
