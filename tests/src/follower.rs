//! An edge as runtimes have it: the state machine of `nightlatch-sync`, following a directory.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use nightlatch_gate::policy::Policy;
use nightlatch_key::Digest;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Pepper, Status};
use nightlatch_sync::{Edge, EdgeConfig, Offer, Refusal};

use crate::clock::now_ms;

/// An edge that follows a directory.
pub struct Follower {
    /// Its state.
    pub edge: Edge<Policy>,
}

/// A file's bytes; `None` where it is not there.
fn read(path: &Path) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn text(path: &Path) -> Option<String> {
    read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

impl Follower {
    /// An edge that pins root keys, or head-signing keys.
    #[must_use]
    pub fn new(set: &str, roots: Vec<Verifier>, verifiers: Vec<Verifier>, peppers: Vec<Pepper>) -> Self {
        let config =
            EdgeConfig { set: set.to_owned(), roots, verifiers, peppers, poll_ms: 0, room: u64::MAX, rebase_from: 0 };
        Self { edge: Edge::new(config, None) }
    }

    /// Looks at the directory once, as a runtime's poll does.
    ///
    /// # Errors
    /// What it refuses.
    ///
    /// # Panics
    /// When the directory cannot be read.
    pub fn poll(&mut self, directory: &Path) -> Result<(), Refusal> {
        let Some(note) = text(&directory.join("head")) else { return Ok(()) };
        let now = self.edge.now(now_ms(), None);
        let mut offer = self.edge.offer(&note, now)?;
        if matches!(offer, Offer::NeedsTrust) {
            self.edge.take_trust(&text(&directory.join("trust")).ok_or(Refusal::TrustMissing)?)?;
            offer = self.edge.offer(&note, now)?;
        }
        let mut attempt = match offer {
            Offer::News(attempt) => attempt,
            Offer::NeedsTrust => return Err(Refusal::TrustMissing),
            Offer::Known | Offer::Working => return Ok(()),
        };
        let mut files = Vec::new();
        while let Some(fetch) = attempt.fetches().get(files.len()).copied() {
            match read(&directory.join("files").join(fetch.name.to_text())) {
                Some(bytes) => files.push(bytes),
                None => match self.edge.by_base(attempt, &fetch.name)? {
                    Some(other) => (attempt, files) = (other, Vec::new()),
                    // The head has gone on meanwhile.
                    None => return Ok(()),
                },
            }
        }
        let now = self.edge.now(now_ms(), None);
        self.edge.finish(attempt, files, now, Policy::decode)?;
        while self.edge.is_working() {
            self.edge.work(now)?;
        }
        Ok(())
    }

    /// Takes the deny note of the directory.
    ///
    /// # Errors
    /// What it refuses.
    ///
    /// # Panics
    /// When the directory cannot be read.
    pub fn poll_deny(&mut self, directory: &Path) -> Result<bool, Refusal> {
        match text(&directory.join("deny")) {
            Some(note) => self.edge.take_deny(&note),
            None => Ok(false),
        }
    }

    /// What it would say of a key now; `None` where it does not know it.
    ///
    /// # Panics
    /// Where it cannot answer.
    pub fn status(&mut self, digest: &Digest) -> Option<Status> {
        let now = self.edge.now(now_ms(), None);
        let serving = self.edge.serving(now).expect("the edge answers");
        serving.find(digest).unwrap().map(|(record, _)| record.status)
    }

    /// Whether it answers at all.
    pub fn answers(&mut self) -> bool {
        let now = self.edge.now(now_ms(), None);
        self.edge.serving(now).is_some()
    }
}
