//! Finding entries.

use super::{Entry, Row, entry_columns, with_personal};
use crate::domain::ids::principal_subject;
use crate::domain::{KeyId, KeyRef, MemberId, WorkspaceId};
use crate::store::select::{Direction, Select};
use crate::store::tx::sql;
use crate::store::{Cursor, Error, Page, PageRequest, Read, keys};

/// What a list of entries is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Exactly this action.
    pub action: Option<String>,
    /// Exactly this category.
    pub category: Option<String>,
    /// The actor's id. Of a member, `mem_…`, also what was done on its behalf: with its tokens.
    pub actor: Option<String>,
    /// The actor's type.
    pub actor_type: Option<String>,
    /// A key, by id or number.
    pub key: Option<KeyRef>,
    /// A principal, `prn_…`: what was done to it and to its keys.
    pub principal: Option<String>,
    /// The id of whatever it was done to.
    pub target: Option<String>,
    /// Not before, unix milliseconds.
    pub from: Option<i64>,
    /// Before, unix milliseconds.
    pub to: Option<i64>,
}

/// Entries of the workspace, newest first.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(
    read: &mut Read,
    workspace: &WorkspaceId,
    filter: &AuditFilter,
    page: &PageRequest,
) -> Result<Page<Entry>, Error> {
    let Some(found) = Narrowed::find(read, workspace, filter).await? else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let rows: Vec<Row> = found.statement(workspace, page).fetch(read).await?;
    let entries = with_personal(read, workspace, rows).await?;
    Ok(Page::from_rows(entries, page.limit, |entry: &Entry| Cursor { at: entry.at, id: entry.id.to_string() }))
}

/// When the oldest entry that nobody has chained yet was written, unix milliseconds: the first by number, whatever waits
/// behind it.
///
/// # Errors
/// [`Error::Database`].
pub async fn oldest_unchained(read: &mut Read, workspace: &WorkspaceId) -> Result<Option<i64>, Error> {
    let sql = "SELECT at FROM audit WHERE workspace_id = $1 AND seq IS NULL ORDER BY id LIMIT 1";
    Ok(sql!(read, sql, workspace.as_str() => optional (i64,))?.map(|(at,)| at))
}

/// A filter whose names have been looked up.
#[derive(Debug)]
pub(super) struct Narrowed<'f> {
    filter: &'f AuditFilter,
    key: Option<KeyId>,
    subject: Option<u32>,
}

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

impl<'f> Narrowed<'f> {
    /// `None` where nothing can fulfil the filter.
    pub(super) async fn find(
        read: &mut Read,
        workspace: &WorkspaceId,
        filter: &'f AuditFilter,
    ) -> Result<Option<Self>, Error> {
        let key = match &filter.key {
            Some(key) => match keys::id_of(read, workspace, key).await? {
                Some(id) => Some(id),
                None => return Ok(None),
            },
            None => None,
        };
        let subject = match &filter.principal {
            Some(principal) => match principal_subject(principal) {
                Some(subject) => Some(subject),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Self { filter, key, subject }))
    }

    /// Whether the entries are about one thing, and so are few in any log.
    pub(super) fn is_about_one(&self) -> bool {
        self.key.is_some() || self.subject.is_some() || self.filter.target.is_some()
    }

    /// The statement for one page of a list.
    fn statement(&self, workspace: &WorkspaceId, page: &PageRequest) -> Select {
        let newest = |select: &mut Select| select.page_by_number("at", "id", Direction::Descending, page);
        let part = |select: &mut Select, part| {
            select.push(concat!("SELECT ", entry_columns!(), " FROM audit WHERE workspace_id = "));
            select.value(workspace.as_str());
            self.narrow(select, workspace, part);
            newest(select);
        };
        let mut select = Select::new("");
        if !self.is_of_member() {
            part(&mut select, Part::Actor);
            return select;
        }
        // A page of each way to be the member's holds the page of both, and each has an index. No entry is in both: who
        // acts for itself does so on nobody's behalf.
        select.push(concat!("SELECT ", entry_columns!(), " FROM (SELECT * FROM ("));
        part(&mut select, Part::Actor);
        select.push(") AS a UNION ALL SELECT * FROM (");
        part(&mut select, Part::Beneficiary);
        select.push(") AS b) AS audit WHERE 1 = 1");
        newest(&mut select);
        select
    }

    /// Whether entries are asked for that a member answers for.
    fn is_of_member(&self) -> bool {
        self.filter.actor.as_deref().is_some_and(|actor| actor.starts_with(MemberId::PREFIX))
    }

    /// Appends the conditions.
    pub(super) fn narrow(&self, select: &mut Select, workspace: &WorkspaceId, part: Part) {
        let filter = self.filter;
        if let Some(key) = &self.key {
            select.push(" AND target_id = ").value(key.as_str());
        }
        if let (Some(principal), Some(subject)) = (&filter.principal, self.subject) {
            select.push(" AND (target_id = ").value(principal.as_str());
            select.push(" OR target_id IN (SELECT k.id FROM keys k WHERE k.workspace_id = ").value(workspace.as_str());
            select.push(" AND k.subject = ").value(i64::from(subject)).push("))");
        }
        if let Some(actor) = &filter.actor {
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
            (" AND action = ", &filter.action),
            (" AND category = ", &filter.category),
            (" AND actor_type = ", &filter.actor_type),
            (" AND target_id = ", &filter.target),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                select.push(condition).value(text.as_str());
            }
        }
        for (condition, time) in [(" AND at >= ", filter.from), (" AND at < ", filter.to)] {
            if let Some(time) = time {
                select.push(condition).value(time);
            }
        }
    }
}
