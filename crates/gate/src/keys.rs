//! Where the gate looks keys up.

use nightlatch_key::{Brand, Digest};
use nightlatch_keyset::{Head, Pepper, Profile, Record, Replica};

/// A source of keys: a replica at an edge, a row of the database behind `/v1/verify`, a map in a test.
pub trait Keys {
    /// The key whose text has this digest, or `None` where there is none.
    ///
    /// # Errors
    /// [`Unfit`] where the source cannot tell. It must never answer `None` then: a good key would be refused.
    fn find(&self, digest: &Digest) -> Result<Option<Found<'_>>, Unfit>;

    /// Whether what is found may no longer be relied on but for routes that are open. A key that is then not found may have
    /// been issued meanwhile, so it is not called invalid.
    fn only_open(&self) -> bool {
        false
    }
}

/// A key that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// What is known of it.
    pub record: Record,
    /// What it may do.
    pub profile: &'a Profile,
    /// The workspace it belongs to.
    pub workspace: &'a str,
}

/// Why a source cannot tell whether a key exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Nothing is loaded, or what is loaded may no longer be relied on.
    SetStale,
    /// What is loaded is damaged.
    SetCorrupt,
    /// The set's pepper is not at hand.
    PepperMissing,
}

/// What the gate knows of the set it answers from.
#[derive(Clone, Copy, Debug)]
pub struct SetFacts<'a> {
    /// The workspace whose keys are admitted.
    pub workspace: &'a str,
    /// The brand of its keys. Text that begins as a key of the brand but is none is refused unhashed, even by sets that
    /// accept foreign keys.
    pub brand: Brand,
    /// Whether keys of other shapes may be in the set.
    pub accepts_foreign: bool,
    /// The database clock before the set's newest change was read, in unix milliseconds.
    pub issued: u64,
    /// How far clocks may be apart, in milliseconds.
    pub skew: u64,
}

impl<'a> From<&'a Head> for SetFacts<'a> {
    fn from(head: &'a Head) -> Self {
        Self {
            workspace: &head.workspace,
            brand: head.brand,
            accepts_foreign: head.accepts_foreign,
            issued: head.issued,
            skew: head.skew,
        }
    }
}

/// A replica and the pepper to look into it with. Freshness is the caller's to judge, before.
#[derive(Clone, Copy)]
pub struct ReplicaKeys<'a> {
    /// The replica.
    pub replica: &'a Replica,
    /// The pepper the head names, if it is at hand.
    pub pepper: Option<&'a Pepper>,
}

impl Keys for ReplicaKeys<'_> {
    fn find(&self, digest: &Digest) -> Result<Option<Found<'_>>, Unfit> {
        let pepper = self.pepper.ok_or(Unfit::PepperMissing)?;
        let record = self.replica.lookup(&pepper.tag(digest)).map_err(|_| Unfit::SetCorrupt)?;
        let Some(record) = record else {
            return Ok(None);
        };
        let profile = self.replica.profile(record.profile).ok_or(Unfit::SetCorrupt)?;
        Ok(Some(Found { record, profile, workspace: self.replica.workspace() }))
    }
}
