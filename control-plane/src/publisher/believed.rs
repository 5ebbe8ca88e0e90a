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
use crate::domain::SetId;
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
        let mut notes = in_force(&config.set, rows.iter().map(|row| row.note.as_str()), &roots)?;
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

/// The set's notes up to the one in force, oldest first. Where none of the roots is here, the database is believed. Otherwise
/// the others are of somebody who can write to it, and all begins with the newest note that a root here has signed. What
/// follows that one was signed by a root that the note before lists. What came before it was signed by a root that is here,
/// or that a later one of these lists: a root that was replaced since still says which keys there were, and nothing about
/// those that there are.
fn in_force<'a>(set: &SetId, notes: impl Iterator<Item = &'a str>, held: &[Verifier]) -> Result<Vec<Trust>, Error> {
    let mut found = Vec::new();
    for note in notes {
        match parse(note) {
            Ok(trust) if trust.set == set.as_str() => found.push((trust, note)),
            Err(error) if held.is_empty() => return Err(error.into()),
            _ => {}
        }
    }
    // By their own word: that of the row beside them is the database's.
    found.sort_by_key(|(trust, _)| trust.version);
    if held.is_empty() {
        return Ok(found.into_iter().map(|(trust, _)| trust).collect());
    }
    let by = |(_, note): &(Trust, &str), roots: &[Verifier]| Trust::open(note, roots).is_ok();
    let Some(mut latest) = found.iter().rposition(|one| by(one, held)) else { return Ok(Vec::new()) };
    let mut roots = [held, &found[latest].0.roots].concat();
    for next in latest + 1..found.len() {
        if by(&found[next], &found[latest].0.roots) {
            latest = next;
            roots.extend(found[next].0.roots.iter().cloned());
        }
    }
    let mut signed = Vec::new();
    found.truncate(latest + 1);
    while let Some(one) = found.pop() {
        if by(&one, &roots) {
            roots.extend(one.0.roots.iter().cloned());
            signed.push(one.0);
        }
    }
    signed.reverse();
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightlatch_keyset::note::{Signer, cosign};

    fn key(name: &str, seed: u8) -> Signer {
        Signer::new(name, &[seed; 32]).unwrap()
    }

    fn root(seed: u8) -> Signer {
        key("root", seed)
    }

    fn note(version: u64, roots: &[u8], signer: u8, by: &[u8]) -> String {
        let trust = Trust {
            set: "set_a".into(),
            version,
            issued: 1,
            floor: [0; 3],
            roots: roots.iter().map(|seed| root(*seed).verifier()).collect(),
            signers: vec![key("head", signer).verifier()],
        };
        by[1..].iter().fold(trust.sign(&root(by[0])), |note, seed| cosign(&note, &root(*seed)).unwrap())
    }

    /// The versions of the notes that count.
    fn versions(notes: &[String], held: &[u8]) -> Vec<u64> {
        let held: Vec<_> = held.iter().map(|seed| root(*seed).verifier()).collect();
        let set = SetId::parse("set_a").unwrap();
        let notes = in_force(&set, notes.iter().map(String::as_str), &held).unwrap();
        notes.into_iter().map(|note| note.version).collect()
    }

    /// The root 1 is replaced by 2, which is replaced by 3; the head key 10 by 11 before all that, and by 12 after it.
    fn replaced() -> Vec<String> {
        vec![
            note(1, &[1], 10, &[1]),
            note(2, &[1], 11, &[1]),
            note(3, &[1, 2], 11, &[1, 2]),
            note(4, &[2], 11, &[2]),
            note(5, &[2, 3], 11, &[2, 3]),
            note(6, &[3], 11, &[3]),
            note(7, &[3], 12, &[3]),
        ]
    }

    #[test]
    fn every_root_that_there_was_leads_to_all_notes() {
        for held in [&[1][..], &[2], &[3], &[1, 3], &[]] {
            assert_eq!(versions(&replaced(), held), [1, 2, 3, 4, 5, 6, 7], "{held:?}");
        }
        // By their own versions, in whatever rows they are.
        let turned: Vec<_> = replaced().into_iter().rev().collect();
        assert_eq!(versions(&turned, &[3]), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_note_that_no_root_of_the_set_signed_says_nothing() {
        let mut notes = replaced();
        // Before all, in between, and after all; and by a root that was replaced.
        notes.extend([
            note(0, &[3], 12, &[9]),
            note(4, &[3], 12, &[9]),
            note(8, &[3], 9, &[9]),
            note(9, &[1], 9, &[1]),
        ]);
        notes.push("anything".into());
        for held in [&[2][..], &[3], &[2, 3]] {
            assert_eq!(versions(&notes, held), [1, 2, 3, 4, 5, 6, 7], "{held:?}");
        }
        assert!(versions(&notes, &[8]).is_empty());
    }

    #[test]
    fn the_note_of_another_set_is_none_of_this_one() {
        let other = Trust { set: "set_b".into(), ..parse(&note(2, &[1], 11, &[1])).unwrap() };
        let notes = [note(1, &[1], 10, &[1]), other.sign(&root(1))];
        for held in [&[1][..], &[]] {
            assert_eq!(versions(&notes, held), [1]);
        }
    }
}
