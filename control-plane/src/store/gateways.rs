//! Gateways: devices that get their key by pairing, and lose it by unpairing.
//!
//! Whoever changes a gateway holds its principal.

use nightlatch_key::{Digest, Environment, KeyText};
use serde_json::json;
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::keys_of::{self, Whose};
use super::makers::Maker;
use super::principals::{self, NewPrincipal};
use super::rows::unsigned;
use super::select::{Direction, Select};
use super::tx::sql;
use super::{Context, Cursor, Error, Page, PageRequest, Random, Read, Tx, catalogue, keys, rotations, workspaces};
use crate::domain::authority;
use crate::domain::gateway::{Gateway, Offer, Pairing};
use crate::domain::ids::principal_id;
use crate::domain::rotation::{Order, Start};
use crate::domain::{
    Action, Actor, ActorType, Authority, Bound, Issue, Key, KeyId, Labels, MemberId, Name, Principal, PrincipalKind,
    Reason, Refusal, Scopes, TokenId, WorkspaceId,
};

/// Selects [`Row`]s.
macro_rules! select_gateways {
    ($condition:literal) => {
        concat!(
            "SELECT g.subject, g.environment, g.code_expires_at, g.step_order, g.key_id, g.paired_at, g.unpaired_at, \
             g.revision, p.name, p.scopes, p.created_at FROM gateways g \
             JOIN principals p ON p.workspace_id = g.workspace_id AND p.subject = g.subject WHERE ",
            $condition
        )
    };
}

/// A gateway with what its principal says of it.
#[derive(Clone, Debug)]
pub struct GatewayView {
    /// The record.
    pub gateway: Gateway,
    /// What people call it.
    pub name: String,
    /// What its keys carry.
    pub scopes: Scopes,
    /// Unix milliseconds.
    pub created_at: i64,
    /// The database clock at which it was read, unix milliseconds.
    pub now: i64,
}

/// A gateway to be made. The caller minted the code.
#[derive(Clone, Debug)]
pub struct NewGateway {
    /// What people call it.
    pub name: Name,
    /// Live or test.
    pub environment: Environment,
    /// What its keys carry.
    pub scopes: Scopes,
    /// SHA-256 of the one-time code.
    pub code: Digest,
}

/// Who pairs, with what.
#[derive(Clone, Debug)]
pub struct Pair {
    /// SHA-256 of the code.
    pub code: Digest,
    /// The request's id.
    pub request_id: String,
    /// Where the request came from.
    pub source: Option<String>,
}

/// A gateway that has just got a key.
#[derive(Debug)]
pub struct Paired {
    /// The gateway as it is now.
    pub view: GatewayView,
    /// Its key.
    pub key: Key,
    /// The key's text: shown once.
    pub secret: KeyText,
    /// When the key before ends, unix seconds: none where there was none, or it has ended.
    pub old_ends_by: Option<i64>,
    /// How long until the key verifies everywhere.
    pub bound: Bound,
    /// The database clock, unix milliseconds.
    pub now: i64,
}

/// A gateway after it was unpaired.
#[derive(Clone, Debug)]
pub struct Unpaired {
    /// The gateway as it is now.
    pub view: GatewayView,
    /// Keys that ended with it.
    pub keys: u64,
    /// Whether anything changed; repeating it is no error.
    pub changed: bool,
}

/// Makes a gateway that waits to be paired. Whoever makes it says that its sensitive scopes are meant: whoever pairs it
/// cannot.
///
/// # Errors
/// [`Refusal::BeyondOwnScopes`], [`Refusal::SensitiveUnacknowledged`].
pub async fn create(tx: &mut Tx, context: &Context, new: &NewGateway) -> Result<GatewayView, Error> {
    let principal = NewPrincipal {
        kind: PrincipalKind::Gateway,
        name: new.name.clone(),
        description: None,
        ceiling: Some(new.scopes.clone()),
    };
    let principal = principals::create(tx, context, &principal).await?;
    catalogue::require_acknowledged(tx, context, &new.scopes).await?;
    let now = tx.now().await?;
    let gateway = Gateway::new(principal.subject, new.environment, now);
    let maker = Maker::of(context);
    sql!(
        tx,
        "INSERT INTO gateways (workspace_id, subject, environment, code_digest, code_expires_at, step_order, revision, \
         code_member, code_token) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        context.workspace.as_str(),
        i64::from(gateway.subject),
        gateway.environment.as_str(),
        new.code.as_bytes().as_slice(),
        gateway.offer.map(|offer| offer.expires_at),
        gateway.offer.map(|offer| offer.order.as_str()),
        gateway.revision,
        maker.member().map(MemberId::as_str),
        maker.token().map(TokenId::as_str)
        => execute
    )?;
    get(tx, &context.workspace, gateway.subject).await
}

/// A gateway of the workspace.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(read: &mut Read, workspace: &WorkspaceId, subject: u32) -> Result<GatewayView, Error> {
    let now = read.now().await?;
    let sql = select_gateways!("g.workspace_id = $1 AND g.subject = $2");
    let row = sql!(read, sql, workspace.as_str(), i64::from(subject) => optional Row)?;
    row.ok_or(Error::NotFound("gateway"))?.view(now)
}

/// Newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(read: &mut Read, workspace: &WorkspaceId, page: &PageRequest) -> Result<Page<GatewayView>, Error> {
    let now = read.now().await?;
    let mut select = Select::new(select_gateways!("p.kind = 'gateway' AND p.workspace_id = "));
    select.value(workspace.as_str());
    select.page_by_number("p.created_at", "p.subject", Direction::Descending, page);
    let rows: Vec<Row> = select.fetch(read).await?;
    let views = rows.into_iter().map(|row| row.view(now)).collect::<Result<Vec<_>, _>>()?;
    let place = |view: &GatewayView| Cursor { at: view.created_at, id: view.gateway.subject.to_string() };
    Ok(Page::from_rows(views, page.limit, place))
}

/// Puts another code out for a gateway. One that was out before works no more.
///
/// # Errors
/// [`Refusal::BeyondOwnScopes`], [`Refusal::PrincipalSuspended`], [`Refusal::PrincipalRemoved`]; [`Error::NotFound`].
pub async fn offer(
    tx: &mut Tx,
    context: &Context,
    subject: u32,
    order: Order,
    code: &Digest,
) -> Result<GatewayView, Error> {
    require(context)?;
    let (principal, before) = hold(tx, &context.workspace, subject).await?;
    // Whoever has the code gets a key of these scopes.
    context.authority.require_grant(&principal.ceiling.clone().unwrap_or_default())?;
    principal.admits(&Scopes::default())?;
    let now = tx.now().await?;
    let after = before.offer(order, now);
    write(tx, &context.workspace, &before, after, Some(code)).await?;
    let maker = Maker::of(context);
    let (member, token) = (maker.member().map(MemberId::as_str), maker.token().map(TokenId::as_str));
    let sql = "UPDATE gateways SET code_member = $3, code_token = $4 WHERE workspace_id = $1 AND subject = $2";
    sql!(tx, sql, context.workspace.as_str(), i64::from(subject), member, token => execute)?;
    let after = json!({ "order": order.as_str() });
    append(tx, context, "gateway.code_made", subject, after, None, now).await?;
    get(tx, &context.workspace, subject).await
}

/// Whether a code could be used now: asked first, it keeps those who guess from the one place where all write.
///
/// # Errors
/// [`Error::Database`].
pub async fn awaits(read: &mut Read, code: &Digest) -> Result<bool, Error> {
    let now = read.now().await?;
    let sql = "SELECT COUNT(*) FROM gateways WHERE code_digest = $1 AND code_expires_at > $2";
    Ok(sql!(read, sql, code.as_bytes().as_slice(), now => one (i64,))?.0 > 0)
}

/// Exchanges a one-time code, once, for a key. Where the gateway has one, the new key replaces it in the order that was
/// chosen with the code: at once, or when every edge knows the new one.
///
/// # Errors
/// [`Refusal::PairingCodeUnusable`], whatever is wrong with the code.
pub async fn pair(tx: &mut Tx, pair: &Pair, random: Random<'_>) -> Result<Paired, Error> {
    let sql = "SELECT workspace_id, subject, code_member, code_token FROM gateways WHERE code_digest = $1";
    type Row = (String, i64, Option<String>, Option<String>);
    let row = sql!(tx, sql, pair.code.as_bytes().as_slice() => optional Row)?;
    let (workspace, subject, member, token) = row.ok_or(Refusal::PairingCodeUnusable)?;
    let (workspace, subject) = (WorkspaceId::from_stored(workspace), unsigned(subject)?);
    let maker = Maker::from_stored(member, token);
    let (principal, before) = hold(tx, &workspace, subject).await?;
    // Of two that use one code at once, the second waits for the first and finds the code gone.
    let sql = "SELECT COUNT(*) FROM gateways WHERE code_digest = $1";
    if sql!(tx, sql, pair.code.as_bytes().as_slice() => one (i64,))?.0 == 0 {
        return Err(Refusal::PairingCodeUnusable.into());
    }
    let scopes = principal.ceiling.clone().unwrap_or_default();
    principal.admits(&scopes).map_err(|_| Refusal::PairingCodeUnusable)?;
    let may = |authority: Authority| {
        let may_pair = authority.require(Action::GatewaysPair, &authority::Target::None);
        may_pair.and_then(|()| authority.require_grant(&scopes)).is_ok()
    };
    if !maker.authority(tx, &workspace).await?.is_some_and(may) {
        return Err(Refusal::PairingCodeUnusable.into());
    }
    let now = tx.now().await?;
    let pairing = before.pairing(now)?;
    let context = Context {
        actor: Actor::new(ActorType::Gateway, principal_id(subject)),
        source: pair.source.clone(),
        // They were, when the gateway was made.
        acknowledged: true,
        // The code is the proof.
        ..Context::system(workspace, pair.request_id.clone())
    };
    let mut got = match pairing {
        Pairing::First => first(tx, &context, &principal, before.environment, scopes, random).await?,
        Pairing::Replace { key, order } => replace(tx, &context, &key, order, scopes, now, random).await?,
    };
    if let Some(maker) = maker.member() {
        // The device acts, and the member answers for it: who made the code could have used it.
        let sql = "UPDATE keys SET issuer_member = $2 WHERE id = $1";
        sql!(tx, sql, got.key.id.as_str(), maker.as_str() => execute)?;
        got.key.issuer_member = Some(maker.clone());
    }
    let after = before.paired(got.key.id.clone(), now);
    write(tx, &context.workspace, &before, after, None).await?;
    let told = json!({ "key": got.key.id.as_str(), "prefix": got.key.prefix, "old_ends_by": got.old_ends_by });
    append(tx, &context, "gateway.paired", subject, told, None, now).await?;
    let view = get(tx, &context.workspace, subject).await?;
    let Got { key, secret, old_ends_by, bound } = got;
    Ok(Paired { view, key, secret, old_ends_by, bound, now })
}

/// Ends a gateway's keys and its code. Repeating it changes nothing.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn unpair(tx: &mut Tx, context: &Context, subject: u32, reason: &Reason) -> Result<Unpaired, Error> {
    require(context)?;
    let (_, before) = hold(tx, &context.workspace, subject).await?;
    let now = tx.now().await?;
    let after = before.unpaired(now);
    let (mut keys, changed) = (0, after.is_some());
    if let Some(after) = after {
        keys = keys_of::revoke(tx, context, Whose::Principal(subject), Some(reason)).await?;
        write(tx, &context.workspace, &before, after, None).await?;
        append(tx, context, "gateway.unpaired", subject, json!({ "keys": keys }), Some(reason), now).await?;
    }
    Ok(Unpaired { view: get(tx, &context.workspace, subject).await?, keys, changed })
}

/// Refuses who may not pair and unpair gateways.
fn require(context: &Context) -> Result<(), Refusal> {
    context.authority.require(Action::GatewaysPair, &authority::Target::None)
}

/// A key that a pairing has made.
struct Got {
    key: Key,
    secret: KeyText,
    old_ends_by: Option<i64>,
    bound: Bound,
}

async fn first(
    tx: &mut Tx,
    context: &Context,
    principal: &Principal,
    environment: Environment,
    scopes: Scopes,
    random: Random<'_>,
) -> Result<Got, Error> {
    let issue = Issue {
        name: Name::new(principal.name.as_str())?,
        environment,
        subject: Some(principal.subject),
        scopes,
        tier: None,
        owner_member: None,
        owner: None,
        labels: Labels::default(),
        expires_at: None,
        rotate_by: None,
        link: None,
    };
    let keys::Issued { key, secret, bound, .. } = keys::issue(tx, context, issue, random).await?;
    Ok(Got { key, secret, old_ends_by: None, bound })
}

async fn replace(
    tx: &mut Tx,
    context: &Context,
    key: &KeyId,
    order: Order,
    scopes: Scopes,
    now: i64,
    random: Random<'_>,
) -> Result<Got, Error> {
    let held = keys::hold_one(tx, &context.workspace, key).await?;
    // A key that was ended by other means has no overlap.
    let order = if held.is_usable(now) { order } else { Order::RevokeFirst };
    let bound = workspaces::bound(tx, &context.workspace).await?;
    let overlap_seconds = match order {
        Order::IssueFirst => bound.seconds(),
        Order::RevokeFirst => 0,
    };
    let reason = Reason::new("paired again")?;
    let start = Start { order, overlap_seconds, reason, name: None, scopes: Some(scopes), expires_at: None };
    let started = rotations::start(tx, context, &key.clone().into(), start, random).await?;
    let old_ends_by = started.rotation.deadline;
    Ok(Got { key: started.successor, secret: started.secret, old_ends_by, bound: started.bound })
}

/// Holds a gateway: its principal is locked, then both are read.
async fn hold(tx: &mut Tx, workspace: &WorkspaceId, subject: u32) -> Result<(Principal, Gateway), Error> {
    match principals::hold(tx, workspace, subject).await {
        Ok(principal) => Ok((principal, get(tx, workspace, subject).await?.gateway)),
        Err(Error::NotFound(_)) => Err(Error::NotFound("gateway")),
        Err(error) => Err(error),
    }
}

/// Writes a changed gateway. It is held. Its code is the one given, or none.
async fn write(
    tx: &mut Tx,
    workspace: &WorkspaceId,
    before: &Gateway,
    after: Gateway,
    code: Option<&Digest>,
) -> Result<(), Error> {
    let updated = sql!(
        tx,
        "UPDATE gateways SET code_digest = $4, code_expires_at = $5, step_order = $6, key_id = $7, paired_at = $8, \
         unpaired_at = $9, revision = revision + 1 WHERE workspace_id = $1 AND subject = $2 AND revision = $3",
        workspace.as_str(),
        i64::from(before.subject),
        before.revision,
        code.map(|code| code.as_bytes().as_slice()),
        after.offer.map(|offer| offer.expires_at),
        after.offer.map(|offer| offer.order.as_str()),
        after.key.as_ref().map(KeyId::as_str),
        after.paired_at,
        after.unpaired_at
        => execute
    )?;
    if updated == 1 { Ok(()) } else { Err(Error::Corrupt("gateway revision")) }
}

async fn append(
    tx: &mut Tx,
    context: &Context,
    action: &'static str,
    subject: u32,
    after: serde_json::Value,
    reason: Option<&Reason>,
    now: i64,
) -> Result<(), Error> {
    let id = principal_id(subject);
    let target = Target::Other("gateway", &id);
    let reason = reason.map(Reason::as_str);
    let draft = Draft { action, target, before: None, after: Some(after), reason, personal: &[], about: None };
    audit::append(tx, context, &draft, now).await
}

#[derive(Debug, FromRow)]
struct Row {
    subject: i64,
    environment: String,
    code_expires_at: Option<i64>,
    step_order: Option<String>,
    key_id: Option<String>,
    paired_at: Option<i64>,
    unpaired_at: Option<i64>,
    revision: i64,
    name: String,
    scopes: Option<String>,
    created_at: i64,
}

impl Row {
    fn view(self, now: i64) -> Result<GatewayView, Error> {
        let offer = match (self.code_expires_at, self.step_order) {
            (None, None) => None,
            (Some(expires_at), Some(order)) => {
                let order = Order::from_name(&order).ok_or(Error::Corrupt("pairing order"))?;
                Some(Offer { expires_at, order })
            }
            _ => return Err(Error::Corrupt("pairing code")),
        };
        let gateway = Gateway {
            subject: unsigned(self.subject)?,
            environment: Environment::from_name(&self.environment).ok_or(Error::Corrupt("environment"))?,
            offer,
            key: self.key_id.map(KeyId::from_stored),
            paired_at: self.paired_at,
            unpaired_at: self.unpaired_at,
            revision: self.revision,
        };
        let scopes = Scopes::from_stored(self.scopes.as_deref().unwrap_or_default());
        Ok(GatewayView { gateway, name: self.name, scopes, created_at: self.created_at, now })
    }
}
