//! Lists of keys.

use nightlatch_key::Environment;

use super::audit::{self, Draft, Target};
use super::catalogue::{members_with_scope, scope_words};
use super::keys::KeyView;
use super::rows::{KeyRow, key_columns};
use super::select::{Direction, Select};
use super::touched::{Person, Source};
use super::{Context, Cursor, Error, Page, PageRequest, Read, Tx, catalogue, profiles, rotations};
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
    let carriers = Carriers::of(read, workspace, filter).await?;
    let select = statement(concat!("SELECT ", key_columns!(), " FROM "), workspace, filter, carriers, page, now);
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

/// The statement for one page. `head` selects columns of a table `keys k`, up to `FROM`.
pub(super) fn statement(
    head: &'static str,
    workspace: &WorkspaceId,
    filter: &KeyFilter,
    carriers: Carriers,
    page: &PageRequest,
    now: i64,
) -> Select {
    let mut select = Select::new(head);
    let sources = filter.touched_by.as_ref().map_or_else(|| vec![Source::Any], Person::sources);
    let carriers = carriers.all();
    if let ([source], [carrier]) = (sources.as_slice(), carriers) {
        part(&mut select, *source, *carrier, workspace, filter, page, now);
        return select;
    }
    // A page of each way to be in the list holds the page of all of them.
    let ways = sources.iter().flat_map(|source| carriers.iter().map(move |carrier| (*source, *carrier)));
    for (place, (source, carrier)) in ways.enumerate() {
        select.push(if place == 0 { "(" } else { " UNION " });
        select.push("SELECT id FROM (SELECT k.id FROM ");
        part(&mut select, source, carrier, workspace, filter, page, now);
        select.push(") AS a");
    }
    // CROSS JOIN: SQLite then looks these few up instead of walking all keys in their order.
    select.push(") AS t CROSS JOIN keys k WHERE k.id = t.id");
    Order::of(filter).page(&mut select, "k.created_at", "k.id", page);
    select
}

/// Who carries the scope that a list is narrowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carriers {
    /// Keys that were given it. No member has it.
    Keys,
    /// These, and the keys of members who have it: a member's key has no scopes of its own.
    KeysAndMembers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Key,
    Member,
}

impl Carriers {
    pub(super) async fn of(read: &mut Read, workspace: &WorkspaceId, filter: &KeyFilter) -> Result<Self, Error> {
        match &filter.scope {
            Some(scope) if catalogue::is_members(read, workspace, scope.as_str()).await? => Ok(Self::KeysAndMembers),
            _ => Ok(Self::Keys),
        }
    }

    const fn all(self) -> &'static [Carrier] {
        match self {
            Self::Keys => &[Carrier::Key],
            Self::KeysAndMembers => &[Carrier::Key, Carrier::Member],
        }
    }
}

/// Appends the table and the conditions of a page, its order and its limit.
fn part(
    select: &mut Select,
    source: Source<'_>,
    carrier: Carrier,
    workspace: &WorkspaceId,
    filter: &KeyFilter,
    page: &PageRequest,
    now: i64,
) {
    let order = Order::of(filter);
    // The keys of a scope and of a label come in the order that the page needs, unless something rarer is asked for.
    let in_order = matches!((&source, carrier, order), (Source::Any, Carrier::Key, Order::Creation));
    let (by_scope, by_label) = (in_order, in_order && filter.scope.is_none());
    match &filter.scope {
        // CROSS JOIN: SQLite then walks the scope's keys in their order, as the page needs them.
        Some(scope) if by_scope => {
            select.push("key_scopes s CROSS JOIN keys k WHERE k.id = s.key_id AND s.workspace_id = ");
            select.value(workspace.as_str()).push(" AND s.scope = ").value(scope.as_str());
        }
        // The members first, whose keys are few.
        Some(scope) if carrier == Carrier::Member => {
            let word = format!(" {} ", scope.as_str());
            select.push(concat!("(SELECT m.subject ", members_with_scope!())).value(workspace.as_str());
            select.push(" AND ").push(scope_words!()).push(" <> replace(").push(scope_words!()).push(", ");
            select.value(word.as_str()).push(", '')) AS c CROSS JOIN keys k WHERE k.workspace_id = ");
            select.value(workspace.as_str()).push(" AND k.subject = c.subject AND k.kind = 'user'");
        }
        scope => {
            match &filter.label {
                Some(label) if by_label => {
                    select.push("key_labels l CROSS JOIN keys k WHERE k.id = l.key_id");
                    label_is(select, workspace, label);
                }
                _ => {
                    select.push("keys k WHERE k.workspace_id = ").value(workspace.as_str());
                }
            }
            if let Some(scope) = scope {
                select.push(
                    " AND EXISTS (SELECT 1 FROM key_scopes s WHERE s.workspace_id = k.workspace_id AND s.scope = ",
                );
                select.value(scope.as_str()).push(" AND s.created_at = k.created_at AND s.key_id = k.id)");
            }
        }
    }
    if let Some(label) = filter.label.as_ref().filter(|_| !by_label) {
        select.push(" AND EXISTS (SELECT 1 FROM key_labels l WHERE l.created_at = k.created_at AND l.key_id = k.id");
        label_is(select, workspace, label);
        select.push(")");
    }
    source.narrow(select);
    let (created_at, id) = match (&filter.scope, &filter.label) {
        (Some(_), _) if by_scope => ("s.created_at", "s.key_id"),
        (None, Some(_)) if by_label => ("l.created_at", "l.key_id"),
        _ => ("k.created_at", "k.id"),
    };
    for (time, relation) in [(filter.created_after, " >= "), (filter.created_before, " < ")] {
        if let Some(time) = time {
            select.push(" AND ").push(created_at).push(relation).value(time);
        }
    }
    narrow(select, filter, now);
    order.page(select, created_at, id, page);
}

/// Appends that the label `l` is the one asked for.
fn label_is(select: &mut Select, workspace: &WorkspaceId, label: &LabelMatch) {
    select.push(" AND l.workspace_id = ").value(workspace.as_str()).push(" AND l.name = ").value(label.name());
    if let Some(value) = label.value() {
        select.push(" AND l.value = ").value(value);
    }
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

    /// Appends the order and the limit of a page. The first two name the columns of the creation.
    fn page(self, select: &mut Select, created_at: &'static str, id: &'static str, page: &PageRequest) {
        match self {
            Self::Creation => select.page(created_at, id, Direction::Descending, page),
            Self::LastUse => select.page(IDLE_SINCE, "k.id", Direction::Ascending, page),
            Self::Expiry => select.page("k.expires_at", "k.id", Direction::Ascending, page),
            Self::RotateBy => select.page("k.rotate_by", "k.id", Direction::Ascending, page),
        }
    }

    fn place(self, key: &Key) -> Cursor {
        let at = self.at(key.created_at, key.last_used_at, key.expires_at, key.rotate_by);
        Cursor { at, id: key.id.as_str().to_owned() }
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
