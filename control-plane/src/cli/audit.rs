//! `nightlatch audit`.

use clap::Args;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use nightlatch_api::{AuditEntry, AuditFilter};

use super::exit::Failure;
use super::output::{self, printable, time};
use super::remote::Remote;
use super::time::moment;

/// Show what was done, by whom, when; newest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nightlatch audit --key key_1hTq3e9fKz --from 2026-01-01")]
pub(super) struct Audit {
    #[command(flatten)]
    remote: Remote,
    /// Exactly this action, such as key.revoked.
    #[arg(long)]
    action: Option<String>,
    /// Exactly this category, such as user.updated.
    #[arg(long)]
    category: Option<String>,
    /// By the actor with this id.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// By actors of this type: token, edge, enrolment or system.
    #[arg(long, value_name = "TYPE")]
    actor_type: Option<String>,
    /// About this key.
    #[arg(long)]
    key: Option<String>,
    /// Not before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// At most this many rows.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl Audit {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let filter = AuditFilter {
            action: self.action,
            category: self.category,
            actor: self.actor,
            actor_type: self.actor_type,
            key: self.key,
            from: self.from,
            to: self.to,
            limit: u32::try_from(self.limit.clamp(1, 200)).ok(),
            cursor: None,
        };
        let mut table = output::table(["time", "action", "actor", "target", "prefix", "reason"]);
        let mut entries = std::pin::pin!(client.audit(filter));
        let mut shown = 0;
        while shown < self.limit
            && let Some(entry) = entries.try_next().await?
        {
            shown += 1;
            if self.remote.json {
                output::json_line(&entry)?;
            } else {
                table.add_row(row(&entry));
            }
        }
        if self.remote.json { Ok(()) } else { output::print(&table, "Nothing was done.") }
    }
}

fn row(entry: &AuditEntry) -> Vec<String> {
    vec![
        time(entry.at),
        entry.action.clone(),
        format!("{} {}", entry.actor.kind, entry.actor.id),
        entry.target.id.clone(),
        entry.prefix.clone().unwrap_or_default(),
        entry.reason.as_deref().map(printable).unwrap_or_default(),
    ]
}
