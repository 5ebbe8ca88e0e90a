//! What of the log a command is about.

use clap::Args;
use jiff::Timestamp;
use nightlatch_api::{AuditExport, AuditFilter};

use crate::cli::time::moment;

/// Every one that is given must hold.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filter")]
pub(super) struct Filter {
    /// Exactly this action, such as key.revoked.
    #[arg(long)]
    action: Option<String>,
    /// Exactly this category, such as user.updated.
    #[arg(long)]
    category: Option<String>,
    /// By the actor with this id; of a member also what was done with its tokens.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// By actors of this type: member, token, service_account, edge, gateway, enrolment or system.
    #[arg(long, value_name = "TYPE")]
    actor_type: Option<String>,
    /// About this key.
    #[arg(long)]
    key: Option<String>,
    /// About this principal and its keys: prn_….
    #[arg(long, value_name = "ID")]
    principal: Option<String>,
    /// About whatever has this id.
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Not before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
}

impl Filter {
    pub(super) fn list(self, page: u32) -> AuditFilter {
        AuditFilter {
            action: self.action,
            category: self.category,
            actor: self.actor,
            actor_type: self.actor_type,
            key: self.key,
            principal: self.principal,
            target: self.target,
            from: self.from,
            to: self.to,
            limit: Some(page),
            cursor: None,
        }
    }

    pub(super) fn export(self, after: Option<u64>) -> AuditExport {
        AuditExport {
            after,
            action: self.action,
            category: self.category,
            actor: self.actor,
            actor_type: self.actor_type,
            key: self.key,
            principal: self.principal,
            target: self.target,
            from: self.from,
            to: self.to,
        }
    }
}
