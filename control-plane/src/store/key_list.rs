//! Lists of keys.

use nightlatch_key::Environment;

use super::keys::KeyView;
use super::rows::{KeyRow, key_columns};
use super::select::{Direction, Select};
use super::{Cursor, Error, Page, PageRequest, Read, profiles, rotations};
use crate::domain::{Key, Scope, State, WorkspaceId};

/// What a list of keys is narrowed to. All conditions hold at once.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Its state by the database clock.
    pub state: Option<State>,
    /// Exactly this owner.
    pub owner: Option<String>,
    /// Issued by the actor with this id.
    pub issued_by: Option<String>,
    /// Acting for this principal.
    pub subject: Option<u32>,
    /// Carrying this scope.
    pub scope: Option<Scope>,
    /// Live or test.
    pub environment: Option<Environment>,
    /// Not used since, unix milliseconds: last used before, or never used and created before.
    pub last_used_before: Option<i64>,
    /// Expiring before, unix seconds.
    pub expires_before: Option<i64>,
    /// To be rotated before, unix seconds.
    pub rotate_by_before: Option<i64>,
    /// A part of the name or prefix; the case of ASCII letters does not matter.
    pub q: Option<String>,
}

/// Keys of the workspace, newest first; where the filter has a time, earliest first by that time (of several, the first
/// of `last_used_before`, `expires_before`, `rotate_by_before`).
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &KeyFilter,
    page: &PageRequest,
) -> Result<Page<KeyView>, Error> {
    let now = read.now().await?;
    let order = Order::of(filter);
    let mut select = Select::new(concat!("SELECT ", key_columns!(), " FROM "));
    match (&filter.scope, order) {
        // CROSS JOIN: SQLite then walks the scope's keys in their order, as the page needs them.
        (Some(scope), Order::Creation) => {
            select.push("key_scopes s CROSS JOIN keys k WHERE k.id = s.key_id AND s.workspace_id = ");
            select.value(workspace.as_str()).push(" AND s.scope = ").value(scope.as_str());
        }
        (scope, _) => {
            select.push("keys k WHERE k.workspace_id = ").value(workspace.as_str());
            if let Some(scope) = scope {
                select.push(
                    " AND EXISTS (SELECT 1 FROM key_scopes s WHERE s.workspace_id = k.workspace_id AND s.scope = ",
                );
                select.value(scope.as_str()).push(" AND s.created_at = k.created_at AND s.key_id = k.id)");
            }
        }
    }
    narrow(&mut select, filter, now);
    match (order, &filter.scope) {
        (Order::Creation, None) => select.page("k.created_at", "k.id", Direction::Descending, page),
        (Order::Creation, Some(_)) => select.page("s.created_at", "s.key_id", Direction::Descending, page),
        (Order::LastUse, _) => select.page(IDLE_SINCE, "k.id", Direction::Ascending, page),
        (Order::Expiry, _) => select.page("k.expires_at", "k.id", Direction::Ascending, page),
        (Order::RotateBy, _) => select.page("k.rotate_by", "k.id", Direction::Ascending, page),
    }
    let rows: Vec<KeyRow> = select.fetch(read).await?;
    let keys = rows.into_iter().map(Key::try_from).collect::<Result<Vec<_>, _>>()?;
    let mut page = Page::from_rows(keys, page.limit, |key: &Key| order.place(key));
    profiles::show(read, &mut page.items.iter_mut().collect::<Vec<_>>()).await?;
    let mut open = rotations::recorded_open_of(read, page.items.iter().filter(|key| key.deadline().is_some())).await?;
    let view = |key: Key| {
        let rotation = open.remove(&key.id).filter(|rotation| rotation.is_open(now));
        KeyView { key, rotation, now }
    };
    Ok(Page { items: page.items.into_iter().map(view).collect(), next: page.next })
}

/// Since when a key was not used: a key never used counts from its creation. As the index has it.
const IDLE_SINCE: &str = "COALESCE(k.last_used_at, k.created_at)";

/// What a list is ordered by.
#[derive(Clone, Copy, Debug)]
enum Order {
    Creation,
    LastUse,
    Expiry,
    RotateBy,
}

impl Order {
    fn of(filter: &KeyFilter) -> Self {
        if filter.last_used_before.is_some() {
            Self::LastUse
        } else if filter.expires_before.is_some() || filter.state == Some(State::Expired) {
            Self::Expiry
        } else if filter.rotate_by_before.is_some() {
            Self::RotateBy
        } else {
            Self::Creation
        }
    }

    fn place(self, key: &Key) -> Cursor {
        let at = match self {
            Self::Creation => key.created_at,
            Self::LastUse => key.last_used_at.unwrap_or(key.created_at),
            Self::Expiry => key.expires_at.unwrap_or_default(),
            Self::RotateBy => key.rotate_by.unwrap_or_default(),
        };
        Cursor { at, id: key.id.as_str().to_owned() }
    }
}

fn narrow(select: &mut Select, filter: &KeyFilter, now: i64) {
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
    if let Some(owner) = &filter.owner {
        select.push(" AND k.owner = ").value(owner.as_str());
    }
    if let Some(actor) = &filter.issued_by {
        select.push(" AND k.issued_by_id = ").value(actor.as_str());
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
