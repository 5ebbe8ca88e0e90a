//! The `nightlatch` program's commands.

mod accounts;
mod admin;
mod ask;
mod audit;
mod change_password;
mod config;
mod confirm;
mod edge;
mod edges;
mod emergency_deny;
mod enrol;
mod enrolment_token;
mod exit;
mod gateways;
mod home;
mod import;
mod inventory;
mod join;
mod key_filter;
mod keys;
mod links;
mod members;
mod output;
mod partners;
mod pepper;
mod principals;
mod progress;
mod receipt;
mod recover;
mod remote;
mod roles;
mod rotations;
mod routes;
mod rows;
mod schema;
mod scopes;
mod secret_out;
mod serve;
mod session;
mod set;
mod sets;
mod settings;
mod sign_in;
mod time;
mod tokens;
mod trust;
mod whole_file;
mod workspaces;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::sync_job::SyncArgs;
use exit::Failure;

/// Shown below every command's own help.
const EXIT_CODES: &str = "\
Exit codes (`nightlatch sync` has its own):
  0  done
  1  refused by the server, or failed for a reason not listed here
  2  wrong usage; nothing was tried
  3  the token is missing, not valid, or may not do this
  4  there is no such thing
  5  the server cannot be reached or cannot answer now: try again
  6  done in part: some lines of an import were bad, or `keys revoke-many` found keys that it could not revoke
  7  the configuration is faulty";

const EXAMPLES: &str = "\
Start a control plane and take charge of it:
  nightlatch serve
  nightlatch enrol --name Ana --email ana@example.com --secret-out ~/.nightlatch-token --code-out code
  export NIGHTLATCH_TOKEN=$(cat ~/.nightlatch-token)
  nightlatch join --code-file code

Issue, rotate, revoke:
  nightlatch keys issue 'billing export' --scope invoices:read --expires-in 90d
  nightlatch rotations start key_1hTq3e9fKz --overlap 24h --reason scheduled
  nightlatch keys revoke key_1hTq3e9fKz --reason 'leaked in a log' --wait 30
  nightlatch keys receipt key_1hTq3e9fKz --out receipt.txt

Let others in, and give a pipeline no more than it needs:
  nightlatch members invite bo@example.com --role operator --secret-out code
  nightlatch tokens create pipeline --scope keys:read --scope keys:issue --expires-in 90d --secret-out token

Let an edge check keys:
  nightlatch routes apply routes.json
  nightlatch edge config --runtime cloudflare --data-dir ./nightlatch-data";

/// API keys that rotate without downtime, are checked at the edge, and stop working everywhere within a bound.
#[derive(Debug, Parser)]
#[command(name = "nightlatch", version, max_term_width = 100, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"), after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane.
    Serve(serve::Serve),
    /// Check the configuration before anything starts.
    #[command(subcommand)]
    Config(config::Config),
    /// Trade the one-time enrolment token for an owner and its management token.
    Enrol(enrol::Enrol),
    /// Take up an invitation: make an account, or join with the one you have.
    Join(join::Join),
    /// Sign in with your password, and have a management token of yours made.
    SignIn(sign_in::SignInCommand),
    /// Change the password of your account, and end its sessions.
    ChangePassword(change_password::ChangePasswordCommand),
    /// What only who has the server's machine may do: let people in who cannot sign in any more.
    Admin(admin::Admin),
    /// Make a new one-time enrolment token, where the management token is lost.
    EnrolmentToken(enrolment_token::EnrolmentToken),
    /// Issue, list, change, import, verify and revoke keys.
    Keys(keys::Keys),
    /// Replace keys by others while both work.
    Rotations(rotations::Rotations),
    /// Invite, change, suspend and remove members.
    Members(members::Members),
    /// Say what members of a role have beside their own scopes.
    Roles(roles::Roles),
    /// Make, suspend and remove service accounts, which keys act for.
    ServiceAccounts(principals::ServiceAccounts),
    /// Make, suspend and remove partners; manage their staff and their links to clients.
    Partners(partners::Partners),
    /// Accept, change and end links to partners of other workspaces.
    Links(links::Links),
    /// Pair devices with their keys, and unpair them.
    Gateways(gateways::Gateways),
    /// Make, rotate and revoke management and edge tokens.
    Tokens(tokens::Tokens),
    /// Show and replace the routes edges let through.
    Routes(routes::Routes),
    /// Show, describe and mark scopes, and groups of them.
    Scopes(scopes::Scopes),
    /// Look into a set's published files: inspect, verify, compare, measure.
    Set(set::Set),
    /// Show the published key sets.
    Sets(sets::Sets),
    /// Show, export and prove what was done, by whom, when.
    Audit(Box<audit::Audit>),
    /// Add, enrol, show and remove edges; print what one needs to run.
    #[command(subcommand)]
    Edge(edge::Edge),
    /// Check receipts: signed statements of when a revocation is in force.
    #[command(subcommand)]
    Receipt(receipt::Receipts),
    /// Take over what was published, after the database was restored from a backup.
    Recover(recover::Recover),
    /// Say which keys sign a set's heads, and replace them.
    Trust(trust::Trust),
    /// Replace the root key that edges pin.
    Root(trust::Root),
    /// Replace the pepper, which edges need to find keys in the published set.
    Pepper(pepper::Pepper),
    /// Have edges refuse keys while no head can be signed.
    EmergencyDeny(Box<emergency_deny::EmergencyDeny>),
    /// Copy a set's published files to where edges read them.
    Sync(Box<SyncArgs>),
    /// Show which control planes run on the database, and what schema they know.
    Schema(schema::Schema),
    /// Make, list, show and rename workspaces.
    Workspaces(workspaces::Workspaces),
    /// Print the API's OpenAPI document.
    Openapi,
}

impl Cli {
    /// Runs the command and says how it went.
    pub fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Failure::other(format!("threads cannot be started: {error}")).report(),
        };
        runtime.block_on(self.command.run())
    }
}

impl Command {
    async fn run(self) -> ExitCode {
        let result = match self {
            Self::Serve(command) => command.run().await,
            Self::Config(command) => command.run().await,
            Self::Enrol(command) => command.run().await,
            Self::Join(command) => command.run().await,
            Self::SignIn(command) => command.run().await,
            Self::ChangePassword(command) => command.run().await,
            Self::Admin(command) => command.run().await,
            Self::EnrolmentToken(command) => command.run().await,
            Self::Keys(command) => command.run().await,
            Self::Rotations(command) => command.run().await,
            Self::Members(command) => command.run().await,
            Self::Roles(command) => command.run().await,
            Self::ServiceAccounts(command) => command.run().await,
            Self::Partners(command) => command.run().await,
            Self::Links(command) => command.run().await,
            Self::Gateways(command) => command.run().await,
            Self::Tokens(command) => command.run().await,
            Self::Routes(command) => command.run().await,
            Self::Scopes(command) => command.run().await,
            Self::Set(command) => command.run().await,
            Self::Sets(command) => command.run().await,
            Self::Audit(command) => command.run().await,
            Self::Edge(command) => command.run().await,
            Self::Receipt(command) => command.run(),
            Self::Recover(command) => command.run().await,
            Self::Trust(command) => command.run().await,
            Self::Root(command) => command.run().await,
            Self::Pepper(command) => command.run().await,
            Self::EmergencyDeny(command) => command.run().await,
            Self::Sync(command) => return command.run().await,
            Self::Schema(command) => command.run().await,
            Self::Workspaces(command) => command.run().await,
            Self::Openapi => output::text(&crate::api::openapi_document()),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no description");
            for argument in
                command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
            {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
            for inner in command.get_subcommands() {
                walk(inner, &path);
            }
        }
        walk(&Cli::command(), "");
    }
}
