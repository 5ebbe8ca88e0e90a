//! Reading a list that no index holds: some places of an index at a time, so that a page looks at no more than so many rows
//! however few of them pass the filter. Then it is short, or empty, and the next one goes on from the last place looked at.

use std::cmp::Ordering;

use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::select::{Direction, Select};
use super::{Cursor, Error, Page, PageRequest, Read};

/// Most rows that a page of a list looks at.
pub const LOOKED_AT: u32 = 600;
/// Places looked at in one go.
const CHUNK: u32 = 200;
/// And of a list that is read to its end.
const LONGEST: u32 = 4_000;

/// The statements that walk a list. Both get the place to go on from and how many places of the index to take.
pub(super) trait Way {
    /// A row of the list.
    type Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin;

    /// Whether every place is one of the list.
    fn is_exact(&self) -> bool;

    /// The rows at the next places that pass the filter, at most `limit` of them, in order.
    fn rows(&self, places: &PageRequest, limit: u32) -> Select;

    /// The place that many places on: `at` and `id`; nothing where there are fewer.
    fn place(&self, places: &PageRequest) -> Select;

    /// The place of a row.
    fn of(&self, row: &Self::Row) -> Cursor;
}

/// What a walk has found.
#[derive(Debug)]
pub(super) struct Stretch<R> {
    /// In order; one more than was asked for where there are more.
    pub(super) rows: Vec<R>,
    /// The last place that was looked at; `None` where the list has ended.
    pub(super) reached: Option<Cursor>,
}

impl<R> Stretch<R> {
    /// The page that it is.
    pub(super) fn into_page(mut self, limit: u32, place: impl Fn(&R) -> Cursor) -> Page<R> {
        let more = self.rows.len() > limit as usize;
        self.rows.truncate(limit as usize);
        let next = if more { self.rows.last().map(place) } else { self.reached };
        Page { items: self.rows, next }
    }
}

/// Goes on from the page's cursor until there is one row more than the page holds, the list ends, or `looks` places have
/// been looked at.
pub(super) async fn stretch<W: Way>(
    read: &mut Read,
    way: &W,
    page: &PageRequest,
    looks: u32,
) -> Result<Stretch<W::Row>, Error> {
    let mut rows = Vec::new();
    let mut places = PageRequest {
        limit: if way.is_exact() { page.limit + 1 } else { CHUNK.min(looks) },
        after: page.after.clone(),
    };
    let mut looked_at = 0;
    loop {
        let wanted = page.limit + 1 - rows.len() as u32;
        rows.extend(way.rows(&places, wanted).fetch::<W::Row>(read).await?);
        if rows.len() > page.limit as usize {
            let reached = rows.last().map(|row| way.of(row));
            return Ok(Stretch { rows, reached });
        }
        let last: Vec<(i64, String)> = match way.is_exact() {
            true => Vec::new(),
            false => way.place(&places).fetch(read).await?,
        };
        places.after = last.into_iter().next().map(|(at, id)| Cursor { at, id });
        looked_at += places.limit;
        if places.after.is_none() || looked_at >= looks {
            return Ok(Stretch { rows, reached: places.after });
        }
        // What passes is rare: fewer and longer steps.
        places.limit = (places.limit * 2).min(LONGEST).min(looks - looked_at);
    }
}

/// Which of two places comes first in a list whose ids sort by bytes.
pub(super) fn compare(direction: Direction, one: &Cursor, other: &Cursor) -> Ordering {
    let ascending = (one.at, &one.id).cmp(&(other.at, &other.id));
    match direction {
        Direction::Ascending => ascending,
        Direction::Descending => ascending.reverse(),
    }
}

/// A page of a list that is made of several, of which a row may be in more than one.
pub(super) fn merged<R>(
    parts: Vec<Stretch<R>>,
    limit: u32,
    compare: impl Fn(&Cursor, &Cursor) -> Ordering,
    place: impl Fn(&R) -> Cursor,
) -> Page<R> {
    // Behind the first place that some part has not looked beyond, rows may be missing.
    let reached = parts.iter().filter_map(|part| part.reached.clone());
    let reached = reached.min_by(|one, other| compare(one, other));
    let mut rows: Vec<(Cursor, R)> =
        parts.into_iter().flat_map(|part| part.rows).map(|row| (place(&row), row)).collect();
    rows.sort_by(|(one, _), (other, _)| compare(one, other));
    rows.dedup_by(|(one, _), (other, _)| one == other);
    if let Some(reached) = &reached {
        rows.retain(|(place, _)| compare(place, reached) != Ordering::Greater);
    }
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Stretch { rows, reached }.into_page(limit, place)
}
