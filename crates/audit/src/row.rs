//! An entry in bytes, and its hash.

use nightlatch_keyset::Hash;
use sha2::{Digest as _, Sha256};

/// What the first entry follows on: zeros.
pub const START: Hash = Hash([0; 32]);

/// What an entry's hash begins with. Its number is that of the entry's layout.
const LABEL: &[u8] = b"nightlatch.audit-entry/1";

/// An entry as it is hashed: every word of it but the personal ones, for which `commitments` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Its place in the workspace's log, counted from 1.
    pub seq: u64,
    /// Its number in the database.
    pub id: i64,
    /// Unix milliseconds.
    pub at: i64,
    /// The log it belongs to.
    pub workspace: &'a str,
    /// What kind of actor it was.
    pub actor_type: &'a str,
    /// Which.
    pub actor_id: &'a str,
    /// The member whose authority the actor had.
    pub on_behalf_of: Option<&'a str>,
    /// What was done.
    pub action: &'a str,
    /// The general event that is filed under.
    pub category: &'a str,
    /// What kind of record it was done to.
    pub target_type: &'a str,
    /// Which.
    pub target_id: &'a str,
    /// A key's public prefix.
    pub prefix: Option<&'a str>,
    /// The first characters of a key's id.
    pub short_prefix: Option<&'a str>,
    /// The scopes a key carried, separated by blanks.
    pub scopes: Option<&'a str>,
    /// What changed, before: the very text.
    pub before: Option<&'a str>,
    /// What changed, after: the very text.
    pub after: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// By which request.
    pub request_id: &'a str,
    /// What stands for personal values: see [`Commitments`](crate::Commitments).
    pub commitments: Option<&'a str>,
}

impl Row<'_> {
    /// The hash of an entry that follows on one with the hash `before`.
    pub fn hash(&self, before: &Hash) -> Hash {
        let mut hash = Sha256::new_with_prefix(LABEL);
        hash.update(before.0);
        self.write(&mut |bytes| hash.update(bytes));
        Hash(hash.finalize().into())
    }

    /// Writes the bytes. Every text says how long it is, so no two entries have the same ones.
    pub fn write(&self, out: &mut impl FnMut(&[u8])) {
        // Every field by name: a new one that is forgotten here does not compile.
        let Self {
            seq,
            id,
            at,
            workspace,
            actor_type,
            actor_id,
            on_behalf_of,
            action,
            category,
            target_type,
            target_id,
            prefix,
            short_prefix,
            scopes,
            before,
            after,
            reason,
            request_id,
            commitments,
        } = *self;
        out(&seq.to_le_bytes());
        out(&id.to_le_bytes());
        out(&at.to_le_bytes());
        let texts = [
            Some(workspace),
            Some(actor_type),
            Some(actor_id),
            on_behalf_of,
            Some(action),
            Some(category),
            Some(target_type),
            Some(target_id),
            prefix,
            short_prefix,
            scopes,
            before,
            after,
            reason,
            Some(request_id),
            commitments,
        ];
        for text in texts {
            match text {
                None => out(&[0]),
                Some(text) => {
                    out(&[1]);
                    // A database that holds a text of 4 GiB is of another world; its hash would only be another one.
                    out(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                    out(text.as_bytes());
                }
            }
        }
    }
}
