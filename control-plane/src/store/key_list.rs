//! Lists of keys.

use nightlatch_key::Environment;

use super::audit::{self, Draft, Target};
use super::key_way;
use super::keys::KeyView;
use super::rows::{KeyRow, key_columns};
use super::select::{Direction, Select};
use super::touched::Person;
use super::walk::LOOKED_AT;
use super::{Context, Error, Page, PageRequest, Read, Tx, profiles, rotations};
use crate::domain::authority;
use crate::domain::{Action, Key, LabelMatch, MemberId, PrincipalKind, Scope, State, WorkspaceId};

/// What a list of keys is narrowed to. All conditions hold at once.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Its state by the database clock.
    pub state: Option<State>,
    /// Whether it verifies, or may again: neither revoked nor expired.
    pub not_final: bool,
    /// Exactly this owner.
    pub owner: Option<String>,
    /// Looked after by this member.
    pub owner_member: Option<MemberId>,
    /// Issued by the actor with this id.
    pub issued_by: Option<String>,
    /// Issued on the authority of this member, by hand or with a token.
    pub issuer_member: Option<MemberId>,
    /// This member had to do with it.
    pub touched_by: Option<Person>,
    /// Acting for this principal.
    pub subject: Option<u32>,
    /// Acting for this kind of principal.
    pub kind: Option<PrincipalKind>,
    /// Carrying this scope.
    pub scope: Option<Scope>,
    /// With this label.
    pub label: Option<LabelMatch>,
    /// Live or test.
    pub environment: Option<Environment>,
    /// Not issued before, unix milliseconds.
    pub created_after: Option<i64>,
    /// Issued before, unix milliseconds.
    pub created_before: Option<i64>,
    /// Never used.
    pub never_used: bool,
    /// Not used since, unix milliseconds: last used before, or never used and created before.
    pub last_used_before: Option<i64>,
    /// Expiring before, unix seconds.
    pub expires_before: Option<i64>,
    /// To be rotated before, unix seconds.
    pub rotate_by_before: Option<i64>,
    /// A part of the name or prefix; the case of ASCII letters does not matter.
    pub q: Option<String>,
}

/// Keys of the workspace, newest first; where the filter has a time to be before, earliest first by that time (of several,
/// the first of `last_used_before`, `expires_before`, `rotate_by_before`). What a member had to do with is newest first.
/// Where what passes is rare, a page is short, or empty, and others follow: it has looked at enough keys.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &KeyFilter,
    page: &PageRequest,
) -> Result<Page<KeyView>, Error> {
    within(read, workspace, filter, page, LOOKED_AT).await
}

/// As [`list`], where a page looks at about so many keys.
///
/// # Errors
/// [`Error::Database`].
pub async fn within(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &KeyFilter,
    page: &PageRequest,
    looks: u32,
) -> Result<Page<KeyView>, Error> {
    let now = read.now().await?;
    let head = concat!("SELECT ", key_columns!(), " FROM ");
    let found: Page<KeyRow> = key_way::page(read, head, workspace, filter, page, looks).await?;
    let keys = found.items.into_iter().map(Key::try_from).collect::<Result<Vec<_>, _>>()?;
    let mut page = Page { items: keys, next: found.next };
    profiles::show(read, &mut page.items.iter_mut().collect::<Vec<_>>()).await?;
    let mut open = rotations::recorded_open_of(read, page.items.iter().filter(|key| key.deadline().is_some())).await?;
    let view = |key: Key| {
        let rotation = open.remove(&key.id).filter(|rotation| rotation.is_open(now));
        KeyView { key, rotation, now }
    };
    Ok(Page { items: page.items.into_iter().map(view).collect(), next: page.next })
}

/// Notes that somebody takes a list of keys away. `what` says which.
///
/// # Errors
/// [`Error::Database`].
pub async fn note_export(tx: &mut Tx, context: &Context, what: serde_json::Value) -> Result<(), Error> {
    context.authority.require(Action::KeysExport, &authority::Target::None)?;
    let now = tx.now().await?;
    let target = Target::Other("workspace", context.workspace.as_str());
    let after = Some(what);
    let draft = Draft { action: "key.exported", target, before: None, after, reason: None, personal: &[], about: None };
    audit::append(tx, context, &draft, now).await
}

/// Since when a key was not used: a key never used counts from its creation. As the index has it.
const IDLE_SINCE: &str = "COALESCE(k.last_used_at, k.created_at)";

/// What a list is ordered by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Creation,
    LastUse,
    Expiry,
    RotateBy,
}

impl Order {
    pub(super) fn of(filter: &KeyFilter) -> Self {
        if filter.touched_by.is_some() {
            Self::Creation
        } else if filter.last_used_before.is_some() {
            Self::LastUse
        } else if filter.expires_before.is_some() || filter.state == Some(State::Expired) {
            Self::Expiry
        } else if filter.rotate_by_before.is_some() {
            Self::RotateBy
        } else {
            Self::Creation
        }
    }

    pub(super) const fn direction(self) -> Direction {
        match self {
            Self::Creation => Direction::Descending,
            Self::LastUse | Self::Expiry | Self::RotateBy => Direction::Ascending,
        }
    }

    /// The columns of a table `keys k` that the list is ordered by.
    pub(super) const fn columns(self) -> (&'static str, &'static str) {
        let at = match self {
            Self::Creation => "k.created_at",
            Self::LastUse => IDLE_SINCE,
            Self::Expiry => "k.expires_at",
            Self::RotateBy => "k.rotate_by",
        };
        (at, "k.id")
    }

    /// Appends the filter's conditions on the time of the order.
    pub(super) fn narrow(self, select: &mut Select, filter: &KeyFilter, now: i64) {
        let second = now.div_euclid(1000);
        let expired = (filter.state == Some(State::Expired)).then_some(second + 1);
        let before = match self {
            Self::Creation => None,
            Self::LastUse => filter.last_used_before,
            Self::Expiry => [filter.expires_before, expired].into_iter().flatten().min(),
            Self::RotateBy => filter.rotate_by_before,
        };
        if let Some(before) = before {
            select.push(" AND ").push(self.columns().0).push(" < ").value(before);
        }
    }

    /// The time of a key's place in the list.
    pub(super) fn at(
        self,
        created_at: i64,
        last_used_at: Option<i64>,
        expires_at: Option<i64>,
        rotate_by: Option<i64>,
    ) -> i64 {
        match self {
            Self::Creation => created_at,
            Self::LastUse => last_used_at.unwrap_or(created_at),
            Self::Expiry => expires_at.unwrap_or_default(),
            Self::RotateBy => rotate_by.unwrap_or_default(),
        }
    }
}

/// Appends the filter's conditions on a table `keys k`, but for those on its creation, its scopes and who touched it.
pub(super) fn narrow(select: &mut Select, filter: &KeyFilter, now: i64) {
    // A time of whole seconds has passed once it is not greater than this.
    let second = now.div_euclid(1000);
    match filter.state {
        None => {}
        Some(State::Active) => {
            select.push(" AND k.state = 'active' AND k.disabled_by = '' AND (k.expires_at IS NULL OR k.expires_at > ");
            select.value(second).push(")");
        }
        Some(State::Retiring) => {
            select.push(" AND k.state = 'retiring' AND k.disabled_by = '' AND k.deadline > ").value(second);
        }
        Some(State::Disabled) => {
            select
                .push(" AND k.disabled_by <> '' AND k.state <> 'revoked' AND (k.expires_at IS NULL OR k.expires_at > ");
            select.value(second).push(") AND (k.deadline IS NULL OR k.deadline > ").value(second).push(")");
        }
        Some(State::Revoked) => {
            select.push(" AND k.state <> 'active' AND (k.state = 'revoked' OR k.deadline <= ").value(second).push(")");
        }
        Some(State::Expired) => {
            select.push(" AND k.state <> 'revoked' AND (k.deadline IS NULL OR k.deadline > ").value(second);
            select.push(") AND k.expires_at <= ").value(second);
        }
    }
    if filter.not_final {
        select.push(" AND k.state <> 'revoked' AND (k.expires_at IS NULL OR k.expires_at > ").value(second);
        select.push(") AND (k.deadline IS NULL OR k.deadline > ").value(second).push(")");
    }
    if let Some(owner) = &filter.owner {
        select.push(" AND k.owner = ").value(owner.as_str());
    }
    if let Some(actor) = &filter.issued_by {
        select.push(" AND k.issued_by_id = ").value(actor.as_str());
    }
    if let Some(member) = &filter.owner_member {
        select.push(" AND k.owner_member = ").value(member.as_str());
    }
    if let Some(member) = &filter.issuer_member {
        select.push(" AND k.issuer_member = ").value(member.as_str());
    }
    if let Some(kind) = filter.kind {
        select.push(" AND k.kind = ").value(kind.as_str());
    }
    if filter.never_used {
        select.push(" AND k.last_used_at IS NULL");
    }
    if let Some(subject) = filter.subject {
        select.push(" AND k.subject = ").value(i64::from(subject));
    }
    // Literals, so that the partial index for test keys is seen to fit.
    select.push(match filter.environment {
        None => "",
        Some(Environment::Live) => " AND k.environment = 'live'",
        Some(Environment::Test) => " AND k.environment = 'test'",
    });
    if let Some(time) = filter.last_used_before {
        select.push(" AND ").push(IDLE_SINCE).push(" < ").value(time);
    }
    if let Some(time) = filter.expires_before {
        select.push(" AND k.expires_at < ").value(time);
    }
    if let Some(time) = filter.rotate_by_before {
        select.push(" AND k.rotate_by < ").value(time);
    }
    if let Some(part) = &filter.q {
        let pattern = contains_pattern(part);
        select.push(" AND (lower(k.name) LIKE ").value(pattern.as_str()).push(" ESCAPE '\\' OR lower(k.prefix) LIKE ");
        select.value(pattern.as_str()).push(" ESCAPE '\\')");
    }
}

/// A LIKE pattern for texts that contain this one, wherever the text's own characters are not wildcards.
fn contains_pattern(part: &str) -> String {
    let mut pattern = String::with_capacity(part.len() + 2);
    pattern.push('%');
    for character in part.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_text_has_no_wildcards() {
        assert_eq!(contains_pattern("10%_OFF\\"), "%10\\%\\_off\\\\%");
    }
}
