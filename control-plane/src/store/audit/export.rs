//! Reading the log as it is exported: by number, page by page, with what proves it.

use std::collections::{BTreeMap, HashMap};

use nightlatch_audit::{
    BAND, Block, EXPORT_FORMAT, Entry as Line, Footer, Header, Hex, Personal, START, Span as Nodes, Tree, block_of,
    embedded, mountain,
};
use nightlatch_keyset::Hash;
use serde_json::json;

use super::append::{Draft, SOURCE, Target, append};
use super::chain::{behind, nodes, standing, tree_at};
use super::way::{Named, Part};
use super::{AuditFilter, Entry, Row, entry_columns, gap_notes, with_personal};
use crate::domain::{Action, WorkspaceId, authority};
use crate::store::publication::{hash, signed, unsigned};
use crate::store::select::Select;
use crate::store::tx::sql;
use crate::store::{Context, Error, Read, Store, Tx};

/// Entries read at once.
const PAGE: usize = 500;
/// Entries looked at for one page where few may be what is asked for.
const WALK: u64 = 1_000;

/// What of the log is exported.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// From behind this entry.
    pub after: u64,
    /// What the entries are narrowed to; `None` for all of them.
    pub filter: Option<AuditFilter>,
    /// The same in words, for the header.
    pub named: Option<BTreeMap<String, String>>,
}

/// Notes that somebody exports the log: in the log.
///
/// # Errors
/// A refusal; [`Error::Database`].
pub async fn exported(
    tx: &mut Tx,
    context: &Context,
    after: u64,
    filter: &BTreeMap<String, String>,
) -> Result<(), Error> {
    context.authority.require(Action::AuditExport, &authority::Target::None)?;
    let draft = Draft {
        action: "audit.exported",
        target: Target::Other("workspace", context.workspace.as_str()),
        before: None,
        after: Some(json!({ "after": after, "filter": filter })),
        reason: None,
        personal: &[],
        about: None,
    };
    let now = tx.now().await?;
    append(tx, context, &draft, now).await
}

/// An export in progress. Each page is a read of its own: chained entries do not change, so that pages fit together.
#[derive(Debug)]
pub struct Exporter {
    store: Store,
    workspace: WorkspaceId,
    filter: Option<AuditFilter>,
    /// The tree up to the checkpoint; `None` where the database no longer has what it would take.
    tree: Option<Tree>,
    count: u64,
    last: u64,
    entries: u64,
    blocks: HashMap<u32, (Nodes, Block)>,
    done: bool,
}

impl Exporter {
    /// Begins an export: up to the checkpoint of the workspace's furthest head, whatever is chained meanwhile.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::NotFound`] where the log has no such entry to begin behind.
    pub async fn begin(store: Store, workspace: WorkspaceId, span: Span) -> Result<(Self, Header), Error> {
        let mut read = store.read().await?;
        let head = standing(&mut read, &workspace).await?.head;
        let gaps = match &head {
            Some(head) => gap_notes(&mut read, &head.set).await?,
            None => Vec::new(),
        };
        let at = head.as_ref().map(|head| head.checkpoint);
        let (count, root) = at.map_or_else(|| (0, Tree::default().root()), |at| (at.count, at.root));
        if span.after > count {
            return Err(Error::NotFound("audit entry"));
        }
        // None where the database no longer has what it takes: whoever checks the export is to find that.
        let start = tree_at(&mut read, workspace.as_str(), span.after).await?.unwrap_or_default();
        let sql = "SELECT hash FROM audit WHERE workspace_id = $1 AND seq = $2";
        let before = sql!(read, sql, workspace.as_str(), signed(span.after)? => optional (Option<Vec<u8>>,))?;
        let previous = match before {
            Some((Some(bytes),)) => hash(&bytes).unwrap_or(START),
            _ => START,
        };
        let tree = match span.filter {
            Some(_) => tree_at(&mut read, workspace.as_str(), count).await?,
            None => None,
        };
        let header = Header {
            format: EXPORT_FORMAT.to_owned(),
            workspace: workspace.to_string(),
            filter: span.named,
            head: head.map(|head| head.note),
            count,
            root: Hex(root),
            after: span.after,
            previous_hash: Hex(previous),
            peaks: start.peaks().iter().copied().map(Hex).collect(),
            gaps,
        };
        drop(read);
        let exporter = Self {
            store,
            workspace,
            filter: span.filter,
            tree,
            count,
            last: span.after,
            entries: 0,
            blocks: HashMap::new(),
            done: count <= span.after,
        };
        Ok((exporter, header))
    }

    /// The next entries; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn next(&mut self) -> Result<Option<Vec<Line>>, Error> {
        if self.done {
            return Ok(None);
        }
        let mut read = self.store.read().await?;
        let Some((select, end)) = self.page(&mut read).await? else {
            self.done = true;
            return Ok(None);
        };
        let rows: Vec<Row> = select.fetch(&mut read).await?;
        let is_full = rows.len() == PAGE;
        let entries = with_personal(&mut read, &self.workspace, rows).await?;
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut line = line(entry)?;
            self.last = line.seq;
            if self.filter.is_some() {
                line.proof = Some(self.proof(&mut read, line.seq).await?);
            }
            lines.push(line);
        }
        if !is_full {
            self.last = end;
        }
        self.done = self.last >= self.count;
        self.entries += lines.len() as u64;
        Ok(Some(lines))
    }

    /// The statement for the next page, and the number up to which it finds everything; `None` where nothing can fulfil
    /// the filter.
    async fn page(&self, read: &mut Read) -> Result<Option<(Select, u64)>, Error> {
        let narrowed = match &self.filter {
            Some(filter) => match Named::find(read, &self.workspace, filter).await? {
                Some(narrowed) => Some(narrowed),
                None => return Ok(None),
            },
            None => None,
        };
        // What an actor did may be the whole log, and no index has it in the order of the log: this walks the log once,
        // some of it at a time. Its limit keeps databases from taking the inner and the outer select for one.
        let walk = narrowed.as_ref().is_some_and(|narrowed| !narrowed.is_about_one());
        let end = if walk { self.count.min(self.last + WALK) } else { self.count };
        let mut select = Select::new(concat!("SELECT ", entry_columns!(), " FROM "));
        select.push(if walk { "(SELECT * FROM audit" } else { "audit" }).push(" WHERE workspace_id = ");
        select.value(self.workspace.as_str());
        select.push(" AND seq > ").value(signed(self.last)?).push(" AND seq <= ").value(signed(end)?);
        if walk {
            select.push(" ORDER BY seq LIMIT ").value(signed(WALK)?).push(") AS audit WHERE 1 = 1");
        }
        if let Some(narrowed) = narrowed {
            narrowed.narrow(&mut select, Part::Any);
        }
        select.push(" ORDER BY seq LIMIT ").value(PAGE as i64);
        Ok(Some((select, end)))
    }

    /// The last line: how many entries there were, and what waits behind the checkpoint.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn end(&self) -> Result<Footer, Error> {
        let mut read = self.store.read().await?;
        let (unchained, erased_later) = behind(&mut read, self.workspace.as_str(), self.count).await?;
        Ok(Footer { end: true, entries: self.entries, unchained, erased_later })
    }

    /// How to get from an entry to the root. Where the database no longer has what it takes, an empty way, which proves
    /// nothing: the export is to show what there is, and whoever checks it is to find the break.
    async fn proof(&mut self, read: &mut Read, seq: u64) -> Result<Vec<Hex>, Error> {
        let index = seq - 1;
        let Some((height, _)) = mountain(index, self.count) else { return Ok(Vec::new()) };
        let levels: Vec<u32> = (0..height).step_by(BAND as usize).collect();
        for level in &levels {
            let span = block_of(index, *level, height);
            if self.blocks.get(level).is_none_or(|(there, _)| *there != span) {
                let there = nodes(read, self.workspace.as_str(), span).await?;
                let Some(block) = Block::new(span.first, there) else { return Ok(Vec::new()) };
                self.blocks.insert(*level, (span, block));
            }
        }
        let blocks: Vec<&Block> = levels.iter().filter_map(|level| Some(&self.blocks.get(level)?.1)).collect();
        let path = self.tree.as_ref().and_then(|tree| tree.path(index, &blocks)).unwrap_or_default();
        Ok(path.into_iter().map(Hex).collect())
    }
}

/// An entry as it is exported: every word as it is stored, so that whoever checks it sees what was changed.
fn line(entry: Entry) -> Result<Line, Error> {
    let stored = |bytes: Option<Vec<u8>>| Hex(bytes.and_then(|bytes| bytes.try_into().ok()).map_or(START, Hash));
    let source = entry.source.map(|value| Personal {
        field: SOURCE.to_owned(),
        salt: hex(&entry.source_salt.unwrap_or_default()),
        value,
    });
    let others = entry.personal.into_iter().map(|value| Personal {
        field: value.field,
        salt: hex(&value.salt),
        value: value.value,
    });
    Ok(Line {
        seq: unsigned(entry.seq.unwrap_or_default())?,
        id: entry.id,
        at: entry.at,
        actor_type: entry.actor.kind,
        actor_id: entry.actor.id,
        on_behalf_of: entry.on_behalf_of,
        action: entry.action,
        category: entry.category,
        target_type: entry.target_type,
        target_id: entry.target_id,
        prefix: entry.prefix,
        short_prefix: entry.short_prefix,
        scopes: entry.stored_scopes,
        before: entry.before.as_deref().map(embedded),
        after: entry.after.as_deref().map(embedded),
        reason: entry.reason,
        request_id: entry.request_id,
        commitments: entry.commitments,
        personal: others.chain(source).collect(),
        previous_hash: stored(entry.prev_hash),
        hash: stored(entry.hash),
        proof: None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
