//! Where the set comes from, and where it is kept.

use std::sync::{Arc, PoisonError, RwLock};

use crate::source::Source;
use crate::store::Store;

/// Where the set comes from and where it is kept.
pub(crate) struct Supply {
    pub(crate) store: Store,
    source: RwLock<Arc<Source>>,
}

impl Supply {
    pub(crate) fn new(store: Store, source: Source) -> Self {
        Self { store, source: RwLock::new(Arc::new(source)) }
    }

    /// Reads from another source from now on.
    pub(crate) fn set_source(&self, source: Source) {
        *self.source.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(source);
    }

    /// The source now.
    pub(crate) fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source.read().unwrap_or_else(PoisonError::into_inner))
    }
}
