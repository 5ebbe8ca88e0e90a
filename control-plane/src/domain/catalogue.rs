//! What a workspace says of its scopes: names, groups of names, and which of them are sensitive.

use std::collections::BTreeMap;

use super::{Refusal, Scope};

/// An entry of the catalogue: a scope's name, or a group of names, `READ_*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryName(String);

impl EntryName {
    /// Checks the text: the shape of a scope, at its end perhaps one `*` in place of any characters.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn new(text: impl Into<String>) -> Result<Self, Refusal> {
        let text = text.into();
        let stem = text.strip_suffix('*').unwrap_or(&text);
        if text.len() > 64 || Scope::new(stem).is_err() {
            return Err(Refusal::Invalid { field: "scope" });
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for many names.
    pub fn is_group(&self) -> bool {
        is_group(&self.0)
    }
}

/// Whether an entry's name is a group.
pub fn is_group(entry: &str) -> bool {
    entry.ends_with('*')
}

/// Whether an entry says something of this name. A name that is itself a group is meant by every entry that shares a name
/// with it.
fn covers(entry: &str, name: &str) -> bool {
    match (entry.strip_suffix('*'), name.strip_suffix('*')) {
        (None, None) => entry == name,
        (Some(stem), None) => name.starts_with(stem),
        (None, Some(stem)) => entry.starts_with(stem),
        (Some(left), Some(right)) => left.starts_with(right) || right.starts_with(left),
    }
}

/// The groups that a name is in.
pub fn groups_of<'e>(entries: impl IntoIterator<Item = &'e str>, name: &str) -> Vec<String> {
    let groups = entries.into_iter().filter(|entry| is_group(entry) && *entry != name && covers(entry, name));
    groups.map(str::to_owned).collect()
}

/// Which scopes are sensitive: what entries say of themselves.
#[derive(Clone, Debug, Default)]
pub struct Sensitivity {
    /// By name: an import asks for many.
    entries: BTreeMap<String, bool>,
}

impl Sensitivity {
    /// From every entry that says whether it is sensitive.
    pub fn new(flags: Vec<(String, bool)>) -> Self {
        Self { entries: flags.into_iter().collect() }
    }

    /// Whether a scope is sensitive: what is said of its own name, else whether any group it is in is sensitive. A ceiling
    /// such as `*` or `READ_*` is where something in it is.
    pub fn of(&self, name: &str) -> bool {
        if is_group(name) {
            return self.entries.iter().any(|(entry, sensitive)| *sensitive && covers(entry, name));
        }
        let own = self.entries.get(name);
        // What is said of one name says nothing of another: only the groups are left, one of each beginning of the name.
        own.copied().unwrap_or_else(|| {
            let mut stems = (1..=name.len()).filter_map(|end| name.get(..end));
            stems.any(|stem| self.entries.get(&format!("{stem}*")) == Some(&true))
        })
    }

    /// Those of these scopes that are sensitive.
    pub fn among<'s>(&self, scopes: impl Iterator<Item = &'s Scope>) -> Vec<Scope> {
        scopes.filter(|scope| self.of(scope.as_str())).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(flags: &[(&str, bool)]) -> Sensitivity {
        Sensitivity::new(flags.iter().map(|(name, flag)| ((*name).to_owned(), *flag)).collect())
    }

    #[test]
    fn entries_have_one_spelling() {
        for good in ["READ_*", "invoices:*", "invoices:read", "a", "a*"] {
            assert_eq!(EntryName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "*", "READ_**", "*_READ", "RE*D", "invoices read", "1st", "a/b", &"a".repeat(65)] {
            assert!(EntryName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn s0_26_a_groups_flag_holds_for_its_names_and_a_names_own_flag_wins() {
        let known = flags(&[("READ_*", true), ("READ_STATUS", false), ("pay:out", true), ("WRITE_*", false)]);
        for (name, sensitive) in [
            ("READ_SENSITIVE", true),
            ("READ_STATUS", false),
            ("pay:out", true),
            ("pay:outward", false),
            ("WRITE_CASH", false),
            ("READ", false),
            ("READ_*", true),
            ("READ_CASH_*", true),
            ("R*", true),
            ("pay:*", true),
            ("WRITE_*", false),
            ("*", true),
        ] {
            assert_eq!(known.of(name), sensitive, "{name}");
        }
    }

    #[test]
    fn one_sensitive_group_of_several_is_enough() {
        let known = flags(&[("READ_*", false), ("READ_CASH_*", true)]);
        assert!(known.of("READ_CASH_BOOK"));
        assert!(!known.of("READ_NAMES"));
        let groups = groups_of(["READ_*", "READ_CASH_*", "READ_CASH_BOOK", "WRITE_*"], "READ_CASH_BOOK");
        assert_eq!(groups, ["READ_*", "READ_CASH_*"]);
    }
}
