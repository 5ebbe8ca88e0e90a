//! `nightlatch links`: partners of other workspaces, as their client has them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use nightlatch_api::{AcceptLink, ClientLink, EndPrincipal, Secret, UpdateLink};

use super::confirm::Sure;
use super::edges::code_from;
use super::exit::Failure;
use super::output::{self, maybe_time, printable};
use super::remote::Remote;

/// Accept, change and end links to partners of other workspaces.
#[derive(Debug, Args)]
pub(super) struct Links {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the links that this workspace has accepted.
    List,
    /// Accept a partner's link, and say what the partner earns here.
    #[command(
        after_help = "Example:\n  nightlatch links accept --code-file code --permission orders:place\n\nThe code is what the partner's side was shown by `nightlatch partners link`."
    )]
    Accept {
        /// The file of mode 0600 with the one-time code; - reads standard input.
        #[arg(long, value_name = "FILE")]
        code_file: PathBuf,
        /// A permission that the partner earns; may be given several times.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// Say anew what a partner has earned here, in place of what it was.
    Permit {
        /// The link: `lnk_…`.
        link: String,
        /// A permission; may be given several times. Without any, the partner has earned nothing.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// End a link for ever: the partner's keys that are bound to it are revoked.
    End {
        /// The link: `lnk_…`.
        link: String,
        /// Why, for both sides' audit logs.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        sure: Sure,
    },
}

impl Links {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (client, json) = (self.remote.client()?, self.remote.json);
        match self.command {
            Command::List => {
                let mut table = output::table(["link", "partner", "of", "state", "permissions", "accepted", "ended"]);
                let mut found = std::pin::pin!(client.links());
                while let Some(link) = found.try_next().await? {
                    if json {
                        output::json_line(&link)?;
                    } else {
                        table.add_row(row(&link));
                    }
                }
                if json { Ok(()) } else { output::print(&table, "No links.") }
            }
            Command::Accept { code_file, permissions } => {
                let code = code_from(&code_file)?;
                let request = AcceptLink { code: Secret::from(code.trim()), permissions };
                show(json, &client.accept_link(&request).await?)
            }
            Command::Permit { link, permissions } => {
                let tag = client.link(&link).await?.etag;
                show(json, &client.update_link(&link, &tag, &UpdateLink { permissions }).await?.value)
            }
            Command::End { link, reason, sure } => {
                sure.or_ask(&format!("End {link} and revoke the keys bound to it, for ever?"))?;
                show(json, &client.end_link(&link, &EndPrincipal::new(reason)).await?)
            }
        }
    }
}

fn row(link: &ClientLink) -> Vec<String> {
    vec![
        link.id.clone(),
        printable(&link.partner_name),
        printable(&link.partner_workspace),
        link.state.as_str().to_owned(),
        link.permissions.join(" "),
        maybe_time(link.accepted_at),
        maybe_time(link.ended_at),
    ]
}

fn show(json: bool, link: &ClientLink) -> Result<(), Failure> {
    if json {
        return output::json(link);
    }
    output::facts([
        ("link", Some(link.id.clone())),
        ("partner", Some(link.partner_name.clone())),
        ("of", Some(link.partner_workspace.clone())),
        ("state", Some(link.state.as_str().to_owned())),
        ("permissions", Some(link.permissions.join(" "))),
        ("accepted", link.accepted_at.map(output::time)),
        ("ended", link.ended_at.map(output::time)),
        ("ended by", link.ended_by.map(|side| side.as_str().to_owned())),
        ("reason", link.end_reason.clone()),
    ])
}
