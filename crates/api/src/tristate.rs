//! A field that may be left alone, cleared or set.

use serde::{Deserialize, Deserializer};

/// Tells an absent field (`None`) from one that is null (`Some(None)`). Use with `#[serde(default)]`.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
