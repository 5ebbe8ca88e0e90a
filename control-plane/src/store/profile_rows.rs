//! What the publisher reads and writes of live profiles: rows like those of keys, numbered in the same versions.

use std::collections::BTreeMap;

use nightlatch_key::Environment;
use nightlatch_keyset::{PrincipalKind, Profile};

use super::publication::{self, ChangeRow, signed};
use super::tx::sql;
use super::{Error, Read, Tx};
use crate::domain::SetId;

/// The contents of a live profile, whole.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct ProfileRow {
    pub(crate) subject: i64,
    pub(crate) environment: String,
    pub(crate) kind: String,
    pub(crate) tier: Option<String>,
    pub(crate) scopes: String,
    pub(crate) refused: i64,
    pub(crate) version: i64,
    pub(crate) position: i64,
}

impl ProfileRow {
    fn decode(&self) -> Result<Profile, Error> {
        let corrupt = || Error::Corrupt("profile change");
        Ok(Profile {
            kind: PrincipalKind::from_name(&self.kind).ok_or_else(corrupt)?,
            environment: Environment::from_name(&self.environment).ok_or_else(corrupt)?,
            tier: self.tier.clone(),
            scopes: self.scopes.split_ascii_whitespace().map(str::to_owned).collect(),
            live: Some(u32::try_from(self.subject).map_err(|_| corrupt())?),
            refused: self.refused != 0,
        })
    }
}

/// Live profiles at a version, by whom they belong to and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profiles(BTreeMap<(i64, String), Profile>);

impl Profiles {
    /// Takes rows, of which later ones of one profile come after earlier ones.
    pub(crate) fn take<'a>(&mut self, rows: impl IntoIterator<Item = &'a ProfileRow>) -> Result<(), Error> {
        for row in rows {
            self.0.insert((row.subject, row.environment.clone()), row.decode()?);
        }
        Ok(())
    }

    /// The profile of a key's row, where that is a member's. One of which nothing is known refuses its keys.
    pub(crate) fn of_row(&self, row: &ChangeRow) -> Result<Option<Profile>, Error> {
        if row.kind != PrincipalKind::User.as_str() {
            return Ok(None);
        }
        if let Some(known) = self.0.get(&(row.subject, row.environment.clone())) {
            return Ok(Some(known.clone()));
        }
        let unknown = ProfileRow {
            subject: row.subject,
            environment: row.environment.clone(),
            kind: row.kind.clone(),
            tier: None,
            scopes: String::new(),
            refused: 1,
            version: row.version,
            position: row.position,
        };
        unknown.decode().map(Some)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.values()
    }
}

/// A version's rows.
#[derive(Clone, Debug)]
pub(crate) struct VersionRows {
    /// Of keys, in order.
    pub(crate) changes: Vec<ChangeRow>,
    /// Of profiles, in order.
    pub(crate) profiles: Vec<ProfileRow>,
    /// The contents at this version of the profiles that either is of.
    pub(crate) in_force: Profiles,
}

/// Gives at most `limit` committed rows that have none this version, those that were written first. To be called after the
/// rows of keys have got it: the first key of a profile is committed with the row that says what the profile is, so that
/// this snapshot has it.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn number(tx: &mut Tx, set: &SetId, version: u64, limit: u32) -> Result<u64, Error> {
    Ok(sql!(
        tx,
        "UPDATE profile_changes SET version = $1, position = seq WHERE seq IN \
         (SELECT seq FROM profile_changes WHERE set_id = $2 AND version IS NULL ORDER BY seq LIMIT $3)",
        signed(version)?, set.as_str(), i64::from(limit) => execute
    )?)
}

/// Takes the version away again from its rows after a position: they are to have a later one.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn put_back(tx: &mut Tx, set: &SetId, version: u64, after: i64) -> Result<(), Error> {
    sql!(
        tx,
        "UPDATE profile_changes SET version = NULL, position = NULL WHERE set_id = $1 AND version = $2 AND position > $3",
        set.as_str(), signed(version)?, after => execute
    )?;
    Ok(())
}

/// The rows of a version, and what else its keys' rows refer to.
///
/// # Errors
/// [`Error::Database`], [`Error::Corrupt`].
pub(crate) async fn of_version(read: &mut Read, set: &SetId, version: u64) -> Result<VersionRows, Error> {
    let changes = publication::changes_of(read, set, version).await?;
    let profiles = sql!(
        read,
        "SELECT subject, environment, kind, tier, scopes, refused, version, position FROM profile_changes \
         WHERE set_id = $1 AND version = $2 ORDER BY position",
        set.as_str(), signed(version)? => all ProfileRow
    )?;
    let mut in_force = Profiles::default();
    if changes.iter().any(|row| row.kind == PrincipalKind::User.as_str()) {
        let of_keys = sql!(
            read,
            "SELECT p.subject, p.environment, p.kind, p.tier, p.scopes, p.refused, p.version, p.position \
             FROM (SELECT DISTINCT c.set_id, c.subject, c.environment FROM changes c \
             WHERE c.set_id = $1 AND c.version = $2 AND c.kind = 'user') k \
             JOIN profile_changes p ON p.set_id = k.set_id AND p.subject = k.subject AND p.environment = k.environment \
             AND p.version < $2 ORDER BY p.version, p.position",
            set.as_str(), signed(version)? => all ProfileRow
        )?;
        in_force.take(&of_keys)?;
    }
    in_force.take(&profiles)?;
    Ok(VersionRows { changes, profiles, in_force })
}

/// A place in the order in which [`page`] reads: version, position.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place(i64, i64);

/// The next rows up to a version, and the place after them; `None` where there are none.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn page(
    read: &mut Read,
    set: &SetId,
    through: u64,
    after: Place,
    limit: u32,
) -> Result<Option<(Vec<ProfileRow>, Place)>, Error> {
    let rows = sql!(
        read,
        "SELECT subject, environment, kind, tier, scopes, refused, version, position FROM profile_changes \
         WHERE set_id = $1 AND version <= $2 AND (version, position) > ($3, $4) ORDER BY version, position LIMIT $5",
        set.as_str(), signed(through)?, after.0, after.1, i64::from(limit) => all ProfileRow
    )?;
    let place = rows.last().map(|row| Place(row.version, row.position));
    Ok(place.map(|place| (rows, place)))
}

/// Since when the oldest committed row without a version has been there, unix milliseconds.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn waiting_since(read: &mut Read, set: &SetId) -> Result<Option<i64>, Error> {
    let sql = "SELECT MIN(created_at) FROM profile_changes WHERE set_id = $1 AND version IS NULL";
    Ok(sql!(read, sql, set.as_str() => one (Option<i64>,))?.0)
}

/// The version of the last committed row of a profile: `None` where it has none, `Some(None)` where it is not numbered yet.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn last(
    read: &mut Read,
    set: &SetId,
    subject: i64,
    environment: &str,
) -> Result<Option<Option<i64>>, Error> {
    let row = sql!(
        read,
        "SELECT version FROM profile_changes WHERE set_id = $1 AND subject = $2 AND environment = $3 \
         ORDER BY seq DESC LIMIT 1",
        set.as_str(), subject, environment => optional (Option<i64>,)
    )?;
    Ok(row.map(|(version,)| version))
}

/// `seq` of rows that a later one up to version `through` has superseded, as
/// [`superseded`](publication::superseded) says it of keys.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn superseded(read: &mut Read, set: &SetId, through: u64, limit: u32) -> Result<Vec<i64>, Error> {
    let rows = sql!(
        read,
        "SELECT o.seq FROM profile_changes n JOIN profile_changes o ON o.set_id = n.set_id AND o.subject = n.subject \
         AND o.environment = n.environment AND (o.version, o.position) < (n.version, n.position) \
         WHERE n.set_id = $1 AND n.version <= $2 \
         AND n.version > (SELECT MIN(v.version) FROM set_versions v WHERE v.set_id = $1) LIMIT $3",
        set.as_str(), signed(through)?, i64::from(limit) => all (i64,)
    )?;
    Ok(rows.into_iter().map(|(seq,)| seq).collect())
}

/// Deletes rows.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn delete(tx: &mut Tx, rows: &[i64]) -> Result<(), Error> {
    for seq in rows {
        sql!(tx, "DELETE FROM profile_changes WHERE seq = $1", *seq => execute)?;
    }
    Ok(())
}
