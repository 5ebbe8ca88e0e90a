//! An edge as runtimes have it: the state machine of `nightlatch-sync`, following a directory.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use base64ct::{Base64, Encoding as _};
use nightlatch_gate::policy::Policy;
use nightlatch_gate::{Found, Keys, Request, SetFacts, Unfit, Verdict, decide};
use nightlatch_key::Digest;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Pepper, Status, Trust};
use nightlatch_sync::{Edge, EdgeConfig, Offer, Refusal, Serving};
use serde_json::Value;

use crate::clock::now_ms;
use crate::control_plane::ControlPlane;

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

    /// An edge of a control plane's set that is published in this directory: it has the pepper, and pins the root.
    ///
    /// # Errors
    /// When `nightlatch edge config` fails, or nothing is published.
    pub fn beside(control_plane: &ControlPlane, directory: &Path) -> anyhow::Result<Self> {
        let mut command = control_plane.host_command()?;
        command.env("NIGHTLATCH_URL", control_plane.url()).env("NIGHTLATCH_TOKEN", control_plane.token());
        command.args(["edge", "config", "--json", "--runtime", "cloudflare", "--data-dir"]);
        let output = command.arg(control_plane.data_dir()).output()?;
        ensure!(output.status.success(), "edge config: {}", String::from_utf8_lossy(&output.stderr));
        let printed: Value = serde_json::from_slice(&output.stdout)?;
        let peppers = printed["secrets"]["NIGHTLATCH_PEPPERS"].as_str().context("peppers")?;
        let (id, encoded) = peppers.split_once(':').context("a pepper is id:base64")?;
        let mut secret = [0; Pepper::LEN];
        Base64::decode(encoded, &mut secret).map_err(|error| anyhow!("the pepper: {error}"))?;
        let set = &control_plane.set().id;
        let pepper = Pepper::new(id, set, &secret).map_err(|error| anyhow!("the pepper: {error:?}"))?;
        let trust = fs::read_to_string(directory.join("trust"))?;
        let end = trust.rfind("\n\n").context("a note")?;
        let roots = Trust::parse(&trust[..=end]).map_err(|error| anyhow!("the trust note: {error}"))?.roots;
        Ok(Self::new(set, roots, Vec::new(), vec![pepper]))
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

    /// What it answers a request with this key, so many milliseconds from now: 200, or the status and the code of its
    /// refusal.
    ///
    /// # Panics
    /// Where it has nothing to answer from.
    pub fn verdict(&mut self, method: &str, path: &str, key: &str, in_ms: u64) -> (u16, &'static str) {
        let now = self.edge.now(now_ms(), None);
        let serving = self.edge.serving(now).expect("the edge answers");
        let bearer = format!("Bearer {key}");
        let request = Request { authorization: Some(bearer.as_bytes()), ..Request::new(method, path) };
        match decide(&request, serving.policy(), &SetFacts::from(serving.head()), &Served(serving), now + in_ms) {
            Verdict::Allow(_) | Verdict::Preflight(_) => (200, ""),
            Verdict::Deny(denial) => (denial.status(), denial.code.as_str()),
        }
    }

    /// Whether it answers at all.
    pub fn answers(&mut self) -> bool {
        let now = self.edge.now(now_ms(), None);
        self.edge.serving(now).is_some()
    }
}

/// A set, as the gate asks it.
struct Served<'a>(&'a Serving<Policy>);

impl Keys for Served<'_> {
    fn find(&self, digest: &Digest) -> Result<Option<Found<'_>>, Unfit> {
        let found = self.0.find(digest).map_err(|_| Unfit::SetCorrupt)?;
        Ok(found.map(|(record, profile)| Found { record, profile, workspace: &self.0.head().workspace }))
    }
}
