//! Where settings come from, as layers that know their name.

use std::path::Path;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};

use super::{Fault, SETTINGS};

const DEFAULTS: &str = "default";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";

/// Texts for settings, from one source.
#[derive(Debug)]
pub(super) struct Layer {
    name: &'static str,
    dict: Dict,
}

impl Layer {
    pub(super) fn defaults() -> Self {
        Self::of(DEFAULTS, SETTINGS.iter().filter_map(|setting| Some((setting.key, setting.default?))))
    }

    pub(super) fn environment(variables: &[(String, String)]) -> Self {
        let known = variables.iter().filter(|(_, text)| !text.is_empty()).filter_map(|(name, text)| {
            let setting = SETTINGS.iter().find(|setting| setting.variable == name)?;
            Some((setting.key, text.as_str()))
        });
        Self::of(ENVIRONMENT, known)
    }

    pub(super) fn flags(flags: &[(&'static str, String)]) -> Self {
        Self::of(FLAGS, flags.iter().map(|(key, text)| (*key, text.as_str())))
    }

    fn of<'a>(name: &'static str, texts: impl Iterator<Item = (&'static str, &'a str)>) -> Self {
        let mut dict = Dict::new();
        for (key, text) in texts {
            // A text that reads as a number, a truth or a list is one.
            let Ok(value) = text.parse::<Value>();
            match key.split_once('.') {
                None => {
                    dict.insert(key.to_owned(), value);
                }
                Some((table, inner)) => {
                    let table = dict.entry(table.to_owned()).or_insert_with(|| Value::from(Dict::new()));
                    if let Value::Dict(_, table) = table {
                        table.insert(inner.to_owned(), value);
                    }
                }
            }
        }
        Self { name, dict }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Where the value of a setting came from, as a person would say it.
pub(super) fn origin(figment: &Figment, key: &str, file: Option<&Path>) -> String {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
        return key.to_owned();
    };
    match figment.find_metadata(key).map(|metadata| metadata.name.as_ref()) {
        Some(DEFAULTS) | None => DEFAULTS.to_owned(),
        Some(ENVIRONMENT) => setting.variable.to_owned(),
        Some(FLAGS) => format!("--{}", key.replace(['.', '_'], "-")),
        Some(_) => file.map_or_else(|| "file".to_owned(), |path| path.display().to_string()),
    }
}

/// Settings of the file that do not exist.
pub(super) fn unknown_settings(text: &str, path: &Path) -> Vec<Fault> {
    let Ok(dict) = Figment::from(Toml::string(text)).extract::<Dict>() else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    for (key, value) in &dict {
        match value {
            Value::Dict(_, table) => keys.extend(table.keys().map(|inner| format!("{key}.{inner}"))),
            _ => keys.push(key.clone()),
        }
    }
    keys.retain(|key| SETTINGS.iter().all(|setting| setting.key != key));
    let fault = |key: String| {
        let advice = match nearest(&key) {
            Some(known) => format!("there is no such setting; did you mean `{known}`?"),
            None => "there is no such setting; `nightlatch serve --help` lists them".to_owned(),
        };
        Fault { subject: key, origin: path.display().to_string(), advice }
    };
    keys.into_iter().map(fault).collect()
}

/// The setting whose name is at most three edits away.
fn nearest(key: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (distance(key, setting.key), setting.key))
        .filter(|(edits, _)| *edits <= 3)
        .min()
        .map(|(_, known)| known)
}

/// The Levenshtein distance, by rows.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_near_by_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("lisen"), Some("listen"));
        assert_eq!(nearest("set.heartbeat_second"), Some("set.heartbeat_seconds"));
        assert_eq!(nearest("something_else_entirely"), None);
    }
}
