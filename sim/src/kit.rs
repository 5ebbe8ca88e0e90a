//! What all worlds share: names, one signing key, one pepper, a few policies and profiles.

use nightlatch_gate::policy::{Draft, Policy, RouteDraft};
use nightlatch_key::{Brand, Digest, Environment, mint};
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_keyset::{Change, Commitment, Deny, Hash, Head, Pepper, PrincipalKind, Profile, Status, Tag, Trust};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

pub(crate) const SET: &str = "set_0123456789";
const WORKSPACE: &str = "ws_0123456789";

/// See the module.
pub(crate) struct Kit {
    /// Signs trust notes and deny notes.
    pub(crate) root: Signer,
    /// Those that sign heads, one after the other.
    pub(crate) signers: Vec<Signer>,
    pub(crate) verifiers: Vec<Verifier>,
    pub(crate) pepper: Pepper,
    pub(crate) policies: Vec<Vec<u8>>,
    pub(crate) profiles: Vec<Profile>,
}

/// A key's text, and what follows from it.
#[derive(Clone)]
pub(crate) struct Key {
    /// `Bearer` and the text.
    pub(crate) header: String,
    pub(crate) digest: Digest,
    pub(crate) tag: Tag,
}

/// A key's state as change rows and models have it. The deadline is in unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) status: Status,
    pub(crate) deadline: Option<u64>,
    /// One of the kit's, or after those a member's.
    pub(crate) profile: usize,
}

impl Image {
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self.status, Status::Active | Status::Retiring)
    }
}

impl Kit {
    pub(crate) fn new() -> Self {
        let signer = |name: &str, seed| Signer::new(name, &[seed; 32]).expect("a signer's name");
        let signers: Vec<_> = [7, 8, 9].map(|seed| signer("nightlatch/sim", seed)).into();
        let policy = |(realm, open): (&str, bool)| {
            let open = RouteDraft { open, ..RouteDraft::new("GET", "/open/{*rest}") };
            let draft = Draft::new(realm).route(RouteDraft::new("GET", "/{*rest}")).route(open);
            Policy::new(draft).expect("a policy").encode()
        };
        let profile = |scopes: &[&str]| Profile {
            kind: PrincipalKind::ServiceAccount,
            environment: Environment::Live,
            tier: None,
            scopes: scopes.iter().map(|&scope| scope.into()).collect(),
            live: None,
            refused: false,
        };
        Self {
            root: signer("nightlatch/root", 1),
            verifiers: signers.iter().map(Signer::verifier).collect(),
            signers,
            pepper: Pepper::new("p1", SET, &[5; 32]).expect("a pepper"),
            policies: [("one", false), ("two", true), ("three", true)].map(policy).into(),
            profiles: vec![profile(&[]), profile(&["a"]), profile(&["a", "b"])],
        }
    }

    pub(crate) fn key(&self, rng: &mut ChaCha8Rng, issued_at: u64) -> Key {
        let brand = Brand::new("nl").expect("a brand");
        let text = mint(&brand, Environment::Live, issued_at, &mut |bytes| rng.fill_bytes(bytes));
        let digest = text.digest();
        Key { header: format!("Bearer {}", text.expose()), digest, tag: self.pepper.tag(&digest) }
    }

    /// A key's state as the set's builders take it, with its profile at that version.
    pub(crate) fn change<'a>(&self, key: &Key, image: &Image, profile: &'a Profile) -> Change<'a> {
        Change {
            tag: key.tag,
            status: image.status,
            foreign: false,
            deadline: image.deadline,
            profile,
            subject: 0,
            number: 0,
        }
    }

    /// A trust note that lists these signers.
    pub(crate) fn trust(&self, version: u64, signers: &[usize], floor: [u64; 3]) -> Vec<u8> {
        let signers = signers.iter().map(|number| self.verifiers[*number].clone()).collect();
        let roots = vec![self.root.verifier()];
        Trust { set: SET.into(), version, issued: 0, floor, roots, signers }.sign(&self.root).into_bytes()
    }

    /// A deny note.
    pub(crate) fn deny(&self, number: u64, mut digests: Vec<Digest>) -> Vec<u8> {
        digests.sort_unstable_by_key(|digest| *digest.as_bytes());
        Deny { set: SET.into(), number, issued: 0, digests }.sign(&self.root).into_bytes()
    }

    /// Whether a policy has an open route.
    pub(crate) fn is_open(&self, policy: usize) -> bool {
        policy > 0
    }

    /// The policy with this hash.
    pub(crate) fn policy(&self, hash: &Hash) -> Vec<u8> {
        self.policies.iter().find(|policy| Hash::of(policy) == *hash).cloned().unwrap_or_default()
    }

    /// A head that says nothing yet but whose set it is.
    pub(crate) fn blank(&self) -> Head {
        Head {
            set: SET.into(),
            workspace: WORKSPACE.into(),
            brand: Brand::new("nl").expect("a brand"),
            incarnation: 0,
            epoch: 0,
            version: 0,
            commitment: Commitment::START,
            keys: 0,
            base_version: 0,
            base_commitment: Commitment::START,
            base_root: Hash::of(b""),
            base_len: 0,
            base_parts: Vec::new(),
            rebase: None,
            pepper: self.pepper.id().into(),
            pepper_check: self.pepper.check(),
            accepts_foreign: false,
            policy: Hash::of(&self.policies[0]),
            policy_len: self.policies[0].len() as u64,
            issued: 0,
            valid_until: 0,
            skew: 0,
            open_until: None,
            trust: None,
            audit: None,
        }
    }
}
