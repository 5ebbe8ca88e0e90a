//! Making and replacing management tokens, which are keys of the reserved workspace.

use std::collections::BTreeSet;

use nightlatch_key::{Environment, KeyText};
use serde_json::json;

use super::audit::{self, Draft, Target};
use super::tokens::{NewToken, Token, TokenKind, append, get, held, insert};
use super::tx::sql;
use super::{Context, Error, Random, Tx, dialect, keys, members, principals, rotations};
use crate::domain::authority::Seat;
use crate::domain::ids::principal_id;
use crate::domain::rotation::{Order, Start};
use crate::domain::{
    Action, Issue, KeyId, KeyRef, Labels, MemberId, MemberState, Name, PrincipalKind, Reason, Refusal, Scopes, TokenId,
    WorkspaceId,
};

/// The scope of a management token that may do everything its holder may.
pub const ALL_RIGHTS: &str = "all";

/// A management token to be made. Its text is minted with its key.
#[derive(Clone, Debug)]
pub struct NewManagement {
    /// What people call it.
    pub name: Name,
    /// What it may do; `None` is everything its member may.
    pub rights: Option<BTreeSet<Action>>,
    /// Unix seconds, in the future.
    pub expires_at: Option<i64>,
    /// The member whose authority it has.
    pub member: Option<MemberId>,
    /// The subject of the service account whose token it is: nobody's else. One that a service account makes is its own.
    pub service_account: Option<u32>,
}

impl NewManagement {
    fn scopes(&self) -> Result<Scopes, Refusal> {
        match &self.rights {
            None => Scopes::new([ALL_RIGHTS]),
            Some(rights) => Scopes::new(rights.iter().map(|right| right.as_str())),
        }
    }

    fn stored_scopes(&self) -> Vec<String> {
        match &self.rights {
            None => vec!["*".to_owned()],
            Some(rights) => rights.iter().map(|right| right.as_str().to_owned()).collect(),
        }
    }
}

/// Makes a management token: a key of the reserved workspace.
///
/// # Errors
/// A refusal; as [`keys::issue`].
pub async fn create_management(
    tx: &mut Tx,
    context: &Context,
    new: NewManagement,
    random: Random<'_>,
) -> Result<(Token, KeyText), Error> {
    context.authority.require_rights(new.rights.as_ref())?;
    context.authority.require_end(new.expires_at)?;
    let of = match new.service_account.or_else(|| context.authority.account()) {
        Some(subject) => {
            require_account_rights(new.rights.as_ref())?;
            share_account(tx, context, subject).await?;
            Of::ServiceAccount(subject)
        }
        None => {
            keep_member(tx, context, new.member.as_ref()).await?;
            Of::Member(new.member.clone())
        }
    };
    let issue = Issue {
        name: new.name.clone(),
        environment: Environment::Live,
        subject: None,
        scopes: new.scopes()?,
        tier: None,
        owner: None,
        owner_member: None,
        labels: Labels::default(),
        expires_at: new.expires_at,
        rotate_by: None,
        link: None,
    };
    let issued = keys::issue(tx, &context.in_reserved(), issue, random).await?;
    let row = NewToken {
        id: token_id(random),
        kind: TokenKind::Management,
        set: None,
        name: new.name.as_str().to_owned(),
        digest: issued.key.digest,
        prefix: issued.key.prefix.clone(),
        scopes: new.stored_scopes(),
        expires_at: new.expires_at,
    };
    let token = enter(tx, context, &row, &issued.key.id, &of, issued.now).await?;
    Ok((token, issued.secret))
}

/// Whose a token is.
enum Of {
    /// A member's; nobody's where its maker had none.
    Member(Option<MemberId>),
    /// A service account's.
    ServiceAccount(u32),
}

/// A service account's token may what is named, and only what service accounts may.
fn require_account_rights(rights: Option<&BTreeSet<Action>>) -> Result<(), Refusal> {
    let rule = "must name what a service account's token is for: actions such as `keys:read`, not [\"*\"]; `members:manage`, \
                `members:owner`, `partner_staff:manage`, `audit:erase`, `workspaces:manage` and `workspaces:create` are \
                people's";
    match rights {
        Some(rights) if rights.iter().all(|right| Seat::ServiceAccount.may_ever(*right)) => Ok(()),
        _ => Err(Refusal::NotTheirs { field: "scopes", rule }),
    }
}

/// Makes sure that whoever acts may come by a token of this service account's, and that the account stands still until
/// this mutation ends. Who may not does not learn whether there is one.
async fn share_account(tx: &mut Tx, context: &Context, subject: u32) -> Result<(), Error> {
    context.authority.require_account(subject)?;
    dialect::share_principal(tx, context.workspace.as_str(), i64::from(subject)).await?;
    let found = principals::find(tx, &context.workspace, subject).await?;
    let account = found.filter(|one| one.kind == PrincipalKind::ServiceAccount);
    let account = account.ok_or(Error::NotFound("service account"))?;
    context.authority.require_ceiling(account.ceiling.as_ref())?;
    // Only whether it is active: its keys' scopes are not what its tokens name.
    Ok(account.admits(&Scopes::default())?)
}

/// Keeps the member that is to get a token from going meanwhile: its removal ends the tokens that are there then. Before any
/// key, as a removal holds them.
async fn keep_member(tx: &mut Tx, context: &Context, member: Option<&MemberId>) -> Result<(), Error> {
    let Some(member) = member else { return Ok(()) };
    dialect::lock_member(tx, context.workspace.as_str(), member.as_str()).await?;
    match members::get(tx, &context.workspace, member).await?.state {
        MemberState::Removed => Err(Refusal::PrincipalRemoved.into()),
        _ => Ok(()),
    }
}

fn token_id(random: Random<'_>) -> TokenId {
    let mut bytes = [0; 10];
    random(&mut bytes);
    TokenId::generate(bytes)
}

/// Writes the row and the audit entry of a token whose key is there.
async fn enter(tx: &mut Tx, context: &Context, row: &NewToken, key: &KeyId, of: &Of, now: i64) -> Result<Token, Error> {
    let (member, account) = match of {
        Of::Member(member) => (member.as_ref(), None),
        Of::ServiceAccount(subject) => (None, Some(*subject)),
    };
    insert(tx, context, row, None, now).await?;
    // Of a member's token the member answers for what is done with it, whoever made it.
    let maker = account.and_then(|_| context.authority.answerable());
    let sql = "UPDATE tokens SET key_id = $2, member_id = $3, subject = $4, maker_id = $5 WHERE id = $1";
    sql!(
        tx,
        sql,
        row.id.as_str(),
        key.as_str(),
        member.map(MemberId::as_str),
        account.map(i64::from),
        maker.map(MemberId::as_str)
        => execute
    )?;
    let after = json!({
        "name": row.name,
        "kind": row.kind.as_str(),
        "prefix": row.prefix,
        "scopes": row.scopes,
        "expires_at": row.expires_at,
        "key": key.as_str(),
        "member": member.map(MemberId::as_str),
        "service_account": account.map(principal_id),
        "maker": maker.map(MemberId::as_str),
    });
    append(tx, context, "token.created", &row.id, after, None, now).await?;
    get(tx, &context.workspace, &row.id).await
}

/// Replaces a management token by another of the same rights and the same end, as keys are replaced: both work until the
/// deadline.
///
/// # Errors
/// A refusal, [`Refusal::TooLate`] where its end is nearer than the overlap; [`Error::NotFound`].
pub async fn rotate(
    tx: &mut Tx,
    context: &Context,
    id: &TokenId,
    overlap_seconds: i64,
    reason: Reason,
    random: Random<'_>,
) -> Result<(Token, KeyText), Error> {
    let token = held(tx, context, id).await?;
    let of = match token.service_account {
        Some(subject) => {
            share_account(tx, context, subject).await?;
            Of::ServiceAccount(subject)
        }
        None => {
            context.authority.require_holder(token.member.as_ref())?;
            Of::Member(token.member.clone())
        }
    };
    context.authority.require_rights(token.rights().as_ref())?;
    keep_member(tx, context, token.member.as_ref()).await?;
    let key = match (&token.key, token.kind) {
        (Some(key), TokenKind::Management) => key.clone(),
        (None, TokenKind::Management) => adopt(tx, &token).await?,
        (_, TokenKind::Edge) => return Err(Error::NotFound("token")),
    };
    let key = KeyRef::Id(key);
    // Its row says the deadline while it is being replaced; its key says the end it was given, which never changes.
    let expires_at = keys::find(tx, &WorkspaceId::reserved(), &key).await?.expires_at;
    context.authority.require_end(expires_at)?;
    let second = tx.now().await?.div_euclid(1000);
    if expires_at.is_some_and(|expiry| expiry > second && expiry < second.saturating_add(overlap_seconds)) {
        return Err(Refusal::TooLate.into());
    }
    let why = reason.clone();
    let start = Start { order: Order::IssueFirst, overlap_seconds, reason, name: None, scopes: None, expires_at };
    let started = rotations::start(tx, &context.in_reserved(), &key, start, random).await?;
    let successor = &started.successor;
    let sql = "UPDATE tokens SET expires_at = $2 WHERE id = $1";
    let valid_until = started.predecessor.valid_until();
    sql!(tx, sql, id.as_str(), valid_until => execute)?;
    let row = NewToken {
        id: token_id(random),
        kind: TokenKind::Management,
        set: None,
        name: successor.name.clone(),
        digest: successor.digest,
        prefix: successor.prefix.clone(),
        scopes: token.scopes.clone(),
        expires_at: successor.expires_at,
    };
    let made = enter(tx, context, &row, &successor.id, &of, started.now).await?;
    let draft = Draft {
        action: "token.rotated",
        target: Target::Other("token", id.as_str()),
        before: Some(json!({ "expires_at": expires_at })),
        after: Some(json!({ "expires_at": valid_until, "successor": made.id.as_str() })),
        reason: Some(why.as_str()),
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, started.now).await?;
    Ok((made, started.secret))
}

/// Makes a token from before tokens were keys a key of the reserved workspace, and returns its id.
///
/// # Errors
/// [`Error::Corrupt`] where its prefix is none; [`Error::Database`].
pub async fn adopt(tx: &mut Tx, token: &Token) -> Result<KeyId, Error> {
    let context = Context::system(WorkspaceId::reserved(), "adopt");
    let tail = token.prefix.rsplit_once('_').map(|(_, id)| id).ok_or(Error::Corrupt("token prefix"))?;
    let (id, now) = (KeyId::of_text(tail), tx.now().await?);
    let rights = NewManagement {
        name: Name::new(token.name.clone())?,
        rights: token.rights(),
        expires_at: None,
        member: None,
        service_account: None,
    };
    keys::adopt(tx, &context, id.clone(), token, rights.scopes()?, now).await?;
    let sql = "UPDATE tokens SET key_id = $2 WHERE id = $1 AND key_id IS NULL";
    sql!(tx, sql, token.id.as_str(), id.as_str() => execute)?;
    Ok(id)
}
