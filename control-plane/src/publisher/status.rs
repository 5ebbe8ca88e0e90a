//! What others may know of the publisher at any moment.

use std::fmt;
use std::time::Duration;

use super::epoch::Epoch;
use super::reason::CutReason;
use crate::store::publication::SetState;

/// Whether this process is the one that numbers and signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It has not asked yet.
    #[default]
    Starting,
    /// It is; the lease's term.
    Leading(u64),
    /// Another process is.
    Standby,
    /// It has stopped.
    Stopped,
}

impl Role {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Leading(_) => "leading",
            Self::Standby => "standby",
            Self::Stopped => "stopped",
        }
    }
}

/// What a build from the database is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Change rows are read.
    Reading,
    /// The base is put together.
    Packing,
    /// What has changed since the build began is applied.
    CatchingUp,
}

impl Phase {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Packing => "packing",
            Self::CatchingUp => "catching up",
        }
    }
}

/// How far a build from the database has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Change rows read.
    pub rows: u64,
    /// Change rows there are.
    pub expected: u64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a base is built from the database: {}, {} of {} rows", self.phase.as_str(), self.rows, self.expected)
    }
}

/// A publisher's state, for `/readyz`, `/metrics` and whoever waits for a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublisherStatus {
    /// Whether this process publishes.
    pub role: Role,
    /// The lease's term, whoever leads: a leader whose term is lower has been deposed.
    pub term: u64,
    /// Recovery count of the published head.
    pub incarnation: u64,
    /// Base number of the published head.
    pub epoch: u64,
    /// Change counter of the published head; 0 before the first.
    pub version: u64,
    /// Keys at that version.
    pub keys: u64,
    /// The database clock the published head was signed over, unix milliseconds. The head's file is in place.
    pub issued: Option<u64>,
    /// When the published head may no longer be relied on, unix milliseconds.
    pub valid_until: Option<u64>,
    /// How long the last version took from the start of its numbering to its head being in place.
    pub last_publish: Option<Duration>,
    /// How long the last base took to make and publish; of one from the database, without its build in the background.
    pub last_cut: Option<Duration>,
    /// Why that base was made.
    pub last_cut_reason: Option<CutReason>,
    /// Keys beside the base, in the replicas of edges.
    pub overlay: u64,
    /// Bytes of the epoch's deltas of level 0.
    pub delta_bytes: u64,
    /// How far a build from the database has come, while there is one.
    pub build: Option<Progress>,
    /// Heads published by this process.
    pub heads: u64,
    /// Committed changes that no published head includes, when last counted.
    pub unpublished: u64,
    /// Why the last attempt failed; `None` after a good one.
    pub error: Option<String>,
    /// Whether that error needs a person: nothing is signed until then.
    pub refused: bool,
    /// Why the deny note cannot be read, where there is one: publishing goes on, and a person should look.
    pub deny_unreadable: Option<String>,
    /// Why the audit log's checkpoint stays where it was, where the database no longer holds what was signed: publishing goes
    /// on, and a person should look.
    pub audit_broken: Option<String>,
}

impl PublisherStatus {
    /// Takes over what another process has published, as the database has it.
    pub(super) fn stand_by(&mut self, term: u64, state: &SetState) {
        (self.role, self.term) = (Role::Standby, term);
        (self.error, self.refused, self.build) = (None, false, None);
        (self.deny_unreadable, self.audit_broken) = (None, None);
        (self.incarnation, self.epoch, self.version) = (state.incarnation, state.epoch, state.version);
        self.issued = state.head.as_ref().map(|_| state.head_issued);
        self.valid_until = self.issued.map(|issued| issued.saturating_add(state.validity_ms));
    }

    /// Takes over what has been published.
    pub(super) fn show(&mut self, epoch: &Epoch) {
        let head = &epoch.head;
        (self.incarnation, self.epoch, self.version) = (head.incarnation, head.epoch, head.version);
        self.keys = head.keys;
        (self.issued, self.valid_until) = (Some(head.issued), Some(head.valid_until));
        (self.overlay, self.delta_bytes) = (epoch.overlay(), epoch.delta_bytes());
    }

    /// Whether everything is in order: the set has a head that is valid at `now` (unix milliseconds of the database), and
    /// nothing is refused. While another process leads, only a refusal counts.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn readiness(&self, now: u64) -> Result<(), String> {
        match (&self.error, self.valid_until) {
            (Some(error), _) if self.refused => Err(format!("publishing is refused: {error}")),
            _ if self.role == Role::Stopped => Err("the publisher has stopped".into()),
            (None, _) if self.role == Role::Standby => Ok(()),
            (Some(error), Some(until)) if until <= now => Err(format!("the published head has run out: {error}")),
            (Some(error), None) => Err(format!("nothing is published yet: {error}")),
            (None, None) => match &self.build {
                Some(progress) => Err(format!("nothing is published yet: {progress}")),
                None => Err("nothing is published yet".into()),
            },
            (None, Some(until)) if until <= now => Err("the published head has run out".into()),
            (_, Some(_)) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_a_valid_head_or_another_leader() {
        assert!(PublisherStatus::default().readiness(0).is_err());
        let leading = PublisherStatus { role: Role::Leading(1), ..PublisherStatus::default() };
        assert!(leading.readiness(0).is_err());
        let published = PublisherStatus { valid_until: Some(100), ..leading };
        assert!(published.readiness(99).is_ok());
        assert!(published.readiness(100).is_err());
        // A failure is no reason as long as the head stands.
        let failing = PublisherStatus { error: Some("disk full".into()), ..published };
        assert!(failing.readiness(99).is_ok());
        assert!(failing.readiness(100).unwrap_err().contains("disk full"));
        assert!(PublisherStatus { refused: true, ..failing }.readiness(99).is_err());
        assert!(PublisherStatus { role: Role::Standby, ..PublisherStatus::default() }.readiness(0).is_ok());
    }
}
