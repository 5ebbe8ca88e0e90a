//! Ways into the log: from which index the places of a page come, so that it looks at few entries whatever the filter.

use super::{AuditFilter, Row, entry_columns};
use crate::domain::ids::principal_subject;
use crate::domain::{MemberId, WorkspaceId};
use crate::store::select::{Direction, Select};
use crate::store::walk::{LOOKED_AT, Way};
use crate::store::{Cursor, Error, PageRequest, Read, keys};

/// Most keys of a principal whose entries are put together from the entries of each.
const KEYS: u32 = 1_000;
/// And most entries of theirs, for each that a page may look at: they are put in order without being read.
const OF_EACH: u32 = 5;

/// How an actor is in an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// It acted.
    Actor,
    /// Somebody acted on its behalf.
    Beneficiary,
    /// Either.
    Any,
}

/// A filter, and what it names.
#[derive(Clone, Debug)]
pub(super) struct Named<'f> {
    workspace: &'f WorkspaceId,
    filter: &'f AuditFilter,
    key: Option<String>,
    principal: Option<(&'f str, u32)>,
}

impl<'f> Named<'f> {
    /// `None` where nothing can pass the filter.
    pub(super) async fn find(
        read: &mut Read,
        workspace: &'f WorkspaceId,
        filter: &'f AuditFilter,
    ) -> Result<Option<Self>, Error> {
        let key = match &filter.key {
            Some(key) => match keys::id_of(read, workspace, key).await? {
                Some(id) => Some(id.as_str().to_owned()),
                None => return Ok(None),
            },
            None => None,
        };
        let principal = match &filter.principal {
            Some(principal) => match principal_subject(principal) {
                Some(subject) => Some((principal.as_str(), subject)),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Self { workspace, filter, key, principal }))
    }

    /// Whether entries are asked for that a member answers for.
    fn is_of_member(&self) -> bool {
        self.filter.actor.as_deref().is_some_and(|actor| actor.starts_with(MemberId::PREFIX))
    }

    /// The lists that hold what is asked for, each with an index. No entry is in both: who acts for itself does so on
    /// nobody's behalf.
    pub(super) fn parts(&self) -> &'static [Part] {
        if self.is_of_member() { &[Part::Actor, Part::Beneficiary] } else { &[Part::Actor] }
    }

    /// Whether the entries are about one thing, and so are few in any log.
    pub(super) fn is_about_one(&self) -> bool {
        self.key.is_some() || self.principal.is_some() || self.filter.target.is_some()
    }

    /// Appends the filter's conditions.
    pub(super) fn narrow(&self, select: &mut Select, part: Part) {
        if let Some(id) = &self.key {
            select.push(" AND target_id = ").value(id.as_str());
        }
        if let Some((principal, subject)) = self.principal {
            select.push(" AND (target_id = ").value(principal);
            select.push(" OR EXISTS (SELECT 1 FROM keys k WHERE k.id = target_id AND k.workspace_id = ");
            select.value(self.workspace.as_str()).push(" AND k.subject = ").value(i64::from(subject)).push("))");
        }
        if let Some(actor) = &self.filter.actor {
            match part {
                Part::Any if self.is_of_member() => {
                    select.push(" AND (actor_id = ").value(actor.as_str());
                    select.push(" OR on_behalf_of = ").value(actor.as_str()).push(")");
                }
                Part::Actor | Part::Any => {
                    select.push(" AND actor_id = ").value(actor.as_str());
                }
                Part::Beneficiary => {
                    select.push(" AND on_behalf_of = ").value(actor.as_str());
                }
            }
        }
        let texts = [
            (" AND action = ", &self.filter.action),
            (" AND category = ", &self.filter.category),
            (" AND actor_type = ", &self.filter.actor_type),
            (" AND target_id = ", &self.filter.target),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                select.push(condition).value(text.as_str());
            }
        }
        self.within(select);
    }

    /// Appends the conditions on the time.
    fn within(&self, select: &mut Select) {
        for (condition, time) in [(" AND at >= ", self.filter.from), (" AND at < ", self.filter.to)] {
            if let Some(time) = time {
                select.push(condition).value(time);
            }
        }
    }
}

/// An index that holds entries in the order of their time.
#[derive(Clone, Copy, Debug)]
enum Entry<'n> {
    Target(&'n str),
    /// Of the principal and of its keys, which have to be put in order.
    Principal(&'n str, u32),
    Actor(&'n str),
    Beneficiary(&'n str),
    Action(&'n str),
    All,
}

/// A list of entries, read by way of an index.
pub(super) struct AuditWay<'n> {
    named: &'n Named<'n>,
    part: Part,
    entry: Entry<'n>,
}

impl<'n> AuditWay<'n> {
    /// By the index that leaves the fewest entries.
    pub(super) async fn find(read: &mut Read, named: &'n Named<'n>, part: Part, looks: u32) -> Result<Self, Error> {
        let (filter, few) = (named.filter, looks.min(LOOKED_AT));
        let entries = [
            named.key.as_deref().map(Entry::Target),
            filter.target.as_deref().map(Entry::Target),
            filter.actor.as_deref().map(match part {
                Part::Beneficiary => Entry::Beneficiary,
                Part::Actor | Part::Any => Entry::Actor,
            }),
            filter.action.as_deref().map(Entry::Action),
        ];
        let mut way = Self { named, part, entry: Entry::All };
        let mut least = i64::from(few) + 1;
        for entry in entries.into_iter().flatten() {
            let candidate = Self { named, part, entry };
            if candidate.is_exact() {
                return Ok(candidate);
            }
            let count = candidate.count(read, few).await?;
            if count < least || matches!(way.entry, Entry::All) {
                (way, least) = (candidate, count);
            }
        }
        if let Some((principal, subject)) = named.principal
            && least > i64::from(few)
            && few_keys(read, named.workspace, subject).await?
        {
            let candidate = Self { named, part, entry: Entry::Principal(principal, subject) };
            let most = few * OF_EACH;
            if candidate.count(read, most).await? <= i64::from(most) {
                way = candidate;
            }
        }
        Ok(way)
    }

    /// How many entries there are, counted a little beyond a limit.
    async fn count(&self, read: &mut Read, limit: u32) -> Result<i64, Error> {
        let mut select = Select::new("SELECT COUNT(*) FROM (SELECT 1");
        self.places(&mut select);
        select.limit(limit + 1).push(") AS p");
        let rows: Vec<(i64,)> = select.fetch(read).await?;
        Ok(rows.first().map_or(0, |(count,)| *count))
    }

    /// Appends the table and the conditions of the places.
    fn places(&self, select: &mut Select) {
        let workspace = self.named.workspace.as_str();
        if let Entry::Principal(principal, subject) = self.entry {
            select.push(" FROM (SELECT id FROM (SELECT k.id FROM keys k WHERE k.workspace_id = ").value(workspace);
            select.push(" AND k.subject = ").value(i64::from(subject)).push(" ORDER BY k.created_at DESC, k.id DESC");
            select.limit(KEYS).push(") AS owned UNION ALL SELECT ").value(principal).push(") AS t CROSS JOIN audit a");
        } else {
            select.push(" FROM audit a");
        }
        select.push(" WHERE a.workspace_id = ").value(workspace);
        match self.entry {
            Entry::Target(id) => {
                select.push(" AND a.target_id = ").value(id);
            }
            Entry::Principal(..) => {
                select.push(" AND a.target_id = t.id");
            }
            Entry::Actor(id) => {
                select.push(" AND a.actor_id = ").value(id);
            }
            Entry::Beneficiary(id) => {
                select.push(" AND a.on_behalf_of = ").value(id);
            }
            Entry::Action(action) => {
                select.push(" AND a.action = ").value(action);
            }
            Entry::All => {}
        }
        self.named.within(select);
    }
}

/// Whether a principal's keys are few enough to look for the entries of each.
async fn few_keys(read: &mut Read, workspace: &WorkspaceId, subject: u32) -> Result<bool, Error> {
    let mut select = Select::new("SELECT COUNT(*) FROM (SELECT 1 FROM keys k WHERE k.workspace_id = ");
    select.value(workspace.as_str()).push(" AND k.subject = ").value(i64::from(subject));
    select.limit(KEYS + 1).push(") AS p");
    let rows: Vec<(i64,)> = select.fetch(read).await?;
    Ok(rows.first().is_some_and(|(count,)| *count <= i64::from(KEYS)))
}

impl Way for AuditWay<'_> {
    type Row = Row;

    fn is_exact(&self) -> bool {
        let AuditFilter { action, category, actor, actor_type, key, principal, target, from: _, to: _ } =
            self.named.filter;
        let texts = [action, category, actor, actor_type, principal, target];
        let conditions = texts.into_iter().filter(|text| text.is_some()).count() + usize::from(key.is_some());
        match self.entry {
            Entry::All => conditions == 0,
            _ => conditions == 1,
        }
    }

    fn rows(&self, places: &PageRequest, limit: u32) -> Select {
        let mut select = Select::new(concat!("SELECT ", entry_columns!(), " FROM (SELECT a.id AS place"));
        self.places(&mut select);
        select.behind_number("a.at", "a.id", Direction::Descending, places.after.as_ref()).limit(places.limit);
        select.push(") AS e CROSS JOIN audit WHERE id = e.place");
        self.named.narrow(&mut select, self.part);
        select.behind_number("at", "id", Direction::Descending, None).limit(limit);
        select
    }

    fn place(&self, places: &PageRequest) -> Select {
        let mut select = Select::new("SELECT a.at, CAST(a.id AS TEXT)");
        self.places(&mut select);
        select.behind_number("a.at", "a.id", Direction::Descending, places.after.as_ref()).nth(places.limit);
        select
    }

    fn of(&self, row: &Row) -> Cursor {
        place(row)
    }
}

/// The place of an entry in a list.
pub(super) fn place(row: &Row) -> Cursor {
    Cursor { at: row.at, id: row.id.to_string() }
}
