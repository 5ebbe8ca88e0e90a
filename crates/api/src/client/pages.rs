//! Whole lists, page after page.

use std::future::Future;

use futures::Stream;
use futures::stream::{self, TryStreamExt};

use super::{Client, ClientError};
use crate::{
    AuditEntry, AuditFilter, Edge, Key, KeyFilter, Member, MemberFilter, Page, PageQuery, Rotation, RotationFilter,
    Scope, Token, TokenFilter, Workspace,
};

impl Client {
    /// Every key that passes the filter.
    pub fn keys(&self, filter: KeyFilter) -> impl Stream<Item = Result<Key, ClientError>> + '_ {
        walk(move |cursor| {
            let filter = KeyFilter { cursor, ..filter.clone() };
            async move { self.list_keys(&filter).await }
        })
    }

    /// Every rotation that passes the filter.
    pub fn rotations(&self, filter: RotationFilter) -> impl Stream<Item = Result<Rotation, ClientError>> + '_ {
        walk(move |cursor| {
            let filter = RotationFilter { cursor, ..filter.clone() };
            async move { self.list_rotations(&filter).await }
        })
    }

    /// Every member that passes the filter.
    pub fn members(&self, filter: MemberFilter) -> impl Stream<Item = Result<Member, ClientError>> + '_ {
        walk(move |cursor| {
            let filter = MemberFilter { cursor, ..filter.clone() };
            async move { self.list_members(&filter).await }
        })
    }

    /// Every token that passes the filter.
    pub fn tokens(&self, filter: TokenFilter) -> impl Stream<Item = Result<Token, ClientError>> + '_ {
        walk(move |cursor| {
            let filter = TokenFilter { cursor, ..filter.clone() };
            async move { self.list_tokens(&filter).await }
        })
    }

    /// Every scope and group of the catalogue.
    pub fn scopes(&self) -> impl Stream<Item = Result<Scope, ClientError>> + '_ {
        walk(move |cursor| async move {
            let page = PageQuery { cursor, ..PageQuery::default() };
            self.list_scopes(&page).await
        })
    }

    /// Every workspace that the caller may see.
    pub fn workspaces(&self) -> impl Stream<Item = Result<Workspace, ClientError>> + '_ {
        walk(move |cursor| async move {
            let page = PageQuery { cursor, ..PageQuery::default() };
            self.list_workspaces(&page).await
        })
    }

    /// Every edge.
    pub fn edges(&self) -> impl Stream<Item = Result<Edge, ClientError>> + '_ {
        walk(move |cursor| async move {
            let page = PageQuery { cursor, ..PageQuery::default() };
            self.list_edges(&page).await
        })
    }

    /// Every audit row that passes the filter.
    pub fn audit(&self, filter: AuditFilter) -> impl Stream<Item = Result<AuditEntry, ClientError>> + '_ {
        walk(move |cursor| {
            let filter = AuditFilter { cursor, ..filter.clone() };
            async move { self.list_audit(&filter).await }
        })
    }
}

/// Where a walk stands.
enum Place {
    Start,
    After(String),
    End,
}

pub(super) fn walk<T, F, P>(page: F) -> impl Stream<Item = Result<T, ClientError>>
where
    F: Fn(Option<String>) -> P,
    P: Future<Output = Result<Page<T>, ClientError>>,
{
    let pages = stream::try_unfold((Place::Start, page), |(place, page)| async move {
        let cursor = match place {
            Place::Start => None,
            Place::After(cursor) => Some(cursor),
            Place::End => return Ok(None),
        };
        let Page { items, next_cursor } = page(cursor).await?;
        let next = next_cursor.map_or(Place::End, Place::After);
        let items = stream::iter(items.into_iter().map(Ok::<T, ClientError>));
        Ok::<_, ClientError>(Some((items, (next, page))))
    });
    pages.try_flatten()
}
