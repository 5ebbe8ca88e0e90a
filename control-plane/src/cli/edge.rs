//! `nightlatch edge`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use nightlatch_api::{CreateToken, TokenKind};

use super::exit::Failure;
use super::home::secrets_of;
use super::output;
use super::remote::Remote;
use crate::secrets::write_private;

const EXAMPLE: &str = "\
Example, on the server's machine:
  nightlatch edge config --runtime cloudflare --origin https://origin.example.com --mint-token 'edge' --secrets-out edge.secrets
  npx wrangler secret bulk edge.secrets

Variables go into wrangler.toml; secrets never do.";

/// Print what an edge needs to run.
#[derive(Debug, Subcommand)]
pub(super) enum Edge {
    /// Print an edge's variables, and its secrets apart from them.
    #[command(after_help = EXAMPLE)]
    Config(EdgeConfig),
}

/// Which configuration to print.
#[derive(Debug, clap::Args)]
pub(super) struct EdgeConfig {
    #[command(flatten)]
    remote: Remote,
    /// What the edge runs on.
    #[arg(long)]
    runtime: Runtime,
    /// The set; the workspace's only one when absent.
    #[arg(long, value_name = "SET_ID")]
    set: Option<String>,
    /// Where the edge reads the set; the control plane itself when absent.
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// Where the edge sends what it lets through.
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// The server's data directory: the pepper is in no answer of the server.
    #[arg(long, value_name = "DIR", env = "NIGHTLATCH_DATA_DIR", default_value = "./nightlatch-data")]
    data_dir: PathBuf,
    /// Make an edge token of this name.
    #[arg(long, value_name = "NAME")]
    mint_token: Option<String>,
    /// Write the secrets as a JSON object to this new file of mode 0600 instead of printing them.
    #[arg(long, value_name = "FILE")]
    secrets_out: Option<PathBuf>,
}

/// What an edge runs on.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Runtime {
    /// Cloudflare Workers, and workerd.
    Cloudflare,
}

impl Edge {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self::Config(config) = self;
        config.run().await
    }
}

impl EdgeConfig {
    async fn run(self) -> Result<(), Failure> {
        let Runtime::Cloudflare = self.runtime;
        if let Some(path) = self.secrets_out.as_ref().filter(|path| path.exists()) {
            return Err(Failure::usage(format!("{} exists; secrets go to a new file", path.display())));
        }
        let client = self.remote.client()?;
        let set = match &self.set {
            Some(id) => client.set(id).await?,
            None => {
                let mut sets = client.list_sets().await?.items;
                match (sets.pop(), sets.is_empty()) {
                    (Some(set), true) => set,
                    _ => return Err(Failure::usage("the workspace has several sets; give --set")),
                }
            }
        };
        let secrets = secrets_of(&self.data_dir).await?;
        let peppers: Vec<_> = secrets.peppers().iter().map(|pepper| pepper.to_text()).collect();
        if secrets.peppers().iter().all(|pepper| pepper.id != set.pepper) {
            let place = self.data_dir.display();
            return Err(Failure::other(format!("{place} does not hold pepper {}, which the set uses", set.pepper)));
        }
        let token = match self.mint_token {
            Some(name) => {
                let kind = TokenKind::Edge;
                let request = CreateToken { name, kind, set: Some(set.id.clone()), scopes: None, expires_at: None };
                Some(client.create_token(&request).await?)
            }
            None => None,
        };
        let url = self.remote.url();
        let variables = serde_json::json!({
            "NIGHTLATCH_SET": set.id,
            "NIGHTLATCH_SOURCE": self.source.unwrap_or_else(|| format!("{url}/v1/sets/{}", set.id)),
            "NIGHTLATCH_REPORT_URL": format!("{url}/v1/edges/reports"),
            "NIGHTLATCH_ORIGIN": self.origin.unwrap_or_else(|| "https://origin.example.com".to_owned()),
            "NIGHTLATCH_VERIFIER": set.verifier,
        });
        let mut hidden = serde_json::Map::new();
        hidden.insert(
            "NIGHTLATCH_PEPPERS".to_owned(),
            peppers.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(",").into(),
        );
        if let Some(token) = &token {
            hidden.insert("NIGHTLATCH_TOKEN".to_owned(), token.secret.expose().into());
        }
        if let Some(path) = &self.secrets_out {
            let text = serde_json::to_string_pretty(&hidden).map_err(|error| Failure::other(error.to_string()))?;
            write_private(path, text.as_bytes())?;
        }
        if self.remote.json {
            let secrets = if self.secrets_out.is_some() { serde_json::Value::Null } else { hidden.into() };
            return output::json(&serde_json::json!({ "variables": variables, "secrets": secrets }));
        }
        output::line("# Variables, for wrangler.toml:\n[vars]")?;
        for (name, value) in variables.as_object().into_iter().flatten() {
            output::line(&format!("{name} = {value}"))?;
        }
        match &self.secrets_out {
            Some(path) => {
                output::line(&format!("\n# The secrets are in {}: npx wrangler secret bulk {0}", path.display()))
            }
            None => {
                output::line("\n# Secrets, for `npx wrangler secret put NAME`, never for a file that is shared:")?;
                hidden.iter().try_for_each(|(name, value)| {
                    output::line(&format!("{name}={}", value.as_str().unwrap_or_default()))
                })?;
                if token.is_none() {
                    output::line("# NIGHTLATCH_TOKEN is an edge token: --mint-token NAME makes one.")?;
                }
                Ok(())
            }
        }
    }
}
