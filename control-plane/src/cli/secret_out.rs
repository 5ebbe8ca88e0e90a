//! Where a secret goes: it is shown once, and never by accident.

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;

use clap::Args;
use nightlatch_api::Secret;
use serde::Serialize;
use serde_json::Value;

use super::exit::Failure;
use super::output;
use crate::secrets::write_private;

/// Where to put the secret.
#[derive(Debug, Clone, Args)]
pub(super) struct SecretOut {
    /// Write the secret to this new file of mode 0600 and show it nowhere else.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    secret_out: Option<PathBuf>,
}

impl SecretOut {
    /// Refuses where the secret could not be kept, before it exists.
    pub(super) fn prepare(&self, json: bool) -> Result<(), Failure> {
        match &self.secret_out {
            Some(path) if path.exists() => {
                Err(Failure::usage(format!("{} exists; a secret goes to a new file", path.display())))
            }
            Some(_) => Ok(()),
            None if json || stdout().is_terminal() => Ok(()),
            None => Err(Failure::usage(
                "the output is no terminal, so the secret would be lost; give --secret-out FILE, or --json",
            )),
        }
    }

    /// Whether the secret goes to a file, and is shown nowhere.
    pub(super) fn is_file(&self) -> bool {
        self.secret_out.is_some()
    }

    /// Delivers an answer with its secret: as JSON, or as facts that `show` prints followed by the secret.
    pub(super) fn deliver(
        &self,
        json: bool,
        answer: &impl Serialize,
        secret: &Secret,
        show: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.deliver_as("secret", json, answer, secret, show)
    }

    /// As [`SecretOut::deliver`], where the answer has the secret under another name.
    pub(super) fn deliver_as(
        &self,
        name: &str,
        json: bool,
        answer: &impl Serialize,
        secret: &Secret,
        show: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // The file first: whatever happens to the output then, the secret is not lost.
        if let Some(path) = &self.secret_out {
            write_private(path, secret.expose().as_bytes())?;
        }
        if json {
            let mut value = serde_json::to_value(answer).map_err(|error| Failure::other(error.to_string()))?;
            if let (Some(path), Value::Object(map)) = (&self.secret_out, &mut value) {
                map.remove(name);
                map.insert(format!("{name}_file"), path.display().to_string().into());
            }
            return output::json(&value);
        }
        show()?;
        match &self.secret_out {
            Some(path) => output::line(&format!("\nThe {name} is in {}. It cannot be shown again.", path.display())),
            None => output::line(&format!("\n{}\n\nThis is the {name}. It cannot be shown again.", secret.expose())),
        }
    }
}
