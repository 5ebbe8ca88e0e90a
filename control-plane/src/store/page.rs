//! Keyset pagination.

use base64ct::{Base64UrlUnpadded, Encoding as _};

/// A place in a list ordered by a time or number and then an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last row's time or number.
    pub at: i64,
    /// The last row's id.
    pub id: String,
}

impl Cursor {
    /// The opaque text of the cursor.
    pub fn encode(&self) -> String {
        Base64UrlUnpadded::encode_string(format!("{}.{}", self.at, self.id).as_bytes())
    }

    /// Reads what [`Cursor::encode`] wrote. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 128 {
            return None;
        }
        let plain = String::from_utf8(Base64UrlUnpadded::decode_vec(text).ok()?).ok()?;
        let (at, id) = plain.split_once('.')?;
        Some(Self { at: at.parse().ok()?, id: id.to_owned() })
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// At most so many rows; the caller caps it.
    pub limit: u32,
    /// Behind this place; from the beginning where there is none.
    pub after: Option<Cursor>,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In order.
    pub items: Vec<T>,
    /// Where the next part begins, if there is one.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Builds a page from `limit + 1` rows at most: the surplus row only shows that there is more.
    pub(super) fn from_rows(mut items: Vec<T>, limit: u32, place: impl FnOnce(&T) -> Cursor) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(place) } else { None };
        Self { items, next }
    }
}
