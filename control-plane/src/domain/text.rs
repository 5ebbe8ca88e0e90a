//! Texts that people write, checked where they enter.

use std::collections::BTreeMap;
use std::fmt;

use super::Refusal;

/// The longest name, owner or reason, in characters.
const MAX_LINE: usize = 200;
/// The longest scope or tier name, in characters.
const MAX_WORD: usize = 64;
/// Most scopes of one key.
const MAX_SCOPES: usize = 64;
/// Most labels of one key.
const MAX_LABELS: usize = 32;

macro_rules! line {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The longest text, in characters.
            pub const MAX_CHARS: usize = MAX_LINE;

            /// Checks the text: 1 to 200 characters, none of them a control character, no blank at either end.
            ///
            /// # Errors
            /// [`Refusal::Invalid`] naming the field.
            pub fn new(text: impl Into<String>) -> Result<Self, Refusal> {
                let text = text.into();
                if is_line(&text, MAX_LINE) { Ok(Self(text)) } else { Err(Refusal::Invalid { field: $field }) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, owned.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

line!(
    /// The name of a key or token: what it is for, what it replaces.
    Name,
    "name"
);

impl Name {
    /// Takes a text that is known to fit.
    pub(super) fn from_checked(text: String) -> Self {
        Self(text)
    }
}

line!(
    /// Who answers for a key, in free text.
    Owner,
    "owner"
);
line!(
    /// What something is, in a few words.
    Description,
    "description"
);
line!(
    /// Why something was done.
    Reason,
    "reason"
);

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks the text: `[A-Za-z][A-Za-z0-9_:.-]{0,63}`.
            ///
            /// # Errors
            /// [`Refusal::Invalid`] naming the field.
            pub fn new(text: impl Into<String>) -> Result<Self, Refusal> {
                let text = text.into();
                if is_word(&text) { Ok(Self(text)) } else { Err(Refusal::Invalid { field: $field }) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes a text the database returned.
            pub(crate) fn from_stored(text: String) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word!(
    /// A permission: `invoices:read`, `READ_CASH`.
    Scope,
    "scopes"
);
word!(
    /// A named rate limit.
    Tier,
    "tier"
);

/// The scopes of a key: sorted, each once, at most 64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Checks, sorts and deduplicates.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where a scope has the wrong shape or there are more than 64.
    pub fn new<T: Into<String>>(scopes: impl IntoIterator<Item = T>) -> Result<Self, Refusal> {
        let mut list = Vec::new();
        for scope in scopes {
            if list.len() == MAX_SCOPES {
                return Err(Refusal::Invalid { field: "scopes" });
            }
            list.push(Scope::new(scope)?);
        }
        list.sort_unstable();
        list.dedup();
        Ok(Self(list))
    }

    /// In order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that `other` lacks.
    pub fn missing_in(&self, other: &Self) -> Vec<Scope> {
        self.0.iter().filter(|scope| other.0.binary_search(scope).is_err()).cloned().collect()
    }

    /// As stored: separated by single blanks.
    pub fn to_stored(&self) -> String {
        let words: Vec<_> = self.0.iter().map(Scope::as_str).collect();
        words.join(" ")
    }

    /// Reads what [`Scopes::to_stored`] wrote.
    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.split_ascii_whitespace().map(|word| Scope::from_stored(word.to_owned())).collect())
    }
}

/// Labels of a key: at most 32; names `[A-Za-z][A-Za-z0-9_:.-]{0,63}`, values up to 200 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Checks the labels.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where there are too many or one has the wrong shape.
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self, Refusal> {
        let fits = |(name, value): (&String, &String)| is_word(name) && (value.is_empty() || is_line(value, MAX_LINE));
        if labels.len() > MAX_LABELS || !labels.iter().all(fits) {
            return Err(Refusal::Invalid { field: "labels" });
        }
        Ok(Self(labels))
    }

    /// The labels by name.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Takes labels the database returned.
    pub(crate) fn from_stored(labels: BTreeMap<String, String>) -> Self {
        Self(labels)
    }
}

/// A label that keys are looked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMatch {
    name: String,
    value: Option<String>,
}

impl LabelMatch {
    /// Reads `name=value`, or `name` for whatever value. `None` where no key can have such a label.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let fits = is_word(name) && value.is_none_or(|value| value.is_empty() || is_line(value, MAX_LINE));
        fits.then(|| Self { name: name.to_owned(), value: value.map(str::to_owned) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value; `None` where any will do.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

fn is_line(text: &str, max: usize) -> bool {
    let edges = text.chars().next().is_some_and(char::is_whitespace)
        || text.chars().next_back().is_some_and(char::is_whitespace);
    // Bytes first, so that a huge text is not walked.
    !text.is_empty()
        && text.len() <= max * 4
        && !edges
        && text.chars().count() <= max
        && !text.chars().any(char::is_control)
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=MAX_WORD).contains(&bytes.len())
        && bytes[0].is_ascii_alphabetic()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'-'))
}
