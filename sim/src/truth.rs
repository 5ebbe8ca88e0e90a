//! What is true, whatever anybody believes: which key was revoked when, and what the set is at each version.

use std::collections::BTreeMap;
use std::rc::Rc;

use nightlatch_keyset::{Commitment, Status, Tag};

use crate::database::Data;
use crate::kit::{Image, Key};
use crate::members::Members;

/// A set at one of its versions, as a plain map.
pub(crate) type Model = Rc<BTreeMap<Tag, (u32, Image)>>;

/// A key's story. Times are the simulation's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// When its revocation was committed.
    pub(crate) revoked_at: Option<u64>,
    /// Since when its member has been suspended without a break.
    pub(crate) refused_since: Option<u64>,
    /// Since when it has been usable without a break.
    pub(crate) usable_since: Option<u64>,
    /// Its revocation is in a head that was written where edges read.
    pub(crate) revocation_published: bool,
    /// The last state that somebody was told is stored.
    pub(crate) acknowledged: Option<Image>,
}

/// A revocation on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revocation {
    pub(crate) at: u64,
    pub(crate) incarnation: u64,
    pub(crate) version: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) keys: Vec<Story>,
    pub(crate) models: BTreeMap<[u8; 32], Model>,
    /// What each state says of members.
    pub(crate) members: BTreeMap<[u8; 32], Members>,
    /// What members' keys may do, by the kit's profile, and since when without a break.
    pub(crate) scopes_since: BTreeMap<usize, (usize, u64)>,
    pub(crate) revocations: Vec<Revocation>,
    pub(crate) largest_validity: u64,
    pub(crate) largest_open: u64,
}

impl Truth {
    pub(crate) fn add(&mut self) {
        self.keys.push(Story::default());
    }

    /// A change of a key has been committed; `refused` says whether its member is suspended, `heard` whether whoever asked
    /// for it was told.
    pub(crate) fn committed(&mut self, key: u32, image: Image, refused: bool, now: u64, heard: bool) {
        let story = &mut self.keys[key as usize];
        if image.status == Status::Revoked {
            story.revoked_at = story.revoked_at.or(Some(now));
        }
        story.usable_since = if image.is_usable() && !refused { story.usable_since.or(Some(now)) } else { None };
        story.refused_since = if refused { story.refused_since.or(Some(now)) } else { None };
        story.acknowledged = if heard { Some(image) } else { None };
    }

    /// What is said of a key's member has been committed.
    pub(crate) fn member_changed(&mut self, key: u32, usable: bool, refused: bool, now: u64) {
        let story = &mut self.keys[key as usize];
        story.usable_since = if usable && !refused { story.usable_since.or(Some(now)) } else { None };
        story.refused_since = if refused { story.refused_since.or(Some(now)) } else { None };
    }

    /// The database is as it was at a backup. What has been published of revocations stays true.
    pub(crate) fn restored(&mut self, data: &Data, refused: impl Fn(usize) -> bool, now: u64) {
        // What was said in between may have been published.
        self.scopes_since
            .retain(|member, (scopes, _)| data.members.get(member).is_some_and(|held| held.scopes == *scopes));
        for (key, story) in self.keys.iter_mut().enumerate() {
            let row = data.keys.get(&(key as u32));
            let revoked = row.is_some_and(|row| row.revoked);
            if !revoked && !story.revocation_published {
                story.revoked_at = None;
            }
            let refused = row.is_some_and(|row| refused(row.profile));
            // Those that were suspended before and after stay so; what was said in between is undone by the recovery.
            story.refused_since = story.refused_since.filter(|_| refused);
            let usable = row.is_some_and(|row| row.image().is_usable()) && story.revoked_at.is_none() && !refused;
            story.usable_since = usable.then_some(now);
            story.acknowledged = None;
        }
    }

    pub(crate) fn model(&self, commitment: &Commitment) -> Option<&Model> {
        self.models.get(&commitment.0.0)
    }

    /// The next model: `rows` in the order in which they were written.
    pub(crate) fn change(&mut self, before: &Commitment, after: &Commitment, keys: &[Key], rows: &[(u32, Image)]) {
        let mut model = self.model(before).map(|model| (**model).clone()).unwrap_or_default();
        for (key, image) in rows {
            model.insert(keys[*key as usize].tag, (*key, *image));
        }
        self.models.insert(after.0.0, Rc::new(model));
    }

    /// The model of a base: the one before without the keys that have ended before a cutoff. `changed` says when each key
    /// was last changed, unix seconds.
    pub(crate) fn cut(
        &mut self,
        before: BTreeMap<Tag, (u32, Image)>,
        after: &Commitment,
        cutoff: u64,
        changed: &BTreeMap<u32, u64>,
    ) {
        let mut model = before;
        model.retain(|_, (key, image)| {
            let revoked = image.status == Status::Revoked && changed.get(key).is_some_and(|at| *at < cutoff);
            !revoked && image.deadline.is_none_or(|at| at >= cutoff)
        });
        self.models.insert(after.0.0, Rc::new(model));
    }
}
