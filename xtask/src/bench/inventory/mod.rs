//! Lists of a large workspace: a million keys, ten thousand members and a million audit rows, at any depth.

mod world;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nightlatch_tests::control_plane::{ControlPlane, ControlPlaneConfig, Database};
use serde_json::Value;
use tempfile::TempDir;

use super::cores::Cores;
use super::issuing::postgres_server;
use super::numbers::quantile;
use super::programs::Programs;
use super::row::{Row, Target};
use super::{Effort, ms, say};
use world::{DIRECTOR, PLAIN_MEMBER, World};

/// How many of each.
const FULL: World = World { keys: 1_000_000, members: 10_000, audit: 1_000_000 };
/// The same for a quick look, which has no goal.
const QUICK: World = World { keys: 50_000, members: 1_000, audit: 50_000 };
/// Pages measured of each list, at least.
const SAMPLES: usize = 200;
/// As many rows as a page may have: how the walk gets on between two measured pages.
const STRIDE: u32 = 200;
/// The longest walk through one list.
const LONGEST: Duration = Duration::from_secs(25);

/// A list, and whether all of it is walked or some of it would be.
struct Measured {
    name: &'static str,
    path: String,
}

/// Loads both databases and walks through every list.
pub(super) async fn measure(programs: &Programs, cores: Cores, effort: Effort) -> Result<Vec<Row>> {
    let world = if effort.quick { QUICK } else { FULL };
    let mut rows = Vec::new();
    for database in [Database::Sqlite, Database::Postgres] {
        let data = TempDir::with_prefix_in("inventory-", &programs.scratch)?;
        let url = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(postgres_server()?),
        };
        // The database of the configuration decides only whether one is made for tests, which do not flush.
        let mut config = ControlPlaneConfig::new(Database::Sqlite)
            .program(cores.server(&programs.nightlatch))
            .data_dir(data.path().join("data"));
        if let Some(url) = &url {
            config = config.environment("DATABASE_URL", url);
        }
        let control_plane = ControlPlane::start(config).await?;
        let url = url.unwrap_or_else(|| format!("sqlite:{}", data.path().join("data/nightlatch.db").display()));
        let start = Instant::now();
        world.load(&url).await.context("loading the workspace")?;
        let name = database.as_str();
        say(&format!("{name}: {} keys and what belongs to them in {:.0} s", world.keys, start.elapsed().as_secs_f64()));
        let caller = Caller::of(&control_plane)?;
        for list in lists(&caller).await? {
            let walk = walk(&caller, &list.path).await.with_context(|| list.name.to_owned())?;
            say(&format!("{name}, {}: {} pages, {} rows deep", list.name, walk.pages.len(), walk.depth));
            rows.extend(walk.rows(&format!("{name}, {} of {} keys", list.name, world.keys), effort));
        }
    }
    Ok(rows)
}

/// The lists that are measured: those that are common and those that are rare.
async fn lists(caller: &Caller) -> Result<Vec<Measured>> {
    let key = caller.get("/v1/keys?limit=1&scope=rare:scope").await?;
    let key = key.pointer("/items/0/id").and_then(Value::as_str).context("no key carries the rare scope")?.to_owned();
    let list = |name, path: &str| Measured { name, path: path.to_owned() };
    Ok(vec![
        list("keys", "/v1/keys"),
        list("active keys", "/v1/keys?state=active"),
        list("keys of one owner", "/v1/keys?owner=team%207"),
        list("keys looked after by one member", &format!("/v1/keys?owner_member={PLAIN_MEMBER}")),
        list("keys issued by one member", &format!("/v1/keys?issued_by={PLAIN_MEMBER}")),
        list("keys issued by the member of a tenth of them", &format!("/v1/keys?issued_by={DIRECTOR}")),
        list("keys touched by one member", &format!("/v1/keys?touched_by={PLAIN_MEMBER}")),
        list("keys touched by the member of a tenth of them", &format!("/v1/keys?touched_by={DIRECTOR}")),
        list("keys of one principal", "/v1/keys?principal=prn_100007"),
        list("keys of users", "/v1/keys?kind=user"),
        list("keys of gateways (none)", "/v1/keys?kind=gateway"),
        list("keys with the scope of all", "/v1/keys?scope=invoices:read"),
        list("keys with a rare scope", "/v1/keys?scope=rare:scope"),
        list("keys never used", "/v1/keys?never_used=true"),
        list("keys not used lately", "/v1/keys?last_used_before=2100-01-01T00:00:00Z"),
        list("keys to be rotated", "/v1/keys?rotate_by_before=2100-01-01T00:00:00Z"),
        list("members", "/v1/members"),
        list("audit entries", "/v1/audit"),
        list("audit entries of one actor", &format!("/v1/audit?actor={PLAIN_MEMBER}")),
        list("audit entries of one action", "/v1/audit?action=key.disabled"),
        list("audit entries of one key", &format!("/v1/audit?key={key}")),
    ])
}

/// What a walk has found.
struct Walk {
    first: Vec<f64>,
    /// Of pages behind the first.
    pages: Vec<f64>,
    depth: u64,
}

impl Walk {
    fn rows(&self, name: &str, effort: Effort) -> Vec<Row> {
        let row = |share, label: &str, pages: &[f64]| Row::new(format!("{name}: {label}"), quantile(pages, share));
        let judged = |row: Row| if effort.quick { row } else { row.target(Target::AtMost(20.0)) };
        let mut rows =
            vec![row(0.5, "first page (p50, ms)", &self.first), judged(row(0.99, "first page (p99, ms)", &self.first))];
        if !self.pages.is_empty() {
            let label = format!("pages up to {} rows deep (p50, ms)", self.depth);
            rows.push(row(0.5, &label, &self.pages));
            let label = format!("pages up to {} rows deep (p99, ms)", self.depth);
            rows.push(judged(row(0.99, &label, &self.pages)));
        }
        rows
    }
}

/// Goes through a list in long strides, to its end or until it has taken long enough, and asks for a page of the usual size
/// on the way.
async fn walk(caller: &Caller, path: &str) -> Result<Walk> {
    let with = |more: &str| format!("{path}{}{more}", if path.contains('?') { "&" } else { "?" });
    let mut walk = Walk { first: Vec::new(), pages: Vec::new(), depth: 0 };
    for _ in 0..SAMPLES {
        let start = Instant::now();
        caller.get(path).await?;
        walk.first.push(ms(start.elapsed()));
    }
    let (begin, mut cursor) = (Instant::now(), None::<String>);
    loop {
        let stride = match &cursor {
            None => with(&format!("limit={STRIDE}")),
            Some(cursor) => with(&format!("limit={STRIDE}&cursor={cursor}")),
        };
        let page = caller.get(&stride).await?;
        walk.depth += page["items"].as_array().map_or(0, Vec::len) as u64;
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        let Some(cursor) = &cursor else { return Ok(walk) };
        let start = Instant::now();
        caller.get(&with(&format!("cursor={cursor}"))).await?;
        walk.pages.push(ms(start.elapsed()));
        if begin.elapsed() > LONGEST {
            return Ok(walk);
        }
    }
}

/// Asks for pages on one connection.
struct Caller {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Caller {
    fn of(control_plane: &ControlPlane) -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().http1_only().no_proxy().build()?,
            url: control_plane.url(),
            token: control_plane.token().to_owned(),
        })
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let response = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{path} was answered with {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
