//! The publishers of this process, by set: what everything else in it asks about publishing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Notify, watch};

use super::{KeySource, Publisher, PublisherStatus, Role};
use crate::domain::SetId;

/// The publishers of this process. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Publishers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sets: RwLock<Sets>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Sets {
    running: BTreeMap<SetId, Published>,
    /// Sets that cannot even be begun with, and why.
    failing: BTreeMap<SetId, String>,
}

/// A set that this process publishes, or stands by to publish.
#[derive(Clone)]
pub struct Published {
    publisher: Arc<Publisher>,
    keys: KeySource,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("publisher", &self.publisher).finish_non_exhaustive()
    }
}

impl Published {
    /// The publisher.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// The set's keys as they are whenever somebody asks.
    pub fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// The publisher's state, to wait for changes from now on.
    pub fn watch(&self) -> watch::Receiver<PublisherStatus> {
        let mut status = self.publisher.status();
        status.mark_unchanged();
        status
    }

    /// Whether it is this process that publishes the set now.
    pub fn leads(&self) -> bool {
        matches!(self.publisher.status().borrow().role, Role::Leading(_))
    }
}

impl Publishers {
    /// The publisher of a set; `None` where this process has none, or not yet.
    pub fn of(&self, set: &SetId) -> Option<Published> {
        self.0.sets.read().unwrap_or_else(PoisonError::into_inner).running.get(set).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(SetId, Published)> {
        let sets = self.0.sets.read().unwrap_or_else(PoisonError::into_inner);
        sets.running.iter().map(|(set, published)| (set.clone(), published.clone())).collect()
    }

    /// The sets that this process cannot begin to publish, and why.
    pub fn failing(&self) -> Vec<(SetId, String)> {
        let sets = self.0.sets.read().unwrap_or_else(PoisonError::into_inner);
        sets.failing.iter().map(|(set, why)| (set.clone(), why.clone())).collect()
    }

    /// Has whoever starts publishers look for new sets now.
    pub fn look(&self) {
        self.0.wanted.notify_one();
    }

    /// Ends when somebody wants a look at new sets.
    pub(crate) async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Takes a publisher in.
    pub fn insert(&self, set: SetId, publisher: Arc<Publisher>, keys: KeySource) {
        let mut sets = self.0.sets.write().unwrap_or_else(PoisonError::into_inner);
        sets.failing.remove(&set);
        sets.running.insert(set, Published { publisher, keys });
    }

    /// Notes that a set cannot be begun with. Returns whether that is news.
    pub(crate) fn fail(&self, set: SetId, why: String) -> bool {
        let mut sets = self.0.sets.write().unwrap_or_else(PoisonError::into_inner);
        sets.failing.insert(set, why.clone()) != Some(why)
    }
}
