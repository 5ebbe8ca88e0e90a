//! Whose signatures count on what is found published. A head or a delta of anybody else is no reason to stop: who can write
//! to where edges read could otherwise stop publishing, and so could the thief of a key that has been replaced.

use nightlatch_audit::Earlier;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Delta, Head, Trust};
use nightlatch_sync::Mark;

use super::blocking;
use super::config::PublisherConfig;
use super::directory::TRUST;
use super::error::Error;
use crate::store::{Store, trust};
use crate::trust::parse;

/// Incarnation, epoch and version.
type State = (u64, u64, u64);

/// The keys that count.
pub(super) struct Believed {
    verifiers: Vec<Verifier>,
    /// A key that signed the stored head and that the note in force no longer lists: it counts below that note's floor,
    /// which is where it signed for this set.
    leaving: Option<(Verifier, State)>,
    /// Those whose checkpoint of the audit log counts.
    witnesses: Vec<Verifier>,
}

impl Believed {
    /// The keys that the note in force lists; of those that this process holds, all but the ones that a note before listed
    /// and this one does not; and the one of the stored head. Where a later note of a listed root is published, the database
    /// is older than that, and the keys of the published one count, too.
    pub(super) async fn read(store: &Store, config: &PublisherConfig, stored: Option<&str>) -> Result<Self, Error> {
        let held = config.verifiers();
        let roots: Vec<_> = config.keys.roots.iter().map(|root| root.verifier()).collect();
        let rows = trust::notes(&mut store.read().await?, &config.set).await?;
        let mut notes = in_force(rows.iter().map(|row| row.note.as_str()), &roots)?;
        let Some(latest) = notes.pop() else {
            return Ok(Self { verifiers: held.clone(), leaving: None, witnesses: held });
        };
        let removed =
            |one: &Verifier| !latest.signers.contains(one) && notes.iter().any(|note| note.signers.contains(one));
        let [incarnation, epoch, version] = latest.floor;
        let leaving = held
            .iter()
            .find(|one| removed(one) && stored.is_some_and(|note| Head::open(note, std::slice::from_ref(one)).is_ok()))
            .map(|one| (one.clone(), (incarnation, epoch, version)));
        let mut verifiers: Vec<_> = held.iter().filter(|one| !removed(one)).cloned().collect();
        verifiers.extend(latest.signers.iter().cloned());

        let directory = config.directory.clone();
        // What cannot be read says nothing.
        let published = blocking(move || Ok(directory.note(TRUST).ok().flatten())).await?;
        let able: Vec<_> = latest.roots.iter().chain(&roots).cloned().collect();
        let published = published.and_then(|note| Trust::open(&note, &able).ok());
        if let Some(newer) = published.filter(|one| one.set == latest.set && one.version > latest.version) {
            verifiers.extend(newer.signers);
        }
        // Nobody but a root takes that from a key: who can write to the database could leave the key out of a note of its own,
        // and have the log's history forgotten.
        let witnesses =
            if roots.is_empty() { verifiers.iter().chain(&held).cloned().collect() } else { verifiers.clone() };
        Ok(Self { verifiers, leaving, witnesses })
    }

    /// What the published head says of the audit log.
    pub(super) fn checkpoint(&self, note: &str) -> Option<Earlier> {
        let head = self.head(note).or_else(|| Head::open(note, &self.witnesses).ok())?;
        Some(Earlier { checkpoint: head.audit?, incarnation: head.incarnation })
    }

    /// A head that is to be believed.
    pub(super) fn head(&self, note: &str) -> Option<Head> {
        Head::open(note, &self.verifiers).ok().or_else(|| {
            let (key, floor) = self.leaving.as_ref()?;
            Head::open(note, std::slice::from_ref(key)).ok().filter(|head| Mark::of(head).state() < *floor)
        })
    }

    /// A delta that is to be believed.
    pub(super) fn delta(&self, bytes: &[u8]) -> Option<Delta> {
        Delta::open(bytes, &self.verifiers).ok().or_else(|| {
            let (key, floor) = self.leaving.as_ref()?;
            let delta = Delta::open(bytes, std::slice::from_ref(key)).ok();
            delta.filter(|delta| (delta.info().incarnation, delta.info().epoch, delta.info().to) < *floor)
        })
    }
}

/// The database's notes, oldest first. Where a root is here, only those that it has signed, or a root that one of those
/// lists: the others are of somebody who can write to the database. Where none is, the database is believed.
fn in_force<'a>(notes: impl Iterator<Item = &'a str>, held: &[Verifier]) -> Result<Vec<Trust>, Error> {
    let (mut roots, mut found) = (held.to_vec(), Vec::new());
    for note in notes {
        if held.is_empty() {
            found.push(parse(note)?);
        } else if let Ok(trust) = Trust::open(note, &roots) {
            roots.extend(trust.roots.iter().cloned());
            found.push(trust);
        }
    }
    Ok(found)
}
