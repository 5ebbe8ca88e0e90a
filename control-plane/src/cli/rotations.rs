//! `nightlatch rotations`.

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use nightlatch_api::client::Client;
use nightlatch_api::{
    CancelRotation, ChangedRotation, CompleteRotation, ExtendRotation, Rotation, RotationFilter, RotationOrder,
    RotationState, StartRotation, SuccessorFate, Warning,
};

use super::exit::Failure;
use super::output::{self, maybe_time, time};
use super::remote::Remote;
use super::rows::Rows;
use super::secret_out::SecretOut;
use super::time::{duration, from_now, moment};

/// Replace keys by others while both work.
#[derive(Debug, Args)]
pub(super) struct Rotations {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Issue a successor; both keys work until the overlap is over.
    #[command(
        after_help = "Examples:\n  Scheduled:  nightlatch rotations start key_1hTq3e9fKz --overlap 24h --reason scheduled\n  Leaked:     nightlatch rotations start key_1hTq3e9fKz --revoke-first --reason 'in a public repository'"
    )]
    Start(Start),
    /// List rotations, newest first.
    List {
        /// Those as far as this: open, completed or cancelled.
        #[arg(long, value_parser = state)]
        state: Option<RotationState>,
        /// Those of this key.
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        rows: Rows,
    },
    /// Show a rotation.
    Show {
        /// The rotation: `rot_…`.
        rotation: String,
    },
    /// Give a predecessor more time.
    Extend {
        /// The rotation: `rot_…`.
        rotation: String,
        /// How long both keys work from now on.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        overlap: SignedDuration,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a rotation back: the predecessor is active again.
    Cancel {
        /// The rotation: `rot_…`.
        rotation: String,
        /// Revoke the successor instead of keeping it.
        #[arg(long)]
        revoke_successor: bool,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a rotation before its deadline: the predecessor is revoked.
    Complete {
        /// The rotation: `rot_…`.
        rotation: String,
        /// Also while the predecessor is in use; needs a reason.
        #[arg(long, requires = "reason")]
        force: bool,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Start {
    /// The predecessor: `key_…`, or `kn_` and its number.
    key: String,
    /// How long both keys work.
    #[arg(long, value_name = "DURATION", value_parser = duration, required_unless_present = "revoke_first")]
    overlap: Option<SignedDuration>,
    /// Why: scheduled, a person left, a leak.
    #[arg(long)]
    reason: String,
    /// The successor's name; the predecessor's with a counted suffix when absent.
    #[arg(long)]
    name: Option<String>,
    /// The successor's scopes; the predecessor's when absent. May be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// When the successor stops working; never when absent, also where the predecessor has an end.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires_at: Option<Timestamp>,
    /// After how long the successor stops working.
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "expires_at")]
    expires_in: Option<SignedDuration>,
    /// Revoke the predecessor at once: for a leaked key.
    #[arg(long, conflicts_with = "overlap")]
    revoke_first: bool,
    /// Say that sensitive scopes are meant which the predecessor does not have.
    #[arg(long)]
    acknowledge_sensitive: bool,
    /// Only say what would happen.
    #[arg(long)]
    dry_run: bool,
    /// Makes repeating this command after a failure safe: the same text, the same successor.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    secret_out: SecretOut,
}

impl Rotations {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let json = self.remote.json;
        match self.command {
            Command::Start(start) => start.run(&self.remote).await,
            Command::List { state, key, rows } => list(&self.remote.client()?, json, state, key, rows).await,
            Command::Show { rotation } => {
                let rotation = self.remote.client()?.rotation(&rotation).await?;
                if json { output::json(&rotation) } else { facts(&rotation) }
            }
            Command::Extend { rotation, overlap, reason } => {
                let request = ExtendRotation { overlap_seconds: seconds(overlap), reason };
                show(json, &self.remote.client()?.extend_rotation(&rotation, &request).await?)
            }
            Command::Cancel { rotation, revoke_successor, reason } => {
                let successor = if revoke_successor { SuccessorFate::Revoke } else { SuccessorFate::Keep };
                let request = CancelRotation { successor, reason };
                show(json, &self.remote.client()?.cancel_rotation(&rotation, &request).await?)
            }
            Command::Complete { rotation, force, reason } => {
                let request = CompleteRotation { force, reason };
                show(json, &self.remote.client()?.complete_rotation(&rotation, &request).await?)
            }
        }
    }
}

impl Start {
    async fn run(self, remote: &Remote) -> Result<(), Failure> {
        // Before anything is asked for.
        let kept = if self.dry_run { None } else { Some(self.secret_out.prepare(remote.json)?) };
        let expires_at = match self.expires_in {
            Some(duration) => Some(from_now(duration).map_err(Failure::usage)?),
            None => self.expires_at,
        };
        let request = StartRotation {
            overlap_seconds: self.overlap.map(seconds),
            reason: self.reason,
            name: self.name,
            scopes: (!self.scopes.is_empty()).then_some(self.scopes),
            order: if self.revoke_first { RotationOrder::RevokeFirst } else { RotationOrder::IssueFirst },
            dry_run: self.dry_run,
            acknowledge_sensitive: self.acknowledge_sensitive,
            expires_at,
        };
        let mut client = remote.client()?;
        if let Some(key) = self.idempotency_key {
            client = client.with_idempotency_key(key);
        }
        let Some(kept) = kept else {
            let plan = client.plan_rotation(&self.key, &request).await?;
            if remote.json {
                return output::json(&plan);
            }
            output::line(&format!("The successor would be named \"{}\".", output::printable(&plan.name)))?;
            match plan.deadline {
                Some(deadline) => output::line(&format!("The predecessor would stop working at {}.", time(deadline)))?,
                None => output::line("The predecessor would be revoked at once.")?,
            }
            return warn(&plan.warnings);
        };
        let started = client.start_rotation(&self.key, &request).await?;
        kept.deliver(&started, &started.secret, || {
            facts(&started.rotation)?;
            output::line(&format!("Every edge accepts the successor from {} on.", time(started.key.usable_from)))?;
            warn(&started.warnings)
        })
    }
}

async fn list(
    client: &Client,
    json: bool,
    state: Option<RotationState>,
    key: Option<String>,
    rows: Rows,
) -> Result<(), Failure> {
    let filter = RotationFilter { state, key, limit: Some(rows.page()), cursor: None };
    let mut table = output::table(["rotation", "predecessor", "successor", "state", "deadline", "reason"]);
    let show = |rotation: Rotation| {
        if json {
            return output::json_line(&rotation);
        }
        table.add_row(vec![
            rotation.id.clone(),
            rotation.predecessor.clone(),
            rotation.successor.clone(),
            rotation.state.as_str().to_owned(),
            maybe_time(rotation.deadline),
            output::printable(&rotation.reason),
        ]);
        Ok(())
    };
    rows.each(client.rotations(filter), show).await?;
    if json { Ok(()) } else { output::print(&table, "No rotations.") }
}

fn show(json: bool, changed: &ChangedRotation) -> Result<(), Failure> {
    if json {
        return output::json(changed);
    }
    facts(&changed.rotation)?;
    output::line(&format!("Every edge knows by {}.", time(changed.in_force_by)))?;
    warn(&changed.warnings)
}

fn facts(rotation: &Rotation) -> Result<(), Failure> {
    output::facts([
        ("rotation", Some(rotation.id.clone())),
        ("predecessor", Some(rotation.predecessor.clone())),
        ("successor", Some(rotation.successor.clone())),
        ("state", Some(rotation.state.as_str().to_owned())),
        ("deadline", rotation.deadline.map(time)),
        ("reason", Some(rotation.reason.clone())),
        (
            "started",
            Some(format!("{} by {} {}", time(rotation.started_at), rotation.started_by.kind, rotation.started_by.id)),
        ),
        ("ended", rotation.ended_at.map(time)),
    ])
}

fn warn(warnings: &[Warning]) -> Result<(), Failure> {
    for warning in warnings {
        output::line(&format!("Note: {}", warning.detail))?;
        // The text names the first few.
        for route in warning.routes.iter().skip(10) {
            output::line(&format!("  also {} {}", route.method, route.pattern))?;
        }
    }
    Ok(())
}

/// Whole seconds, rounded up: an overlap must not be shorter than asked.
fn seconds(duration: SignedDuration) -> u64 {
    let whole = u64::try_from(duration.as_secs()).unwrap_or_default();
    whole + u64::from(duration.subsec_nanos() > 0)
}

fn state(text: &str) -> Result<RotationState, String> {
    let all = [RotationState::Open, RotationState::Completed, RotationState::Cancelled];
    let known = all.into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| "give open, completed or cancelled".to_owned())
}
