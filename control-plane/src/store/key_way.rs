//! Ways into the keys: from which index the places of a page come, so that it looks at few keys whatever the filter.
//!
//! A list narrowed to one thing has an index of its own, and so has every single condition that can be rare. Of several, the
//! one that leaves few keys is taken, and these are sorted; where none does, the keys are walked in the list's order.

use std::marker::PhantomData;

use nightlatch_key::Environment;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::catalogue::{carried_by_member, members_with};
use super::key_list::{KeyFilter, Order, narrow};
use super::select::Select;
use super::touched::{Person, Source};
use super::walk::{LOOKED_AT, Way, compare, merged, stretch};
use super::{Cursor, Error, Page, PageRequest, Read};
use crate::domain::{LabelMatch, MemberId, PrincipalKind, Scope, State, WorkspaceId};

/// Members with a scope whose keys are looked for one member after the other; more of them, and all members' keys are.
const FEW_MEMBERS: usize = 20;

/// A row of keys that knows its place in a list.
pub(super) trait Placed: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {
    fn place(&self, order: Order) -> Cursor;
}

/// A page of the keys that pass a filter, for which about so many are looked at. `head` selects columns of a table `keys k`,
/// up to `FROM`.
pub(super) async fn page<R: Placed>(
    read: &mut Read,
    head: &'static str,
    workspace: &WorkspaceId,
    filter: &KeyFilter,
    page: &PageRequest,
    looks: u32,
) -> Result<Page<R>, Error> {
    let (now, order) = (read.now().await?, Order::of(filter));
    let members = match &filter.scope {
        // A member's key has no scopes of its own.
        Some(scope) => members_with(read, workspace, scope.as_str(), FEW_MEMBERS as u32 + 1).await?,
        None => Vec::new(),
    };
    let mut carriers = vec![Carrier::Key];
    if !members.is_empty() {
        carriers.push(Carrier::Member(&members));
    }
    let sources = filter.touched_by.as_ref().map_or_else(|| vec![Source::Any], Person::sources);
    let mut parts = Vec::new();
    for source in sources {
        for carrier in &carriers {
            let few = looks.min(LOOKED_AT);
            let list = Part { workspace, filter, order, source, carrier: *carrier, now, few };
            let (entry, whole) = list.entry(read).await?;
            let way = KeyWay { head, exact: whole || list.is_all_of(entry), list, entry, whole, row: PhantomData::<R> };
            parts.push(stretch(read, &way, page, looks).await?);
        }
    }
    Ok(merged(parts, page.limit, |one, other| compare(order.direction(), one, other), |row: &R| row.place(order)))
}

/// Who carries the scope that a list is narrowed to.
#[derive(Clone, Copy)]
enum Carrier<'m> {
    /// The key, which was given it; or none is asked for.
    Key,
    /// The key's member. These are some of those who do, or all.
    Member(&'m [u32]),
}

/// An index that holds keys in the order of their creation, or in the list's own.
#[derive(Clone, Copy)]
enum Entry<'f> {
    Owner(&'f str),
    OwnerMember(&'f MemberId),
    IssuedBy(&'f str),
    IssuerMember(&'f MemberId),
    Subject(u32),
    Subjects(&'f [u32]),
    Retiring,
    Disabled,
    Leaving,
    Test,
    NeverUsed,
    Scope(&'f Scope),
    Label(&'f LabelMatch),
    Kind(PrincipalKind),
    /// All keys, as the list orders them.
    Order,
}

/// The keys that are in a list for one reason.
#[derive(Clone, Copy)]
struct Part<'f> {
    workspace: &'f WorkspaceId,
    filter: &'f KeyFilter,
    order: Order,
    source: Source<'f>,
    carrier: Carrier<'f>,
    now: i64,
    /// How many keys are few enough to sort.
    few: u32,
}

impl<'f> Part<'f> {
    /// The index to read, and whether it leaves so few keys that they are taken whole.
    async fn entry(&self, read: &mut Read) -> Result<(Entry<'f>, bool), Error> {
        let entries = self.entries();
        let in_order = matches!(self.order, Order::Creation);
        let first = entries.first().copied();
        if let Some(first) = first.filter(|first| in_order && self.is_all_of(*first)) {
            return Ok((first, false));
        }
        let mut fewest: Option<(Entry<'f>, i64)> = None;
        for entry in entries {
            let mut select = Select::new("SELECT COUNT(*) FROM (SELECT 1");
            self.places(&mut select, entry);
            self.in_order(&mut select, entry);
            select.limit(self.few + 1).push(") AS p");
            let rows: Vec<(i64,)> = select.fetch(read).await?;
            let count = rows.first().map_or(0, |(count,)| *count);
            if count <= i64::from(self.few) && fewest.is_none_or(|(_, least)| count < least) {
                fewest = Some((entry, count));
            }
        }
        Ok(match (fewest, first) {
            (Some((entry, _)), _) => (entry, true),
            // Members are not in order behind one another.
            (None, Some(Entry::Subjects(_))) if in_order => (Entry::Kind(PrincipalKind::User), false),
            (None, Some(first)) if in_order => (first, false),
            _ => (Entry::Order, false),
        })
    }

    /// The indexes that hold all of its keys, those first that tend to hold the fewest.
    fn entries(&self) -> Vec<Entry<'f>> {
        let filter = self.filter;
        let (issued, owned, acting) = match self.source {
            Source::Any => (None, None, None),
            Source::Issued(member) => (Some(member), None, None),
            Source::Owned(member) => (None, Some(member), None),
            Source::Acting(subject) => (None, None, Some(subject)),
        };
        let (scope, members) = match self.carrier {
            Carrier::Key => (filter.scope.as_ref(), None),
            Carrier::Member(members) => (None, Some(members)),
        };
        let few = members.filter(|members| members.len() <= FEW_MEMBERS);
        let kind = members.map_or(filter.kind, |_| Some(PrincipalKind::User));
        let state = |state| filter.state == Some(state);
        let all = [
            few.map(Entry::Subjects),
            acting.or(filter.subject).map(Entry::Subject),
            owned.or(filter.owner_member.as_ref()).map(Entry::OwnerMember),
            issued.or(filter.issuer_member.as_ref()).map(Entry::IssuerMember),
            filter.owner.as_deref().map(Entry::Owner),
            filter.issued_by.as_deref().map(Entry::IssuedBy),
            state(State::Retiring).then_some(Entry::Retiring),
            state(State::Disabled).then_some(Entry::Disabled),
            state(State::Revoked).then_some(Entry::Leaving),
            (filter.environment == Some(Environment::Test)).then_some(Entry::Test),
            filter.never_used.then_some(Entry::NeverUsed),
            filter.label.as_ref().map(Entry::Label),
            scope.map(Entry::Scope),
            kind.map(Entry::Kind),
        ];
        all.into_iter().flatten().collect()
    }

    /// Whether every key at a place of the index is in the list.
    fn is_all_of(&self, entry: Entry<'_>) -> bool {
        let filter = self.filter;
        let conditions = [
            filter.state.is_some(),
            filter.not_final,
            filter.owner.is_some(),
            filter.owner_member.is_some(),
            filter.issued_by.is_some(),
            filter.issuer_member.is_some(),
            filter.subject.is_some(),
            filter.kind.is_some(),
            filter.scope.is_some(),
            filter.label.is_some(),
            filter.environment.is_some(),
            filter.never_used,
            filter.last_used_before.is_some(),
            filter.expires_before.is_some(),
            filter.rotate_by_before.is_some(),
            filter.q.is_some(),
            !matches!(self.source, Source::Any),
        ];
        let conditions = conditions.into_iter().filter(|holds| *holds).count();
        let member = matches!(self.carrier, Carrier::Member(_));
        let created = filter.created_after.is_some() || filter.created_before.is_some();
        match entry {
            // Says less than the state does, or than which members.
            Entry::Retiring | Entry::Disabled | Entry::Leaving | Entry::Subjects(_) => false,
            Entry::Order => match self.order {
                Order::Creation => conditions == 0,
                Order::LastUse | Order::RotateBy => conditions == 1 && !created,
                Order::Expiry => conditions == 1 && filter.state.is_none() && !created,
            },
            _ => conditions == 1 && !member,
        }
    }

    /// Appends the table and the conditions of an index's places.
    fn places(&self, select: &mut Select, entry: Entry<'_>) {
        let workspace = self.workspace.as_str();
        match entry {
            Entry::Scope(scope) => {
                select.push(" FROM key_scopes s WHERE s.workspace_id = ").value(workspace);
                select.push(" AND s.scope = ").value(scope.as_str());
            }
            Entry::Label(label) => {
                select.push(" FROM key_labels l WHERE 1 = 1");
                label_is(select, self.workspace, label);
            }
            _ => {
                select.push(" FROM keys k WHERE k.workspace_id = ").value(workspace);
            }
        }
        // Literals where the index is partial, so that it is seen to fit.
        match entry {
            Entry::Owner(owner) => {
                select.push(" AND k.owner = ").value(owner);
            }
            Entry::OwnerMember(member) => {
                select.push(" AND k.owner_member = ").value(member.as_str());
            }
            Entry::IssuedBy(actor) => {
                select.push(" AND k.issued_by_id = ").value(actor);
            }
            Entry::IssuerMember(member) => {
                select.push(" AND k.issuer_member = ").value(member.as_str());
            }
            Entry::Subject(subject) => {
                select.push(" AND k.subject = ").value(i64::from(subject));
            }
            Entry::Subjects(subjects) => {
                let subjects = subjects.iter().map(|subject| i64::from(*subject));
                select.push(" AND k.subject IN (").list(subjects).push(")");
            }
            Entry::Retiring => {
                select.push(" AND k.state = 'retiring'");
            }
            Entry::Disabled => {
                select.push(" AND k.disabled_by <> ''");
            }
            Entry::Leaving => {
                select.push(" AND k.state <> 'active'");
            }
            Entry::Test => {
                select.push(" AND k.environment = 'test'");
            }
            Entry::NeverUsed => {
                select.push(" AND k.last_used_at IS NULL");
            }
            Entry::Kind(kind) => {
                select.push(" AND k.kind = ").value(kind.as_str());
            }
            Entry::Scope(_) | Entry::Label(_) => {}
            Entry::Order => self.order.narrow(select, self.filter, self.now),
        }
        let by_creation = !matches!(entry, Entry::Order) || matches!(self.order, Order::Creation);
        if by_creation {
            created(select, Self::columns(entry, Order::Creation).0, self.filter);
        }
    }

    /// Appends an order that only this index has, where SQLite might take another for a partial one.
    fn in_order(&self, select: &mut Select, entry: Entry<'_>) {
        if !matches!(entry, Entry::Subjects(_)) {
            let (at, id) = Self::columns(entry, self.order);
            select.behind(at, id, Order::Creation.direction(), None);
        }
    }

    /// The columns that an index is ordered by.
    const fn columns(entry: Entry<'_>, order: Order) -> (&'static str, &'static str) {
        match entry {
            Entry::Scope(_) => ("s.created_at", "s.key_id"),
            Entry::Label(_) => ("l.created_at", "l.key_id"),
            Entry::Order => order.columns(),
            _ => Order::Creation.columns(),
        }
    }

    /// Appends all conditions.
    fn narrow(&self, select: &mut Select) {
        self.source.narrow(select);
        match (&self.filter.scope, self.carrier) {
            (None, _) => {}
            (Some(scope), Carrier::Key) => {
                select.push(
                    " AND EXISTS (SELECT 1 FROM key_scopes s WHERE s.workspace_id = k.workspace_id AND s.scope = ",
                );
                select.value(scope.as_str()).push(" AND s.created_at = k.created_at AND s.key_id = k.id)");
            }
            (Some(scope), Carrier::Member(_)) => {
                select.push(" AND k.kind = 'user' AND ");
                carried_by_member(select, self.workspace, scope.as_str());
            }
        }
        if let Some(label) = &self.filter.label {
            select
                .push(" AND EXISTS (SELECT 1 FROM key_labels l WHERE l.created_at = k.created_at AND l.key_id = k.id");
            label_is(select, self.workspace, label);
            select.push(")");
        }
        created(select, Order::Creation.columns().0, self.filter);
        narrow(select, self.filter, self.now);
    }
}

/// Appends that the label `l` is the one asked for.
fn label_is(select: &mut Select, workspace: &WorkspaceId, label: &LabelMatch) {
    select.push(" AND l.workspace_id = ").value(workspace.as_str()).push(" AND l.name = ").value(label.name());
    if let Some(value) = label.value() {
        select.push(" AND l.value = ").value(value);
    }
}

/// Appends the conditions on the time of creation.
fn created(select: &mut Select, created_at: &'static str, filter: &KeyFilter) {
    for (time, relation) in [(filter.created_after, " >= "), (filter.created_before, " < ")] {
        if let Some(time) = time {
            select.push(" AND ").push(created_at).push(relation).value(time);
        }
    }
}

/// A part of a list, read by way of an index.
struct KeyWay<'f, R> {
    head: &'static str,
    list: Part<'f>,
    entry: Entry<'f>,
    whole: bool,
    exact: bool,
    row: PhantomData<R>,
}

impl<R: Placed> Way for KeyWay<'_, R> {
    type Row = R;

    fn is_exact(&self) -> bool {
        self.exact
    }

    fn rows(&self, places: &PageRequest, limit: u32) -> Select {
        let order = self.list.order;
        let (at, id) = Part::columns(self.entry, order);
        let mut select = Select::new(self.head);
        select.push("(SELECT ").push(id).push(" AS id");
        self.list.places(&mut select, self.entry);
        let after = if self.whole {
            self.list.in_order(&mut select, self.entry);
            select.limit(self.list.few);
            places.after.as_ref()
        } else {
            select.behind(at, id, order.direction(), places.after.as_ref()).limit(places.limit);
            None
        };
        // CROSS JOIN: SQLite then looks these few up instead of walking all keys in their order.
        select.push(") AS e CROSS JOIN keys k WHERE k.id = e.id");
        self.list.narrow(&mut select);
        let (at, id) = order.columns();
        select.behind(at, id, order.direction(), after).limit(limit);
        select
    }

    fn place(&self, places: &PageRequest) -> Select {
        let (at, id) = Part::columns(self.entry, self.list.order);
        let mut select = Select::new("SELECT ");
        select.push(at).push(", ").push(id);
        self.list.places(&mut select, self.entry);
        select.behind(at, id, self.list.order.direction(), places.after.as_ref()).nth(places.limit);
        select
    }

    fn of(&self, row: &R) -> Cursor {
        row.place(self.list.order)
    }
}
