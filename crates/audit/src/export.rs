//! The lines of an export: JSON, one object a line.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use nightlatch_keyset::Hash;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::check::Fault;
use crate::row::Row;

/// What a header says of the format. Its number is the version.
pub const EXPORT_FORMAT: &str = "nightlatch.audit-export/1";

/// The action of entries that tell of an erasure of personal values.
pub const ERASED: &str = "audit.erased";

/// The longest line, in bytes: a reader takes no more into memory.
pub const MAX_LINE_LEN: usize = 4 << 20;

/// A hash as 64 lower-case hexadecimal characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub Hash);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_hex())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Hash::from_hex(&text).map(Self).ok_or_else(|| D::Error::custom("not a hash in hex"))
    }
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`EXPORT_FORMAT`].
    pub format: String,
    /// Whose log it is.
    pub workspace: String,
    /// What the entries are narrowed to; `None` for a whole span.
    pub filter: Option<BTreeMap<String, String>>,
    /// The signed head that carries the checkpoint; `None` before the first.
    pub head: Option<String>,
    /// The checkpoint's number of entries.
    pub count: u64,
    /// The checkpoint's root.
    pub root: Hex,
    /// A span begins behind this entry.
    pub after: u64,
    /// That entry's hash.
    pub previous_hash: Hex,
    /// The peaks of the tree there.
    pub peaks: Vec<Hex>,
    /// Signed notes of recoveries that lost entries.
    pub gaps: Vec<String>,
}

/// One entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "they are those of Row, but for the last ones")]
pub struct Entry {
    pub seq: u64,
    pub id: i64,
    pub at: i64,
    pub actor_type: String,
    pub actor_id: String,
    pub on_behalf_of: Option<String>,
    pub action: String,
    pub category: String,
    pub target_type: String,
    pub target_id: String,
    pub prefix: Option<String>,
    pub short_prefix: Option<String>,
    pub scopes: Option<String>,
    /// An object, whose very text is the entry's; or a string with the entry's text.
    pub before: Option<Box<RawValue>>,
    /// As `before`.
    pub after: Option<Box<RawValue>>,
    pub reason: Option<String>,
    pub request_id: String,
    pub commitments: Option<String>,
    /// The personal values that have not been erased.
    pub personal: Vec<Personal>,
    /// The hash of the entry before, as it is stored.
    pub previous_hash: Hex,
    /// This entry's, as it is stored.
    pub hash: Hex,
    /// In a filtered export: how to get from this entry to the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Vec<Hex>>,
}

/// A personal value and what opens its commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personal {
    /// Which.
    pub field: String,
    /// Its salt, in hexadecimal characters.
    pub salt: String,
    /// The value.
    pub value: String,
}

/// The last line: without it the export was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footer {
    /// Always true.
    pub end: bool,
    /// How many entries there are.
    pub entries: u64,
    /// How many entries wait behind the checkpoint.
    pub unchained: u64,
    /// How many personal values the erasures among those tell of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erased_later: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Header {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`Fault::Version`], [`Fault::Line`].
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let header: Self = read(line)?;
        if header.format == EXPORT_FORMAT { Ok(header) } else { Err(Fault::Version(header.format)) }
    }
}

impl Entry {
    /// Reads a line of an entry.
    ///
    /// # Errors
    /// [`Fault::Line`].
    pub fn parse(line: &str) -> Result<Self, Fault> {
        read(line)
    }

    /// The entry's hash, from every word of it.
    ///
    /// # Errors
    /// [`Fault::Line`] where `before` or `after` is neither an object nor a string.
    pub fn content_hash(&self, workspace: &str) -> Result<Hash, Fault> {
        let (before, after) = (extracted(self.before.as_deref())?, extracted(self.after.as_deref())?);
        let row = Row {
            seq: self.seq,
            id: self.id,
            at: self.at,
            workspace,
            actor_type: &self.actor_type,
            actor_id: &self.actor_id,
            on_behalf_of: self.on_behalf_of.as_deref(),
            action: &self.action,
            category: &self.category,
            target_type: &self.target_type,
            target_id: &self.target_id,
            prefix: self.prefix.as_deref(),
            short_prefix: self.short_prefix.as_deref(),
            scopes: self.scopes.as_deref(),
            before: before.as_deref(),
            after: after.as_deref(),
            reason: self.reason.as_deref(),
            request_id: &self.request_id,
            commitments: self.commitments.as_deref(),
        };
        Ok(row.hash(&self.previous_hash.0))
    }

    /// How many personal values it tells the erasure of; 0 where it tells of something else.
    pub(crate) fn told_erased(&self) -> u64 {
        let after = self.after.as_deref().map(RawValue::get).filter(|_| self.action == ERASED);
        after.map_or(0, told_erased)
    }
}

/// How many personal values an entry with the action [`ERASED`] tells the erasure of, by its `after`.
pub fn told_erased(after: &str) -> u64 {
    #[derive(Deserialize)]
    struct Told {
        erased: u64,
    }
    serde_json::from_str::<Told>(after).map_or(0, |told| told.erased)
}

impl Footer {
    /// Reads the last line; `None` where it is another.
    pub fn parse(line: &str) -> Option<Self> {
        if !line.starts_with("{\"end\":") {
            return None;
        }
        read(line).ok().filter(|footer: &Self| footer.end)
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, Fault> {
    if line.len() > MAX_LINE_LEN {
        return Err(Fault::Line("it is too long".to_owned()));
    }
    serde_json::from_str(line).map_err(|error| Fault::Line(format!("{error}")))
}

/// The text of an entry's `before` or `after`, as an export has it: an object as it is, every other text as a string.
pub fn embedded(text: &str) -> Box<RawValue> {
    let object = |text: &str| {
        // On one line, and without blanks around it that would be lost.
        let plain = text.starts_with('{') && text.ends_with('}') && !text.contains(['\n', '\r']);
        plain.then(|| RawValue::from_string(text.to_owned()).ok()).flatten()
    };
    let quoted = || RawValue::from_string(serde_json::Value::String(text.to_owned()).to_string());
    object(text).or_else(|| quoted().ok()).unwrap_or_default()
}

/// The text that was [`embedded`].
fn extracted(value: Option<&RawValue>) -> Result<Option<String>, Fault> {
    let Some(raw) = value.map(RawValue::get) else { return Ok(None) };
    if raw.starts_with('{') {
        return Ok(Some(raw.to_owned()));
    }
    serde_json::from_str(raw)
        .map(Some)
        .map_err(|_| Fault::Line("before or after is neither an object nor a text".to_owned()))
}
