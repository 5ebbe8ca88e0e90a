//! The conditions that `nightlatch keys list`, `export` and `revoke-many` share.

use clap::Args;
use jiff::Timestamp;
use nightlatch_api::client::Client;
use nightlatch_api::{Code, Environment, KeyFilter, KeyState, PrincipalKind};

use super::exit::{Failure, Kind};
use super::time::moment;

/// Which keys. All conditions hold at once.
#[derive(Debug, Clone, Args)]
pub(super) struct Filter {
    /// In this state.
    #[arg(long, value_parser = state)]
    state: Option<KeyState>,
    /// With this owner.
    #[arg(long)]
    owner: Option<String>,
    /// Looked after by this member.
    #[arg(long, value_name = "MEM_ID")]
    owner_member: Option<String>,
    /// Issued by the actor with this id; for a member, also with that member's tokens.
    #[arg(long, value_name = "ID")]
    issued_by: Option<String>,
    /// Every key that this member issued, rotated, looks after or has: may know the secret of.
    #[arg(long, value_name = "MEM_ID")]
    touched_by: Option<String>,
    /// Acting for this principal.
    #[arg(long, value_name = "PRN_ID")]
    principal: Option<String>,
    /// Acting for a user, service_account, partner or gateway.
    #[arg(long, value_parser = kind)]
    kind: Option<PrincipalKind>,
    /// Carrying this scope.
    #[arg(long)]
    scope: Option<String>,
    /// With this label; with NAME alone, whatever its value.
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Option<String>,
    /// For `live` or `test`.
    #[arg(long, value_parser = environment)]
    environment: Option<Environment>,
    /// Not issued before.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    created_after: Option<Timestamp>,
    /// Issued before.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    created_before: Option<Timestamp>,
    /// Never used.
    #[arg(long)]
    never_used: bool,
    /// Not used since.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    last_used_before: Option<Timestamp>,
    /// Expiring before.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires_before: Option<Timestamp>,
    /// To be rotated before.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    rotate_by_before: Option<Timestamp>,
    /// With this text in name or prefix.
    #[arg(long, short, value_name = "TEXT")]
    query: Option<String>,
}

impl Filter {
    /// The conditions, where the members that they name are or were here: that nobody's key is found of somebody unknown
    /// would read as all clear.
    pub(super) async fn known(self, client: &Client) -> Result<KeyFilter, Failure> {
        let issuer = self.issued_by.iter().filter(|id| id.starts_with("mem_"));
        for id in self.owner_member.iter().chain(&self.touched_by).chain(issuer) {
            require_member(client, id).await?;
        }
        Ok(self.into())
    }
}

/// Refuses the id of a member whom nobody knows. Who may not read members is not told.
pub(super) async fn require_member(client: &Client, id: &str) -> Result<(), Failure> {
    match client.member(id).await {
        Err(error) if error.is(Code::Forbidden) => Ok(()),
        Err(error) if error.is(Code::NotFound) => Err(Failure::new(
            Kind::NotFound,
            format!("'{id}' is no member's id here; look it up with: nightlatch members list --email ADDRESS"),
        )),
        other => Ok(other.map(drop)?),
    }
}

impl From<Filter> for KeyFilter {
    fn from(filter: Filter) -> Self {
        Self {
            state: filter.state,
            owner: filter.owner,
            owner_member: filter.owner_member,
            issued_by: filter.issued_by,
            touched_by: filter.touched_by,
            principal: filter.principal,
            kind: filter.kind,
            scope: filter.scope,
            label: filter.label,
            environment: filter.environment,
            created_after: filter.created_after,
            created_before: filter.created_before,
            never_used: filter.never_used,
            last_used_before: filter.last_used_before,
            expires_before: filter.expires_before,
            rotate_by_before: filter.rotate_by_before,
            q: filter.query,
            limit: None,
            cursor: None,
        }
    }
}

fn state(text: &str) -> Result<KeyState, String> {
    let all = [KeyState::Active, KeyState::Retiring, KeyState::Disabled, KeyState::Revoked, KeyState::Expired];
    let known = all.into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| "give active, retiring, disabled, revoked or expired".to_owned())
}

fn kind(text: &str) -> Result<PrincipalKind, String> {
    let all = [PrincipalKind::User, PrincipalKind::ServiceAccount, PrincipalKind::Partner, PrincipalKind::Gateway];
    let known = all.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| "give user, service_account, partner or gateway".to_owned())
}

fn environment(text: &str) -> Result<Environment, String> {
    let known = [Environment::Live, Environment::Test].into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| "give live or test".to_owned())
}
