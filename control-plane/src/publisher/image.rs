//! From a change row to what a set says of a key.

use std::time::Duration;

use nightlatch_key::{Digest, Environment};
use nightlatch_keyset::{Change, Pepper, PrincipalKind, Profile, Status, Tag};

use crate::store::Error;
use crate::store::profile_rows::Profiles;
use crate::store::publication::ChangeRow;

/// A key's state, decoded.
pub(super) struct Image {
    tag: Tag,
    status: Status,
    foreign: bool,
    deadline: Option<u64>,
    profile: Profile,
    subject: u32,
    number: u32,
    /// Unix seconds of the change.
    changed: u64,
}

impl Image {
    /// Decodes a row, with the live profiles at its version.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is not what this program writes.
    pub(super) fn decode(row: &ChangeRow, profiles: &Profiles, pepper: &Pepper) -> Result<Self, Error> {
        let corrupt = || Error::Corrupt("change");
        let digest: [u8; 32] = row.digest.as_slice().try_into().map_err(|_| corrupt())?;
        let small = |number: i64| u32::try_from(number).map_err(|_| corrupt());
        let large = |number: i64| u64::try_from(number).map_err(|_| corrupt());
        Ok(Self {
            tag: pepper.tag(&Digest::from_bytes(digest)),
            status: Status::from_code(small(row.status)?).ok_or_else(corrupt)?,
            foreign: row.imported != 0,
            deadline: row.deadline.map(large).transpose()?,
            profile: match profiles.of_row(row)? {
                Some(live) => live,
                None => Profile {
                    kind: PrincipalKind::from_name(&row.kind).ok_or_else(corrupt)?,
                    environment: Environment::from_name(&row.environment).ok_or_else(corrupt)?,
                    tier: row.tier.clone(),
                    scopes: row.scopes.split_ascii_whitespace().map(str::to_owned).collect(),
                    live: None,
                    refused: false,
                },
            },
            subject: small(row.subject)?,
            number: small(row.key_number)?,
            changed: Duration::from_millis(large(row.created_at)?).as_secs(),
        })
    }

    /// As the set's builders take it.
    pub(super) fn change(&self) -> Change<'_> {
        Change {
            tag: self.tag,
            status: self.status,
            foreign: self.foreign,
            deadline: self.deadline,
            profile: &self.profile,
            subject: self.subject,
            number: self.number,
        }
    }

    /// Whether the key was imported, so that only its number names it.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Whether the key had ended, by revocation or deadline, before an instant in unix seconds.
    pub(super) fn ended_before(&self, cutoff: u64) -> bool {
        let revoked = (self.status == Status::Revoked).then_some(self.changed);
        revoked.into_iter().chain(self.deadline).any(|ended| ended < cutoff)
    }
}
