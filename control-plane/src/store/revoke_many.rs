//! The emergency: every key that passes a filter is looked at, then revoked, some at a time.
//!
//! A survey reads one snapshot and names the keys it found by a hash. What is revoked afterwards are those keys, as they
//! were seen: one that has changed in between is left alone.

use std::collections::{BTreeMap, BTreeSet};

use nightlatch_key::Environment;
use sha2::{Digest as _, Sha256};
use sqlx::FromRow;

use super::audit::{self, Draft, Target};
use super::key_list::Order;
use super::key_way::{self, Placed};
use super::keys::{self, KeyFilter};
use super::rows::unsigned;
use super::{Context, Cursor, Error, Page, PageRequest, Read, Tx, dialect, profiles};
use crate::domain::reach::Reach;
use crate::domain::{KeyId, KeyRef, PrincipalKind, Reason, Refusal, Scopes};

/// Keys read in one go.
const STRIDE: u32 = 1_000;
/// Refused keys that are told one by one.
const TOLD: usize = 100;
/// Owners that are told apart, and combinations of what decides about routes: what is beyond is counted only.
const TOLD_APART: usize = 1_000;

/// A key that is to be revoked, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `key_…`
    pub id: KeyId,
    number: u32,
    revision: i64,
}

/// Who looks after a key: in free text, and as a member's id.
pub type Owners = (Option<String>, Option<String>);

/// What a filter finds.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Keys that the caller may revoke.
    pub matched: u64,
    /// The first of them, as many as were asked for.
    pub first: Vec<Seen>,
    /// Keys that the caller may not revoke, or not by this.
    pub refused: u64,
    /// The first of those.
    pub refusals: Vec<(KeyId, Refusal)>,
    /// Keys by who looks after them.
    pub owners: BTreeMap<Owners, u64>,
    /// What decides which routes they get through.
    reaches: BTreeSet<ReachText>,
    /// Members whose own keys are among them, by environment and subject: they have their member's scopes.
    members: BTreeSet<(String, u32)>,
    /// Names them.
    pub plan: Plan,
}

/// The environment, kind and scopes of keys, as stored.
type ReachText = (String, String, String);

/// Names a number of keys as they are, whatever their order: a key that is used meanwhile may move in its list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    count: u64,
    sum: [u64; 4],
}

impl Plan {
    fn add(&mut self, key: &Seen) {
        self.count += 1;
        self.turn(key, u64::wrapping_add);
    }

    /// Without a key that has been revoked.
    pub fn remove(&mut self, key: &Seen) {
        self.count = self.count.saturating_sub(1);
        self.turn(key, u64::wrapping_sub);
    }

    fn turn(&mut self, key: &Seen, with: fn(u64, u64) -> u64) {
        let hash = Sha256::new().chain_update(key.id.as_str()).chain_update(key.revision.to_le_bytes()).finalize();
        for (sum, lane) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            *sum = with(*sum, lane.iter().rev().fold(0, |lane, &byte| lane << 8 | u64::from(byte)));
        }
    }

    /// The text a caller sends back.
    pub fn to_text(self) -> String {
        let mut hash = Sha256::new().chain_update(self.count.to_le_bytes());
        for lane in self.sum {
            hash.update(lane.to_le_bytes());
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Looks at every key that passes the filter and is not final. `take` of those that may be revoked are named.
///
/// # Errors
/// [`Error::Database`].
pub async fn survey(read: &mut Read, context: &Context, filter: &KeyFilter, take: usize) -> Result<Survey, Error> {
    let filter = KeyFilter { not_final: true, ..filter.clone() };
    let head = "SELECT k.id, k.number, k.revision, k.kind, k.subject, k.environment, k.scopes, k.owner, k.owner_member, \
                k.created_at, k.last_used_at, k.expires_at, k.rotate_by FROM ";
    let mut survey = Survey::default();
    let mut request = PageRequest { limit: STRIDE, after: None };
    loop {
        let found: Page<Row> = key_way::page(read, head, &context.workspace, &filter, &request, u32::MAX).await?;
        for row in found.items {
            survey.count(context, row, take)?;
        }
        request.after = found.next;
        if request.after.is_none() {
            break;
        }
    }
    for (environment, subject) in &survey.members {
        let scopes = profiles::contents(read, &context.workspace, *subject).await?.scopes.to_stored();
        survey.reaches.insert((environment.clone(), PrincipalKind::User.as_str().to_owned(), scopes));
    }
    Ok(survey)
}

impl Survey {
    fn count(&mut self, context: &Context, row: Row, take: usize) -> Result<(), Error> {
        let seen = Seen { id: KeyId::from_stored(row.id), number: unsigned(row.number)?, revision: row.revision };
        let kind = PrincipalKind::from_name(&row.kind).ok_or(Error::Corrupt("principal kind"))?;
        let subject = unsigned(row.subject)?;
        if let Err(refusal) = keys::may_revoke(context, kind, subject) {
            self.refused += 1;
            if self.refusals.len() < TOLD {
                self.refusals.push((seen.id, refusal));
            }
            return Ok(());
        }
        self.matched += 1;
        self.plan.add(&seen);
        if self.first.len() < take {
            self.first.push(seen);
        }
        let owner = (row.owner, row.owner_member);
        if self.owners.len() < TOLD_APART || self.owners.contains_key(&owner) {
            *self.owners.entry(owner).or_default() += 1;
        }
        if kind == PrincipalKind::User {
            if self.members.len() < TOLD_APART {
                self.members.insert((row.environment, subject));
            }
        } else if self.reaches.len() < TOLD_APART {
            self.reaches.insert((row.environment, row.kind, row.scopes));
        }
        Ok(())
    }

    /// What decides which routes the keys get through, told apart.
    pub fn reaches(&self) -> impl Iterator<Item = Reach> + '_ {
        self.reaches.iter().filter_map(|(environment, kind, scopes)| {
            Some(Reach {
                environment: Environment::from_name(environment)?,
                kind: PrincipalKind::from_name(kind)?,
                scopes: Scopes::from_stored(scopes),
            })
        })
    }
}

/// Notes what is about to be done, once per call, in the transaction of its first keys.
///
/// # Errors
/// [`Error::Database`].
pub async fn announce(
    tx: &mut Tx,
    context: &Context,
    filter: &serde_json::Value,
    survey: &Survey,
    reason: &Reason,
) -> Result<(), Error> {
    let now = tx.now().await?;
    let after = serde_json::json!({
        "filter": filter,
        "matched": survey.matched,
        "refused": survey.refused,
        "plan": survey.plan.to_text(),
    });
    let target = Target::Other("workspace", context.workspace.as_str());
    let reason = Some(reason.as_str());
    let draft = Draft {
        action: "key.revoked_many",
        target,
        before: None,
        after: Some(after),
        reason,
        personal: &[],
        about: None,
    };
    audit::append(tx, context, &draft, now).await
}

/// Revokes those of these keys that are still as they were seen, each as if it were revoked alone, and returns them.
///
/// # Errors
/// [`Error::Database`].
pub async fn revoke(tx: &mut Tx, context: &Context, keys: &[Seen], reason: &Reason) -> Result<Vec<Seen>, Error> {
    let mut keys: Vec<&Seen> = keys.iter().collect();
    // In the order in which keys are always locked.
    keys.sort_unstable_by_key(|key| key.number);
    let numbers: Vec<_> = keys.iter().map(|key| i64::from(key.number)).collect();
    dialect::lock_numbers(tx, context.workspace.as_str(), &numbers).await?;
    let mut revoked = Vec::with_capacity(keys.len());
    for seen in keys {
        let id = KeyRef::Id(seen.id.clone());
        if keys::find(tx, &context.workspace, &id).await?.revision != seen.revision {
            continue;
        }
        if keys::revoke(tx, context, &id, Some(reason.clone())).await?.changed {
            revoked.push(seen.clone());
        }
    }
    Ok(revoked)
}

#[derive(Debug, FromRow)]
struct Row {
    id: String,
    number: i64,
    revision: i64,
    kind: String,
    subject: i64,
    environment: String,
    scopes: String,
    owner: Option<String>,
    owner_member: Option<String>,
    created_at: i64,
    last_used_at: Option<i64>,
    expires_at: Option<i64>,
    rotate_by: Option<i64>,
}

impl Placed for Row {
    fn place(&self, order: Order) -> Cursor {
        let at = order.at(self.created_at, self.last_used_at, self.expires_at, self.rotate_by);
        Cursor { at, id: self.id.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(number: u32, revision: i64) -> Seen {
        Seen { id: KeyId::of_text(&format!("{number:010}")), number, revision }
    }

    fn plan(keys: &[Seen]) -> Plan {
        let mut plan = Plan::default();
        keys.iter().for_each(|key| plan.add(key));
        plan
    }

    #[test]
    fn a_plan_names_its_keys_as_they_are_in_any_order() {
        let [one, two, three] = [seen(1, 1), seen(2, 5), seen(3, 1)];
        let all = plan(&[one.clone(), two.clone(), three.clone()]);
        assert_eq!(all.to_text(), plan(&[three.clone(), one.clone(), two.clone()]).to_text());
        let mut rest = all;
        rest.remove(&two);
        assert_eq!(rest, plan(&[one.clone(), three.clone()]));
        for other in [plan(&[one.clone(), two]), plan(&[one, seen(2, 6), three]), Plan::default()] {
            assert_ne!(all.to_text(), other.to_text());
        }
    }
}
