//! What is written where everybody sees it: files, heads, and the database's record of them. Guarantees 2 and 9 are held
//! against each as it is written.

use nightlatch_keyset::{FileName, Hash, Head, Status};

use crate::kit::Image;
use crate::signing::Signing;
use crate::store::Bytes;
use crate::truth::Revocation;
use crate::world::{Event, World};

impl World {
    /// A head that the publisher's key has signed.
    pub(crate) fn open(&self, note: &Bytes) -> Option<Head> {
        if let Some(head) = self.opened.get(note) {
            return head.clone();
        }
        std::str::from_utf8(note).ok().and_then(|note| Head::open(note, &self.kit.verifiers).ok())
    }

    /// Writes a file to a store. Guarantee 9: one name, one content.
    pub(crate) fn put_file(&mut self, store: usize, name: FileName, bytes: Bytes) {
        let hash = Hash::of(&bytes);
        if *self.ledger.entry(name).or_insert(hash) != hash {
            self.fail(9, format!("{name} has been published with other bytes before"));
        }
        self.stores[store].put(name, bytes);
    }

    /// Writes a head to a store. Guarantee 9: one state, one history.
    pub(crate) fn put_head(&mut self, store: usize, note: &Bytes, seen: u64) -> bool {
        let Some(head) = self.open(note) else { return false };
        self.opened.insert(note.clone(), Some(head.clone()));
        let state = (head.incarnation, head.epoch, head.version);
        if *self.states.entry(state).or_insert(head.commitment) != head.commitment {
            self.fail(9, format!("version {state:?} has been published with another history before"));
        }
        if !self.stores[store].put_head(note.clone(), seen) {
            return false;
        }
        if store == 0 {
            let model = self.truth.model(&head.commitment).cloned();
            for (key, image) in model.iter().flat_map(|model| model.values()) {
                if image.status == Status::Revoked {
                    self.truth.keys[*key as usize].revocation_published = true;
                }
            }
            if let Ok((_, by)) = Head::open_by(&String::from_utf8_lossy(note), &self.kit.verifiers) {
                let by = self.kit.verifiers.iter().position(|key| key == by).unwrap_or_default();
                let trust = head.trust.unwrap_or_default();
                if trust >= self.signed_last.1 {
                    self.signed_last = (by, trust);
                }
            }
            let furthest = self.heads_published.entry((head.incarnation, head.epoch)).or_insert_with(|| head.clone());
            if head.version > furthest.version {
                *furthest = head;
            }
            self.wake_edges();
        }
        true
    }

    /// A signing transaction commits.
    pub(crate) fn commit_signing(&mut self, signing: Signing) {
        let data = &mut self.database.data;
        let Some(head) = &signing.set.head else { return };
        let row = &mut data.set;
        (row.incarnation, row.epoch, row.version) = (head.incarnation, head.epoch, head.version);
        (row.commitment, row.head_issued, row.head) = (head.commitment, head.issued, Some(head.clone()));
        row.note = signing.set.note.clone();
        let before = signing.before_commitment;
        let mut images: Vec<(u64, u32, Image)> = Vec::new();
        for row in data.changes.iter_mut().filter(|row| signing.rows.contains(&row.seq)) {
            row.version = Some(head.version);
            images.push((row.seq, row.key, row.image));
        }
        images.sort_by_key(|(seq, ..)| *seq);
        for row in data.profiles.iter_mut().filter(|row| signing.rows.contains(&row.seq)) {
            row.version = Some(head.version);
        }
        let members = data.members_at(head.version);
        let images: Vec<(u32, Image)> = images.into_iter().map(|(_, key, image)| (key, image)).collect();
        if let Some(link) = signing.link {
            data.links.insert(head.version, link);
        }
        // Guarantee 2 rests on this: everything that was committed before `issued` is in the head.
        let missing = data.changes.iter().find(|row| row.version.is_none() && row.committed_clock < head.issued);
        let missing = missing.map(|row| (row.key, row.committed_clock));
        let untold = data.profiles.iter().find(|row| row.version.is_none() && row.committed_clock < head.issued);
        let untold = untold.map(|row| row.member);
        let (issued, incarnation, version) = (head.issued, head.incarnation, head.version);
        let commitment = head.commitment;
        self.truth.largest_validity = self.truth.largest_validity.max(head.valid_until - issued);
        self.truth.largest_open = self.truth.largest_open.max(head.open_until.map_or(0, |until| until - issued));
        if let Some((key, at)) = missing {
            let ms = issued - at;
            self.fail(2, format!("a head issued {ms} ms after a change of key {key} was committed leaves it out"));
        }
        if let Some(member) = untold {
            self.fail(
                2,
                format!("a head that was issued after a change of member {member} was committed leaves it out"),
            );
        }
        self.counts.heads += 1;
        self.truth.members.insert(commitment.0.0, members);
        if let Some(row) = signing.epoch {
            self.counts.cuts += 1;
            let images = self.database.data.images(version);
            let changed = images.iter().map(|(key, (_, at))| (*key, at / 1000)).collect();
            // The first base of an incarnation is made from the database; any other follows on the version before.
            let begins = !self.database.data.epochs.iter().any(|epoch| epoch.incarnation == incarnation);
            let before = if begins {
                images.iter().map(|(key, (image, _))| (self.keys[*key as usize].tag, (*key, *image))).collect()
            } else {
                self.truth.model(&before).map(|model| (**model).clone()).unwrap_or_default()
            };
            self.truth.cut(before, &commitment, row.cutoff, &changed);
            self.database.data.epochs.push(row);
        } else if !signing.rows.is_empty() {
            self.counts.versions += 1;
            let at = |key: u32| self.truth.keys[key as usize].revoked_at;
            let revoked: Vec<Revocation> = images
                .iter()
                .filter(|(_, image)| image.status == Status::Revoked)
                .filter_map(|(key, _)| Some(Revocation { at: at(*key)?, incarnation, version }))
                .collect();
            self.truth.revocations.extend(revoked);
            self.truth.change(&before, &commitment, &self.keys, &images);
            self.expect_revocations();
        }
        self.check_final(&commitment);
    }

    /// Edges are looked at when the bound of a revocation has passed.
    fn expect_revocations(&mut self) {
        let at = self.now + self.bound() + 5;
        self.push(at, Event::Look(self.counts.events));
    }
}
