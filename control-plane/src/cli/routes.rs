//! `nightlatch routes`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use figment::Figment;
use figment::providers::{Format as _, Toml};
use nightlatch_api::RouteDocument;

use super::exit::Failure;
use super::output;
use super::remote::Remote;

const EXAMPLE: &str = r#"Example of a file (JSON; TOML if its name ends in .toml):
  {"realm": "Example API", "routes": [
    {"method": "GET",  "path": "/status"},
    {"method": "GET",  "path": "/invoices/{id}", "scopes": ["invoices:read"]},
    {"method": "POST", "path": "/invoices", "scopes": ["invoices:write"]},
    {"method": "*",    "path": "/files/{*rest}", "environments": ["live", "test"]},
    {"method": "GET",  "path": "/prices", "open": true},
    {"method": "GET",  "path": "/events", "max_connection_age": 60}
  ]}

A request that no route matches is refused. The most specific route decides.
A route that is open is answered from older data when the control plane is gone, as long as the set allows; bodies and
WebSockets of a route with max_connection_age end after so many seconds."#;

/// Show and replace the routes edges let through.
#[derive(Debug, Args)]
pub(super) struct Routes {
    #[command(flatten)]
    remote: Remote,
    /// The set; the workspace's only one when absent.
    #[arg(long, global = true, value_name = "SET_ID")]
    set: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the routes in force.
    Show,
    /// Replace all routes by those of a file.
    #[command(after_help = EXAMPLE)]
    Apply {
        /// The file.
        file: PathBuf,
    },
}

impl Routes {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (client, set) = (self.remote.client()?, self.set.as_deref());
        let current = client.routes(set).await?;
        match self.command {
            Command::Show if self.remote.json => output::json(&current.value),
            Command::Show => {
                let mut table = output::table(["method", "path", "scopes", "environments", "notes"]);
                for route in &current.value.document.routes {
                    let environments: Vec<_> = route.environments.iter().map(|e| e.as_str()).collect();
                    let age = route.max_connection_age.map(|age| format!("connections end after {age} s"));
                    let notes: Vec<_> = route.open.then(|| "open".to_owned()).into_iter().chain(age).collect();
                    table.add_row([
                        &route.method,
                        &route.path,
                        &route.scopes.join(" "),
                        &environments.join(" "),
                        &notes.join(", "),
                    ]);
                }
                output::print(&table, "No routes: every request is refused.")
            }
            Command::Apply { file } => {
                let document = read(&file)?;
                let replaced = client.put_routes(set, &current.etag, &document).await?.value;
                if self.remote.json {
                    return output::json(&replaced);
                }
                let (count, set) = (replaced.document.routes.len(), &replaced.set);
                output::line(&format!("{count} routes are in force for {set}, revision {}.", replaced.revision))
            }
        }
    }
}

fn read(file: &Path) -> Result<RouteDocument, Failure> {
    let fault = |error: String| Failure::usage(format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| fault(error.to_string()))?;
    if file.extension().is_some_and(|extension| extension == "toml") {
        return Figment::from(Toml::string(&text)).extract().map_err(|error| fault(error.to_string()));
    }
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| fault(error.to_string()))
}
