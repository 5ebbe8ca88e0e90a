//! The next head: what the one before said, with the state and the terms that are now to be signed.

use nightlatch_keyset::{AuditCheckpoint, BaseFiles, Commitment, Hash, Head};

/// What a set's row says about its heads at the moment of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Milliseconds that a head may be relied on.
    pub validity_ms: u64,
    /// Milliseconds that clocks may be apart.
    pub skew_ms: u64,
    /// The hash of the route policy in force.
    pub policy: Hash,
    /// Its bytes.
    pub policy_len: u64,
    /// Whether texts that were not minted here can be keys. As long as rows have no number, an imported key would have no
    /// name: then it is not said, whatever the set's row says.
    pub accepts_foreign: bool,
    /// Milliseconds that open routes may be answered after a head was issued; none where the policy has no such route, or
    /// the set does not let them.
    pub open_ms: Option<u64>,
    /// The version of the trust note in force.
    pub trust: Option<u64>,
    /// How far the audit log is chained.
    pub audit: Option<AuditCheckpoint>,
}

impl Terms {
    /// Whether a head says them already; if not, a new one is due although nothing else has changed. The audit log's
    /// checkpoint waits for the next one.
    pub fn are_said_by(&self, head: &Head) -> bool {
        self.policy == head.policy
            && self.accepts_foreign == head.accepts_foreign
            && self.open_ms.is_some() == head.open_until.is_some()
            && self.trust == head.trust
    }
}

/// A base that is about to begin an epoch, as its head describes it.
#[derive(Clone, Debug)]
pub struct BaseFacts {
    /// Its root.
    pub root: Hash,
    /// How many keys it holds.
    pub keys: u64,
    /// Bytes of its index.
    pub len: u64,
    /// Bytes of each part.
    pub parts: alloc::vec::Vec<u64>,
    /// The rebase record's hash and bytes, if there is one.
    pub record: Option<(Hash, u64)>,
}

impl BaseFacts {
    /// Of a base's files and the record that leads to it.
    pub fn of(files: &BaseFiles, record: Option<&[u8]>) -> Self {
        Self {
            root: files.root,
            keys: files.keys,
            len: files.index.len() as u64,
            parts: files.parts.iter().map(|part| part.len() as u64).collect(),
            record: record.map(|record| (Hash::of(record), record.len() as u64)),
        }
    }
}

/// The same state, signed anew under these terms.
pub fn resigned(head: &Head, terms: &Terms, issued: u64) -> Head {
    Head {
        accepts_foreign: terms.accepts_foreign,
        policy: terms.policy,
        policy_len: terms.policy_len,
        issued,
        valid_until: issued.saturating_add(terms.validity_ms),
        skew: terms.skew_ms,
        open_until: terms.open_ms.map(|open| issued.saturating_add(open)),
        trust: terms.trust,
        audit: terms.audit,
        ..head.clone()
    }
}

/// The next version of the epoch: its delta leads to `commitment`, with `keys` keys.
pub fn next_version(head: &Head, terms: &Terms, issued: u64, commitment: Commitment, keys: u64) -> Head {
    Head { version: head.version + 1, commitment, keys, ..resigned(head, terms, issued) }
}

/// The head that begins an epoch with a base. `head` is any head of the set, with the incarnation, epoch and version that
/// the base has, `before` the commitment of the version before it.
pub fn begins_epoch(head: &Head, base: &BaseFacts, before: &Commitment, terms: &Terms, issued: u64) -> Head {
    let commitment = before.then(&base.root);
    Head {
        commitment,
        keys: base.keys,
        base_version: head.version,
        base_commitment: commitment,
        base_root: base.root,
        base_len: base.len,
        base_parts: base.parts.clone(),
        rebase: base.record,
        ..resigned(head, terms, issued)
    }
}
