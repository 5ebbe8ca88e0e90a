//! Lists of a large workspace: a million keys, ten thousand members and a million audit rows, at any depth.

mod world;

use std::time::Instant;

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
use world::{COMMON_SCOPE, DIRECTOR, FIRST_ACCOUNT, FIRST_SUBJECT, MEMBERS_SCOPE, PLAIN_MEMBER, RARE_SCOPE, World};

/// How many of each.
const FULL: World = World { keys: 1_000_000, members: 10_000, accounts: 2_000, audit: 1_000_000 };
/// The same for a quick look, which has no goal.
const QUICK: World = World { keys: 50_000, members: 1_000, accounts: 100, audit: 50_000 };
/// First pages measured of each list, and strides behind each of which a page is measured.
const SAMPLES: usize = 200;
const QUICK_SAMPLES: usize = 20;
/// Behind that, one stride of so many.
const SPARSE: usize = 10;
/// As many rows as a page may have: how the walk gets on between two measured pages.
const STRIDE: u32 = 200;

/// A list that is measured.
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
        let name = database.as_str();
        let start = Instant::now();
        world.load(&url).await.context("loading the workspace")?;
        say(&format!("{name}: {} keys and what belongs to them in {:.0} s", world.keys, start.elapsed().as_secs_f64()));
        let start = Instant::now();
        world.settled(&url).await?;
        say(&format!("{name}: the audit log was chained {:.0} s later", start.elapsed().as_secs_f64()));
        let caller = Caller::of(&control_plane)?;
        for list in lists(&caller).await? {
            let walk = walk(&caller, &list.path, effort).await.with_context(|| list.name.to_owned())?;
            say(&walk.told(name, list.name));
            rows.extend(walk.rows(&format!("{name}, {} of {} keys", list.name, world.keys), effort));
        }
    }
    Ok(rows)
}

/// The lists that are measured: what is common, what is rare, what is absent, and several filters at once.
async fn lists(caller: &Caller) -> Result<Vec<Measured>> {
    let key = caller.get(&format!("/v1/keys?limit=1&scope={RARE_SCOPE}")).await?;
    let key = key.pointer("/items/0").context("no key carries the rare scope")?.clone();
    let text = |field: &str| key[field].as_str().map(str::to_owned).with_context(|| format!("the key's {field}"));
    let (id, created_at) = (text("id")?, text("created_at")?);
    let list = |name, path: &str| Measured { name, path: path.to_owned() };
    let both = |name, filters: &[&str]| Measured { name, path: format!("/v1/keys?{}", filters.join("&")) };
    let of_director = format!("issued_by={DIRECTOR}");
    let of_member = format!("owner_member={PLAIN_MEMBER}");
    Ok(vec![
        list("keys", "/v1/keys"),
        list("active keys", "/v1/keys?state=active"),
        list("revoked keys", "/v1/keys?state=revoked"),
        list("retiring keys", "/v1/keys?state=retiring"),
        list("disabled keys", "/v1/keys?state=disabled"),
        list("expired keys", "/v1/keys?state=expired"),
        list("live keys", "/v1/keys?environment=live"),
        list("test keys", "/v1/keys?environment=test"),
        list("keys of one owner", "/v1/keys?owner=team%207"),
        list("keys looked after by one member", &format!("/v1/keys?{of_member}")),
        list("keys issued by one member", &format!("/v1/keys?issued_by={PLAIN_MEMBER}")),
        list("keys issued by the member of a tenth of them", &format!("/v1/keys?{of_director}")),
        list("keys touched by one member", &format!("/v1/keys?touched_by={PLAIN_MEMBER}")),
        list("keys touched by the member of a tenth of them", &format!("/v1/keys?touched_by={DIRECTOR}")),
        list("keys of one member", &format!("/v1/keys?principal=prn_{}", FIRST_SUBJECT + 7)),
        list("keys of one service account", &format!("/v1/keys?principal=prn_{}", FIRST_ACCOUNT + 7)),
        list("keys of the principal of a third of them", "/v1/keys?principal=prn_1"),
        list("keys of users", "/v1/keys?kind=user"),
        list("keys of gateways (none)", "/v1/keys?kind=gateway"),
        list("keys with the scope of all", &format!("/v1/keys?scope={COMMON_SCOPE}")),
        list("keys with a scope that only members have", &format!("/v1/keys?scope={MEMBERS_SCOPE}")),
        list("keys with a rare scope", &format!("/v1/keys?scope={RARE_SCOPE}")),
        list("keys with a scope that none has", "/v1/keys?scope=no:such"),
        list("keys never used", "/v1/keys?never_used=true"),
        list("keys not used lately", "/v1/keys?last_used_before=2100-01-01T00:00:00Z"),
        list("keys that expire", "/v1/keys?expires_before=2200-01-01T00:00:00Z"),
        list("keys to be rotated", "/v1/keys?rotate_by_before=2200-01-01T00:00:00Z"),
        list("keys of a time", &format!("/v1/keys?created_before={created_at}&created_after=2020-01-01T00:00:00Z")),
        list("keys by a part of the name", "/v1/keys?q=bench"),
        list("keys by a rare part of the name", "/v1/keys?q=key%2077777%20of"),
        list("keys by a part of no name", "/v1/keys?q=nothing%20like%20it"),
        both("active keys with a rare scope", &["state=active", &format!("scope={RARE_SCOPE}")]),
        both("revoked keys with the scope of all", &["state=revoked", &format!("scope={COMMON_SCOPE}")]),
        both(
            "retiring keys with a scope that only members have",
            &["state=retiring", &format!("scope={MEMBERS_SCOPE}")],
        ),
        both("test keys of one owner (none)", &["owner=team%207", "environment=test"]),
        both("live keys of one owner", &["owner=team%207", "environment=live"]),
        both("keys of one owner, issued by another (none)", &["owner=team%207", &of_director]),
        both("keys of one owner with a rare scope (none)", &["owner=team%207", &format!("scope={RARE_SCOPE}")]),
        both("keys of one owner not used lately", &["owner=team%207", "last_used_before=2100-01-01T00:00:00Z"]),
        both("keys of a member to be rotated", &[&of_member, "rotate_by_before=2200-01-01T00:00:00Z"]),
        both("retiring keys never used (none)", &["state=retiring", "never_used=true", "environment=live"]),
        both("keys of the director's by name", &[&of_director, "q=77770"]),
        list("members", "/v1/members"),
        list("members of a common role", "/v1/members?role=operator"),
        list("members of a rare role", "/v1/members?role=viewer"),
        list("suspended members", "/v1/members?state=suspended"),
        list("invited members (none)", "/v1/members?state=invited"),
        list("suspended members of a role (none)", "/v1/members?state=suspended&role=viewer"),
        list("a member by address", "/v1/members?email=777@example.com"),
        list("service accounts", "/v1/service-accounts"),
        list("suspended service accounts (none)", "/v1/service-accounts?state=suspended"),
        list("scopes", "/v1/scopes"),
        list("audit entries", "/v1/audit"),
        list("audit entries of one actor", &format!("/v1/audit?actor={PLAIN_MEMBER}")),
        list("audit entries of one actor's type", "/v1/audit?actor_type=token"),
        list("audit entries of a rare actor's type", "/v1/audit?actor_type=partner"),
        list("audit entries of an actor's type that never acted", "/v1/audit?actor_type=gateway"),
        list("audit entries of one action", "/v1/audit?action=key.disabled"),
        list("audit entries of one category", "/v1/audit?category=workspace.updated"),
        list("audit entries of one key", &format!("/v1/audit?key={id}")),
        list("audit entries of one member's principal", &format!("/v1/audit?principal=prn_{}", FIRST_SUBJECT + 7)),
        list("audit entries of one service account", &format!("/v1/audit?principal=prn_{}", FIRST_ACCOUNT + 7)),
        list("audit entries of the principal of a third", "/v1/audit?principal=prn_1"),
        list("audit entries of one target", &format!("/v1/audit?target={PLAIN_MEMBER}")),
        list("audit entries of a time", &format!("/v1/audit?to={created_at}&from=2020-01-01T00:00:00Z")),
        list("audit entries of one action and actor", &format!("/v1/audit?action=key.disabled&actor={PLAIN_MEMBER}")),
        list("audit entries of one action and a rare actor's type", "/v1/audit?action=key.revoked&actor_type=partner"),
    ])
}

/// What a walk has found.
#[derive(Default)]
struct Walk {
    first: Vec<f64>,
    /// Of pages behind the first.
    pages: Vec<f64>,
    depth: u64,
    whole: bool,
}

impl Walk {
    fn told(&self, database: &str, list: &str) -> String {
        let worst = |pages: &[f64]| if pages.is_empty() { 0.0 } else { quantile(pages, 0.99) };
        format!(
            "{database}, {list}: p99 {:.1} ms first, {:.1} ms of {} pages up to {} rows deep{}",
            worst(&self.first),
            worst(&self.pages),
            self.pages.len(),
            self.depth,
            if self.whole { "" } else { ", not to its end" }
        )
    }

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
async fn walk(caller: &Caller, path: &str, effort: Effort) -> Result<Walk> {
    let with = |more: &str| format!("{path}{}{more}", if path.contains('?') { "&" } else { "?" });
    let mut walk = Walk::default();
    for _ in 0..if effort.quick { QUICK_SAMPLES } else { SAMPLES } {
        let start = Instant::now();
        caller.get(path).await?;
        walk.first.push(ms(start.elapsed()));
    }
    let (begin, mut cursor) = (Instant::now(), None::<String>);
    for stride in 0_usize.. {
        let asked = match &cursor {
            None => with(&format!("limit={STRIDE}")),
            Some(cursor) => with(&format!("limit={STRIDE}&cursor={cursor}")),
        };
        let page = caller.get(&asked).await?;
        walk.depth += page["items"].as_array().map_or(0, Vec::len) as u64;
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        let Some(cursor) = &cursor else {
            walk.whole = true;
            break;
        };
        // All of the first strides, then some: a long list is to be walked to its end.
        if stride < SAMPLES || stride % SPARSE == 0 {
            let start = Instant::now();
            caller.get(&with(&format!("cursor={cursor}"))).await?;
            walk.pages.push(ms(start.elapsed()));
        }
        if begin.elapsed() > effort.walk {
            break;
        }
    }
    Ok(walk)
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
