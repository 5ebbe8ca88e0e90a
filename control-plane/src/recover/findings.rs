//! What a published set says of keys that the restored database says otherwise.

use std::collections::{BTreeMap, HashSet};

use nightlatch_key::Digest;
use nightlatch_keyset::{Pepper, Profile, Status, Tag};
use serde::Serialize;

use super::published::Published;
use super::{Error, Progress};
use crate::domain::{MemberId, MemberState, SetId, State, WorkspaceId};
use crate::store::ended::{self, EndedTag};
use crate::store::profiles::{self, Contents};
use crate::store::recovery::{self, KeyRow};
use crate::store::{self, Read, Store, keys, members};

/// Keys looked at in one go.
const PAGE: u32 = 1000;

/// Why a key is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was published as revoked.
    Revoked,
    /// It was published with a deadline or an expiry that has passed.
    Ended,
    /// It was published, and had left the set when its retention was over.
    Left,
    /// A deny note names it.
    Denied,
}

/// A key that is to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// `key_…`
    pub key: String,
    /// Its number.
    #[serde(skip)]
    pub(super) number: u32,
    /// Why.
    pub why: Why,
}

/// A member whose keys may do more by the database than was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wider {
    /// The member's principal, `prn_…`
    pub principal: String,
    /// Where.
    pub environment: String,
    /// What its keys were not published with.
    pub scopes: Vec<String>,
}

/// A member whose keys were published as refused, all of them, and whom the database lets work or join, or would as soon as
/// its organisation works again: it was suspended or removed after the backup. Which of the two is not published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// `mem_…`
    pub member: String,
    /// The same.
    #[serde(skip)]
    pub id: MemberId,
    /// Its principal, `prn_…`
    pub principal: String,
    /// Keys of it that would work: numbers and ids.
    #[serde(skip)]
    pub(super) active: Vec<(u32, String)>,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Keys compared.
    pub compared: u64,
    /// To be revoked.
    pub revoked: Vec<Found>,
    /// To be disabled: published as disabled, and enabled here. Ids.
    pub disabled: Vec<String>,
    /// Published with an end that is still to come and that the database does not know of, as after a rotation whose
    /// successor is lost: id and unix second. Nothing is changed; somebody should look.
    pub ends_unknown: Vec<(String, u64)>,
    /// Members whose keys were published with fewer scopes than the database gives them: what was taken from them, or from
    /// their role, after the backup. Nothing is changed; somebody should look.
    pub profiles_wider: Vec<Wider>,
    /// Members to be suspended: published as refused, and neither suspended nor removed here. Somebody should look: where one of them was removed,
    /// its keys were revoked for good, and resuming it would bring them back.
    pub members_refused: Vec<Stopped>,
    /// Tags of published keys that the database does not know: issued after the backup. They end with the incarnation.
    pub unknown: Vec<String>,
    /// How many of those are ended, or are known to end: their texts are not taken in again.
    pub unknown_ended: u64,
    /// Those of them that are not taken down yet.
    #[serde(skip)]
    pub(super) ended: Vec<EndedTag>,
    /// What deny notes name and no key has.
    #[serde(skip)]
    pub(super) denied: Vec<Digest>,
    /// The highest key number and subject that the published set uses.
    #[serde(skip)]
    pub(super) highest: (u32, u32),
    #[serde(skip)]
    pub(super) to_disable: Vec<u32>,
    /// Keys that work here and were published with a profile that is refused, by subject.
    #[serde(skip)]
    refused: BTreeMap<u32, Vec<(u32, String)>>,
}

impl Findings {
    /// Whether there is anything to be changed in the database.
    pub(super) fn has_changes(&self) -> bool {
        let keys = !self.revoked.is_empty() || !self.to_disable.is_empty() || !self.ended.is_empty();
        keys || !self.members_refused.is_empty()
    }

    /// Adds keys to those that are to be disabled.
    pub(super) fn disable(&mut self, keys: Vec<(u32, String)>) {
        for (number, id) in keys {
            self.to_disable.push(number);
            self.disabled.push(id);
        }
    }

    /// Adds the members whose keys may do more by the database than was published.
    async fn compare_members(
        &mut self,
        store: &Store,
        workspace: &WorkspaceId,
        live: &BTreeMap<(u32, &str), &Profile>,
    ) -> Result<(), Error> {
        let mut read = store.read().await?;
        for ((subject, environment), profile) in live {
            let contents = profiles::contents(&mut read, workspace, *subject).await?;
            let principal = format!("prn_{subject}");
            if profile.refused {
                // Its scopes are whatever they were; one environment says it for both.
                if let Some(id) = to_suspend(&mut read, workspace, *subject, &contents).await?
                    && self.members_refused.iter().all(|member| member.id != id)
                {
                    let active = self.refused.remove(subject).unwrap_or_default();
                    self.members_refused.push(Stopped { member: id.to_string(), id, principal, active });
                }
                continue;
            }
            if contents.refused {
                continue;
            }
            let scopes = contents.scopes.iter().map(|scope| scope.as_str());
            let scopes: Vec<String> = scopes.filter(|scope| !profile.has_scope(scope)).map(str::to_owned).collect();
            if !scopes.is_empty() {
                self.profiles_wider.push(Wider { principal, environment: (*environment).to_owned(), scopes });
            }
        }
        // The keys of whoever is no member, or no longer works, are disabled each, as they were published.
        std::mem::take(&mut self.refused).into_values().for_each(|keys| self.disable(keys));
        Ok(())
    }

    /// Adds the keys that deny notes name.
    pub(super) async fn deny(
        &mut self,
        store: &Store,
        workspace: &WorkspaceId,
        denied: &[Digest],
    ) -> Result<(), Error> {
        let mut read = store.read().await?;
        for digest in denied {
            let Some(view) = keys::by_digest(&mut read, workspace, digest).await? else {
                self.denied.push(*digest);
                continue;
            };
            let (key, number) = (view.key.id.to_string(), view.key.number);
            if view.key.state(view.now) != State::Revoked && self.revoked.iter().all(|found| found.key != key) {
                self.revoked.push(Found { key, number, why: Why::Denied });
            }
        }
        Ok(())
    }
}

/// The member of a subject that was published as refused, where it is to be suspended. Its own record decides and not what
/// its keys may do now: those of somebody who has yet to join are refused, too, and the code from before the backup would
/// let them in again; so are those of staff until their organisation is resumed. Of what was removed nobody comes back.
async fn to_suspend(
    read: &mut Read,
    workspace: &WorkspaceId,
    subject: u32,
    contents: &Contents,
) -> Result<Option<MemberId>, store::Error> {
    if contents.gone {
        return Ok(None);
    }
    // Whoever was invited after the backup is unknown.
    let Some(id) = members::of_subject(read, workspace, subject).await? else { return Ok(None) };
    let member = members::get(read, workspace, &id).await?;
    Ok(matches!(member.state, MemberState::Invited | MemberState::Active).then_some(id))
}

/// What is compared with the published set.
pub(super) struct Subject<'a> {
    pub(super) store: &'a Store,
    pub(super) workspace: &'a WorkspaceId,
    pub(super) set: &'a SetId,
    /// The database's versions are not the published ones.
    pub(super) forked: bool,
}

/// Compares the database with the published set, all keys.
pub(super) async fn compare(
    subject: &Subject<'_>,
    published: &Published,
    pepper: &Pepper,
    progress: Progress<'_>,
) -> Result<Findings, Error> {
    let Subject { store, workspace, set, forked } = *subject;
    let mut findings = Findings::default();
    let mut known = HashSet::new();
    let numbers = Numbers::of(published)?;
    let (total, now) = {
        let mut read = store.read().await?;
        (recovery::count_keys(&mut read, workspace).await?, read.now().await?.div_euclid(1000))
    };
    let taken_down = ended::tags(&mut store.read().await?, set, &published.tagging()).await?;
    let mut after = 0;
    loop {
        let page = recovery::keys_page(&mut store.read().await?, workspace, set, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.number;
        for row in &page {
            let digest: [u8; 32] = row.digest.as_slice().try_into().map_err(|_| store::Error::Corrupt("digest"))?;
            let tag = pepper.tag(&Digest::from_bytes(digest));
            let left = |number| numbers.tell_of(number, row.version, published.replica.version(), forked);
            judge(&mut findings, published, row, &tag, now, &left)?;
            known.insert(published.cut(&tag));
        }
        findings.compared += page.len() as u64;
        progress("comparing keys", findings.compared, total);
    }
    let mut live = BTreeMap::new();
    for one in published.replica.iter() {
        let (tag, record) = one.map_err(|error| Error::Damaged(error.to_string()))?;
        let profile = published.replica.profile(record.profile);
        if let Some((profile, subject)) = profile.and_then(|profile| Some((profile, profile.live?))) {
            live.entry((subject, profile.environment.as_str())).or_insert(profile);
        }
        findings.highest = (findings.highest.0.max(record.number), findings.highest.1.max(record.subject));
        if !known.contains(&published.cut(&tag)) {
            let ends_at = match record.status {
                Status::Revoked => Some(0),
                // Of a member that was suspended or removed: nobody is left who could let it through again.
                _ if profile.is_some_and(|profile| profile.refused) => Some(0),
                _ => record.deadline.and_then(|end| i64::try_from(end).ok()),
            };
            if let Some(ends_at) = ends_at {
                let tag = published.cut(&tag);
                findings.unknown_ended += 1;
                if !taken_down.contains(&(tag.to_vec(), ends_at)) {
                    findings.ended.push(EndedTag { tag, ends_at });
                }
            }
            findings.unknown.push(tag.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    findings.compare_members(store, workspace, &live).await?;
    Ok(findings)
}

/// The numbers of the keys that are published.
struct Numbers {
    given: HashSet<u32>,
    highest: u32,
}

impl Numbers {
    fn of(published: &Published) -> Result<Self, Error> {
        let mut given = HashSet::new();
        for one in published.replica.iter() {
            // 0, which is no key's, where the set has no such column.
            given.insert(one.map_err(|error| Error::Damaged(error.to_string()))?.1.number);
        }
        let highest = given.iter().copied().max().unwrap_or(0);
        Ok(Self { given, highest })
    }

    /// Whether a key that is not published any more was once. Where another has its number, it was issued in a history that
    /// was never published.
    fn tell_of(&self, number: u32, version: Option<i64>, through: u64, forked: bool) -> bool {
        let Some(version) = version.filter(|_| !self.given.contains(&number)) else { return false };
        match forked {
            // Its version is one of this database's own; both histories give the same numbers to the keys they issue.
            true => number < self.highest,
            false => u64::try_from(version).is_ok_and(|version| version <= through),
        }
    }
}

fn judge(
    findings: &mut Findings,
    published: &Published,
    row: &KeyRow,
    tag: &Tag,
    now: i64,
    left: &dyn Fn(u32) -> bool,
) -> Result<(), Error> {
    if !row.lives(now) {
        return Ok(());
    }
    let number = u32::try_from(row.number).map_err(|_| store::Error::Corrupt("key number"))?;
    let mut revoke = |why| findings.revoked.push(Found { key: row.id.clone(), number, why });
    let record = published.replica.lookup(tag).map_err(|error| Error::Damaged(error.to_string()))?;
    let Some(record) = record else {
        // Who has a version was published with it, and stays until long after its end.
        if left(number) {
            revoke(Why::Left);
        }
        return Ok(());
    };
    let end = record.deadline.and_then(|end| i64::try_from(end).ok());
    if record.status == Status::Revoked {
        revoke(Why::Revoked);
    } else if end.is_some_and(|end| end <= now) {
        revoke(Why::Ended);
    } else {
        let profile = published.replica.profile(record.profile);
        if record.status == Status::Disabled && !row.is_disabled() {
            findings.disable(vec![(number, row.id.clone())]);
        } else if let Some(subject) = profile.filter(|profile| profile.refused).and_then(|profile| profile.live)
            && !row.is_disabled()
        {
            findings.refused.entry(subject).or_default().push((number, row.id.clone()));
        }
        if let Some(end) = record.deadline
            && row.end().is_none_or(|ours| u64::try_from(ours).is_ok_and(|ours| ours > end))
        {
            findings.ends_unknown.push((row.id.clone(), end));
        }
    }
    Ok(())
}
