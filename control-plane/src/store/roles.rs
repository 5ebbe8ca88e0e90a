//! What members of a role have beside their own scopes.

use serde_json::json;

use super::audit::{self, Draft, Target};
use super::tx::sql;
use super::{Context, Error, Read, Tx, catalogue, dialect, profiles};
use crate::domain::{Action, Refusal, Role, Scopes, WorkspaceId, authority};

/// In a role's words: every scope there is may be granted by its members. It is never published.
const EVERYTHING: &str = "*";

/// What a role brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Its members may grant any scope.
    pub everything: bool,
    /// What its members' own keys may do.
    pub scopes: Scopes,
}

impl Granted {
    /// What a role brings, by what was stored of it. Owners, and admins where nobody has said otherwise, may grant
    /// everything; other roles bring nothing by themselves.
    ///
    /// # Errors
    /// None so far: what is stored was checked.
    pub(super) fn of(role: Role, stored: Option<&str>) -> Result<Self, Error> {
        let Some(stored) = stored else {
            return Ok(Self { everything: matches!(role, Role::Owner | Role::Admin), scopes: Scopes::default() });
        };
        let everything = role == Role::Owner || stored.split_ascii_whitespace().any(|word| word == EVERYTHING);
        let words = stored.split_ascii_whitespace().filter(|word| *word != EVERYTHING);
        Ok(Self { everything, scopes: Scopes::new(words)? })
    }

    fn to_stored(&self) -> String {
        let everything = self.everything.then_some(EVERYTHING);
        let words = everything.into_iter().chain(self.scopes.iter().map(|scope| scope.as_str()));
        words.collect::<Vec<_>>().join(" ")
    }

    /// As the API shows it.
    pub fn words(&self) -> Vec<String> {
        self.to_stored().split_ascii_whitespace().map(str::to_owned).collect()
    }
}

/// What every role brings, in the table's order.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(read: &mut Read, workspace: &WorkspaceId) -> Result<Vec<(Role, Granted)>, Error> {
    let sql = "SELECT role, scopes FROM role_scopes WHERE workspace_id = $1";
    let stored = sql!(read, sql, workspace.as_str() => all (String, String))?;
    let of = |role: Role| stored.iter().find(|(name, _)| name == role.as_str()).map(|(_, scopes)| scopes.as_str());
    Role::ALL.into_iter().map(|role| Ok((role, Granted::of(role, of(role))?))).collect()
}

/// Refuses to give somebody a role that brings more than the caller may grant, or something sensitive that is not said
/// to be meant.
pub(super) async fn require_grant(read: &mut Read, context: &Context, role: Role) -> Result<(), Error> {
    let sql = "SELECT scopes FROM role_scopes WHERE workspace_id = $1 AND role = $2";
    let row = sql!(read, sql, context.workspace.as_str(), role.as_str() => optional (String,))?;
    let granted = Granted::of(role, row.as_ref().map(|(scopes,)| scopes.as_str()))?;
    context.authority.require_grant(&granted.scopes)?;
    if granted.everything {
        context.authority.require_everything()?;
    }
    catalogue::require_acknowledged(read, context, &granted.scopes).await?;
    Ok(())
}

/// Says what a role brings. Its members' keys may do it at once, whatever their number.
///
/// # Errors
/// A refusal: partner roles bring nothing, an organisation's scopes are its own.
pub async fn replace(tx: &mut Tx, context: &Context, role: Role, granted: Granted) -> Result<Granted, Error> {
    let action = if role == Role::Owner { Action::MembersOwner } else { Action::MembersManage };
    context.authority.require(action, &authority::Target::None)?;
    context.authority.require_grant(&granted.scopes)?;
    if granted.everything {
        context.authority.require_everything()?;
    }
    if role.is_partner() {
        return Err(Refusal::RoleUnfit.into());
    }
    // Who comes into the role meanwhile, or issues a key as one of its members, reads it as it is after this, or is read here.
    dialect::lock_roles(tx, context.workspace.as_str()).await?;
    let before = list(tx, &context.workspace).await?.into_iter().find(|(known, _)| *known == role);
    let before = before.map(|(_, granted)| granted).unwrap_or_default();
    let after = Granted { everything: granted.everything || role == Role::Owner, ..granted };
    if before == after {
        return Ok(after);
    }
    let gained = Scopes::new(after.scopes.missing_in(&before.scopes).iter().map(|scope| scope.as_str()))?;
    let acknowledged = catalogue::require_acknowledged(tx, context, &gained).await?;
    let now = tx.now().await?;
    sql!(
        tx,
        "INSERT INTO role_scopes (workspace_id, role, scopes, updated_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (workspace_id, role) DO UPDATE SET scopes = excluded.scopes, updated_at = excluded.updated_at",
        context.workspace.as_str(),
        role.as_str(),
        after.to_stored(),
        now
        => execute
    )?;
    profiles::role_changed(tx, &context.workspace, role, now).await?;
    let mut fields = serde_json::Map::from_iter([("scopes".to_owned(), json!(after.words()))]);
    audit::acknowledged(&mut fields, &acknowledged);
    let draft = Draft {
        action: "role.updated",
        target: Target::Other("role", role.as_str()),
        before: Some(json!({ "scopes": before.words() })),
        after: Some(fields.into()),
        reason: None,
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await?;
    Ok(after)
}
