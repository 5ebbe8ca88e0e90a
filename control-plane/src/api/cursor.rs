//! Cursors: places in lists, sealed, so that they tell nothing and cannot be made up.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::params;
use super::refused::Refused;
use crate::domain::WorkspaceId;
use crate::secrets::{ServerKey, open, seal};
use crate::store::{Cursor, Page, PageRequest};

/// The longest text that can be a cursor.
const MAX_LEN: usize = 512;

/// Seals and opens cursors.
pub(super) struct Cursors {
    key: Zeroizing<[u8; 32]>,
}

/// A list as one caller sees it: a cursor is good for this and nothing else.
pub(super) struct List([u8; 32]);

impl List {
    /// The list of that name with these filters. `filter` must hold neither limit nor cursor.
    pub(super) fn new(name: &str, workspace: &WorkspaceId, filter: &impl Serialize) -> Self {
        let filter = serde_json::to_vec(filter).unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [name.as_bytes(), workspace.as_str().as_bytes(), &filter] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl Cursors {
    pub(super) fn new(server: &ServerKey) -> Self {
        Self { key: server.derive("cursor", b"") }
    }

    /// Which part of the list the caller asks for.
    pub(super) fn page(&self, list: &List, limit: Option<u32>, cursor: Option<&str>) -> Result<PageRequest, Refused> {
        let mut page = params::page(limit)?;
        if let Some(text) = cursor {
            let bad = || Refused::invalid("cursor", "is not one of this list with these filters; start without");
            page.after = Some(self.open(list, text).ok_or_else(bad)?);
        }
        Ok(page)
    }

    /// A page for the caller.
    pub(super) fn answer<T, U>(&self, list: &List, page: Page<T>, view: impl FnMut(T) -> U) -> nightlatch_api::Page<U> {
        let next_cursor = page.next.map(|next| self.seal(list, &next));
        nightlatch_api::Page { items: page.items.into_iter().map(view).collect(), next_cursor }
    }

    fn seal(&self, list: &List, cursor: &Cursor) -> String {
        Base64UrlUnpadded::encode_string(&seal(&self.key, &list.0, cursor.encode().as_bytes()))
    }

    fn open(&self, list: &List, text: &str) -> Option<Cursor> {
        if text.len() > MAX_LEN {
            return None;
        }
        let plain = open(&self.key, &list.0, &Base64UrlUnpadded::decode_vec(text).ok()?)?;
        Cursor::parse(std::str::from_utf8(&plain).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_in_its_own_list_only() {
        let cursors = Cursors::new(&ServerKey::new(&[1; 32]));
        let workspace = WorkspaceId::parse("ws_a").unwrap();
        let list = List::new("keys", &workspace, &"state=active");
        let place = Cursor { at: 1234, id: "key_abc".to_owned() };
        let text = cursors.seal(&list, &place);
        assert_eq!(cursors.open(&list, &text), Some(place));
        for other in [
            List::new("audit", &workspace, &"state=active"),
            List::new("keys", &workspace, &"state=revoked"),
            List::new("keys", &WorkspaceId::parse("ws_b").unwrap(), &"state=active"),
        ] {
            assert_eq!(cursors.open(&other, &text), None);
        }
        for bad in ["", "x", "AAAA", &text[1..], &"A".repeat(600)] {
            assert_eq!(cursors.open(&list, bad), None);
        }
    }
}
