//! Members: what their keys may do is said by one live profile each, however many keys there are.

use std::collections::BTreeMap;

use nightlatch_keyset::{PrincipalKind, Profile};
use rand::RngExt as _;

use crate::Plant;
use crate::database::{Data, Mutation};
use crate::kit::Kit;
use crate::plan::MemberAct;
use crate::world::{Event, World};

/// How many there are.
pub(crate) const MEMBERS: usize = 3;

/// What the keys of a member may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The scopes are those of the kit's profile with this number.
    pub(crate) scopes: usize,
    /// The member is suspended.
    pub(crate) refused: bool,
}

/// Members by number.
pub(crate) type Members = BTreeMap<usize, Contents>;

/// A change of a profile, whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProfileRow {
    pub(crate) seq: u64,
    pub(crate) member: usize,
    pub(crate) contents: Contents,
    /// The database clock when it was written.
    pub(crate) created_at: u64,
    /// The highest reading of the database clock before it was committed.
    pub(crate) committed_clock: u64,
    pub(crate) version: Option<u64>,
}

impl Data {
    /// What is said of members at a version.
    pub(crate) fn members_at(&self, version: u64) -> Members {
        let mut rows: Vec<_> = self.profiles.iter().filter(|row| row.version.is_some_and(|v| v <= version)).collect();
        rows.sort_by_key(|row| (row.version, row.seq));
        rows.into_iter().map(|row| (row.member, row.contents)).collect()
    }

    /// Whether committed rows have no version.
    pub(crate) fn waits(&self) -> bool {
        self.changes.iter().any(|row| row.version.is_none()) || self.profiles.iter().any(|row| row.version.is_none())
    }
}

impl Kit {
    /// The member whose keys have that profile, if it is a member's.
    pub(crate) fn member(&self, profile: usize) -> Option<usize> {
        profile.checked_sub(self.profiles.len())
    }

    /// A profile by number, with what is said of members.
    pub(crate) fn profile(&self, number: usize, members: &Members) -> Profile {
        match self.member(number) {
            None => self.profiles[number].clone(),
            Some(member) => {
                let nothing = Contents { refused: true, ..Contents::default() };
                self.live(member, members.get(&member).unwrap_or(&nothing))
            }
        }
    }

    /// A member's profile.
    pub(crate) fn live(&self, member: usize, contents: &Contents) -> Profile {
        Profile {
            kind: PrincipalKind::User,
            live: Some(member as u32),
            refused: contents.refused,
            ..self.profiles[contents.scopes].clone()
        }
    }
}

impl World {
    /// Begins a change of a member.
    pub(crate) fn change_member(&mut self, member: usize, act: MemberAct) {
        let clock = self.database.clock(self.now);
        let Some(held) = self.database.data.members.get(&member) else { return };
        let contents = match act {
            MemberAct::Scopes(scopes) => Contents { scopes, ..*held },
            MemberAct::Suspend => Contents { refused: true, ..*held },
            MemberAct::Resume => Contents { refused: false, ..*held },
        };
        if contents == *held || !self.database.locked_members.insert(member) {
            return;
        }
        let seqs = vec![self.database.data.next_seq];
        self.database.data.next_seq += 1;
        let id = self.database.id();
        let mutation =
            Mutation { rows: Vec::new(), member: Some((member, contents)), seqs, created_at: clock, set: None };
        self.database.mutations.insert(id, mutation);
        let wait = self.rng.random_range(1..30);
        self.push(self.now + wait, Event::Commit(id));
    }

    /// Commits what is said of a member: of all its keys at once.
    pub(crate) fn commit_member(&mut self, row: ProfileRow) {
        let ProfileRow { member, contents, .. } = row;
        self.database.locked_members.remove(&member);
        let before = self.database.data.members.insert(member, contents);
        let lost = before.is_some_and(|before| match self.setup.plant {
            Some(Plant::LostSuspension) => contents.refused && !before.refused,
            Some(Plant::LostScopes) => contents.scopes != before.scopes,
            _ => false,
        });
        if !lost {
            self.database.data.profiles.push(row);
        }
        if before.is_none_or(|before| contents.scopes != before.scopes) {
            self.truth.scopes_since.insert(member, (contents.scopes, self.now));
        }
        for (key, held) in &self.database.data.keys {
            if self.kit.member(held.profile) == Some(member) {
                self.truth.member_changed(*key, held.image().is_usable(), contents.refused, self.now);
            }
        }
        self.counts.members += 1;
        let at = self.now + self.bound() + 5;
        self.push(at, Event::Look(self.counts.events));
    }

    /// Whether the member that a profile is of is suspended.
    pub(crate) fn is_refused(&self, profile: usize) -> bool {
        self.kit.member(profile).is_some_and(|member| self.database.data.members.get(&member).is_none_or(|m| m.refused))
    }
}
