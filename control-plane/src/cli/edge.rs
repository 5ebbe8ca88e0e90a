//! `nightlatch edge`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use nightlatch_api::client::Client;
use nightlatch_api::{Code, CreateToken, Set, TokenKind};
use nightlatch_keyset::Trust;
use nightlatch_keyset::note::Verifier;
use zeroize::Zeroizing;

use super::edges;
use super::exit::Failure;
use super::home::secrets_of;
use super::output;
use super::remote::{Remote, set_or_only};
use crate::secrets::write_private;

const EXAMPLE: &str = "\
Examples, on the server's machine:
  nightlatch edge config --runtime cloudflare --origin https://origin.example.com --mint-token 'edge' --secrets-out edge.secrets
  npx wrangler secret bulk edge.secrets

  nightlatch edge config --runtime sidecar --url https://keys.example.com --peppers-out peppers --credential-file credential > sidecar.toml

Variables go into wrangler.toml or sidecar.toml; secrets never do.";

/// Add, enrol, show and remove edges; print what one needs to run.
#[derive(Debug, Subcommand)]
pub(super) enum Edge {
    /// Print an edge's variables, and its secrets apart from them.
    #[command(after_help = EXAMPLE)]
    Config(EdgeConfig),
    /// Make an edge and the one-time code with which it enrols within the hour.
    #[command(after_help = edges::ADD)]
    Add(edges::Add),
    /// Trade the one-time code for the edge's credential. On the edge's machine; it needs no token.
    #[command(after_help = edges::ENROL)]
    Enrol(edges::Enrol),
    /// List edges, newest first.
    List(edges::List),
    /// Show an edge: what it reported, how far it is, what its clock says.
    Show(edges::Show),
    /// Make a new credential for an edge. The old one works until the new one is used, or the overlap ends.
    #[command(after_help = edges::ROTATE)]
    Rotate(edges::Rotate),
    /// Remove an edge for ever: its credentials end at once. Receipts no longer count it, and until the bound has
    /// passed for what it holds, none is confirmed without its word.
    Remove(edges::Remove),
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
    /// For a sidecar: the file with its credential, as `nightlatch edge enrol --secret-out` wrote it.
    #[arg(long, value_name = "FILE", default_value = "/etc/nightlatch/credential")]
    credential_file: PathBuf,
    /// For a sidecar: write the peppers to this new file of mode 0600, and name it in the configuration.
    #[arg(long, value_name = "FILE")]
    peppers_out: Option<PathBuf>,
    /// For a sidecar: where it keeps what must survive its restarts.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/nightlatch-sidecar")]
    state_dir: PathBuf,
    /// For a sidecar: the address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8088")]
    listen: String,
    /// For a sidecar: answer nginx's `auth_request`, or forward requests to the origin.
    #[arg(long, value_enum, default_value_t = SidecarMode::AuthRequest)]
    mode: SidecarMode,
    /// Write the secrets as a JSON object to this new file of mode 0600 instead of printing them.
    #[arg(long, value_name = "FILE")]
    secrets_out: Option<PathBuf>,
}

/// What an edge runs on.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Runtime {
    /// Cloudflare Workers, and workerd.
    Cloudflare,
    /// The native gate beside nginx, or in front of a server.
    Sidecar,
}

/// What a sidecar does with requests.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SidecarMode {
    /// It says yes or no to nginx.
    #[value(name = "auth_request")]
    AuthRequest,
    /// It forwards them.
    Proxy,
}

impl SidecarMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::AuthRequest => "auth_request",
            Self::Proxy => "proxy",
        }
    }
}

impl Edge {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Config(config) => config.run().await,
            Self::Add(command) => command.run().await,
            Self::Enrol(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Show(command) => command.run().await,
            Self::Rotate(command) => command.run().await,
            Self::Remove(command) => command.run().await,
        }
    }
}

impl EdgeConfig {
    async fn run(self) -> Result<(), Failure> {
        let mut outputs = [&self.secrets_out, &self.peppers_out].into_iter().flatten();
        if let Some(path) = outputs.find(|path| path.exists()) {
            return Err(Failure::usage(format!("{} exists; secrets go to a new file", path.display())));
        }
        let client = self.remote.client()?;
        let set = set_or_only(&client, self.set.as_deref()).await?;
        let secrets = secrets_of(&self.data_dir).await?;
        let held = secrets.peppers_of(&set.id, set.own_pepper);
        let peppers: Vec<_> = held.iter().map(|pepper| pepper.to_text()).collect();
        if held.iter().all(|pepper| pepper.id != set.pepper) {
            let place = self.data_dir.display();
            return Err(Failure::other(format!("{place} does not hold pepper {}, which the set uses", set.pepper)));
        }
        let believed = Believed::of(&client, &set).await?;
        if matches!(self.runtime, Runtime::Sidecar) {
            return self.sidecar(&set, &believed, &peppers);
        }
        let token = match self.mint_token {
            Some(name) => {
                let kind = TokenKind::Edge;
                let request = CreateToken {
                    name,
                    kind,
                    set: Some(set.id.clone()),
                    scopes: None,
                    service_account: None,
                    expires_at: None,
                };
                Some(client.create_token(&request).await?)
            }
            None => None,
        };
        let url = self.remote.url();
        let (believed, keys) = match &believed {
            Believed::Roots(keys) => ("NIGHTLATCH_ROOT", keys),
            Believed::Signer(keys) => ("NIGHTLATCH_VERIFIER", keys),
        };
        let variables = serde_json::json!({
            "NIGHTLATCH_SET": set.id,
            "NIGHTLATCH_SOURCE": self.source.unwrap_or_else(|| format!("{url}/v1/sets/{}", set.id)),
            "NIGHTLATCH_REPORT_URL": format!("{url}/v1/edges/reports"),
            "NIGHTLATCH_ORIGIN": self.origin.unwrap_or_else(|| "https://origin.example.com".to_owned()),
            believed: keys.join(","),
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

    /// Prints a sidecar's configuration file.
    fn sidecar(&self, set: &Set, believed: &Believed, peppers: &[Zeroizing<String>]) -> Result<(), Failure> {
        if self.mint_token.is_some() || self.secrets_out.is_some() {
            return Err(Failure::usage(
                "a sidecar enrols for its credential (`nightlatch edge add`, `nightlatch edge enrol`), and --peppers-out \
                 takes its pepper",
            ));
        }
        if matches!(self.mode, SidecarMode::Proxy) && self.origin.is_none() {
            return Err(Failure::usage("mode proxy forwards requests; give --origin URL"));
        }
        let lines = Zeroizing::new(peppers.iter().map(|pepper| pepper.as_str()).collect::<Vec<_>>().join("\n"));
        if let Some(path) = &self.peppers_out {
            write_private(path, lines.as_bytes())?;
        }
        let url = self.remote.url();
        let peppers_file = self.peppers_out.clone().unwrap_or_else(|| PathBuf::from("/etc/nightlatch/peppers"));
        let (field, pinned) = match believed {
            Believed::Roots(keys) => ("roots", keys),
            Believed::Signer(keys) => ("verifiers", keys),
        };
        let source = self.source.clone().unwrap_or_else(|| format!("{url}/v1/sets/{}", set.id));
        let text = |value: String| serde_json::Value::from(value);
        let mut settings = vec![
            ("listen", text(self.listen.clone())),
            ("mode", text(self.mode.as_str().to_owned())),
            ("set", text(set.id.clone())),
            ("source", text(source)),
            (field, pinned.clone().into()),
            ("state_dir", text(self.state_dir.display().to_string())),
            ("poll_ms", 1000.into()),
            ("report_url", text(format!("{url}/v1/edges/reports"))),
            ("credential_file", text(self.credential_file.display().to_string())),
            ("peppers_file", text(peppers_file.display().to_string())),
        ];
        if let Some(origin) = &self.origin {
            settings.insert(2, ("origin", text(origin.clone())));
        }
        let shown = self.peppers_out.is_none().then_some(lines.as_str());
        if self.remote.json {
            let settings: serde_json::Map<_, _> = settings.into_iter().map(|(name, v)| (name.to_owned(), v)).collect();
            let secrets = shown.map(|peppers| serde_json::json!({ "peppers": peppers }));
            return output::json(&serde_json::json!({ "settings": settings, "secrets": secrets }));
        }
        // A JSON text or list of texts is the same in TOML.
        settings.iter().try_for_each(|(name, value)| output::line(&format!("{name} = {value}")))?;
        match shown {
            Some(peppers) => output::line(&format!(
                "\n# The peppers, for {} (mode 0600), never for a file that is shared:\n# {}",
                peppers_file.display(),
                peppers.replace('\n', "\n# ")
            )),
            None => Ok(()),
        }
    }
}

/// Whom an edge is to believe.
enum Believed {
    /// The roots: their trust note says whose heads count, and edges follow it when a head-signing key is replaced.
    Roots(Vec<String>),
    /// The key that signs heads itself, where the set has no trust note. Every edge has to be told of the next one.
    Signer(Vec<String>),
}

impl Believed {
    async fn of(client: &Client, set: &Set) -> Result<Self, Failure> {
        let note = match client.trust(&set.id).await {
            Err(error) if error.is(Code::NotFound) => return Ok(Self::Signer(vec![set.verifier.clone()])),
            other => other?,
        };
        let text = String::from_utf8_lossy(&note).into_owned();
        let listed = text.rsplit_once("\n\n").map(|(text, _)| Trust::parse(&format!("{text}\n")));
        let trust = listed.and_then(Result::ok).ok_or_else(|| Failure::other("the set's trust note cannot be read"))?;
        Ok(Self::Roots(trust.roots.iter().map(Verifier::to_vkey).collect()))
    }
}
