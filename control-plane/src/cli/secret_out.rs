//! Where a secret goes: it is shown once, and never by accident.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use nightlatch_api::Secret;
use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::exit::Failure;
use super::{output, whole_file};

/// Where to put the secret.
#[derive(Debug, Clone, Args)]
pub(super) struct SecretOut {
    /// Write the secret to this new file of mode 0600 and show it nowhere else.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    secret_out: Option<PathBuf>,
}

/// A place for a secret that does not exist yet.
#[derive(Debug)]
pub(super) struct Kept {
    /// The file, begun, and the name it will get.
    file: Option<(NamedTempFile, PathBuf)>,
    json: bool,
}

impl SecretOut {
    /// The file that was asked for.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.secret_out.clone()
    }

    /// Refuses where the secret could not be kept, before it exists: its file is begun.
    pub(super) fn prepare(&self, json: bool) -> Result<Kept, Failure> {
        let file = match &self.secret_out {
            Some(path) => Some((begin(path)?, path.clone())),
            None if json || stdout().is_terminal() => None,
            None => {
                return Err(Failure::usage(
                    "the output is no terminal, so the secret would be lost; give --secret-out FILE, or --json",
                ));
            }
        };
        Ok(Kept { file, json })
    }
}

/// Begins the new file of a secret.
pub(super) fn begin(path: &Path) -> Result<NamedTempFile, Failure> {
    // A link counts, wherever it leads: the file could not get its name.
    if path.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!("{} exists; a secret goes to a new file", path.display())));
    }
    whole_file::begin(path)
}

/// Writes a secret to its file, and gives that its name.
pub(super) fn put(mut file: NamedTempFile, path: &Path, secret: &Secret) -> Result<(), Failure> {
    writeln!(file, "{}", secret.expose()).map_err(|error| whole_file::about(path, error))?;
    whole_file::finish_new(file, path)
}

impl Kept {
    /// Whether the secret goes to a file, and is shown nowhere.
    pub(super) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Delivers an answer with its secret: as JSON, or as facts that `show` prints followed by the secret.
    pub(super) fn deliver(
        self,
        answer: &impl Serialize,
        secret: &Secret,
        show: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.deliver_as("secret", answer, secret, show)
    }

    /// As [`Kept::deliver`], where the answer has the secret under another name.
    pub(super) fn deliver_as(
        self,
        name: &str,
        answer: &impl Serialize,
        secret: &Secret,
        show: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // The file first: whatever happens to the output then, the secret is not lost.
        let path = match self.file {
            Some((file, path)) => {
                put(file, &path, secret)?;
                Some(path)
            }
            None => None,
        };
        if self.json {
            let mut value = serde_json::to_value(answer).map_err(|error| Failure::other(error.to_string()))?;
            if let (Some(path), Value::Object(map)) = (&path, &mut value) {
                map.remove(name);
                map.insert(format!("{name}_file"), path.display().to_string().into());
            }
            return output::json(&value);
        }
        show()?;
        match &path {
            Some(path) => output::line(&format!("\nThe {name} is in {}. It cannot be shown again.", path.display())),
            None => output::line(&format!("\n{}\n\nThis is the {name}. It cannot be shown again.", secret.expose())),
        }
    }
}
