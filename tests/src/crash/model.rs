//! What a client knows of its keys from what it was told.

use jiff::Timestamp;
use nightlatch_api::{Key, KeyState};
use nightlatch_key::Digest;

/// How far a key has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In service.
    Active,
    /// In service until then.
    Retiring(Timestamp),
    /// Out of service for ever.
    Revoked,
}

/// What must be found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) stage: Stage,
    pub(super) disabled: bool,
    pub(super) scopes: Vec<String>,
    pub(super) tier: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) predecessor: Option<String>,
    pub(super) successor: Option<String>,
    pub(super) imported: bool,
}

impl Facts {
    /// What the control plane says of a key.
    pub(super) fn of(key: &Key) -> Self {
        Self {
            stage: match (key.state, key.deadline) {
                (KeyState::Revoked, _) => Stage::Revoked,
                (_, Some(deadline)) => Stage::Retiring(deadline),
                (_, None) => Stage::Active,
            },
            disabled: !key.disabled_by.is_empty(),
            scopes: key.scopes.clone(),
            tier: key.tier.clone(),
            owner: key.owner.clone(),
            expires_at: key.expires_at,
            predecessor: key.predecessor.clone(),
            successor: key.successor.clone(),
            imported: key.imported,
        }
    }

    /// Whether the key is in service and no rotation has taken hold of it.
    pub(super) fn is_plain(&self) -> bool {
        self.stage == Stage::Active && !self.disabled
    }
}

/// A key of a client's own. Its name is unique and never changes, so that it is recognised whatever happens.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) digest: Digest,
    pub(super) facts: Facts,
    /// The open rotation of which it is the predecessor.
    pub(super) rotation: Option<String>,
    /// The round that last changed it.
    pub(super) round: u32,
}
