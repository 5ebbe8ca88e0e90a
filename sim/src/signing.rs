//! What a leader signs: the published state, found again from the database, and the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nightlatch_keyset::{BaseInfo, FileName, Hash, Head, Layout};
use nightlatch_publish::head::{self, BaseFacts, Terms};
use nightlatch_publish::numbering::Texts;
use nightlatch_publish::published::{Standing, is_ahead, standing};
use nightlatch_publish::{issued, numbering};

use crate::Plant;
use crate::database::{EpochRow, SetRow};
use crate::kit::SET;
use crate::leader::{Rows, Tenure, Write};
use crate::rebuild::{self, COLUMNS};
use crate::store::Bytes;
use crate::world::World;

/// What a signing transaction is to store.
pub(crate) struct Signing {
    pub(crate) tx: u64,
    pub(crate) set: SetRow,
    pub(crate) before_commitment: nightlatch_keyset::Commitment,
    pub(crate) rows: Vec<u64>,
    pub(crate) link: Option<Hash>,
    pub(crate) epoch: Option<EpochRow>,
}

impl World {
    /// Holds what is published against the database, makes the published state again from rows, and what is missing of it.
    pub(crate) fn find_out(
        &mut self,
        tenure: &mut Tenure,
        head: Option<&Bytes>,
        names: &[FileName],
    ) -> Result<(), Standing> {
        let Some(known) = &mut tenure.known else { return Ok(()) };
        let set = &known.set;
        let published = head.and_then(|note| self.open(note));
        let state = (set.incarnation, set.epoch, set.version);
        if self.setup.plant != Some(Plant::ReusedVersion) {
            // After a recovery there is a state without a head.
            let (incarnation, epoch, version) = state;
            let without = || Head { incarnation, epoch, version, issued: set.head_issued, ..self.kit.blank() };
            let stored = set.head.clone().or_else(|| (version > 0).then(without));
            let standing = published.as_ref().map_or(Standing::Fine, |head| standing(head, stored.as_ref()));
            if standing != Standing::Fine {
                return Err(standing);
            }
            if names.iter().any(|name| is_ahead(name, state)) {
                return Err(Standing::Ahead);
            }
        }
        let rebuilt = rebuild::rebuild(&self.kit, &self.keys, &self.database.data, set, self.setup.plant);
        let rebuilt = match rebuilt {
            Ok(rebuilt) => rebuilt,
            Err(why) => {
                self.fail(9, format!("what is published cannot be made again from the database: {why}"));
                return Err(Standing::OtherHistory);
            }
        };
        tenure.writes.clear();
        (tenure.signed_at, tenure.numbered_at) = (0, 0);
        let Some(rebuilt) = rebuilt else { return Ok(()) };
        let there: BTreeSet<_> = names.iter().collect();
        let missing = rebuilt.files.iter().filter(|(name, _)| !there.contains(name));
        tenure.writes.extend(missing.map(|(name, bytes)| Write::File(*name, bytes.clone())));
        if let Some(head) = &set.head {
            let policy = head.policy_name();
            if !there.contains(&policy) {
                tenure.writes.push_front(Write::File(policy, Rc::new(self.kit.policy(&head.policy))));
            }
            let stale = published.as_ref() != Some(head);
            if let Some(note) = set.note.clone().filter(|_| stale) {
                let trust = head.trust.unwrap_or_default();
                tenure.writes.push_back(Write::Trust(trust, self.trust_notes[trust as usize - 1].clone()));
                tenure.writes.push_back(Write::Head(Box::new(head.clone()), note));
            }
        }
        let epoch = self.database.data.epochs.iter().rev().find(|row| row.epoch == set.epoch);
        known.cutoff = epoch.map_or(0, |row| row.cutoff);
        known.author = Some(rebuilt.author);
        Ok(())
    }

    /// What the transaction is to store, and what is to be written after it.
    pub(crate) fn sign(
        &mut self,
        tenure: &mut Tenure,
        tx: u64,
        set: &SetRow,
        rows: Rows,
        waiting: &[(u64, u64)],
        clock: u64,
    ) -> Result<Option<Signing>, String> {
        let Some(known) = &mut tenure.known else { return Ok(None) };
        let late = self.setup.plant == Some(Plant::IssuedAtSigning);
        let reading = if late { self.database.clock(self.now) } else { known.reading };
        let policy = &self.kit.policies[known.set.policy];
        let terms = Terms {
            validity_ms: known.set.validity,
            skew_ms: self.setup.skew,
            policy: Hash::of(policy),
            policy_len: policy.len() as u64,
            accepts_foreign: false,
            open_ms: self
                .setup
                .open
                .filter(|_| self.kit.is_open(known.set.policy))
                .map(|more| known.set.validity + more),
            audit: None,
            trust: Some(known.set.trust),
        };
        let before = known.set.clone();
        let signer = before.signer;
        let epoch_signer = self.database.data.epochs.last().map(|epoch| epoch.signer);
        let cuts = known.author.as_ref().is_none_or(|author| {
            author.replica().version() >= author.replica().base_version() + self.setup.max_versions
        });
        // What another key has signed is left behind: whoever stops believing it needs none of it any more.
        let cuts = cuts || epoch_signer != Some(signer);
        let mut files = BTreeMap::new();
        let mut signing = Signing {
            tx,
            set: before.clone(),
            before_commitment: before.commitment,
            rows: Vec::new(),
            link: None,
            epoch: None,
        };
        let made = if cuts {
            tenure.more = true;
            let since = waiting.iter().map(|(_, at)| *at).min();
            let issued = issued::without_some(reading, since, set.head_issued);
            let (version, epoch) = (before.version + 1, before.epoch + 1);
            let cutoff = (clock / 1000).saturating_sub(self.setup.retention).max(known.cutoff);
            let (base, record, layout) = match &known.author {
                Some(author) => {
                    let ended = rebuild::ended(&self.keys, &self.database.data, before.version, cutoff);
                    let layout = author.replica().layout();
                    let folded = author.rebase(cutoff, layout, &ended).map_err(|error| error.to_string())?;
                    (folded.files, folded.record, layout)
                }
                None => {
                    let blank = self.kit.blank();
                    let info = BaseInfo {
                        set: SET.into(),
                        workspace: blank.workspace,
                        pepper: blank.pepper,
                        incarnation: before.incarnation,
                        epoch,
                        version,
                        cutoff,
                    };
                    let layout = Layout::for_keys(self.keys.len() as u64, COLUMNS);
                    (rebuild::build_as(&self.kit, &self.keys, &self.database.data, info, layout)?, None, layout)
                }
            };
            let facts = BaseFacts::of(&base, record.as_deref());
            let numbers = Head { incarnation: before.incarnation, epoch, version, ..self.kit.blank() };
            let head = head::begins_epoch(&numbers, &facts, &before.commitment, &terms, issued);
            signing.epoch = Some(EpochRow {
                incarnation: head.incarnation,
                epoch,
                version,
                commitment: head.commitment,
                root: base.root,
                cutoff,
                layout,
                record: record.as_ref().map(|record| Hash::of(record)),
                signer,
            });
            rebuild::put_base(&mut files, head.incarnation, epoch, &base, record);
            known.author = Some(rebuild::begin(&head, base)?);
            known.cutoff = cutoff;
            head
        } else {
            let Rows { mut keys, mut profiles } = rows;
            let of_members =
                profiles.iter().map(|row| Texts::Live { subject: row.member as i64, test: false, bytes: 0 });
            let of_keys = keys.iter().map(|row| match self.kit.member(row.image.profile) {
                Some(member) => Texts::Live { subject: member as i64, test: false, bytes: 0 },
                None => Texts::Interned { kind: "", environment: "", tier: "", scopes: "" },
            });
            let batch = numbering::batch(of_members, of_keys, self.setup.max_changes);
            keys.truncate(batch.keys);
            profiles.truncate(batch.profiles);
            tenure.more = batch.more;
            let last = set.head_issued;
            let taken: Vec<u64> = keys.iter().map(|row| row.seq).chain(profiles.iter().map(|row| row.seq)).collect();
            let left = waiting.iter().filter(|(seq, _)| !taken.contains(seq)).map(|(_, at)| *at).min();
            let issued = if batch.more { issued::without_some(reading, left, last) } else { reading };
            let Some(held) = &before.head else { return Ok(None) };
            let author = known.author.as_mut().ok_or("nothing is known")?;
            let heartbeat = self.now >= tenure.signed_at + self.setup.heartbeat;
            if taken.is_empty() && (!heartbeat && terms.are_said_by(held) || issued == last) {
                return Ok(None);
            }
            if taken.is_empty() {
                head::resigned(held, &terms, issued)
            } else {
                let refs: Vec<_> = keys.iter().collect();
                let mut members = self.database.data.members_at(before.version);
                members.extend(profiles.iter().map(|row| (row.member, row.contents)));
                let (name, bytes, link) = rebuild::next(&self.kit, &self.keys, author, &refs, &members, signer)?;
                files.insert(name, bytes);
                files.extend(rebuild::levels(&self.kit, author, signer, self.setup.plant)?);
                (signing.rows, signing.link) = (taken, Some(link));
                let (commitment, keys) = (*author.replica().commitment(), author.replica().len() as u64);
                head::next_version(held, &terms, issued, commitment, keys)
            }
        };
        if before.head.as_ref().is_none_or(|head| head.policy != made.policy) {
            files.insert(made.policy_name(), Rc::new(policy.clone()));
        }
        let note: Bytes = Rc::new(made.sign(&self.kit.signers[signer]).into_bytes());
        if before.head.as_ref().is_none_or(|head| head.trust != made.trust) {
            let trust = before.trust;
            tenure.writes.push_back(Write::Trust(trust, self.trust_notes[trust as usize - 1].clone()));
        }
        tenure.writes.extend(files.into_iter().map(|(name, bytes)| Write::File(name, bytes)));
        tenure.writes.push_back(Write::Head(Box::new(made.clone()), note.clone()));
        let next = &mut signing.set;
        (next.incarnation, next.epoch, next.version) = (made.incarnation, made.epoch, made.version);
        (next.commitment, next.head_issued) = (made.commitment, made.issued);
        (next.head, next.note) = (Some(made), Some(note));
        known.set = signing.set.clone();
        Ok(Some(signing))
    }
}
