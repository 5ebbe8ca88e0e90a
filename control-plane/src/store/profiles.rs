//! Live profiles: what the keys of a member may do, said once for all of them.
//!
//! A `user` key has no scopes and no tier of its own. In each environment it has those of its member, and it is refused
//! while its member is suspended, and for ever once the member is removed. Edges are told so by one row of
//! `profile_changes` per set, whatever the number of keys; a member without keys in an environment has none there.

use std::collections::{BTreeMap, BTreeSet};

use nightlatch_key::Environment;
use sqlx::{AssertSqlSafe, FromRow};

use super::tx::sql;
use super::{Error, Read, Tx, dialect, receipts};
use crate::domain::{Key, PrincipalKind, Role, Scopes, Tier, WorkspaceId};

/// In a member's scopes: a ceiling for what may be granted, and nothing that a key may do.
const EVERYTHING: &str = "*";

/// What a member's keys may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The member's own scopes and those of its role.
    pub scopes: Scopes,
    /// The name of their rate limit.
    pub tier: Option<Tier>,
    /// Whether they are all refused: the member is not active, or its partner organisation is not.
    pub refused: bool,
    /// Whether that is for ever: one of them was removed.
    pub(crate) gone: bool,
}

/// What the keys of a member may do by what the workspace says of it now. Of a principal that is no member, nothing.
///
/// # Errors
/// [`Error::Database`].
pub async fn contents(read: &mut Read, workspace: &WorkspaceId, subject: u32) -> Result<Contents, Error> {
    let found = contents_of(read, workspace, &BTreeSet::from([subject])).await?.remove(&subject);
    Ok(found.unwrap_or_else(Contents::none))
}

impl Contents {
    fn none() -> Self {
        Self { refused: true, ..Self::default() }
    }

    fn is(&self, row: &Written) -> bool {
        (row.scopes == self.scopes.to_stored())
            && row.tier.as_deref() == self.tier.as_ref().map(Tier::as_str)
            && (row.refused != 0) == self.refused
    }
}

#[derive(FromRow)]
struct MemberRow {
    subject: i64,
    principal: String,
    member: Option<String>,
    own: Option<String>,
    tier: Option<String>,
    of_role: Option<String>,
    /// The state of the partner organisation whose staff it is.
    partner: Option<String>,
}

async fn contents_of(
    read: &mut Read,
    workspace: &WorkspaceId,
    subjects: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, Contents>, Error> {
    if subjects.is_empty() {
        return Ok(BTreeMap::new());
    }
    let numbers: Vec<_> = subjects.iter().map(u32::to_string).collect();
    // Numbers, written by this program.
    let sql = AssertSqlSafe(format!(
        "SELECT p.subject, p.state AS principal, m.state AS member, m.scopes AS own, m.tier, r.scopes AS of_role, \
         o.state AS partner FROM principals p LEFT JOIN members m ON m.workspace_id = p.workspace_id AND m.subject = p.subject \
         LEFT JOIN role_scopes r ON r.workspace_id = m.workspace_id AND r.role = m.role \
         LEFT JOIN principals o ON o.workspace_id = m.workspace_id AND o.subject = m.partner \
         WHERE p.workspace_id = $1 AND p.kind = 'user' AND p.subject IN ({})",
        numbers.join(", ")
    ));
    let rows = sql!(read, sql, workspace.as_str() => all MemberRow)?;
    let mut found = BTreeMap::new();
    for row in rows {
        let subject = u32::try_from(row.subject).map_err(|_| Error::Corrupt("subject"))?;
        // For ever: whatever becomes of the role.
        if row.principal == "removed" || [&row.member, &row.partner].iter().any(|is| is.as_deref() == Some("removed")) {
            found.insert(subject, Contents { gone: true, ..Contents::none() });
            continue;
        }
        let words = [row.own.as_deref(), row.of_role.as_deref()].into_iter().flatten();
        let words: BTreeSet<&str> =
            words.flat_map(str::split_ascii_whitespace).filter(|word| *word != EVERYTHING).collect();
        let words: Vec<_> = words.into_iter().collect();
        let contents = Contents {
            scopes: Scopes::from_stored(&words.join(" ")),
            tier: row.tier.map(Tier::from_stored),
            refused: row.principal != "active"
                || row.member.as_deref() != Some("active")
                || row.partner.is_some_and(|state| state != "active"),
            gone: false,
        };
        found.insert(subject, contents);
    }
    Ok(found)
}

/// Gives keys of members the scopes and tiers that they have now, for a reader to see.
pub(super) async fn show(read: &mut Read, keys: &mut [&mut Key]) -> Result<(), Error> {
    let mut by_workspace: BTreeMap<WorkspaceId, BTreeSet<u32>> = BTreeMap::new();
    for key in keys.iter().filter(|key| key.kind == PrincipalKind::User) {
        by_workspace.entry(key.workspace.clone()).or_default().insert(key.subject);
    }
    for (workspace, subjects) in by_workspace {
        let found = contents_of(read, &workspace, &subjects).await?;
        for key in keys.iter_mut().filter(|key| key.kind == PrincipalKind::User && key.workspace == workspace) {
            let contents = found.get(&key.subject).cloned().unwrap_or_else(Contents::none);
            (key.scopes, key.tier) = (contents.scopes, contents.tier);
        }
    }
    Ok(())
}

/// Tells edges what a member's keys may do from now on, where that is something else than they were told last. To be called
/// in the mutation's transaction by whatever changes the member, its principal or its role's scopes, after it has changed
/// them, and after all locks. Keys that have been revoked without a change row of their own, because their member was
/// removed, have receipts by the profile's version.
///
/// # Errors
/// [`Error::Database`].
pub async fn changed(tx: &mut Tx, workspace: &WorkspaceId, subject: u32, now: i64) -> Result<(), Error> {
    hold(tx, workspace, subject).await?;
    write(tx, workspace, subject, None, now).await
}

/// The same for all members of a role, by whoever holds [`dialect::lock_roles`]: that keeps every other away, so that no
/// member has to be locked, however many there are. Of members without keys edges were told nothing.
pub(super) async fn role_changed(tx: &mut Tx, workspace: &WorkspaceId, role: Role, now: i64) -> Result<(), Error> {
    let sql = "SELECT m.subject FROM members m WHERE m.workspace_id = $1 AND m.role = $2 AND m.state <> 'removed' \
               AND EXISTS (SELECT 1 FROM sets s JOIN profile_changes p ON p.set_id = s.id \
               WHERE s.workspace_id = m.workspace_id AND p.subject = m.subject) ORDER BY m.subject";
    let subjects = sql!(tx, sql, workspace.as_str(), role.as_str() => all (i64,))?;
    write_all(tx, workspace, subjects, now).await
}

/// The same for all staff of a partner organisation, by whoever holds its principal and has changed it; after all locks.
/// One lock keeps every other away, as in [`role_changed`].
pub(super) async fn staff_changed(tx: &mut Tx, workspace: &WorkspaceId, partner: u32, now: i64) -> Result<(), Error> {
    dialect::lock_roles(tx, workspace.as_str()).await?;
    let sql = "SELECT m.subject FROM members m WHERE m.workspace_id = $1 AND m.partner = $2 AND m.state <> 'removed' \
               AND EXISTS (SELECT 1 FROM sets s JOIN profile_changes p ON p.set_id = s.id \
               WHERE s.workspace_id = m.workspace_id AND p.subject = m.subject) ORDER BY m.subject";
    let subjects = sql!(tx, sql, workspace.as_str(), i64::from(partner) => all (i64,))?;
    write_all(tx, workspace, subjects, now).await
}

async fn write_all(tx: &mut Tx, workspace: &WorkspaceId, subjects: Vec<(i64,)>, now: i64) -> Result<(), Error> {
    for (subject,) in subjects {
        let subject = u32::try_from(subject).map_err(|_| Error::Corrupt("subject"))?;
        write(tx, workspace, subject, None, now).await?;
    }
    Ok(())
}

/// The same, where a member's key comes into an environment: perhaps the first, so that nothing is known of it there.
pub(super) async fn key_comes(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    subject: u32,
    environment: Environment,
    now: i64,
) -> Result<(), Error> {
    hold(tx, workspace, subject).await?;
    write(tx, workspace, subject, Some(environment), now).await
}

/// Whoever comes later reads what this one has written: of two rows the later one has what holds.
async fn hold(tx: &mut Tx, workspace: &WorkspaceId, subject: u32) -> Result<(), Error> {
    dialect::share_roles(tx, workspace.as_str()).await?;
    dialect::lock_profile(tx, workspace.as_str(), subject).await
}

/// The last row of a member's in a set and an environment.
#[derive(FromRow)]
struct Written {
    set_id: String,
    environment: String,
    tier: Option<String>,
    scopes: String,
    refused: i64,
}

async fn write(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    subject: u32,
    comes: Option<Environment>,
    now: i64,
) -> Result<(), Error> {
    let kind = sql!(
        tx,
        "SELECT kind FROM principals WHERE workspace_id = $1 AND subject = $2",
        workspace.as_str(), i64::from(subject) => optional (String,)
    )?;
    if kind.is_none_or(|(kind,)| kind != PrincipalKind::User.as_str()) {
        return Ok(());
    }
    let contents = contents(tx, workspace, subject).await?;
    if contents.gone {
        receipts::go_with_member(tx, workspace, subject).await?;
    }
    let written = sql!(
        tx,
        "SELECT p.set_id, p.environment, p.tier, p.scopes, p.refused FROM sets s JOIN profile_changes p ON p.set_id = s.id \
         WHERE s.workspace_id = $1 AND p.subject = $2 AND NOT EXISTS (SELECT 1 FROM profile_changes n \
         WHERE n.set_id = p.set_id AND n.subject = p.subject AND n.environment = p.environment AND n.seq > p.seq)",
        workspace.as_str(), i64::from(subject) => all Written
    )?;
    let mut due: BTreeSet<(&str, &str)> = BTreeSet::new();
    for row in written.iter().filter(|row| !contents.is(row)) {
        due.insert((&row.set_id, &row.environment));
    }
    let sets = match comes {
        None => Vec::new(),
        Some(_) => sql!(tx, "SELECT id FROM sets WHERE workspace_id = $1", workspace.as_str() => all (String,))?,
    };
    if let Some(environment) = comes.map(Environment::as_str) {
        let knows = |set: &str| written.iter().any(|row| row.set_id == set && row.environment == environment);
        due.extend(sets.iter().map(|(set,)| (set.as_str(), environment)).filter(|(set, _)| !knows(set)));
    }
    if due.is_empty() {
        return Ok(());
    }
    for (set, environment) in due {
        sql!(
            tx,
            "INSERT INTO profile_changes (set_id, workspace_id, subject, environment, kind, tier, scopes, refused, \
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            set,
            workspace.as_str(),
            i64::from(subject),
            environment,
            PrincipalKind::User.as_str(),
            contents.tier.as_ref().map(Tier::as_str),
            contents.scopes.to_stored(),
            i64::from(contents.refused),
            now
            => execute
        )?;
    }
    tx.wake_publisher();
    Ok(())
}
