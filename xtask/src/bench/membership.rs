//! From the call that changes a member to the first changed verdict of one of its keys, and what is published for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use nightlatch_api::client::Client;
use nightlatch_api::{
    CreateToken, Environment, InviteMember, IssueKey, IssuedKey, MoveMember, Role, RouteDocument, RouteRule, TokenKind,
    UpdateMember,
};
use nightlatch_tests::caller::Caller;
use nightlatch_tests::load::{Consumer, Load};
use nightlatch_tests::wait::eventually;
use nightlatch_tests::world::put_routes;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};
use tokio::time::sleep;

use super::numbers::quantile;
use super::revoking::{Gated, LOOK, PACE, PATIENCE, uneven};
use super::row::{Row, Target};
use super::scene::{PATH, SCOPE, Scene};
use super::{Effort, ms, say};

/// What asks for [`SCOPE`].
const SCOPED: &str = "/invoices";
/// Keys of the member whose changes are timed.
const KEYS: usize = 1_000;
/// Keys of the member whose change is weighed against that of a member with one.
const MANY: usize = 10_000;
/// Keys issued at a time.
const AT_ONCE: usize = 32;
/// The largest delta of a change of a member with many keys, against that of a member with one: a few bytes of lengths.
const HEAVIER: f64 = 1.2;

/// Measures at a Worker by its poll alone.
pub(super) async fn measure(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let scoped = RouteRule::new("GET", SCOPED).scopes([SCOPE]);
    let routes = vec![RouteRule::new("GET", PATH), scoped];
    put_routes(scene.client(), &RouteDocument { routes, ..RouteDocument::default() }).await?;
    let mut rows = Vec::new();
    rows.extend(timed(scene, effort).await?);
    rows.push(weighed(scene, if effort.quick { KEYS } else { MANY }).await?);
    Ok(rows)
}

/// Takes a member's scope away and gives it back, suspends the member and resumes it, over and over.
async fn timed(scene: &Scene<'_>, effort: Effort) -> Result<Vec<Row>> {
    let (changes, pause) = if effort.quick { (20, Duration::from_millis(250)) } else { (100, Duration::from_secs(1)) };
    let gated = Gated::start(scene, false).await?;
    let (caller, kept) = (Caller::new(&gated.url)?, scene.issue("kept").await?);
    let member = Member::join(scene, "timed").await?;
    let keys = member.issue(KEYS).await?;
    let key = keys.last().context("the member has no key")?;
    scene.let_through(&gated.url, &kept).await?;
    scene.let_through(&gated.url, key).await?;
    let load = Load::start(std::slice::from_ref(&caller), vec![Consumer::new(PATH, &Arc::new(kept.secret))], PACE)?;
    let (mut scopes, mut states) = (Vec::new(), Vec::new());
    for number in 0..changes {
        sleep(uneven(pause, number)).await;
        let start = Instant::now();
        let (path, passes, took) = match number % 4 {
            0 => {
                member.scopes(&[]).await?;
                (SCOPED, false, &mut scopes)
            }
            1 => {
                member.scopes(&[SCOPE]).await?;
                (SCOPED, true, &mut scopes)
            }
            2 => {
                member.suspended(true).await?;
                (PATH, false, &mut states)
            }
            _ => {
                member.suspended(false).await?;
                (PATH, true, &mut states)
            }
        };
        while (caller.get(path, key.secret.expose()).await?.status == 200) != passes {
            ensure!(start.elapsed() < PATIENCE, "change {number} is not in force at the edge");
            sleep(LOOK).await;
        }
        took.push(ms(start.elapsed()));
    }
    let traffic = load.finish().await?;
    say(&format!("meanwhile {} requests with another key, {} failed", traffic.sent(), traffic.failures.len()));
    traffic.without_failure()?;
    let mut rows = Vec::new();
    for (what, took) in [("scopes changed", scopes), ("suspended or resumed", states)] {
        let row = |share, name| {
            let count = took.len();
            let goal = format!(
                "a member of {KEYS} keys {what} → first new verdict at the Worker, 1 s poll, {count} times ({name}, ms)"
            );
            Row::new(goal, quantile(&took, share))
        };
        rows.extend([row(0.5, "p50"), row(0.99, "p99").target(Target::AtMost(1_500.0))]);
    }
    Ok(rows)
}

/// Weighs what is published when a member with many keys is suspended, against one with a single key.
async fn weighed(scene: &Scene<'_>, many: usize) -> Result<Row> {
    let mut bytes = Vec::new();
    for (name, count) in [("one", 1), ("many", many)] {
        let member = Member::join(scene, name).await?;
        let start = Instant::now();
        member.issue(count).await?;
        say(&format!("{count} keys of a member issued in {:.0} s", start.elapsed().as_secs_f64()));
        let published = Published::settled(scene).await?;
        member.suspended(true).await?;
        bytes.push(published.delta(scene).await? as f64);
    }
    let [one, heavy] = bytes[..] else { anyhow::bail!("two members were weighed") };
    let goal = format!("delta of the suspension of a member of {many} keys / of a member of one (bytes)");
    Ok(Row::new(goal, heavy).against(one).target(Target::RatioAtMost(HEAVIER)))
}

/// What is published of the scene's set.
struct Published {
    head: String,
    files: BTreeMap<PathBuf, u64>,
}

impl Published {
    /// Once nothing new comes: what was issued is published.
    async fn settled(scene: &Scene<'_>) -> Result<Self> {
        let directory = scene.control_plane.published();
        let mut before = None;
        eventually("what is published stands still", PATIENCE, async || {
            let files = files(&directory)?;
            sleep(Duration::from_secs(1)).await;
            let same = before.as_ref() == Some(&files);
            before = Some(files);
            ensure!(same, "more is published");
            Ok(())
        })
        .await?;
        Ok(Self { head: version(&directory)?, files: files(&directory)? })
    }

    /// The bytes of the delta that leads to the next version, once there is one.
    async fn delta(&self, scene: &Scene<'_>) -> Result<u64> {
        let directory = scene.control_plane.published();
        let new = eventually("the change is published", PATIENCE, async || {
            ensure!(version(&directory)? != self.head, "it is not");
            let mut new = files(&directory)?;
            new.retain(|path, _| !self.files.contains_key(path));
            ensure!(!new.is_empty(), "the head came without a delta");
            Ok(new)
        })
        .await?;
        // Longer steps lead there too, from further back: the shortest is what an edge that keeps up reads.
        new.values().min().copied().context("a delta")
    }
}

/// The version that the head states.
fn version(directory: &Path) -> Result<String> {
    let head = fs::read_to_string(directory.join("head"))?;
    let line = head.lines().find(|line| line.starts_with("version "));
    Ok(line.context("the head states no version")?.to_owned())
}

/// The files of a directory and below, and their sizes.
fn files(directory: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                left.push(entry.path());
            } else if !entry.file_name().to_string_lossy().starts_with("head") {
                found.insert(entry.path(), data.len());
            }
        }
    }
    Ok(found)
}

/// A member and what acts for it.
struct Member {
    id: String,
    principal: String,
    /// With the rights of those who manage members.
    manager: Client,
    /// With the member's own.
    own: Client,
}

impl Member {
    /// A member that has joined. Nobody is waited for to open a letter: the database is told.
    async fn join(scene: &Scene<'_>, name: &str) -> Result<Self> {
        let manager = scene.client().clone();
        let request = InviteMember {
            email: format!("{name}@example.com"),
            name: None,
            role: Role::Operator,
            scopes: vec![SCOPE.into()],
            tier: None,
            acknowledge_sensitive: false,
        };
        let member = manager.invite_member(&request).await?.member;
        let request = CreateToken {
            name: name.into(),
            kind: TokenKind::Management,
            set: None,
            service_account: None,
            scopes: None,
            expires_at: None,
        };
        let token = manager.create_token(&request).await?;
        let path = scene.control_plane.data_dir().join("nightlatch.db");
        let mut database = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await?;
        for sql in [
            format!("UPDATE members SET state = 'active', joined_at = created_at WHERE id = '{}'", member.id),
            format!("UPDATE tokens SET member_id = '{}' WHERE id = '{}'", member.id, token.token.id),
        ] {
            database.execute(AssertSqlSafe(sql)).await?;
        }
        let own = Client::new(&scene.control_plane.url())?.with_token(token.secret.expose());
        Ok(Self { id: member.id, principal: member.principal, manager, own })
    }

    /// Issues it that many keys of its own.
    async fn issue(&self, count: usize) -> Result<Vec<IssuedKey>> {
        let request = IssueKey { principal: Some(self.principal.clone()), ..IssueKey::new("mine", Environment::Live) };
        let keys = stream::repeat_with(|| self.own.issue_key(&request)).take(count).buffer_unordered(AT_ONCE);
        Ok(keys.try_collect().await?)
    }

    async fn scopes(&self, scopes: &[&str]) -> Result<()> {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let change = UpdateMember { scopes: Some(scopes), ..UpdateMember::default() };
        let etag = self.manager.member(&self.id).await?.etag;
        self.manager.update_member(&self.id, &etag, &change).await?;
        Ok(())
    }

    async fn suspended(&self, suspended: bool) -> Result<()> {
        let request = MoveMember { reason: Some("measured".into()) };
        match suspended {
            true => self.manager.suspend_member(&self.id, &request).await?,
            false => self.manager.resume_member(&self.id, &request).await?,
        };
        Ok(())
    }
}
