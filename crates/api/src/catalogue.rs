//! The workspace's catalogue: names that keys refer to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A permission a key may carry, or a group of them. A scope enters the catalogue when it is first used, or when somebody
/// says something of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Scope {
    /// The name, `[A-Za-z][A-Za-z0-9_:.-]{0,63}`; a group ends in one `*`, which stands for any characters.
    pub name: String,
    /// What people say of it.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether granting it has to be acknowledged: by its own mark, else by that of any group it is in.
    #[serde(default)]
    pub sensitive: bool,
    /// What was said of this very name; null leaves it to the groups.
    #[serde(default)]
    pub marked_sensitive: Option<bool>,
    /// Whether it is a group.
    #[serde(default)]
    pub group: bool,
    /// The groups it is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// When a key first carried it; null where none ever has.
    pub first_used_at: Option<Timestamp>,
    /// When somebody last said something of it.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// Usable keys that carry it, as a scope of their own, of the newest hundred, or because their member has it, of members'
    /// newest thousand; null for a group.
    #[serde(default)]
    pub usable_keys: Option<u64>,
    /// There are more keys than were looked at, and some of them may carry it.
    #[serde(default)]
    pub more_keys: bool,
}

/// What people say of a scope or of a group, in place of what was said before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PutScope {
    /// What it is, at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether granting it has to be acknowledged. A group's mark holds for all names in it; a name's own mark wins. Null or
    /// absent leaves it to the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<bool>,
}

/// A named rate limit. A tier enters the catalogue when it is first used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tier {
    /// The name.
    pub name: String,
    /// When it was first used.
    pub first_used_at: Timestamp,
}
