//! `nightlatch members`.

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use nightlatch_api::client::Client;
use nightlatch_api::{
    InviteMember, InvitedMember, Member, MemberFilter, MemberState, MoveMember, ReinviteMember, Role, TokenFilter,
    TokenState, UpdateMember,
};

use super::confirm::confirmed;
use super::exit::Failure;
use super::output::{self, maybe_time, printable, time};
use super::remote::Remote;
use super::secret_out::{Kept, SecretOut};

const INVITE: &str = "\
Examples:
  nightlatch members invite bo@example.com --role operator --secret-out code
  nightlatch members invite cy@example.com --role viewer --name Cy --scope invoices:read --json
The code is good once and for a week. Hand it to the person on a way that you trust.";

const REINVITE: &str = "\
Examples:
  nightlatch members reinvite mem_1hTq3e9fKz2m4n6p --secret-out code
  nightlatch members reinvite mem_1hTq3e9fKz2m4n6p --email ana@example.com
The second is for an owner who enrolled without an address, and can sign in from then on. An address that is there stays.";

const UPDATE: &str = "\
Examples:
  nightlatch members update mem_1hTq3e9fKz2m4n6p --role admin
  nightlatch members update mem_1hTq3e9fKz2m4n6p --scope invoices:read --scope invoices:write
  nightlatch members update mem_1hTq3e9fKz2m4n6p --no-scopes --tier ''
What the member's keys may do changes with it, without a new key.";

const REMOVE: &str = "\
Example:
  nightlatch members remove mem_1hTq3e9fKz2m4n6p --reason 'left the company' --yes
Its keys and tokens are revoked with it. To stop somebody for a while: `nightlatch members suspend`.";

/// Invite, change, suspend and remove members.
#[derive(Debug, Args)]
pub(super) struct Members {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List members, newest first.
    #[command(after_help = "Example:\n  nightlatch members list --state active --role owner")]
    List(List),
    /// Show a member.
    Show {
        /// The member: `mem_…`.
        member: String,
    },
    /// Invite somebody and show the code by which they join, once.
    #[command(after_help = INVITE)]
    Invite(Invite),
    /// Make another code for somebody who has not joined. The one before works no longer.
    #[command(after_help = REINVITE)]
    Reinvite {
        /// The member: `mem_…`.
        member: String,
        /// The address, where the member has none yet.
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        #[command(flatten)]
        secret_out: SecretOut,
    },
    /// Change name, role, scopes or tier.
    #[command(after_help = UPDATE)]
    Update(Update),
    /// Stop a member for a while: its tokens open nothing and its keys are refused.
    #[command(after_help = "Example:\n  nightlatch members suspend mem_1hTq3e9fKz2m4n6p --reason 'laptop lost'")]
    Suspend(Move),
    /// Let a suspended member work again, and its keys with it.
    Resume(Move),
    /// End a member for ever, with all its keys and tokens.
    #[command(after_help = REMOVE)]
    Remove {
        #[command(flatten)]
        of: Move,
        /// Remove without asking.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct List {
    /// In this state: invited, active, suspended or removed.
    #[arg(long, value_parser = state)]
    state: Option<MemberState>,
    /// With this role.
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// Staff of this partner organisation.
    #[arg(long, value_name = "PRN_ID")]
    partner: Option<String>,
    /// With exactly this address.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

#[derive(Debug, Args)]
struct Invite {
    /// The address.
    email: String,
    /// What it is to be: owner, admin, operator or viewer.
    #[arg(long, value_parser = role)]
    role: Role,
    /// What it is to be called.
    #[arg(long)]
    name: Option<String>,
    /// Something that its own keys may do beside what its role brings; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The rate limit of its own keys.
    #[arg(long)]
    tier: Option<String>,
    /// Grant sensitive scopes knowingly.
    #[arg(long)]
    acknowledge_sensitive: bool,
    #[command(flatten)]
    secret_out: SecretOut,
}

#[derive(Debug, Args)]
struct Update {
    /// The member: `mem_…`.
    member: String,
    /// Another name.
    #[arg(long)]
    name: Option<String>,
    /// Another role.
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// A scope, in place of all old ones; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Take all its own scopes away.
    #[arg(long, conflicts_with = "scopes")]
    no_scopes: bool,
    /// Another rate limit; an empty text removes the old one.
    #[arg(long)]
    tier: Option<String>,
    /// Grant sensitive scopes knowingly.
    #[arg(long)]
    acknowledge_sensitive: bool,
}

#[derive(Debug, Args)]
struct Move {
    /// The member: `mem_…`.
    member: String,
    /// Why, for the audit log.
    #[arg(long)]
    reason: Option<String>,
}

impl Members {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let json = self.remote.json;
        match self.command {
            Command::List(list) => list.run(&self.remote.client()?, json).await,
            Command::Show { member } => show(json, &self.remote.client()?.member(&member).await?.value),
            Command::Invite(invite) => invite.run(&self.remote).await,
            Command::Reinvite { member, email, secret_out } => {
                let kept = secret_out.prepare(json)?;
                let invited = self.remote.client()?.reinvite_member(&member, &ReinviteMember { email }).await?;
                deliver(kept, &self.remote, &invited)
            }
            Command::Update(update) => update.run(&self.remote.client()?, json).await,
            Command::Suspend(Move { member, reason }) => {
                show(json, &self.remote.client()?.suspend_member(&member, &MoveMember { reason }).await?)
            }
            Command::Resume(Move { member, reason }) => {
                show(json, &self.remote.client()?.resume_member(&member, &MoveMember { reason }).await?)
            }
            Command::Remove { of, yes } => remove(&self.remote.client()?, json, of, yes).await,
        }
    }
}

impl List {
    async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let filter = MemberFilter {
            state: self.state,
            role: self.role,
            partner: self.partner,
            email: self.email,
            ..MemberFilter::default()
        };
        let mut table = output::table(["member", "name", "email", "role", "partner", "state", "scopes", "joined"]);
        let mut members = std::pin::pin!(client.members(filter));
        while let Some(member) = members.try_next().await? {
            if json {
                output::json_line(&member)?;
            } else {
                table.add_row(row(&member));
            }
        }
        if json { Ok(()) } else { output::print(&table, "No members.") }
    }
}

impl Invite {
    async fn run(self, remote: &Remote) -> Result<(), Failure> {
        let kept = self.secret_out.prepare(remote.json)?;
        let request = InviteMember {
            email: self.email,
            name: self.name,
            role: self.role,
            scopes: self.scopes,
            tier: self.tier,
            acknowledge_sensitive: self.acknowledge_sensitive,
        };
        deliver(kept, remote, &remote.client()?.invite_member(&request).await?)
    }
}

impl Update {
    async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let change = UpdateMember {
            name: self.name,
            role: self.role,
            scopes: (self.no_scopes || !self.scopes.is_empty()).then_some(self.scopes),
            tier: self.tier.map(|tier| (!tier.is_empty()).then_some(tier)),
            acknowledge_sensitive: self.acknowledge_sensitive,
        };
        let nothing = UpdateMember { acknowledge_sensitive: self.acknowledge_sensitive, ..UpdateMember::default() };
        if change == nothing {
            return Err(Failure::usage("nothing to change; see --help"));
        }
        let etag = client.member(&self.member).await?.etag;
        show(json, &client.update_member(&self.member, &etag, &change).await?.value)
    }
}

async fn remove(client: &Client, json: bool, of: Move, yes: bool) -> Result<(), Failure> {
    if !yes {
        let member = client.member(&of.member).await?.value;
        let question = format!(
            "Remove {} {} for ever, with all its keys and tokens? [y/N] ",
            member.role.as_str(),
            printable(called(&member)),
        );
        if !confirmed(&question)? {
            return Err(Failure::other("nobody was removed"));
        }
    }
    let removed = client.remove_member(&of.member, &MoveMember { reason: of.reason }).await?;
    if json {
        return output::json(&removed);
    }
    let name = printable(called(&removed));
    output::line(&format!("Removed {} \"{name}\". Its keys and tokens are revoked.", removed.id))?;
    let known = TokenFilter { maker: Some(removed.id.clone()), limit: Some(200), ..TokenFilter::default() };
    // A token that may not list tokens has removed the member all the same.
    let known = client.list_tokens(&known).await.map(|page| page.items).unwrap_or_default();
    match known.iter().filter(|token| token.state == TokenState::Active).count() {
        0 => Ok(()),
        count => output::line(&format!(
            "It may know {count} tokens of service accounts, which go on working. Rotate or revoke them: nightlatch tokens \
             list --maker {}",
            removed.id
        )),
    }
}

/// What people know it by.
fn called(member: &Member) -> &str {
    member.email.as_deref().or(member.name.as_deref()).unwrap_or(&member.id)
}

fn deliver(kept: Kept, remote: &Remote, invited: &InvitedMember) -> Result<(), Failure> {
    kept.deliver_as("code", invited, &invited.code, || {
        facts(&invited.member)?;
        output::line(&format!("\nThey take it up with the code: nightlatch join --url {}", remote.url()))
    })
}

fn row(member: &Member) -> Vec<String> {
    vec![
        member.id.clone(),
        member.name.as_deref().map(printable).unwrap_or_default(),
        member.email.as_deref().map(printable).unwrap_or_default(),
        member.role.as_str().to_owned(),
        member.partner.clone().unwrap_or_default(),
        member.state.as_str().to_owned(),
        member.scopes.join(" "),
        maybe_time(member.joined_at),
    ]
}

fn show(json: bool, member: &Member) -> Result<(), Failure> {
    if json { output::json(member) } else { facts(member) }
}

fn facts(member: &Member) -> Result<(), Failure> {
    output::facts([
        ("member", Some(member.id.clone())),
        ("name", member.name.clone()),
        ("email", member.email.clone()),
        ("role", Some(member.role.as_str().to_owned())),
        ("state", Some(member.state.as_str().to_owned())),
        ("principal", Some(member.principal.clone())),
        ("partner", member.partner.clone()),
        ("scopes", Some(if member.scopes.is_empty() { "none".to_owned() } else { member.scopes.join(" ") })),
        ("tier", member.tier.clone()),
        ("invited by", Some(format!("{} {}", member.invited_by.kind, member.invited_by.id))),
        ("created", Some(time(member.created_at))),
        ("code ends", member.invite_expires_at.map(time)),
        ("joined", member.joined_at.map(time)),
        ("suspended", member.suspended_at.map(time)),
        ("removed", member.removed_at.map(time)),
    ])
}

/// A role by its name.
pub(super) fn role(text: &str) -> Result<Role, String> {
    let known = Role::ALL.into_iter().find(|role| role.as_str() == text);
    known.ok_or_else(|| "give owner, admin, operator, viewer, partner_owner, partner_admin or partner_staff".to_owned())
}

fn state(text: &str) -> Result<MemberState, String> {
    let known = MemberState::ALL.into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| "give invited, active, suspended or removed".to_owned())
}
