//! Taking over keys made elsewhere, thousands in one transaction.
//!
//! This is the one place beside `record` that writes keys: it writes the same three things (row, change rows, audit
//! entry) in bulk, the entry once per request.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nightlatch_key::Environment;
use nightlatch_keyset::Pepper;
use sqlx::{AssertSqlSafe, Postgres, Sqlite};

use super::audit::{self, Draft, Target};
use super::rows::labels_text;
use super::select::RowArguments;
use super::tx::{Conn, sql};
use super::{Context, Error, Random, Read, Tx, catalogue, dialect, ended, principals, profiles, workspaces};
use crate::domain::authority;
use crate::domain::import::ImportLine;
use crate::domain::{
    Action, KeyId, MemberId, Principal, PrincipalKind, Refusal, Scope, Tier, WorkspaceId, require_inherited,
};

/// Rows in one statement: the statement's text is parsed once and stays far below the databases' limit on arguments.
const CHUNK: usize = 250;

/// One import request, already parsed line by line.
#[derive(Clone, Debug)]
pub struct Import {
    /// Line number, counted from 1, and the checked line.
    pub lines: Vec<(u32, ImportLine)>,
    /// Lines that did not even parse: they count against `strict`.
    pub rejected: Vec<(u32, Refusal)>,
    /// Import nothing if any line is refused.
    pub strict: bool,
    /// Import nothing, say what would happen.
    pub dry_run: bool,
    /// SHA-256 of the request body, for the audit entry.
    pub body_hash: [u8; 32],
    /// What keys that were lost with a database are known by: those of the set, where there are such keys.
    pub peppers: Vec<Pepper>,
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Keys created.
    pub created: u64,
    /// Lines whose digest the workspace already has, in this request or before.
    pub existing: u64,
    /// Lines refused, by line number.
    pub errors: Vec<(u32, Refusal)>,
}

/// Imports all lines in this one transaction. `random` makes the keys' ids.
///
/// # Errors
/// [`Error::NumbersExhausted`], [`Error::Database`]. Refused lines are no error.
pub async fn run(tx: &mut Tx, context: &Context, import: Import, random: Random<'_>) -> Result<Imported, Error> {
    let Import { lines, rejected, strict, dry_run, body_hash, peppers } = import;
    let now = tx.now().await?;
    let Sorted { mut fresh, mut existing, errors } = sort_out(tx, context, lines, rejected, &peppers, now).await?;
    if strict && !errors.is_empty() {
        return Ok(Imported { created: 0, existing, errors });
    }
    let scopes: BTreeSet<_> = fresh.iter().flat_map(|(line, _)| line.scopes.iter()).collect();
    let acknowledged = catalogue::acknowledged_among(tx, context, scopes.into_iter()).await?;
    if dry_run {
        return Ok(Imported { created: fresh.len() as u64, existing, errors });
    }
    if !fresh.is_empty() {
        enter_names(tx, &context.workspace, &fresh, now).await?;
        let count = u32::try_from(fresh.len()).map_err(|_| Error::NumbersExhausted)?;
        let first = workspaces::next_numbers(tx, &context.workspace, count).await?;
        if !dialect::has_one_writer(tx) {
            // Whoever held the counters before may have imported the same keys.
            existing += drop_known(tx, &context.workspace, &mut fresh).await?;
            // Or they were denied meanwhile.
            existing += drop_ended(tx, &context.workspace, &mut fresh, &peppers, now).await?;
        }
        let keys = number(fresh, first, random);
        for chunk in keys.chunks(CHUNK) {
            insert_keys(tx, context, chunk, now).await?;
        }
        insert_scopes(tx, &context.workspace, &keys, now).await?;
        let of_members = keys.iter().filter(|key| key.ground.kind == PrincipalKind::User);
        let profiles: BTreeSet<_> = of_members.map(|key| (key.ground.subject, key.line.environment.as_str())).collect();
        for (subject, environment) in profiles {
            let environment = Environment::from_name(environment).ok_or(Error::Corrupt("environment"))?;
            profiles::key_comes(tx, &context.workspace, subject, environment, now).await?;
        }
        publish(tx, &context.workspace, first, count, now).await?;
        append(tx, context, &body_hash, (keys.len(), existing, errors.len()), &acknowledged, now).await?;
        return Ok(Imported { created: keys.len() as u64, existing, errors });
    }
    append(tx, context, &body_hash, (0, existing, errors.len()), &acknowledged, now).await?;
    Ok(Imported { created: 0, existing, errors })
}

/// Lines by their fate.
struct Sorted {
    fresh: Vec<(ImportLine, Ground)>,
    existing: u64,
    errors: Vec<(u32, Refusal)>,
}

/// The principal a line's key will act for.
#[derive(Clone, Copy)]
struct Ground {
    subject: u32,
    kind: PrincipalKind,
}

/// Whom a line's key will act for, where this caller may make it.
fn ground(context: &Context, principal: &Principal, line: &ImportLine, now: i64) -> Result<Ground, Refusal> {
    let Principal { subject, kind, .. } = *principal;
    line.check_times(now)?;
    context.authority.require(Action::KeysIssue, &authority::Target::Key { kind, subject })?;
    context.authority.require_grant(&line.scopes)?;
    principal.admits(&line.scopes)?;
    require_inherited(kind, &line.scopes, line.tier.as_ref())?;
    Ok(Ground { subject, kind })
}

async fn sort_out(
    tx: &mut Tx,
    context: &Context,
    lines: Vec<(u32, ImportLine)>,
    mut errors: Vec<(u32, Refusal)>,
    peppers: &[Pepper],
    now: i64,
) -> Result<Sorted, Error> {
    let workspace = &context.workspace;
    let mut fresh = Vec::with_capacity(lines.len());
    let mut existing = 0;
    let ended: Vec<_> = lines.iter().map(|(_, line)| line.digest).collect();
    let ended = ended::among(tx, workspace, &ended, peppers, now.div_euclid(1000)).await?;
    let mut digests = HashSet::with_capacity(lines.len());
    let subject_of = |line: &ImportLine| line.subject.unwrap_or(workspaces::DEFAULT_SUBJECT);
    let mut known: BTreeMap<u32, Option<Principal>> = lines.iter().map(|(_, line)| (subject_of(line), None)).collect();
    for (subject, principal) in &mut known {
        *principal = match principals::share(tx, workspace, *subject, None).await {
            Err(Error::Refused(Refusal::PrincipalUnknown)) => None,
            other => Some(other?),
        };
    }
    for (place, line) in lines {
        let principal = known.get(&subject_of(&line)).and_then(Option::as_ref).ok_or(Refusal::PrincipalUnknown);
        let ground = principal.and_then(|principal| ground(context, principal, &line, now));
        match ground {
            Err(refusal) => errors.push((place, refusal)),
            Ok(_) if ended.contains(line.digest.as_bytes()) => errors.push((place, Refusal::KeyRevoked)),
            Ok(_) if !digests.insert(*line.digest.as_bytes()) => existing += 1,
            Ok(ground) => fresh.push((line, ground)),
        }
    }
    errors.sort_by_key(|(place, _)| *place);
    existing += drop_known(tx, workspace, &mut fresh).await?;
    Ok(Sorted { fresh, existing, errors })
}

/// Drops lines whose digest the workspace has, and counts them.
async fn drop_known(
    read: &mut Read,
    workspace: &WorkspaceId,
    fresh: &mut Vec<(ImportLine, Ground)>,
) -> Result<u64, Error> {
    let mut known = HashSet::new();
    for chunk in fresh.chunks(CHUNK) {
        let arguments = RowArguments::new(read, 1, chunk.len());
        let sql = AssertSqlSafe(format!(
            "SELECT digest FROM keys WHERE workspace_id = {} AND digest IN {}",
            arguments.fixed(1),
            arguments.rows()
        ));
        macro_rules! run {
            ($database:ty, $conn:expr) => {{
                let mut query = sqlx::query_as::<$database, (Vec<u8>,)>(sql);
                for (line, _) in chunk {
                    query = query.bind(line.digest.as_bytes().as_slice());
                }
                query.bind(workspace.as_str()).fetch_all($conn).await?
            }};
        }
        let rows = match read.conn() {
            Conn::Sqlite(conn) => run!(Sqlite, conn),
            Conn::Postgres(conn) => run!(Postgres, conn),
        };
        known.extend(rows.into_iter().map(|(digest,)| digest));
    }
    let before = fresh.len();
    fresh.retain(|(line, _)| !known.contains(line.digest.as_bytes().as_slice()));
    Ok((before - fresh.len()) as u64)
}

/// Drops lines whose digest is ended, and counts them.
async fn drop_ended(
    read: &mut Read,
    workspace: &WorkspaceId,
    fresh: &mut Vec<(ImportLine, Ground)>,
    peppers: &[Pepper],
    now: i64,
) -> Result<u64, Error> {
    let digests: Vec<_> = fresh.iter().map(|(line, _)| line.digest).collect();
    let ended = ended::among(read, workspace, &digests, peppers, now.div_euclid(1000)).await?;
    let before = fresh.len();
    fresh.retain(|(line, _)| !ended.contains(line.digest.as_bytes()));
    Ok((before - fresh.len()) as u64)
}

/// A key about to be inserted.
struct NewKey {
    id: KeyId,
    number: u32,
    line: ImportLine,
    ground: Ground,
}

fn number(fresh: Vec<(ImportLine, Ground)>, first: u32, random: Random<'_>) -> Vec<NewKey> {
    let key = |(number, (line, ground))| NewKey { id: KeyId::random(random), number, line, ground };
    (first..).zip(fresh).map(key).collect()
}

async fn enter_names(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    fresh: &[(ImportLine, Ground)],
    now: i64,
) -> Result<(), Error> {
    let scopes: BTreeSet<&Scope> = fresh.iter().flat_map(|(line, _)| line.scopes.iter()).collect();
    let tiers: BTreeSet<&Tier> = fresh.iter().filter_map(|(line, _)| line.tier.as_ref()).collect();
    catalogue::enter(tx, workspace, scopes.into_iter(), None, now).await?;
    for tier in tiers {
        catalogue::enter_tier(tx, workspace, tier, now).await?;
    }
    Ok(())
}

async fn insert_keys(tx: &mut Tx, context: &Context, keys: &[NewKey], now: i64) -> Result<(), Error> {
    let arguments = RowArguments::new(tx, keys.len(), 15);
    // A sub-select of VALUES names its columns column1, column2, … in both databases.
    let sql = AssertSqlSafe(format!(
        "INSERT INTO keys (id, workspace_id, number, digest, prefix, name, state, disabled_by, environment, subject, \
         kind, scopes, tier, owner, labels, issued_by_type, issued_by_id, created_at, expires_at, rotate_by, lineage, \
         imported, weak, revision, issuer_member) \
         SELECT column1, {workspace}, column2, column3, column4, column5, 'active', '', column6, column7, column8, \
         column9, column10, column11, column12, {actor_type}, {actor}, {now}, column13, column14, column1, 1, column15, \
         1, {issuer} FROM (VALUES {rows}) AS v",
        workspace = arguments.fixed(1),
        actor_type = arguments.fixed(2),
        actor = arguments.fixed(3),
        now = arguments.fixed(4),
        issuer = arguments.fixed(5),
        rows = arguments.rows()
    ));
    macro_rules! run {
        ($database:ty, $conn:expr) => {{
            let mut query = sqlx::query::<$database>(sql);
            for NewKey { id, number, line, ground } in keys {
                query = query
                    .bind(id.as_str())
                    .bind(i64::from(*number))
                    .bind(line.digest.as_bytes().as_slice())
                    .bind(format!("imported_{}", id.tail()))
                    .bind(line.name.as_str())
                    .bind(line.environment.as_str())
                    .bind(i64::from(ground.subject))
                    .bind(ground.kind.as_str())
                    .bind(line.scopes.to_stored())
                    .bind(line.tier.as_ref().map(Tier::as_str))
                    .bind(line.owner.as_ref().map(|owner| owner.as_str()))
                    .bind(labels_text(&line.labels))
                    .bind(line.expires_at)
                    .bind(line.rotate_by)
                    .bind(i64::from(line.weak));
            }
            query = query
                .bind(context.workspace.as_str())
                .bind(context.actor.kind.as_str())
                .bind(context.actor.id.as_str())
                .bind(now)
                .bind(context.authority.answerable().map(MemberId::as_str));
            query.execute($conn).await.map(drop)?
        }};
    }
    match tx.conn() {
        Conn::Sqlite(conn) => run!(Sqlite, conn),
        Conn::Postgres(conn) => run!(Postgres, conn),
    }
    Ok(())
}

async fn insert_scopes(tx: &mut Tx, workspace: &WorkspaceId, keys: &[NewKey], now: i64) -> Result<(), Error> {
    let pairs = keys.iter().flat_map(|key| key.line.scopes.iter().map(|scope| (scope.as_str(), key.id.as_str())));
    let mut pairs: Vec<(&str, &str)> = pairs.collect();
    // In the order of the index they go into.
    pairs.sort_unstable();
    for chunk in pairs.chunks(CHUNK) {
        let arguments = RowArguments::new(tx, chunk.len(), 2);
        let sql = AssertSqlSafe(format!(
            "INSERT INTO key_scopes (workspace_id, scope, created_at, key_id) \
             SELECT {workspace}, column1, {created_at}, column2 FROM (VALUES {rows}) AS v",
            workspace = arguments.fixed(1),
            created_at = arguments.fixed(2),
            rows = arguments.rows()
        ));
        macro_rules! run {
            ($database:ty, $conn:expr) => {{
                let mut query = sqlx::query::<$database>(sql);
                for (scope, id) in chunk {
                    query = query.bind(*scope).bind(*id);
                }
                query.bind(workspace.as_str()).bind(now).execute($conn).await.map(drop)?
            }};
        }
        match tx.conn() {
            Conn::Sqlite(conn) => run!(Sqlite, conn),
            Conn::Postgres(conn) => run!(Postgres, conn),
        }
    }
    Ok(())
}

/// One change row per imported key and set, made from the rows just written.
async fn publish(tx: &mut Tx, workspace: &WorkspaceId, first: u32, count: u32, now: i64) -> Result<(), Error> {
    sql!(
        tx,
        "INSERT INTO changes (set_id, workspace_id, key_number, digest, status, imported, deadline, kind, environment, \
         tier, scopes, subject, is_new, created_at) \
         SELECT s.id, k.workspace_id, k.number, k.digest, 0, 1, k.expires_at, k.kind, k.environment, k.tier, k.scopes, \
         k.subject, 1, $4 FROM keys k CROSS JOIN sets s \
         WHERE k.workspace_id = $1 AND k.number >= $2 AND k.number < $3 AND s.workspace_id = $1 \
         ORDER BY k.number, s.id",
        workspace.as_str(),
        i64::from(first),
        i64::from(first) + i64::from(count),
        now
        => execute
    )?;
    tx.wake_publisher();
    Ok(())
}

async fn append(
    tx: &mut Tx,
    context: &Context,
    body_hash: &[u8; 32],
    (created, existing, refused): (usize, u64, usize),
    acknowledged: &[Scope],
    now: i64,
) -> Result<(), Error> {
    let hash: String = body_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut after = serde_json::Map::from_iter([
        ("created".to_owned(), created.into()),
        ("existing".to_owned(), existing.into()),
        ("refused".to_owned(), refused.into()),
        ("body_sha256".to_owned(), hash.into()),
    ]);
    audit::acknowledged(&mut after, acknowledged);
    let target = Target::Other("workspace", context.workspace.as_str());
    let draft = Draft {
        action: "key.imported",
        target,
        before: None,
        after: Some(after.into()),
        reason: None,
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await
}
