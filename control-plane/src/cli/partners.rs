//! `nightlatch partners`: organisations, their staff, their links to clients.

use clap::{Args, Subcommand, ValueEnum};
use futures::TryStreamExt as _;
use nightlatch_api::client::Principals;
use nightlatch_api::{CreateLink, EndPrincipal, InviteMember, Member, MoveMember, PartnerLink, Role, UpdateStaff};

use super::confirm::Sure;
use super::exit::Failure;
use super::output::{self, maybe_time, printable};
use super::principals;
use super::remote::Remote;
use super::secret_out::SecretOut;

/// Make, suspend and remove partners; manage their staff and their links to clients.
#[derive(Debug, Args)]
pub(super) struct Partners {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Principals(principals::Command),
    /// List a partner's staff.
    Staff {
        /// The partner: `prn_…`.
        partner: String,
    },
    /// Invite somebody to a partner's staff, and show the code by which they join, once.
    Invite(Invite),
    /// Give one of a partner's staff another role.
    SetRole {
        /// The partner: `prn_…`.
        partner: String,
        /// The member: `mem_…`.
        member: String,
        /// The new role.
        #[arg(value_enum)]
        role: StaffRole,
    },
    /// Remove one of a partner's staff, for ever.
    RemoveStaff {
        /// The partner: `prn_…`.
        partner: String,
        /// The member: `mem_…`.
        member: String,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        sure: Sure,
    },
    /// List a partner's links, with what it has earned at each client.
    Links {
        /// The partner: `prn_…`.
        partner: String,
    },
    /// Make a link to a client, and show the code with which the client accepts it, once.
    Link {
        /// The partner: `prn_…`.
        partner: String,
        /// Whom it is for; the client never sees this.
        client: String,
        #[command(flatten)]
        secret_out: SecretOut,
    },
    /// End a link for ever: the keys bound to it are revoked.
    EndLink {
        /// The partner: `prn_…`.
        partner: String,
        /// The link: `lnk_…`.
        link: String,
        /// Why, for both sides' audit logs.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Args)]
struct Invite {
    /// The partner: `prn_…`.
    partner: String,
    /// The address.
    email: String,
    /// What they are to be.
    #[arg(long, value_enum)]
    role: StaffRole,
    /// What they are called.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    #[command(flatten)]
    secret_out: SecretOut,
}

/// What somebody is in a partner.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StaffRole {
    /// Manages keys, links and staff.
    Owner,
    /// Manages keys, links and staff, but for owners.
    Admin,
    /// Sees.
    Staff,
}

impl From<StaffRole> for Role {
    fn from(role: StaffRole) -> Self {
        match role {
            StaffRole::Owner => Self::PartnerOwner,
            StaffRole::Admin => Self::PartnerAdmin,
            StaffRole::Staff => Self::PartnerStaff,
        }
    }
}

impl Partners {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (json, remote) = (self.remote.json, self.remote);
        match self.command {
            Command::Principals(command) => command.run(&remote, Principals::Partners).await,
            Command::Staff { partner } => staff(&remote, &partner).await,
            Command::Invite(invite) => invite.run(&remote).await,
            Command::SetRole { partner, member, role } => {
                let client = remote.client()?;
                let tag = client.staff_member(&partner, &member).await?.etag;
                let change = UpdateStaff { name: None, role: Some(role.into()) };
                let changed = client.update_staff(&partner, &member, &tag, &change).await?.value;
                if json {
                    return output::json(&changed);
                }
                output::line(&format!("{} is {} now.", changed.id, changed.role.as_str()))
            }
            Command::RemoveStaff { partner, member, reason, sure } => {
                sure.or_ask(&format!("Remove {member} from the staff of {partner}, for ever?"))?;
                let removed = remote.client()?.remove_staff(&partner, &member, &MoveMember { reason }).await?;
                if json { output::json(&removed) } else { output::line(&format!("Removed {}.", removed.id)) }
            }
            Command::Links { partner } => links(&remote, &partner).await,
            Command::Link { partner, client, secret_out } => {
                let kept = secret_out.prepare(json)?;
                let created = remote.client()?.create_link(&partner, &CreateLink { client_name: client }).await?;
                kept.deliver_as("code", &created, &created.code, || {
                    output::facts([
                        ("link", Some(created.link.id.clone())),
                        ("client", Some(created.link.client_name.clone())),
                        ("code ends", Some(output::time(created.code_expires_at))),
                    ])
                })
            }
            Command::EndLink { partner, link, reason, sure } => {
                sure.or_ask(&format!("End {link} and revoke the keys bound to it, for ever?"))?;
                let ended = remote.client()?.end_partner_link(&partner, &link, &EndPrincipal::new(reason)).await?;
                if json {
                    return output::json(&ended);
                }
                let (id, keys, by) = (&ended.link.id, ended.keys, output::time(ended.in_force_by));
                output::line(&format!("{id} has ended. Keys revoked: {keys}; in force everywhere by {by}."))
            }
        }
    }
}

impl Invite {
    async fn run(self, remote: &Remote) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(remote.json)?;
        let request = InviteMember {
            email: self.email,
            name: self.name,
            role: self.role.into(),
            scopes: Vec::new(),
            tier: None,
            acknowledge_sensitive: false,
        };
        let invited = remote.client()?.invite_staff(&self.partner, &request).await?;
        kept.deliver_as("code", &invited, &invited.code, || {
            output::facts([
                ("member", Some(invited.member.id.clone())),
                ("role", Some(invited.member.role.as_str().to_owned())),
                ("code ends", invited.member.invite_expires_at.map(output::time)),
            ])
        })
    }
}

async fn staff(remote: &Remote, partner: &str) -> Result<(), Failure> {
    let (client, json) = (remote.client()?, remote.json);
    let mut table = output::table(["member", "name", "email", "role", "state", "joined"]);
    let mut found = std::pin::pin!(client.staff(partner));
    while let Some(member) = found.try_next().await? {
        if json {
            output::json_line(&member)?;
        } else {
            table.add_row(staff_row(&member));
        }
    }
    if json { Ok(()) } else { output::print(&table, "No staff.") }
}

fn staff_row(member: &Member) -> Vec<String> {
    vec![
        member.id.clone(),
        member.name.as_deref().map(printable).unwrap_or_default(),
        member.email.as_deref().map(printable).unwrap_or_default(),
        member.role.as_str().to_owned(),
        member.state.as_str().to_owned(),
        maybe_time(member.joined_at),
    ]
}

async fn links(remote: &Remote, partner: &str) -> Result<(), Failure> {
    let (client, json) = (remote.client()?, remote.json);
    let mut table = output::table(["link", "for", "client", "state", "permissions", "accepted", "ended"]);
    let mut found = std::pin::pin!(client.partner_links(partner));
    while let Some(link) = found.try_next().await? {
        if json {
            output::json_line(&link)?;
        } else {
            table.add_row(link_row(&link));
        }
    }
    if json { Ok(()) } else { output::print(&table, "No links.") }
}

fn link_row(link: &PartnerLink) -> Vec<String> {
    vec![
        link.id.clone(),
        printable(&link.client_name),
        link.client_workspace.as_deref().map(printable).unwrap_or_default(),
        link.state.as_str().to_owned(),
        link.permissions.join(" "),
        maybe_time(link.accepted_at),
        maybe_time(link.ended_at),
    ]
}
