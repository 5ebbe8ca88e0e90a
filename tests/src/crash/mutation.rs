//! What a client may do next.

use std::collections::BTreeMap;
use std::time::Duration;

use nightlatch_api::{Environment, IssueKey, RotationOrder, Secret, StartRotation, SuccessorFate, UpdateKey};
use rand::RngExt as _;
use rand::seq::IteratorRandom as _;
use rand_chacha::ChaCha8Rng;

use super::model::{Facts, Held, Stage};
use crate::clock::{after, now};

/// Keys in an import.
const BATCH: usize = 12;
/// Keys in an import that is too large for the epoch it comes in, so that the publisher begins another.
const BULK: usize = 9_000;
/// A day, so that no deadline and no expiry comes within a run.
const DAY: u64 = 24 * 3600;

/// One call. Keys are meant by their place in the client's list.
#[derive(Clone, Debug)]
pub(super) enum Mutation {
    Issue {
        request: IssueKey,
    },
    /// Foreign keys: name and text.
    Import {
        batch: String,
        texts: BTreeMap<String, Secret>,
    },
    Change {
        key: usize,
        change: Change,
    },
    Rotate {
        key: usize,
        request: StartRotation,
    },
    Complete {
        key: usize,
    },
    Cancel {
        key: usize,
        fate: SuccessorFate,
    },
}

impl Mutation {
    /// The name of what it creates: names are unique. An import needs none, its digests are.
    pub(super) fn idempotency_key(&self) -> Option<&str> {
        match self {
            Self::Issue { request } => Some(&request.name),
            Self::Rotate { request, .. } => request.name.as_deref(),
            Self::Import { .. } | Self::Change { .. } | Self::Complete { .. } | Self::Cancel { .. } => None,
        }
    }

    /// For an error.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Import { batch, texts } => format!("import {batch} of {} keys", texts.len()),
            other => format!("{other:?}"),
        }
    }

    /// Whether the call may be made again once it was done: creations answer the same, a revocation is final.
    pub(super) fn is_repeatable(&self) -> bool {
        match self {
            Self::Issue { .. } | Self::Import { .. } | Self::Rotate { .. } | Self::Complete { .. } => true,
            Self::Change { change, .. } => matches!(change, Change::Revoke),
            Self::Cancel { .. } => false,
        }
    }

    /// What the names of the keys it makes begin with, and how many those are.
    pub(super) fn births(&self) -> Option<(&str, usize)> {
        match self {
            Self::Issue { request } => Some((&request.name, 1)),
            Self::Import { batch, texts } => Some((batch, texts.len())),
            Self::Rotate { request, .. } => request.name.as_deref().map(|name| (name, 1)),
            Self::Change { .. } | Self::Complete { .. } | Self::Cancel { .. } => None,
        }
    }
}

/// A change of one key whose result is known before.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Update(UpdateKey),
    Disable,
    Enable,
    Revoke,
}

impl Change {
    /// What it makes of a key.
    pub(super) fn of(&self, mut facts: Facts) -> Facts {
        match self {
            Self::Update(update) => {
                if let Some(owner) = &update.owner {
                    facts.owner.clone_from(owner);
                }
                if let Some(tier) = &update.tier {
                    facts.tier.clone_from(tier);
                }
                if let Some(expires_at) = update.expires_at {
                    facts.expires_at = expires_at;
                }
                // An expiry nearer than the deadline of an overlap moves the deadline with it.
                if let (Stage::Retiring(deadline), Some(Some(expiry))) = (facts.stage, update.expires_at) {
                    facts.stage = Stage::Retiring(deadline.min(expiry));
                }
            }
            Self::Disable => facts.disabled = true,
            Self::Enable => facts.disabled = false,
            Self::Revoke => facts.stage = Stage::Revoked,
        }
        facts
    }
}

/// Thinks of mutations.
pub(super) struct Writer {
    number: u64,
    random: ChaCha8Rng,
    names: u32,
}

impl Writer {
    pub(super) fn new(number: u64, random: ChaCha8Rng) -> Self {
        Self { number, random, names: 0 }
    }

    /// Whether a key of that name is this client's.
    pub(super) fn is_own(&self, name: &str) -> bool {
        name.starts_with(&format!("c{}-", self.number))
    }

    /// Something that can be done with these keys.
    pub(super) fn next(&mut self, keys: &[Held]) -> Mutation {
        let mutation = match self.random.random_range(0..16) {
            0..3 => None,
            3 => Some(self.import(BATCH)),
            4..8 => self.change(keys, |facts| facts.stage != Stage::Revoked, Self::update),
            8 => self.change(keys, |facts| facts.stage != Stage::Revoked && !facts.disabled, |_| Change::Disable),
            9 => self.change(keys, |facts| facts.stage != Stage::Revoked && facts.disabled, |_| Change::Enable),
            10 => self.change(keys, |facts| facts.stage != Stage::Revoked, |_| Change::Revoke),
            11..14 => self.rotate(keys),
            14 => self.pick(keys, |held| held.rotation.is_some()).map(|key| Mutation::Complete { key }),
            _ => self.cancel(keys),
        };
        mutation.unwrap_or_else(|| self.issue())
    }

    fn pick(&mut self, keys: &[Held], fits: impl Fn(&Held) -> bool) -> Option<usize> {
        keys.iter().enumerate().filter(|(_, held)| fits(held)).map(|(index, _)| index).choose(&mut self.random)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("c{}-{:06}", self.number, self.names)
    }

    fn issue(&mut self) -> Mutation {
        let scopes = ["invoices:read", "invoices:write", "reports:read"];
        let scopes = scopes.into_iter().filter(|_| self.random.random()).map(str::to_owned).collect();
        let name = self.name();
        Mutation::Issue { request: IssueKey { scopes, ..IssueKey::new(name, Environment::Live) } }
    }

    /// An import that makes the publisher begin another epoch.
    pub(super) fn bulk(&mut self) -> Mutation {
        self.import(BULK)
    }

    fn import(&mut self, size: usize) -> Mutation {
        let batch = self.name();
        let texts = (0..size).map(|place| {
            let text = format!("foreign-{:032x}", self.random.random::<u128>());
            (format!("{batch}.{place}"), Secret::from(text))
        });
        let texts = texts.collect();
        Mutation::Import { batch, texts }
    }

    fn change(
        &mut self,
        keys: &[Held],
        fits: impl Fn(&Facts) -> bool,
        change: impl FnOnce(&mut Self) -> Change,
    ) -> Option<Mutation> {
        let key = self.pick(keys, |held| fits(&held.facts))?;
        Some(Mutation::Change { key, change: change(self) })
    }

    /// Owner, tier and expiry, each perhaps, the owner always, so that there is something to change.
    fn update(&mut self) -> Change {
        let expiry = after(now(), Duration::from_secs(self.random.random_range(DAY..100 * DAY)));
        // Whole seconds, as it will be echoed.
        let expiry = jiff::Timestamp::from_second(expiry.as_second()).ok();
        Change::Update(UpdateKey {
            owner: Some(Some(format!("owner {}", self.random.random::<u32>()))),
            tier: self
                .random
                .random::<bool>()
                .then(|| ["gold", "silver"].into_iter().map(str::to_owned).choose(&mut self.random)),
            expires_at: self.random.random::<bool>().then_some(expiry),
            ..UpdateKey::default()
        })
    }

    fn rotate(&mut self, keys: &[Held]) -> Option<Mutation> {
        let key = self.pick(keys, |held| held.facts.is_plain())?;
        let emergency = self.random.random_ratio(1, 4);
        let request = StartRotation {
            expires_at: None,
            overlap_seconds: (!emergency).then(|| self.random.random_range(DAY..10 * DAY)),
            reason: "the client says so".into(),
            name: Some(self.name()),
            scopes: None,
            order: if emergency { RotationOrder::RevokeFirst } else { RotationOrder::IssueFirst },
            dry_run: false,
            acknowledge_sensitive: false,
        };
        Some(Mutation::Rotate { key, request })
    }

    fn cancel(&mut self, keys: &[Held]) -> Option<Mutation> {
        let key = self.pick(keys, |held| held.rotation.is_some())?;
        let fate = if self.random.random() { SuccessorFate::Keep } else { SuccessorFate::Revoke };
        Some(Mutation::Cancel { key, fate })
    }
}
