//! What the publisher reads and writes: a set's state, its changes and their numbers, the last head.
//!
//! A change row is written without a version. Once numbered it never changes, so everything published from rows up to a
//! version can be made again, byte for byte, until [`delete_changes`] removes what two later epochs have superseded.

use nightlatch_gate::policy::{Policy, Route};
use nightlatch_key::Brand;
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Commitment, Hash, Head, PrincipalKind};

use super::tx::sql;
use super::{Error, Read, Tx, profile_rows};
use crate::domain::SetId;

/// How far a set has been published, and how it is to be.
#[derive(Clone, Debug)]
pub(crate) struct SetState {
    pub(crate) workspace: String,
    /// What the workspace's keys begin with.
    pub(crate) brand: Brand,
    /// Milliseconds between heads.
    pub(crate) heartbeat_ms: u64,
    /// Milliseconds that a head may be relied on.
    pub(crate) validity_ms: u64,
    /// Milliseconds that clocks may be apart.
    pub(crate) skew_ms: u64,
    /// The largest validity ever signed.
    pub(crate) largest_validity_ms: u64,
    pub(crate) pepper_id: String,
    pub(crate) accepts_foreign: bool,
    pub(crate) incarnation: u64,
    /// 0 before the first base.
    pub(crate) epoch: u64,
    /// 0 before the first base.
    pub(crate) version: u64,
    pub(crate) commitment: Commitment,
    /// The hash of the current route policy; `None` before the first.
    pub(crate) policy: Option<Hash>,
    /// The exact text of the last signed head.
    pub(crate) head: Option<String>,
    /// The database clock it was signed over.
    pub(crate) head_issued: u64,
    /// The verifier key of the key that is to sign; `None` until that has been said.
    pub(crate) signer: Option<String>,
    /// The version of the trust note in force.
    pub(crate) trust: Option<u64>,
    /// Milliseconds that open routes may be answered after a head was issued; 0 where they may not, or there are none.
    pub(crate) open_ms: u64,
}

impl SetState {
    /// As a head has to say it that `signer` signs after the head `before`: one that another key is to take the place of
    /// goes on naming the trust note that still lists it.
    pub(crate) fn named_by(self, signer: &Signer, before: &Head) -> Self {
        let replaced = self.signer.as_ref().is_some_and(|vkey| *vkey != signer.verifier().to_vkey());
        if replaced { Self { trust: before.trust, ..self } } else { self }
    }
}

/// Reads a set's state.
///
/// # Errors
/// [`Error::NotFound`] where there is no such set, [`Error::Corrupt`] where a field is not what this program writes.
pub(crate) async fn state(read: &mut Read, set: &SetId) -> Result<SetState, Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        workspace_id: String,
        brand: String,
        heartbeat_ms: i64,
        validity_ms: i64,
        skew_ms: i64,
        largest_validity_ms: i64,
        pepper_id: String,
        accepts_foreign: i64,
        incarnation: i64,
        epoch: i64,
        version: i64,
        commitment: Vec<u8>,
        policy_hash: Option<Vec<u8>>,
        head: Option<String>,
        head_issued: Option<i64>,
        signer: Option<String>,
        trust: Option<i64>,
        open_ms: i64,
        open_policy: Option<Vec<u8>>,
    }
    let row = sql!(
        read,
        "SELECT s.workspace_id, w.brand, s.heartbeat_ms, s.validity_ms, s.skew_ms, s.largest_validity_ms, s.pepper_id, \
         s.accepts_foreign, s.incarnation, s.epoch, s.version, s.commitment, r.policy_hash, s.head, s.head_issued, \
         s.signer, s.open_ms, CASE WHEN s.open_ms > 0 THEN r.policy END AS open_policy, (SELECT MAX(t.version) FROM trust_notes t WHERE t.set_id = s.id) AS trust \
         FROM sets s JOIN workspaces w ON w.id = s.workspace_id LEFT JOIN routes r ON r.set_id = s.id AND r.revision = s.routes_revision WHERE s.id = $1",
        set.as_str() => optional Row
    )?
    .ok_or(Error::NotFound("set"))?;
    Ok(SetState {
        workspace: row.workspace_id,
        brand: Brand::new(&row.brand).map_err(|_| Error::Corrupt("brand"))?,
        heartbeat_ms: unsigned(row.heartbeat_ms)?,
        validity_ms: unsigned(row.validity_ms)?,
        skew_ms: unsigned(row.skew_ms)?,
        largest_validity_ms: unsigned(row.largest_validity_ms)?,
        pepper_id: row.pepper_id,
        accepts_foreign: row.accepts_foreign != 0,
        incarnation: unsigned(row.incarnation)?,
        epoch: unsigned(row.epoch)?,
        version: unsigned(row.version)?,
        commitment: Commitment(hash(&row.commitment)?),
        policy: row.policy_hash.as_deref().map(hash).transpose()?,
        head: row.head,
        head_issued: unsigned(row.head_issued.unwrap_or_default())?,
        signer: row.signer,
        trust: row.trust.map(unsigned).transpose()?,
        open_ms: if has_open_route(row.open_policy)? { unsigned(row.open_ms)? } else { 0 },
    })
}

fn has_open_route(policy: Option<Vec<u8>>) -> Result<bool, Error> {
    let Some(bytes) = policy else { return Ok(false) };
    let policy = Policy::decode(&bytes).map_err(|_| Error::Corrupt("route policy"))?;
    Ok(policy.routes().iter().any(Route::open))
}

/// The bytes of the set's policy with this hash; `None` where the set has none such.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn policy(read: &mut Read, set: &SetId, policy: &Hash) -> Result<Option<Vec<u8>>, Error> {
    let row = sql!(
        read,
        "SELECT policy FROM routes WHERE set_id = $1 AND policy_hash = $2 LIMIT 1",
        set.as_str(), policy.0.as_slice() => optional (Vec<u8>,)
    )?;
    Ok(row.map(|(bytes,)| bytes))
}

/// When the set's route document was last replaced, unix milliseconds; 0 where it never was.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn routes_replaced_at(read: &mut Read, set: &SetId) -> Result<u64, Error> {
    let (at,) = sql!(
        read,
        "SELECT COALESCE(MAX(created_at), 0) FROM routes WHERE set_id = $1",
        set.as_str() => one (i64,)
    )?;
    unsigned(at)
}

/// A change of one key, whole.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct ChangeRow {
    pub(crate) key_number: i64,
    pub(crate) digest: Vec<u8>,
    pub(crate) status: i64,
    pub(crate) imported: i64,
    pub(crate) deadline: Option<i64>,
    pub(crate) kind: String,
    pub(crate) environment: String,
    pub(crate) tier: Option<String>,
    pub(crate) scopes: String,
    pub(crate) subject: i64,
    pub(crate) created_at: i64,
    pub(crate) version: i64,
    pub(crate) position: i64,
}

/// A place in the order in which [`changes_page`] reads: key number, version, position.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place(i64, i64, i64);

impl ChangeRow {
    /// Where this row stands.
    pub(crate) fn place(&self) -> Place {
        Place(self.key_number, self.version, self.position)
    }
}

/// Gives at most `limit` committed rows that have none this version, those that were written first, in one statement,
/// whose snapshot they are; without `imported`, rows of imported keys wait. Within the version they keep the order in
/// which they were written: two changes of one key are written under its lock, so the later one has the higher `seq`, and
/// gets no earlier version.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn number_changes(
    tx: &mut Tx,
    set: &SetId,
    version: u64,
    limit: u32,
    imported: bool,
) -> Result<u64, Error> {
    Ok(sql!(
        tx,
        "UPDATE changes SET version = $1, position = seq WHERE seq IN \
         (SELECT seq FROM changes WHERE set_id = $2 AND version IS NULL AND imported <= $3 ORDER BY seq LIMIT $4)",
        signed(version)?, set.as_str(), i64::from(imported), i64::from(limit) => execute
    )?)
}

/// Takes the version away again from its rows after a position: they are to have a later one.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn put_back(tx: &mut Tx, set: &SetId, version: u64, after: i64) -> Result<(), Error> {
    sql!(
        tx,
        "UPDATE changes SET version = NULL, position = NULL WHERE set_id = $1 AND version = $2 AND position > $3",
        set.as_str(), signed(version)?, after => execute
    )?;
    Ok(())
}

/// Since when the oldest committed row without a version, of a key or a profile, has been there, unix milliseconds: each of them was committed
/// then or later.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn waiting_since(read: &mut Read, set: &SetId) -> Result<Option<u64>, Error> {
    let (since,) = sql!(
        read,
        "SELECT MIN(created_at) FROM changes WHERE set_id = $1 AND version IS NULL",
        set.as_str() => one (Option<i64>,)
    )?;
    let of_profiles = profile_rows::waiting_since(read, set).await?;
    since.into_iter().chain(of_profiles).min().map(unsigned).transpose()
}

/// Whether rows of imported keys have no version.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn imports_wait(read: &mut Read, set: &SetId) -> Result<bool, Error> {
    let row = sql!(
        read,
        "SELECT seq FROM changes WHERE set_id = $1 AND version IS NULL AND imported = 1 LIMIT 1",
        set.as_str() => optional (i64,)
    )?;
    Ok(row.is_some())
}

/// How many committed rows, of keys and of profiles, have no version.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn unnumbered(read: &mut Read, set: &SetId) -> Result<u64, Error> {
    let (count,) = sql!(
        read,
        "SELECT (SELECT COUNT(*) FROM changes WHERE set_id = $1 AND version IS NULL) \
         + (SELECT COUNT(*) FROM profile_changes WHERE set_id = $1 AND version IS NULL)",
        set.as_str() => one (i64,)
    )?;
    unsigned(count)
}

/// The rows of a version, in order.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn changes_of(read: &mut Read, set: &SetId, version: u64) -> Result<Vec<ChangeRow>, Error> {
    Ok(sql!(
        read,
        "SELECT key_number, digest, status, imported, deadline, kind, environment, tier, scopes, subject, created_at, \
         version, position FROM changes WHERE set_id = $1 AND version = $2 ORDER BY position",
        set.as_str(), signed(version)? => all ChangeRow
    )?)
}

/// The next rows up to a version, by key and then by age: the last of each key is its state at that version.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn changes_page(
    read: &mut Read,
    set: &SetId,
    through: u64,
    after: Place,
    limit: u32,
) -> Result<Vec<ChangeRow>, Error> {
    Ok(sql!(
        read,
        "SELECT key_number, digest, status, imported, deadline, kind, environment, tier, scopes, subject, created_at, \
         version, position FROM changes WHERE set_id = $1 AND version <= $2 \
         AND (key_number, version, position) > ($3, $4, $5) ORDER BY key_number, version, position LIMIT $6",
        set.as_str(), signed(through)?, after.0, after.1, after.2, i64::from(limit) => all ChangeRow
    )?)
}

/// How many rows there are up to a version.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn count_changes(read: &mut Read, set: &SetId, through: u64) -> Result<u64, Error> {
    let (count,) = sql!(
        read,
        "SELECT COUNT(*) FROM changes WHERE set_id = $1 AND version <= $2",
        set.as_str(), signed(through)? => one (i64,)
    )?;
    unsigned(count)
}

/// How many keys have rows: at most so many are in a base.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn count_keys(read: &mut Read, set: &SetId) -> Result<u64, Error> {
    let (count,) = sql!(
        read,
        "SELECT COUNT(DISTINCT key_number) FROM changes WHERE set_id = $1 AND version IS NOT NULL",
        set.as_str() => one (i64,)
    )?;
    unsigned(count)
}

/// The fencing term of the set's lease: how many leaders there have been.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn lease_term(read: &mut Read, set: &SetId) -> Result<u64, Error> {
    let row = sql!(read, "SELECT term FROM leases WHERE set_id = $1", set.as_str() => optional (i64,))?;
    unsigned(row.map_or(0, |(term,)| term))
}

/// The digests of keys whose last change up to version `through` is a revocation from before `cutoff` that the base at
/// version `since`, made with the cutoff `earlier`, did not leave out: all of those that it may hold, and some more.
/// Cutoffs are unix seconds.
///
/// # Errors
/// [`Error::Database`], [`Error::Corrupt`].
pub(crate) async fn revoked_before(
    read: &mut Read,
    set: &SetId,
    since: u64,
    earlier: u64,
    through: u64,
    cutoff: u64,
) -> Result<Vec<[u8; 32]>, Error> {
    let ms = |seconds: u64| signed(seconds.saturating_mul(1000));
    // Two statements, each with an index of its own: revoked lately enough, or published lately enough.
    let by_time = sql!(
        read,
        "SELECT o.digest FROM changes o WHERE o.set_id = $1 AND o.status = 3 AND o.created_at >= $2 \
         AND o.created_at < $3 AND o.version <= $4 AND NOT EXISTS (SELECT 1 FROM changes n WHERE n.set_id = o.set_id \
         AND n.key_number = o.key_number AND n.version <= $4 AND (n.version, n.position) > (o.version, o.position))",
        set.as_str(), ms(earlier)?, ms(cutoff)?, signed(through)? => all (Vec<u8>,)
    )?;
    let by_version = sql!(
        read,
        "SELECT o.digest FROM changes o WHERE o.set_id = $1 AND o.status = 3 AND o.version > $2 AND o.version <= $3 \
         AND o.created_at < $4 AND NOT EXISTS (SELECT 1 FROM changes n WHERE n.set_id = o.set_id \
         AND n.key_number = o.key_number AND n.version <= $3 AND (n.version, n.position) > (o.version, o.position))",
        set.as_str(), signed(since)?, signed(through)?, ms(cutoff.min(earlier))? => all (Vec<u8>,)
    )?;
    let digests = by_time.into_iter().chain(by_version);
    digests.map(|(digest,)| digest.try_into().map_err(|_| Error::Corrupt("change"))).collect()
}

/// The version of a key's last committed change, or of its profile's, where that is a member's: the later one. `None` where
/// it has none, `Some(None)` where one of them is not numbered yet.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn last_change(read: &mut Read, set: &SetId, number: u32) -> Result<Option<Option<u64>>, Error> {
    let row = sql!(
        read,
        "SELECT version, kind, subject, environment FROM changes WHERE set_id = $1 AND key_number = $2 \
         ORDER BY seq DESC LIMIT 1",
        set.as_str(), i64::from(number) => optional (Option<i64>, String, i64, String)
    )?;
    let Some((version, kind, subject, environment)) = row else { return Ok(None) };
    let of_profile = match kind == PrincipalKind::User.as_str() {
        true => profile_rows::last(read, set, subject, &environment).await?,
        false => None,
    };
    let later = match (version, of_profile) {
        (None, _) | (_, Some(None)) => None,
        (Some(version), of_profile) => Some(version.max(of_profile.flatten().unwrap_or_default())),
    };
    later.map(unsigned).transpose().map(Some)
}

/// Where a set has got, with the head that says so.
#[derive(Clone, Debug)]
pub(crate) struct Published<'a> {
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) commitment: Commitment,
    pub(crate) keys: u64,
    pub(crate) note: &'a str,
    pub(crate) issued: u64,
    pub(crate) validity_ms: u64,
}

/// Stores the set's state and its head's exact text.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn save_head(tx: &mut Tx, set: &SetId, published: &Published<'_>) -> Result<(), Error> {
    sql!(
        tx,
        "UPDATE sets SET incarnation = $1, epoch = $2, version = $3, commitment = $4, key_count = $5, head = $6, \
         head_issued = $7, largest_validity_ms = CASE WHEN largest_validity_ms < $8 THEN $8 ELSE largest_validity_ms END \
         WHERE id = $9",
        signed(published.incarnation)?, signed(published.epoch)?, signed(published.version)?,
        published.commitment.0.0.as_slice(), signed(published.keys)?, published.note, signed(published.issued)?,
        signed(published.validity_ms)?, set.as_str() => execute
    )?;
    Ok(())
}

/// `seq` of rows that a later one up to version `through` has superseded, where the later one came after the oldest
/// version that is still on record.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn superseded(read: &mut Read, set: &SetId, through: u64, limit: u32) -> Result<Vec<i64>, Error> {
    let rows = sql!(
        read,
        // One comparison of pairs: with an OR, SQLite looks for each row through all others of its version.
        "SELECT o.seq FROM changes n JOIN changes o ON o.set_id = n.set_id AND o.key_number = n.key_number \
         AND (o.version, o.position) < (n.version, n.position) \
         WHERE n.set_id = $1 AND n.version <= $2 \
         AND n.version > (SELECT MIN(v.version) FROM set_versions v WHERE v.set_id = $1) LIMIT $3",
        set.as_str(), signed(through)?, i64::from(limit) => all (i64,)
    )?;
    Ok(rows.into_iter().map(|(seq,)| seq).collect())
}

/// Deletes change rows.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn delete_changes(tx: &mut Tx, rows: &[i64]) -> Result<(), Error> {
    for seq in rows {
        sql!(tx, "DELETE FROM changes WHERE seq = $1", *seq => execute)?;
    }
    Ok(())
}

pub(super) fn unsigned(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Corrupt("number"))
}

pub(super) fn signed(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::Corrupt("number"))
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash, Error> {
    bytes.try_into().map(Hash).map_err(|_| Error::Corrupt("hash"))
}
