//! Making and replacing management tokens, which are keys of the reserved workspace.

use std::collections::BTreeSet;

use nightlatch_key::{Environment, KeyText};
use serde_json::json;

use super::audit::{self, Draft, Target};
use super::tokens::{NewToken, Token, TokenKind, append, get, held, insert};
use super::tx::sql;
use super::{Context, Error, Random, Tx, keys, rotations};
use crate::domain::rotation::{Order, Start};
use crate::domain::{
    Action, Issue, KeyId, KeyRef, Labels, MemberId, Name, Reason, Refusal, Scopes, TokenId, WorkspaceId,
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
    let token = enter(tx, context, &row, &issued.key.id, new.member.as_ref(), issued.now).await?;
    Ok((token, issued.secret))
}

fn token_id(random: Random<'_>) -> TokenId {
    let mut bytes = [0; 10];
    random(&mut bytes);
    TokenId::generate(bytes)
}

/// Writes the row and the audit entry of a token whose key is there.
async fn enter(
    tx: &mut Tx,
    context: &Context,
    row: &NewToken,
    key: &KeyId,
    member: Option<&MemberId>,
    now: i64,
) -> Result<Token, Error> {
    insert(tx, context, row, None, now).await?;
    let sql = "UPDATE tokens SET key_id = $2, member_id = $3 WHERE id = $1";
    sql!(tx, sql, row.id.as_str(), key.as_str(), member.map(MemberId::as_str) => execute)?;
    let after = json!({
        "name": row.name,
        "kind": row.kind.as_str(),
        "prefix": row.prefix,
        "scopes": row.scopes,
        "expires_at": row.expires_at,
        "key": key.as_str(),
        "member": member.map(MemberId::as_str),
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
    context.authority.require_holder(token.member.as_ref())?;
    context.authority.require_rights(token.rights().as_ref())?;
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
    let made = enter(tx, context, &row, &successor.id, token.member.as_ref(), started.now).await?;
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
    let rights =
        NewManagement { name: Name::new(token.name.clone())?, rights: token.rights(), expires_at: None, member: None };
    keys::adopt(tx, &context, id.clone(), token, rights.scopes()?, now).await?;
    let sql = "UPDATE tokens SET key_id = $2 WHERE id = $1 AND key_id IS NULL";
    sql!(tx, sql, token.id.as_str(), id.as_str() => execute)?;
    Ok(id)
}
