//! Workspaces, their principals and sets; the first start.

use nightlatch_key::Brand;
use sqlx::FromRow;

use super::rows::unsigned;
use super::tx::sql;
use super::{Error, Random, Read, Tx};
use crate::domain::{Bound, PrincipalKind, Refusal, SetId, WorkspaceId};

pub use crate::domain::DEFAULT_SUBJECT;

macro_rules! set_columns {
    () => {
        "id, workspace_id, name, heartbeat_ms, validity_ms, skew_ms, largest_validity_ms, pepper_id, accepts_foreign, \
         incarnation, epoch, version, commitment, key_count, routes_revision, head, head_issued, signer, own_pepper"
    };
}

macro_rules! workspace_columns {
    () => {
        "id, name, brand, created_at, revision"
    };
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// `ws_…`
    pub id: WorkspaceId,
    /// What people call it.
    pub name: String,
    /// The brand its keys begin with.
    pub brand: Brand,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Counts its changes.
    pub revision: i64,
}

/// A published key set, without the publisher's state.
#[derive(Clone, Debug)]
pub struct Set {
    /// `set_…`
    pub id: SetId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// What people call it.
    pub name: String,
    /// How often its head is signed anew, milliseconds.
    pub heartbeat_ms: i64,
    /// How long a head may be relied on, milliseconds.
    pub validity_ms: i64,
    /// How far clocks may be apart, milliseconds.
    pub skew_ms: i64,
    /// The largest validity ever signed, milliseconds.
    pub largest_validity_ms: i64,
    /// The pepper's id.
    pub pepper_id: String,
    /// Whether texts not of the brand are looked up.
    pub accepts_foreign: bool,
    /// How often the set was recovered.
    pub incarnation: i64,
    /// The base's number.
    pub epoch: i64,
    /// The change counter.
    pub version: i64,
    /// The commitment at that version; 32 bytes.
    pub commitment: Vec<u8>,
    /// Keys at that version.
    pub key_count: i64,
    /// The route document's revision; 0 before the first.
    pub routes_revision: i64,
    /// The exact text of the last signed head.
    pub head: Option<String>,
    /// The database clock it was signed over, unix milliseconds.
    pub head_issued: Option<i64>,
    /// The verifier key of the key that signs its heads; `None` before the first start has said so.
    pub signer: Option<String>,
    /// Whether its pepper is derived for it alone, as the sets of all workspaces but the first have it.
    pub own_pepper: bool,
}

/// For whom a key acts.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its number in the workspace.
    pub subject: u32,
    /// What it is.
    pub kind: PrincipalKind,
    /// What people call it.
    pub name: String,
}

/// What the first start needs to know.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The workspace's name.
    pub name: String,
    /// The brand of its keys.
    pub brand: Brand,
    /// Milliseconds.
    pub heartbeat_ms: i64,
    /// Milliseconds.
    pub validity_ms: i64,
    /// Milliseconds.
    pub skew_ms: i64,
    /// The pepper's id.
    pub pepper_id: String,
    /// Whether texts not of the brand are looked up.
    pub accepts_foreign: bool,
}

/// Creates the workspace, its default principal ([`DEFAULT_SUBJECT`]) and its default set in one transaction, or returns
/// those that exist: the arguments then change nothing.
///
/// # Errors
/// [`Error::Database`].
pub async fn bootstrap(tx: &mut Tx, wanted: &Bootstrap, random: Random<'_>) -> Result<(Workspace, Set), Error> {
    super::dialect::lock_slot(tx, BOOTSTRAP_SLOT).await?;
    if let Some(existing) = first(tx).await? {
        return Ok(existing);
    }
    insert(tx, wanted, None, random).await?;
    first(tx).await?.ok_or(Error::NotFound("workspace"))
}

/// Writes the rows of a new workspace. Whoever calls this holds [`BOOTSTRAP_SLOT`]. All but the first are made beside the
/// `founding` one, which stays the oldest whatever the clock says, and have a pepper of their own.
pub(super) async fn insert(
    tx: &mut Tx,
    wanted: &Bootstrap,
    founding: Option<&Workspace>,
    random: Random<'_>,
) -> Result<(WorkspaceId, SetId), Error> {
    let now = tx.now().await?;
    let now = founding.map_or(now, |founding| now.max(founding.created_at.saturating_add(1)));
    let mut bytes = [0; 10];
    random(&mut bytes);
    let workspace = WorkspaceId::generate(bytes);
    random(&mut bytes);
    let set = SetId::generate(bytes);
    sql!(
        tx,
        "INSERT INTO workspaces (id, name, brand, next_key_number, next_subject, created_at) \
         VALUES ($1, $2, $3, 1, $4, $5)",
        workspace.as_str(),
        wanted.name.as_str(),
        wanted.brand.as_str(),
        i64::from(DEFAULT_SUBJECT) + 1,
        now
        => execute
    )?;
    sql!(
        tx,
        "INSERT INTO principals (workspace_id, subject, kind, name, created_at) VALUES ($1, $2, $3, 'default', $4)",
        workspace.as_str(),
        i64::from(DEFAULT_SUBJECT),
        PrincipalKind::ServiceAccount.as_str(),
        now
        => execute
    )?;
    sql!(
        tx,
        "INSERT INTO sets (id, workspace_id, name, heartbeat_ms, validity_ms, skew_ms, largest_validity_ms, pepper_id, \
         accepts_foreign, incarnation, epoch, version, commitment, key_count, routes_revision, created_at, own_pepper) \
         VALUES ($1, $2, 'default', $3, $4, $5, $4, $6, $7, 0, 0, 0, $8, 0, 0, $9, $10)",
        set.as_str(),
        workspace.as_str(),
        wanted.heartbeat_ms,
        wanted.validity_ms,
        wanted.skew_ms,
        wanted.pepper_id.as_str(),
        i64::from(wanted.accepts_foreign),
        // The commitment of version 0.
        [0_u8; 32].as_slice(),
        now,
        i64::from(founding.is_some())
        => execute
    )?;
    tx.wake_publisher();
    Ok((workspace, set))
}

/// The founding workspace, which the first start made, and its first set; `None` before that.
///
/// # Errors
/// [`Error::Database`].
pub async fn first(read: &mut Read) -> Result<Option<(Workspace, Set)>, Error> {
    let sql = concat!(
        "SELECT ",
        workspace_columns!(),
        " FROM workspaces WHERE kind = 'tenant' ORDER BY created_at, id LIMIT 1"
    );
    let Some(row) = sql!(read, sql => optional WorkspaceRow)? else {
        return Ok(None);
    };
    let sql = concat!("SELECT ", set_columns!(), " FROM sets WHERE workspace_id = $1 ORDER BY created_at, id LIMIT 1");
    let set = sql!(read, sql, row.id.as_str() => one SetRow)?;
    Ok(Some((row.try_into()?, set.into())))
}

/// A workspace by id.
///
/// # Errors
/// [`Error::NotFound`] where there is none.
pub async fn get(read: &mut Read, id: &WorkspaceId) -> Result<Workspace, Error> {
    let sql = concat!("SELECT ", workspace_columns!(), " FROM workspaces WHERE id = $1");
    let row = sql!(read, sql, id.as_str() => optional WorkspaceRow)?;
    row.ok_or(Error::NotFound("workspace"))?.try_into()
}

/// A tenant by id.
///
/// # Errors
/// [`Error::NotFound`] where there is none.
pub async fn tenant(read: &mut Read, id: &WorkspaceId) -> Result<Workspace, Error> {
    let sql = concat!("SELECT ", workspace_columns!(), " FROM workspaces WHERE id = $1 AND kind = 'tenant'");
    let row = sql!(read, sql, id.as_str() => optional WorkspaceRow)?;
    row.ok_or(Error::NotFound("workspace"))?.try_into()
}

/// All sets of all workspaces, the founding one's first.
///
/// # Errors
/// [`Error::Database`].
pub async fn all_sets(read: &mut Read) -> Result<Vec<Set>, Error> {
    let sql = concat!("SELECT ", set_columns!(), " FROM sets ORDER BY created_at, id");
    Ok(sql!(read, sql => all SetRow)?.into_iter().map(Set::from).collect())
}

/// The ids of all sets of all workspaces: what publishers serve.
///
/// # Errors
/// [`Error::Database`].
pub async fn all_set_ids(read: &mut Read) -> Result<Vec<SetId>, Error> {
    let rows = sql!(read, "SELECT id FROM sets ORDER BY created_at, id" => all (String,))?;
    Ok(rows.into_iter().map(|(id,)| SetId::from_stored(id)).collect())
}

/// The sets of a workspace.
///
/// # Errors
/// [`Error::Database`].
pub async fn sets(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<Set>, Error> {
    let sql = concat!("SELECT ", set_columns!(), " FROM sets WHERE workspace_id = $1 ORDER BY created_at, id");
    Ok(sql!(read, sql, workspace.as_str() => all SetRow)?.into_iter().map(Set::from).collect())
}

/// A set, whosever it is: for what serves all workspaces, never for a caller of one.
///
/// # Errors
/// [`Error::NotFound`] where there is none.
pub async fn any_set(read: &mut Read, id: &SetId) -> Result<Set, Error> {
    let sql = concat!("SELECT ", set_columns!(), " FROM sets WHERE id = $1");
    let row = sql!(read, sql, id.as_str() => optional SetRow)?;
    row.map(Set::from).ok_or(Error::NotFound("set"))
}

/// A set of the workspace.
///
/// # Errors
/// [`Error::NotFound`] where there is none.
pub async fn set(read: &mut Read, workspace: &WorkspaceId, id: &SetId) -> Result<Set, Error> {
    let sql = concat!("SELECT ", set_columns!(), " FROM sets WHERE workspace_id = $1 AND id = $2");
    let row = sql!(read, sql, workspace.as_str(), id.as_str() => optional SetRow)?;
    row.map(Set::from).ok_or(Error::NotFound("set"))
}

/// How long a change may take to be in force: the largest bound of the workspace's sets.
///
/// # Errors
/// [`Error::Database`].
pub async fn bound(read: &mut Read, workspace: &WorkspaceId) -> Result<Bound, Error> {
    let sql =
        "SELECT CAST(COALESCE(MAX(largest_validity_ms + skew_ms), 0) AS BIGINT) FROM sets WHERE workspace_id = $1";
    let (ms,) = sql!(read, sql, workspace.as_str() => one (i64,))?;
    Ok(Bound::from_ms(ms))
}

/// A principal of the workspace.
///
/// # Errors
/// [`Error::Database`].
pub async fn principal(read: &mut Read, workspace: &WorkspaceId, subject: u32) -> Result<Option<Principal>, Error> {
    let sql = "SELECT subject, kind, name FROM principals WHERE workspace_id = $1 AND subject = $2";
    let row = sql!(read, sql, workspace.as_str(), i64::from(subject) => optional (i64, String, String))?;
    row.map(principal_of).transpose()
}

/// All principals of the workspace, by subject.
///
/// # Errors
/// [`Error::Database`].
pub async fn principals(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<Principal>, Error> {
    let sql = "SELECT subject, kind, name FROM principals WHERE workspace_id = $1 ORDER BY subject";
    let rows = sql!(read, sql, workspace.as_str() => all (i64, String, String))?;
    rows.into_iter().map(principal_of).collect()
}

/// Refuses where a principal gets no keys any more, or for now none.
pub(super) fn require_active(state: Option<&str>) -> Result<(), Refusal> {
    match state {
        Some("suspended") => Err(Refusal::PrincipalSuspended),
        Some("removed") => Err(Refusal::PrincipalRemoved),
        _ => Ok(()),
    }
}

/// Takes the next key number. Mutations of the workspace that do so wait for each other from here on.
pub(super) async fn next_number(tx: &mut Tx, workspace: &WorkspaceId) -> Result<u32, Error> {
    next_numbers(tx, workspace, 1).await
}

/// Takes `count` key numbers and returns the first.
pub(super) async fn next_numbers(tx: &mut Tx, workspace: &WorkspaceId, count: u32) -> Result<u32, Error> {
    let sql = "UPDATE workspaces SET next_key_number = next_key_number + $2 WHERE id = $1 RETURNING next_key_number";
    let row = sql!(tx, sql, workspace.as_str(), i64::from(count) => optional (i64,))?;
    let (next,) = row.ok_or(Error::NotFound("workspace"))?;
    if next > i64::from(u32::MAX) {
        return Err(Error::NumbersExhausted);
    }
    unsigned(next - i64::from(count))
}

/// Takes the next principal's number, which is never used again.
pub(super) async fn next_subject(tx: &mut Tx, workspace: &WorkspaceId) -> Result<u32, Error> {
    let sql = "UPDATE workspaces SET next_subject = next_subject + 1 WHERE id = $1 RETURNING next_subject";
    let row = sql!(tx, sql, workspace.as_str() => optional (i64,))?;
    let (next,) = row.ok_or(Error::NotFound("workspace"))?;
    unsigned(next - 1)
}

/// Makes a principal and returns its subject.
pub(super) async fn add_principal(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    kind: PrincipalKind,
    name: &str,
    now: i64,
) -> Result<u32, Error> {
    let subject = next_subject(tx, workspace).await?;
    sql!(
        tx,
        "INSERT INTO principals (workspace_id, subject, kind, name, created_at) VALUES ($1, $2, $3, $4, $5)",
        workspace.as_str(),
        i64::from(subject),
        kind.as_str(),
        name,
        now
        => execute
    )?;
    Ok(subject)
}

/// The advisory lock of the first start: two processes must not both create a workspace.
pub(super) const BOOTSTRAP_SLOT: i64 = 0x006e_6967_6874_6c61;

#[derive(Debug, FromRow)]
struct WorkspaceRow {
    id: String,
    name: String,
    brand: String,
    created_at: i64,
    revision: i64,
}

impl TryFrom<WorkspaceRow> for Workspace {
    type Error = Error;

    fn try_from(row: WorkspaceRow) -> Result<Self, Error> {
        let brand = Brand::new(&row.brand).map_err(|_| Error::Corrupt("brand"))?;
        let (id, name) = (WorkspaceId::from_stored(row.id), row.name);
        Ok(Self { id, name, brand, created_at: row.created_at, revision: row.revision })
    }
}

#[derive(Debug, FromRow)]
struct SetRow {
    id: String,
    workspace_id: String,
    name: String,
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
    key_count: i64,
    routes_revision: i64,
    head: Option<String>,
    head_issued: Option<i64>,
    signer: Option<String>,
    own_pepper: i64,
}

impl From<SetRow> for Set {
    fn from(row: SetRow) -> Self {
        Self {
            id: SetId::from_stored(row.id),
            workspace: WorkspaceId::from_stored(row.workspace_id),
            name: row.name,
            heartbeat_ms: row.heartbeat_ms,
            validity_ms: row.validity_ms,
            skew_ms: row.skew_ms,
            largest_validity_ms: row.largest_validity_ms,
            pepper_id: row.pepper_id,
            accepts_foreign: row.accepts_foreign != 0,
            incarnation: row.incarnation,
            epoch: row.epoch,
            version: row.version,
            commitment: row.commitment,
            key_count: row.key_count,
            routes_revision: row.routes_revision,
            head: row.head,
            head_issued: row.head_issued,
            signer: row.signer,
            own_pepper: row.own_pepper != 0,
        }
    }
}

fn principal_of((subject, kind, name): (i64, String, String)) -> Result<Principal, Error> {
    let kind = PrincipalKind::from_name(&kind).ok_or(Error::Corrupt("principal kind"))?;
    Ok(Principal { subject: unsigned(subject)?, kind, name })
}
