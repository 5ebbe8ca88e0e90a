//! A client that changes keys of its own and remembers what it was told.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use nightlatch_api::client::{Client as Api, ClientError};
use nightlatch_api::{
    CancelRotation, CompleteRotation, DisableKey, EnableKey, ImportOptions, Key, KeyFilter, RevokeKey, Secret,
    StartedRotation, SuccessorFate,
};
use nightlatch_key::Digest;
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

use super::model::{Facts, Held, Stage};
use super::mutation::{Change, Mutation, Writer};
use crate::import;

/// What a client has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) issued: u64,
    pub(super) rotated: u64,
    pub(super) cut_off: u64,
    pub(super) cut_off_but_done: u64,
}

/// A client.
pub(super) struct Client {
    api: Api,
    writer: Writer,
    keys: Vec<Held>,
    cut_off: Option<Mutation>,
    round: u32,
    counts: Counts,
}

impl Client {
    /// A client with a number of its own.
    pub(super) fn new(number: u64, api: Api, random: ChaCha8Rng) -> Self {
        let writer = Writer::new(number, random);
        Self { api, writer, keys: Vec::new(), cut_off: None, round: 0, counts: Counts::default() }
    }

    /// How many keys it has.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// What it has done.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The keys that the present round has changed, by their ids.
    pub(super) fn touched(&self) -> impl Iterator<Item = String> + '_ {
        self.keys.iter().filter(|held| held.round == self.round).map(|held| held.id.clone())
    }

    /// Every key's id and digest.
    pub(super) fn digests(&self) -> impl Iterator<Item = (String, Digest)> + '_ {
        self.keys.iter().map(|held| (held.id.clone(), held.digest))
    }

    /// Changes one thing after another until the connection breaks or `stopped`; with `bulk` a great deal first.
    pub(super) async fn mutate(&mut self, round: u32, bulk: bool, stopped: watch::Receiver<()>) -> Result<()> {
        self.round = round;
        let mut first = bulk.then(|| self.writer.bulk());
        // An error: the sender is gone.
        while stopped.has_changed().is_ok() {
            let mutation = first.take().unwrap_or_else(|| self.writer.next(&self.keys));
            let outcome = self.attempt(&mutation).await.with_context(|| mutation.describe())?;
            if outcome.is_none() {
                self.counts.cut_off += 1;
                self.cut_off = Some(mutation);
                break;
            }
        }
        Ok(())
    }

    /// Finds out what became of the mutation that was cut off, and sees to it that it is done.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let Some(mutation) = self.cut_off.take() else {
            return Ok(());
        };
        let cut_off = || format!("cut off: {}", mutation.describe());
        let done = self.was_done(&mutation).await.with_context(cut_off)?;
        self.counts.cut_off_but_done += u64::from(done);
        if done && !mutation.is_repeatable() {
            self.apply(&mutation);
            self.counts.acknowledged += 1;
            return Ok(());
        }
        self.attempt(&mutation).await.with_context(cut_off)?.context("the restarted control plane is gone")?;
        ensure!(self.was_done(&mutation).await?, "acknowledged and not done: {}", mutation.describe());
        Ok(())
    }

    /// Compares what was told with what is found; with `all` keys, also that none of the client's is missing or double.
    pub(super) fn compare(&self, found: &[Key], all: bool) -> Result<()> {
        let mut by_name: HashMap<&str, &Key> = HashMap::new();
        for key in found.iter().filter(|key| self.writer.is_own(&key.name)) {
            ensure!(by_name.insert(&key.name, key).is_none(), "{} exists twice", key.name);
        }
        for held in &self.keys {
            match by_name.get(held.name.as_str()) {
                Some(key) => check(held, key)?,
                None => ensure!(!all && held.round != self.round, "lost: {held:?}"),
            }
        }
        ensure!(!all || by_name.len() == self.keys.len(), "more keys than acknowledged: {:?}", by_name.keys());
        Ok(())
    }

    /// Makes the call. `None`: the connection broke, and nobody knows.
    async fn attempt(&mut self, mutation: &Mutation) -> Result<Option<()>> {
        let api = match mutation.idempotency_key() {
            Some(key) => self.api.with_idempotency_key(key),
            None => self.api.clone(),
        };
        match mutation {
            Mutation::Issue { request } => {
                let Some(issued) = reached(api.issue_key(request).await)? else { return Ok(None) };
                self.hold(&issued.key, Digest::of(issued.secret.expose().as_bytes()));
                self.counts.issued += 1;
            }
            Mutation::Import { batch, texts } => return self.import(batch, texts).await,
            Mutation::Change { key, change } => {
                let held = &self.keys[*key];
                let Some(found) = change_key(&self.api, &held.id, change).await? else { return Ok(None) };
                self.apply(mutation);
                check(&self.keys[*key], &found)?;
            }
            Mutation::Rotate { key, request } => {
                let id = self.keys[*key].id.clone();
                let Some(started) = reached(api.start_rotation(&id, request).await)? else { return Ok(None) };
                self.rotated(*key, started);
                self.counts.rotated += 1;
            }
            Mutation::Complete { key } => {
                let request = CompleteRotation { force: true, reason: Some("the client says so".into()) };
                let rotation = self.rotation(*key)?;
                if reached(api.complete_rotation(&rotation, &request).await)?.is_none() {
                    return Ok(None);
                }
                self.apply(mutation);
            }
            Mutation::Cancel { key, fate } => {
                let request = CancelRotation { successor: *fate, reason: None };
                let rotation = self.rotation(*key)?;
                if reached(api.cancel_rotation(&rotation, &request).await)?.is_none() {
                    return Ok(None);
                }
                self.apply(mutation);
            }
        }
        self.counts.acknowledged += 1;
        Ok(Some(()))
    }

    async fn import(&mut self, batch: &str, texts: &BTreeMap<String, Secret>) -> Result<Option<()>> {
        let lines: Vec<_> = texts.iter().map(|(name, text)| import::by_digest(name, text.expose())).collect();
        let body = import::lines(&lines)?;
        let Some(report) = reached(self.api.import_keys(ImportOptions::default(), body).await)? else {
            return Ok(None);
        };
        // Repeating is resuming: a batch cut off is there whole, or not at all.
        let whole = [report.created, report.existing].contains(&(texts.len() as u64));
        ensure!(whole && report.errors.is_empty(), "{report:?}");
        let Some(found) = self.find(batch).await? else { return Ok(None) };
        ensure!(found.len() == texts.len(), "{} keys of {}", found.len(), texts.len());
        for key in found {
            let text = texts.get(&key.name).with_context(|| format!("nobody imported {key:?}"))?;
            self.hold(&key, Digest::of(text.expose().as_bytes()));
        }
        self.counts.acknowledged += 1;
        Ok(Some(()))
    }

    /// The client's keys whose names begin so.
    async fn find(&self, name: &str) -> Result<Option<Vec<Key>>> {
        let filter = KeyFilter { q: Some(name.to_owned()), limit: Some(200), ..KeyFilter::default() };
        reached(self.api.keys(filter).try_collect().await)
    }

    /// Whether a mutation took effect; an error where only a part of it did.
    async fn was_done(&self, mutation: &Mutation) -> Result<bool> {
        let mut done = Vec::new();
        if let Some((name, count)) = mutation.births() {
            let born = self.find(name).await?.context("the control plane is gone")?.len();
            ensure!([0, count].contains(&born), "{born} keys of {count} are there");
            done.push(born == count);
        }
        for (index, after) in self.effects(mutation) {
            let held = &self.keys[index];
            let found = Facts::of(&self.api.key(&held.id).await?.value);
            ensure!([&held.facts, &after].contains(&&found), "neither {:?} nor {after:?}: {found:?}", held.facts);
            if held.facts != after {
                done.push(found == after);
            }
        }
        if let Mutation::Rotate { key, request } = mutation {
            let found = self.api.key(&self.keys[*key].id).await?.value;
            let name = request.name.as_deref().unwrap_or_default();
            let successor = self.find(name).await?.context("the control plane is gone")?.pop();
            ensure!(successor.as_ref().is_none_or(|new| found.successor.as_ref() == Some(&new.id)), "{found:?}");
            ensure!(successor.is_some() || Facts::of(&found) == self.keys[*key].facts, "{found:?}");
        }
        ensure!(done.iter().all(|one| *one == done[0]), "half done");
        Ok(done.first().copied().unwrap_or(true))
    }

    /// What a mutation makes of keys the client holds, as far as that is known before.
    fn effects(&self, mutation: &Mutation) -> Vec<(usize, Facts)> {
        let facts = |key: usize| self.keys[key].facts.clone();
        match mutation {
            Mutation::Issue { .. } | Mutation::Import { .. } | Mutation::Rotate { .. } => Vec::new(),
            Mutation::Change { key, change } => vec![(*key, change.of(facts(*key)))],
            Mutation::Complete { key } => vec![(*key, Change::Revoke.of(facts(*key)))],
            Mutation::Cancel { key, fate } => {
                let predecessor = Facts { stage: Stage::Active, successor: None, ..facts(*key) };
                let mut effects = vec![(*key, predecessor)];
                if *fate == SuccessorFate::Revoke
                    && let Some(successor) =
                        self.keys.iter().position(|held| Some(&held.id) == self.keys[*key].facts.successor.as_ref())
                {
                    effects.push((successor, Change::Revoke.of(facts(successor))));
                }
                effects
            }
        }
    }

    fn apply(&mut self, mutation: &Mutation) {
        if let Mutation::Complete { key } | Mutation::Cancel { key, .. } = mutation {
            self.keys[*key].rotation = None;
        }
        for (index, facts) in self.effects(mutation) {
            let held = &mut self.keys[index];
            if facts.stage == Stage::Revoked {
                held.rotation = None;
            }
            (held.facts, held.round) = (facts, self.round);
        }
    }

    fn rotated(&mut self, predecessor: usize, started: StartedRotation) {
        let StartedRotation { rotation, key, secret, .. } = started;
        let held = &mut self.keys[predecessor];
        held.facts.stage = rotation.deadline.map_or(Stage::Revoked, Stage::Retiring);
        held.facts.successor = Some(key.id.clone());
        held.rotation = rotation.deadline.map(|_| rotation.id);
        held.round = self.round;
        self.hold(&key, Digest::of(secret.expose().as_bytes()));
    }

    fn hold(&mut self, key: &Key, digest: Digest) {
        self.keys.push(Held {
            id: key.id.clone(),
            name: key.name.clone(),
            digest,
            facts: Facts::of(key),
            rotation: None,
            round: self.round,
        });
    }

    fn rotation(&self, key: usize) -> Result<String> {
        self.keys[key].rotation.clone().context("the key is not being rotated")
    }
}

async fn change_key(api: &Api, id: &str, change: &Change) -> Result<Option<Key>> {
    match change {
        Change::Update(update) => {
            let Some(now) = reached(api.key(id).await)? else { return Ok(None) };
            Ok(reached(api.update_key(id, &now.etag, update).await)?.map(|key| key.value))
        }
        Change::Disable => reached(api.disable_key(id, &DisableKey::default()).await),
        Change::Enable => reached(api.enable_key(id, &EnableKey::default()).await),
        Change::Revoke => {
            let request = RevokeKey::new("the client says so");
            Ok(reached(api.revoke_key(id, &request).await)?.map(|revoked| revoked.key))
        }
    }
}

fn check(held: &Held, found: &Key) -> Result<()> {
    ensure!(found.id == held.id && Facts::of(found) == held.facts, "told {held:?}, found {found:?}");
    Ok(())
}

/// `None` where the connection broke; every refusal is an error.
fn reached<T>(answer: Result<T, ClientError>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ClientError::Transport { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
