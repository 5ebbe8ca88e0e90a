//! `nightlatch workspaces`.

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use nightlatch_api::client::Client;
use nightlatch_api::{CreateWorkspace, UpdateWorkspace, Workspace};

use super::exit::Failure;
use super::output::{self, maybe_time, printable};
use super::remote::Remote;
use super::secret_out::SecretOut;

const CREATE: &str = "\
With a management token of the founding workspace:
  nightlatch workspaces create 'Acme' --brand acme --owner-email ada@acme.example --secret-out acme-enrolment-token

Give the file to its first owner, who takes charge of the workspace within the hour:
  nightlatch enrol --enrolment-file acme-enrolment-token --secret-out management-token

What the edges of its set need, on the server's machine:
  nightlatch pepper export --workspace ws_… --secret-out acme-peppers";

/// Make, list, show and rename workspaces: the tenants of a deployment.
#[derive(Debug, Args)]
pub(super) struct Workspaces {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a workspace and the one-time token with which its first owner enrols within the hour.
    #[command(after_help = CREATE)]
    Create(Create),
    /// List the workspaces you may see, newest first.
    List,
    /// Show a workspace.
    Show {
        /// The workspace: `ws_…`.
        workspace: String,
    },
    /// Give your workspace another name.
    Rename {
        /// The workspace: `ws_…`.
        workspace: String,
        /// What people are to call it.
        name: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What people are to call it.
    name: String,
    /// What its keys begin with: 2 to 12 lower-case letters and digits that begin with a letter, no other workspace's.
    #[arg(long)]
    brand: String,
    /// The e-mail address of its first owner.
    #[arg(long, value_name = "ADDRESS")]
    owner_email: Option<String>,
    #[command(flatten)]
    secret_out: SecretOut,
}

impl Workspaces {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let json = self.remote.json;
        match self.command {
            Command::Create(create) => create.run(&self.remote).await,
            Command::List => list(&self.remote.client()?, json).await,
            Command::Show { workspace } => show(&self.remote.client()?.workspace(&workspace).await?.value, json),
            Command::Rename { workspace, name } => {
                let client = self.remote.client()?;
                let etag = client.workspace(&workspace).await?.etag;
                let change = UpdateWorkspace { name: Some(name) };
                show(&client.update_workspace(&workspace, &etag, &change).await?.value, json)
            }
        }
    }
}

impl Create {
    async fn run(self, remote: &Remote) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(remote.json)?;
        let request = CreateWorkspace { name: self.name, brand: self.brand, owner_email: self.owner_email };
        let created = remote.client()?.create_workspace(&request).await?;
        kept.deliver_as("enrolment_token", &created, &created.enrolment_token, || {
            output::facts([
                ("workspace", Some(created.workspace.id.clone())),
                ("name", Some(created.workspace.name.clone())),
                ("brand", created.workspace.brand.clone()),
                ("set", Some(created.set.clone())),
                ("enrol until", Some(output::time(created.enrolment_expires_at))),
            ])
        })
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let mut table = output::table(["workspace", "name", "brand", "created"]);
    let mut workspaces = std::pin::pin!(client.workspaces());
    while let Some(workspace) = workspaces.try_next().await? {
        if json {
            output::json_line(&workspace)?;
            continue;
        }
        table.add_row([
            workspace.id.clone(),
            printable(&workspace.name),
            workspace.brand.clone().unwrap_or_else(|| "-".to_owned()),
            maybe_time(workspace.created_at),
        ]);
    }
    if json { Ok(()) } else { output::print(&table, "No workspaces.") }
}

fn show(workspace: &Workspace, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(workspace);
    }
    output::facts([
        ("workspace", Some(workspace.id.clone())),
        ("name", Some(workspace.name.clone())),
        ("brand", workspace.brand.clone()),
        ("created", workspace.created_at.map(output::time)),
    ])
}
