//! A warm start: what the state directory holds is offered like what a source sends, and checked like it.

use nightlatch_gate::policy::Policy;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{FileName, Index, Trust};
use nightlatch_sync::{Attempt, Edge, Fetch, Offer, Refusal};

use crate::mark::Kept;
use crate::source::cut;
use crate::store::{Note, Store};

/// A base's parts are kept in pieces of about so many bytes, which a rebase gives back one by one.
const PIECE: usize = 1 << 20;

/// Puts what was kept into force, as far as it still may be. What is damaged is dropped; what has run out, or is not
/// whole, is left for the source to mend.
pub(crate) fn start(edge: &mut Edge<Policy>, roots: &[Verifier], store: &Store, kept: &Kept, now: u64) {
    if edge.trust_note().is_none()
        && let Some(note) = store.note(Note::Trust)
        && let Err(refusal) = take_trust(edge, roots, &note, kept.trust)
    {
        tracing::warn!("the kept trust note is dropped: {refusal}");
    }
    if lacks_trust(edge, roots, kept) {
        tracing::warn!("the last trust note is lost: nothing is served before one as new is had from the source");
    } else if let Some(note) = store.note(Note::Head) {
        match put_into_force(edge, store, &note, now) {
            Ok(true) => tracing::info!("started from the kept set"),
            Ok(false) => tracing::info!("the kept set is not whole; what it lacks is fetched"),
            Err(refusal) => tracing::warn!("the kept set is no ground for answers: {refusal}"),
        }
    }
    if let Some(note) = store.note(Note::Deny)
        && let Err(refusal) = edge.take_deny(&note)
    {
        tracing::warn!("the kept deny note is dropped: {refusal}");
    }
}

/// Takes a trust note, unless it is below what was taken before a restart: a key that has been removed since might be on it.
/// True where it is news.
pub(crate) fn take_trust(
    edge: &mut Edge<Policy>,
    roots: &[Verifier],
    note: &str,
    least: Option<u64>,
) -> Result<bool, Refusal> {
    // From the first one on, the edge itself goes by the last.
    if edge.trust().is_none() && Some(Trust::open(note, roots)?.version) < least {
        return Err(Refusal::Rollback);
    }
    edge.take_trust(note)
}

/// Whether a trust note was taken before a restart, and neither it nor a later one has been since. Who has no roots needs none.
pub(crate) fn lacks_trust(edge: &Edge<Policy>, roots: &[Verifier], kept: &Kept) -> bool {
    !roots.is_empty() && edge.trust().map(|trust| trust.version) < kept.trust
}

fn put_into_force(edge: &mut Edge<Policy>, store: &Store, note: &str, now: u64) -> Result<bool, Refusal> {
    let Offer::News(attempt) = edge.offer(note, now)? else {
        return Ok(false);
    };
    let mut files = Vec::new();
    for fetch in attempt.small() {
        let Some(bytes) = store.file(&fetch.name, fetch.max_len) else { return Ok(false) };
        files.push(bytes);
    }
    let index = index_of(&attempt, &files);
    for fetch in attempt.parts() {
        let Some(bytes) = store.file(&fetch.name, fetch.max_len) else { return Ok(false) };
        files.extend(cut(bytes, &piece_lens(fetch, index.as_ref())));
    }
    let names: Vec<FileName> = attempt.fetches().iter().map(|fetch| fetch.name).collect();
    match edge.finish(attempt, files, now, Policy::decode) {
        Ok(_) => Ok(true),
        Err(refusal) => {
            if matches!(refusal, Refusal::Files(_) | Refusal::Policy(_)) {
                names.iter().for_each(|name| store.drop_file(name));
            }
            Err(refusal)
        }
    }
}

/// The index of an attempt's base, which says where its parts can be cut; nothing where it is bad, which shows later.
pub(crate) fn index_of(attempt: &Attempt, small: &[Vec<u8>]) -> Option<Index> {
    if attempt.parts().is_empty() {
        return None;
    }
    Index::open(small.last()?.clone(), &attempt.head().base_root).ok()
}

/// The lengths of the pieces in which a file is best held.
pub(crate) fn piece_lens(fetch: &Fetch, index: Option<&Index>) -> Vec<usize> {
    let mut lens = match (fetch.name, index) {
        (FileName::BasePart { part, .. }, Some(index)) => index.piece_lens(part as usize, PIECE),
        _ => Vec::new(),
    };
    if lens.is_empty() {
        lens.push(if fetch.is_exact() { fetch.max_len as usize } else { 0 });
    }
    lens
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use nightlatch_gate::policy::{Draft, RouteDraft};
    use nightlatch_key::KeyText;
    use nightlatch_keyset::{Pepper, Status};
    use nightlatch_sync::{EdgeConfig, REBASE_FROM};
    use nightlatch_tests::published::{Key, PublishedSet};
    use proptest::prelude::*;

    use super::*;

    struct Kept {
        directory: tempfile::TempDir,
        config: EdgeConfig,
        active: KeyText,
        revoked: KeyText,
        stranger: KeyText,
        now: u64,
    }

    /// A state directory as a sidecar leaves it.
    fn kept() -> Kept {
        let policy = Policy::new(Draft::new("test").route(RouteDraft::new("GET", "/status"))).unwrap();
        let mut set = PublishedSet::new(&policy).unwrap();
        let keys: Vec<_> = (0..40).map(|_| set.issue(Key::default())).collect();
        set.cut().unwrap();
        set.change(&keys[1], |key| key.status = Status::Revoked).unwrap();
        for _ in 0..5 {
            set.issue(Key::default());
            set.publish().unwrap();
        }
        let stranger = set.mint(1_800_000_000);
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &set.head.set).unwrap();
        for name in nightlatch_sync::implied_files(&set.head) {
            store.stage(&name, &[set.files[&name].clone()]).unwrap();
            assert!(store.settle(&name).unwrap());
        }
        store.keep_note(Note::Head, &set.note()).unwrap();
        let config = EdgeConfig {
            set: set.head.set.clone(),
            roots: Vec::new(),
            verifiers: vec![Verifier::from_vkey(&set.verifier()).unwrap()],
            peppers: vec![Pepper::new("p1", &set.head.set, &[42; 32]).unwrap()],
            poll_ms: 1_000,
            room: 1 << 30,
            rebase_from: REBASE_FROM,
        };
        let [active, revoked] = [keys[0].clone(), keys[1].clone()];
        Kept { directory, config, active, revoked, stranger, now: set.head.issued }
    }

    impl Kept {
        /// Starts from a directory; whether it serves, and never anything that was not signed.
        fn start(&self, directory: &Path) -> bool {
            let store = Store::open(directory, &self.config.set).unwrap();
            let mut edge = Edge::new(self.config.clone(), None);
            start(&mut edge, &[], &store, &super::Kept::default(), self.now);
            let Some(serving) = edge.serving(self.now) else { return false };
            let status =
                |key: &KeyText| serving.find(&key.digest()).map(|found| found.map(|(record, _)| record.status));
            // A damaged segment may say that it is; it may not say anything else.
            assert!(matches!(status(&self.active), Ok(Some(Status::Active)) | Err(_)));
            assert!(matches!(status(&self.revoked), Ok(Some(Status::Revoked)) | Err(_)));
            assert!(matches!(status(&self.stranger), Ok(None) | Err(_)));
            true
        }

        /// A copy to be damaged, and its files.
        fn copy(&self) -> (tempfile::TempDir, Vec<PathBuf>) {
            let copy = tempfile::tempdir().unwrap();
            fs::create_dir(copy.path().join("files")).unwrap();
            let mut paths = vec![copy.path().join("head")];
            fs::copy(self.directory.path().join("head"), &paths[0]).unwrap();
            for entry in fs::read_dir(self.directory.path().join("files")).unwrap() {
                let entry = entry.unwrap();
                let path = copy.path().join("files").join(entry.file_name());
                fs::copy(entry.path(), &path).unwrap();
                paths.push(path);
            }
            paths.sort();
            (copy, paths)
        }
    }

    #[test]
    fn what_is_whole_is_served() {
        let kept = kept();
        let (copy, paths) = kept.copy();
        assert!(paths.len() >= 6 && kept.start(copy.path()));
        // Past its validity it is not.
        let late = Kept { now: kept.now + 60_000, ..kept };
        assert!(!late.start(copy.path()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn damage_is_dropped_and_never_served(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8, 1..=255_u8), 1..4),
        ) {
            static KEPT: std::sync::LazyLock<Kept> = std::sync::LazyLock::new(kept);
            let (copy, paths) = KEPT.copy();
            for (path, at, kind, mask) in damage {
                let path = &paths[path.index(paths.len())];
                let mut bytes = fs::read(path).unwrap_or_default();
                let at = at.index(bytes.len().max(1));
                match kind {
                    0 if !bytes.is_empty() => bytes[at] ^= mask,
                    1 => bytes.truncate(at),
                    2 => bytes.splice(at..at, [mask; 7]).for_each(drop),
                    _ => bytes = fs::read(&paths[usize::from(mask) % paths.len()]).unwrap_or_default(),
                }
                fs::write(path, bytes).unwrap();
            }
            KEPT.start(copy.path());
        }
    }
}
