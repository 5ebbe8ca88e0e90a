//! Usable keys of members by scope. A member's key carries no scopes of its own but what its member has and the member's role
//! brings: keys are counted by these two, not one by one.

use std::collections::BTreeSet;

use super::Error;
use super::tx::{Read, sql};
use crate::domain::WorkspaceId;

/// How many keys of members are looked at, the newest: a list of scopes must not grow with the keys.
pub const COUNTED_KEYS: u32 = 1_000;

/// Keys of members by what they may do.
#[derive(Debug)]
pub(super) struct LiveScopes {
    /// What members have, and how many usable keys are theirs.
    profiles: Vec<(BTreeSet<String>, u64)>,
    /// Whether there are more keys than were looked at.
    more: bool,
}

impl LiveScopes {
    /// Counts them.
    pub(super) async fn read(read: &mut Read, workspace: &WorkspaceId) -> Result<Self, Error> {
        let second = read.now().await?.div_euclid(1000);
        let limit = i64::from(COUNTED_KEYS) + 1;
        let sql = "SELECT m.scopes, COALESCE(r.scopes, ''), COUNT(*), COUNT(CASE WHEN m.state = 'active' \
                   AND k.state <> 'revoked' AND k.disabled_by = '' AND (k.deadline IS NULL OR k.deadline > $2) \
                   AND (k.expires_at IS NULL OR k.expires_at > $2) THEN 1 END) \
                   FROM (SELECT workspace_id, subject, state, disabled_by, deadline, expires_at FROM keys \
                   WHERE workspace_id = $1 AND kind = 'user' ORDER BY created_at DESC, id DESC LIMIT $3) k \
                   CROSS JOIN members m \
                   LEFT JOIN role_scopes r ON r.workspace_id = m.workspace_id AND r.role = m.role \
                   WHERE m.workspace_id = k.workspace_id AND m.subject = k.subject \
                   GROUP BY m.scopes, COALESCE(r.scopes, '')";
        let rows = sql!(read, sql, workspace.as_str(), second, limit => all (String, String, i64, i64))?;
        let seen: i64 = rows.iter().map(|(_, _, seen, _)| seen).sum();
        let profile = |(own, of_role, _, usable): (String, String, i64, i64)| {
            let words = own.split_ascii_whitespace().chain(of_role.split_ascii_whitespace());
            (words.map(str::to_owned).collect(), u64::try_from(usable).unwrap_or_default())
        };
        Ok(Self { profiles: rows.into_iter().map(profile).collect(), more: seen >= limit })
    }

    /// Usable keys of members who have a scope, and whether there may be more than were looked at.
    pub(super) fn of(&self, scope: &str) -> (u64, bool) {
        let theirs = self.profiles.iter().filter(|(scopes, _)| scopes.contains(scope));
        (theirs.map(|(_, usable)| usable).sum(), self.more)
    }
}
