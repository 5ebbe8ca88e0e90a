//! Keys: issue, read, change.

use nightlatch_key::{Brand, Digest, KeyText, mint};

pub use super::key_list::{KeyFilter, list, note_export, within as list_within};
use super::record::{self, Entry};
use super::rows::{KeyRow, key_columns};
use super::tokens::Token;
use super::tx::sql;
use super::{Context, Error, Random, Read, Tx, catalogue, dialect, principals, profiles, rotations, workspaces};
use crate::domain::ids::principal_id;
use crate::domain::{
    self, Action, Actor, ActorType, Birth, Bound, Cause, Issue, Key, KeyId, KeyPatch, KeyRef, MemberId, Patched,
    PrincipalKind, Reason, Refusal, Revoked, Rotation, Scopes, Stage, Target, Warning, WorkspaceId,
};

/// How many ids are drawn before giving up: the ids of one second number 14 million.
pub(super) const ID_ATTEMPTS: usize = 3;

/// A key with what the API shows beside its record.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// The record; a member's key with the scopes and the tier that it has now.
    pub key: Key,
    /// Its open rotation as a predecessor, if there is one.
    pub rotation: Option<Rotation>,
    /// The database clock at which it was read, unix milliseconds: what its state is computed with.
    pub now: i64,
}

/// A key that was just issued.
#[derive(Debug)]
pub struct Issued {
    /// The record.
    pub key: Key,
    /// Its text: shown once.
    pub secret: KeyText,
    /// How long until it verifies everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// A key after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The record as it is now.
    pub key: Key,
    /// The open rotation it is predecessor of, or the one this change ended.
    pub rotation: Option<Rotation>,
    /// Whether anything changed; repeating a change is no error.
    pub changed: bool,
    /// What to tell the caller.
    pub warnings: Vec<Warning>,
    /// How long until the change is in force everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// Issues a key: mints its text from `random`, under the workspace's brand.
///
/// # Errors
/// A refusal; [`Error::NoFreeId`], [`Error::NumbersExhausted`].
pub async fn issue(tx: &mut Tx, context: &Context, issue: Issue, random: Random<'_>) -> Result<Issued, Error> {
    let subject = issue.subject.unwrap_or(workspaces::DEFAULT_SUBJECT);
    if !context.authority.sees(subject) {
        // As one that does not exist: a partner's people do not learn who else is here.
        return Err(Refusal::PrincipalUnknown.into());
    }
    let principal = principals::share(tx, &context.workspace, subject, issue.link.as_ref()).await?;
    let ground = ground(tx, &context.workspace, issue.subject).await?;
    context.authority.require(Action::KeysIssue, &ground.target())?;
    context.authority.require_grant(&issue.scopes)?;
    principal.admits(&issue.scopes)?;
    let acknowledged = catalogue::require_acknowledged(tx, context, &issue.scopes).await?;
    if issue.tier.is_some() {
        require_tier(context)?;
    }
    require_member(tx, context, issue.owner_member.as_ref()).await?;
    let now = tx.now().await?;
    catalogue::enter(tx, &context.workspace, issue.scopes.iter(), issue.tier.as_ref(), now).await?;
    let number = workspaces::next_number(tx, &context.workspace).await?;
    for _ in 0..ID_ATTEMPTS {
        let (birth, secret) = ground.birth(context, issue.environment, number, now, random);
        let mut key = domain::issue(issue.clone(), birth)?;
        let entry = Entry { acknowledged: &acknowledged, ..Entry::new("key.issued", None) };
        if record::created(tx, context, &key, entry, now).await? {
            profiles::show(tx, &mut [&mut key]).await?;
            return Ok(Issued { key, secret, bound: ground.bound, now });
        }
    }
    Err(Error::NoFreeId)
}

/// A key of the workspace, by id or number.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, key: &KeyRef) -> Result<KeyView, Error> {
    let key = find(read, workspace, key).await?;
    view(read, key).await
}

/// The key of the workspace with this digest, for `/v1/verify`.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_digest(read: &mut Read, workspace: &WorkspaceId, digest: &Digest) -> Result<Option<KeyView>, Error> {
    let sql = concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.workspace_id = $1 AND k.digest = $2");
    match sql!(read, sql, workspace.as_str(), digest.as_bytes().as_slice() => optional KeyRow)? {
        Some(row) => view(read, row.try_into()?).await.map(Some),
        None => Ok(None),
    }
}

/// The key of any workspace with this text, and who acts with it.
///
/// # Errors
/// [`Error::Database`].
pub async fn by_text(read: &mut Read, brand: Brand, digest: &Digest) -> Result<Option<(Key, Actor)>, Error> {
    let sql = concat!(
        "SELECT ",
        key_columns!(),
        " FROM workspaces w JOIN keys k ON k.workspace_id = w.id WHERE w.brand = $1 AND k.digest = $2"
    );
    let Some(row) = sql!(read, sql, brand.as_str(), digest.as_bytes().as_slice() => optional KeyRow)? else {
        return Ok(None);
    };
    let key = Key::try_from(row)?;
    let kind = match key.kind {
        PrincipalKind::ServiceAccount => ActorType::ServiceAccount,
        PrincipalKind::Partner => ActorType::Partner,
        PrincipalKind::Gateway => ActorType::Gateway,
        PrincipalKind::User => {
            let sql = "SELECT id FROM members WHERE workspace_id = $1 AND subject = $2";
            let member = sql!(read, sql, key.workspace.as_str(), i64::from(key.subject) => optional (String,))?;
            let (member,) = member.ok_or(Error::Corrupt("member of a key"))?;
            return Ok(Some((key, Actor::new(ActorType::Member, member))));
        }
    };
    let actor = Actor::new(kind, principal_id(key.subject));
    Ok(Some((key, actor)))
}

/// Changes a key's attributes. `revision` is what the caller read (`If-Match`).
///
/// # Errors
/// A refusal; [`Error::Stale`] where the key has changed since; [`Error::NotFound`].
pub async fn patch(
    tx: &mut Tx,
    context: &Context,
    key: &KeyRef,
    revision: Option<i64>,
    patch: KeyPatch,
) -> Result<Changed, Error> {
    let held = hold(tx, context, key).await?;
    context.authority.require(Action::KeysUpdate, &held.key.target())?;
    if revision.is_some_and(|revision| revision != held.key.revision) {
        return Err(Error::Stale(held.key.revision));
    }
    if patch.tier.as_ref().is_some_and(|tier| *tier != held.key.tier) {
        require_tier(context)?;
    }
    require_member(tx, context, patch.owner_member.as_ref().and_then(Option::as_ref)).await?;
    let Patched { key, rotation, warnings } =
        domain::patch(&held.key, held.rotation.as_ref(), patch, held.bound, held.now)?;
    let rotation = match rotation {
        Some(moved) => Some(rotations::update(tx, &moved).await?),
        None => held.rotation.clone(),
    };
    let entries = [Entry::new("key.updated", None)];
    let after = (key != held.key).then_some(key);
    held.change(tx, context, after, &entries, rotation, warnings).await
}

/// Disables a key: cause `holder` where who does it may only because it is their own, `admin` otherwise.
///
/// # Errors
/// A refusal where it is revoked or expired; [`Error::NotFound`].
pub async fn disable(tx: &mut Tx, context: &Context, key: &KeyRef, reason: Option<Reason>) -> Result<Changed, Error> {
    let held = hold(tx, context, key).await?;
    context.authority.require(Action::KeysDisable, &held.key.target())?;
    let holder = context.authority.is_holder(Action::KeysDisable, &held.key.target());
    let cause = if holder { Cause::Holder } else { Cause::Admin };
    let after = domain::disable(&held.key, cause, held.now)?;
    let rotation = held.rotation.clone();
    let entries = [Entry::new("key.disabled", reason.as_ref().map(Reason::as_str))];
    held.change(tx, context, after, &entries, rotation, Vec::new()).await
}

/// Lifts the causes `holder` and `admin`; the latter not for who may only because it is their own: who is braked does not
/// lift the brake. Other causes stay.
///
/// # Errors
/// A refusal where it is revoked or expired; [`Error::NotFound`].
pub async fn enable(tx: &mut Tx, context: &Context, key: &KeyRef, reason: Option<Reason>) -> Result<Changed, Error> {
    let held = hold(tx, context, key).await?;
    context.authority.require(Action::KeysDisable, &held.key.target())?;
    let mut after = domain::enable(&held.key, Cause::Holder, held.now)?;
    if !context.authority.is_holder(Action::KeysDisable, &held.key.target()) {
        after = domain::enable(after.as_ref().unwrap_or(&held.key), Cause::Admin, held.now)?.or(after);
    }
    let rotation = held.rotation.clone();
    let entries = [Entry::new("key.enabled", reason.as_ref().map(Reason::as_str))];
    held.change(tx, context, after, &entries, rotation, Vec::new()).await
}

/// Revokes a key, finally. Repeating it changes nothing. An open rotation it is predecessor of is completed.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn revoke(tx: &mut Tx, context: &Context, key: &KeyRef, reason: Option<Reason>) -> Result<Changed, Error> {
    let held = hold(tx, context, key).await?;
    context.authority.require(Action::KeysRevoke, &held.key.target())?;
    let as_successor = rotations::open_of_successor(tx, &held.key, held.now).await?;
    let text = reason.clone();
    let Revoked { key: after, completed, warnings } =
        domain::revoke(&held.key, held.rotation.as_ref(), as_successor.as_ref(), reason, &context.actor, held.now);
    let text = text.as_ref().map(Reason::as_str);
    let completed = match completed {
        Some(completed) => Some(rotations::update(tx, &completed).await?),
        None => None,
    };
    let mut entries = vec![Entry::new("key.revoked", text)];
    if let Some(rotation) = &completed {
        entries.push(Entry::of_rotation("rotation.completed", text, rotation));
    }
    held.change(tx, context, after, &entries, completed.clone(), warnings).await
}

/// Whether whoever acts may revoke the keys of this principal by name.
pub(super) fn may_revoke(context: &Context, kind: PrincipalKind, subject: u32) -> Result<(), Refusal> {
    context.authority.require(Action::KeysRevoke, &Target::Key { kind, subject })
}

/// Refuses a partner's people: how much they may send is not theirs to say.
fn require_tier(context: &Context) -> Result<(), Refusal> {
    match context.authority.sees_only() {
        Some(_) => Err(Refusal::NotTheirs { field: "tier", rule: "is chosen by the workspace; leave it out" }),
        None => Ok(()),
    }
}

/// Refuses a member that the workspace does not have, or no longer. A partner's people know of no others than their own.
async fn require_member(read: &mut Read, context: &Context, member: Option<&MemberId>) -> Result<(), Error> {
    let Some(member) = member else { return Ok(()) };
    let sql = "SELECT COALESCE(partner, 0) FROM members WHERE workspace_id = $1 AND id = $2 AND state <> 'removed'";
    let row = sql!(read, sql, context.workspace.as_str(), member.as_str() => optional (i64,))?;
    match row {
        Some((partner,))
            if context.authority.sees_only().is_none_or(|only| i64::from(only) == partner && only != 0) =>
        {
            Ok(())
        }
        _ => Err(Refusal::MemberUnknown.into()),
    }
}

/// Enters a key whose text has been in use before there was a row: nothing where it is there already.
pub(super) async fn adopt(
    tx: &mut Tx,
    context: &Context,
    id: KeyId,
    token: &Token,
    scopes: Scopes,
    now: i64,
) -> Result<(), Error> {
    let ground = ground(tx, &context.workspace, None).await?;
    let number = workspaces::next_number(tx, &context.workspace).await?;
    let key = Key {
        lineage: id.clone(),
        id,
        workspace: context.workspace.clone(),
        number,
        digest: token.digest,
        prefix: token.prefix.clone(),
        name: token.name.clone(),
        stage: match token.revoked_at {
            Some(at) => Stage::Revoked { at, reason: None },
            None => Stage::Active,
        },
        disabled_by: domain::Causes::default(),
        environment: nightlatch_key::Environment::Live,
        subject: ground.subject,
        kind: ground.kind,
        scopes,
        tier: None,
        owner: None,
        owner_member: None,
        labels: domain::Labels::default(),
        issued_by: token.created_by.clone(),
        issuer_member: None,
        created_at: token.created_at,
        expires_at: token.expires_at,
        rotate_by: None,
        last_used_at: token.last_used_at,
        link: None,
        predecessor: None,
        successor: None,
        imported: false,
        weak: false,
        revision: 1,
    };
    record::created(tx, context, &key, Entry::new("key.imported", None), now).await?;
    Ok(())
}

/// What issuing needs to know of the workspace.
pub(super) struct Ground {
    brand: Brand,
    subject: u32,
    kind: PrincipalKind,
    pub(super) bound: Bound,
}

impl Ground {
    /// What issuing is done to.
    pub(super) const fn target(&self) -> Target {
        Target::Key { kind: self.kind, subject: self.subject }
    }

    /// Mints a text, and what a new key is given beside what was asked for.
    pub(super) fn birth(
        &self,
        context: &Context,
        environment: nightlatch_key::Environment,
        number: u32,
        now: i64,
        random: Random<'_>,
    ) -> (Birth, KeyText) {
        let seconds = u64::try_from(now.div_euclid(1000)).unwrap_or_default();
        let secret = mint(&self.brand, environment, seconds, random);
        let parts = secret.parts();
        let birth = Birth {
            id: KeyId::of_text(parts.id()),
            workspace: context.workspace.clone(),
            number,
            digest: secret.digest(),
            prefix: parts.prefix().to_owned(),
            subject: self.subject,
            kind: self.kind,
            by: context.actor.clone(),
            issuer_member: context.authority.answerable().cloned(),
            now,
        };
        (birth, secret)
    }
}

/// Reads what issuing needs; the default principal where `subject` is omitted.
pub(super) async fn ground(read: &mut Read, workspace: &WorkspaceId, subject: Option<u32>) -> Result<Ground, Error> {
    let subject = subject.unwrap_or(workspaces::DEFAULT_SUBJECT);
    let sql = "SELECT w.brand, p.kind, p.state, CAST(COALESCE((SELECT MAX(s.largest_validity_ms + s.skew_ms) FROM sets s \
               WHERE s.workspace_id = w.id), 0) AS BIGINT) FROM workspaces w \
               LEFT JOIN principals p ON p.workspace_id = w.id AND p.subject = $2 WHERE w.id = $1";
    let row = sql!(
        read, sql, workspace.as_str(), i64::from(subject) => optional (String, Option<String>, Option<String>, i64)
    )?;
    let (brand, kind, state, bound) = row.ok_or(Error::NotFound("workspace"))?;
    let kind = kind.ok_or(Refusal::PrincipalUnknown)?;
    workspaces::require_active(state.as_deref())?;
    Ok(Ground {
        brand: Brand::new(&brand).map_err(|_| Error::Corrupt("brand"))?,
        subject,
        kind: PrincipalKind::from_name(&kind).ok_or(Error::Corrupt("principal kind"))?,
        bound: Bound::from_ms(bound),
    })
}

/// The kind of a principal that keys can be made for.
///
/// # Errors
/// A refusal where there is none of that number, or it is suspended or removed.
pub(super) async fn kind_of(read: &mut Read, workspace: &WorkspaceId, subject: u32) -> Result<PrincipalKind, Error> {
    Ok(ground(read, workspace, Some(subject)).await?.kind)
}

/// A key held for change: nobody else changes it until the transaction ends.
pub(super) struct Held {
    pub(super) key: Key,
    /// Its open rotation as predecessor. What its deadline has ended is not open.
    pub(super) rotation: Option<Rotation>,
    pub(super) bound: Bound,
    /// The clock, read once the key was held.
    pub(super) now: i64,
}

impl Held {
    /// Records the change, if there is one, and says what came of it.
    async fn change(
        self,
        tx: &mut Tx,
        context: &Context,
        after: Option<Key>,
        entries: &[Entry<'_>],
        rotation: Option<Rotation>,
        warnings: Vec<Warning>,
    ) -> Result<Changed, Error> {
        let Self { key: before, bound, now, .. } = self;
        let changed = after.is_some();
        let mut key = match after {
            Some(after) => record::changed(tx, context, &before, after, entries, now).await?,
            None => before,
        };
        profiles::show(tx, &mut [&mut key]).await?;
        Ok(Changed { key, rotation, changed, warnings, bound, now })
    }
}

/// Takes a key for change.
pub(super) async fn hold(tx: &mut Tx, context: &Context, key: &KeyRef) -> Result<Held, Error> {
    let id = id_of(tx, &context.workspace, key).await?.ok_or(Error::NotFound("key"))?;
    let key = hold_one(tx, &context.workspace, &id).await?;
    if !context.authority.sees(key.subject) {
        return Err(Error::NotFound("key"));
    }
    let bound = workspaces::bound(tx, &context.workspace).await?;
    let now = tx.now().await?;
    let rotation = rotations::recorded_open(tx, &key.id).await?.filter(|rotation| rotation.is_open(now));
    Ok(Held { key, rotation, bound, now })
}

/// Locks and reads a key.
pub(super) async fn hold_one(tx: &mut Tx, workspace: &WorkspaceId, id: &KeyId) -> Result<Key, Error> {
    dialect::lock_key(tx, workspace.as_str(), id.as_str()).await?;
    find(tx, workspace, &KeyRef::Id(id.clone())).await
}

/// The id of a key of the workspace.
pub(super) async fn id_of(read: &mut Read, workspace: &WorkspaceId, key: &KeyRef) -> Result<Option<KeyId>, Error> {
    let number = match key {
        KeyRef::Id(id) => return Ok(Some(id.clone())),
        KeyRef::Number(number) => i64::from(*number),
    };
    let sql = "SELECT id FROM keys WHERE workspace_id = $1 AND number = $2";
    let row = sql!(read, sql, workspace.as_str(), number => optional (String,))?;
    Ok(row.map(|(id,)| KeyId::from_stored(id)))
}

pub(super) async fn find(read: &mut Read, workspace: &WorkspaceId, key: &KeyRef) -> Result<Key, Error> {
    let row = match key {
        KeyRef::Id(id) => {
            let sql = concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.workspace_id = $1 AND k.id = $2");
            sql!(read, sql, workspace.as_str(), id.as_str() => optional KeyRow)?
        }
        KeyRef::Number(number) => {
            let sql = concat!("SELECT ", key_columns!(), " FROM keys k WHERE k.workspace_id = $1 AND k.number = $2");
            sql!(read, sql, workspace.as_str(), i64::from(*number) => optional KeyRow)?
        }
    };
    row.ok_or(Error::NotFound("key"))?.try_into()
}

async fn view(read: &mut Read, mut key: Key) -> Result<KeyView, Error> {
    profiles::show(read, &mut [&mut key]).await?;
    let now = read.now().await?;
    let rotation = match key.deadline() {
        Some(_) => rotations::recorded_open(read, &key.id).await?.filter(|rotation| rotation.is_open(now)),
        None => None,
    };
    Ok(KeyView { key, rotation, now })
}
