//! A publisher in a few lines and the plain map it publishes from: what the real ones are held against.

use std::collections::BTreeMap;

use nightlatch_key::{Brand, Digest, Environment};
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_keyset::{
    BaseBuilder, BaseInfo, Change, Commitment, DeltaBuilder, FileName, Hash, Head, Pepper, PrincipalKind, Profile,
    ProfileTable, Status,
};

pub(crate) const SET: &str = "set_0123456789";
pub(crate) const WORKSPACE: &str = "ws_0123456789";
pub(crate) const POLICY: &[u8] = b"any bytes: this crate does not read policies";
pub(crate) const START: u64 = 1_800_000_000_000;

/// A key as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) status: Status,
    pub(crate) foreign: bool,
    pub(crate) deadline: Option<u64>,
    pub(crate) profile: Profile,
    pub(crate) subject: u32,
    pub(crate) number: u32,
}

impl Key {
    pub(crate) fn new(number: u32, scopes: &[&str]) -> Self {
        let mut scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        scopes.sort();
        scopes.dedup();
        Self {
            status: Status::Active,
            foreign: false,
            deadline: None,
            profile: Profile {
                kind: PrincipalKind::ServiceAccount,
                environment: Environment::Live,
                tier: Some("gold".into()),
                scopes,
                live: false,
            },
            subject: 1,
            number,
        }
    }

    fn change(&self, pepper: &Pepper) -> Change<'_> {
        Change {
            tag: pepper.tag(&digest(self.number)),
            status: self.status,
            foreign: self.foreign,
            deadline: self.deadline,
            profile: &self.profile,
            subject: self.subject,
            number: self.number,
        }
    }
}

pub(crate) fn digest(number: u32) -> Digest {
    Digest::of(&number.to_le_bytes())
}

pub(crate) fn pepper() -> Pepper {
    Pepper::new("p1", SET, &[5; 32]).unwrap()
}

/// The model and everything it has published.
pub(crate) struct Publisher {
    pub(crate) signer: Signer,
    pub(crate) keys: BTreeMap<u32, Key>,
    pub(crate) files: BTreeMap<FileName, Vec<u8>>,
    pub(crate) head: Head,
    table: ProfileTable,
}

impl Publisher {
    pub(crate) fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let policy = Hash::of(POLICY);
        let head = Head {
            set: SET.into(),
            workspace: WORKSPACE.into(),
            brand: Brand::new("nl").unwrap(),
            incarnation: 0,
            epoch: 0,
            version: 0,
            commitment: Commitment::START,
            keys: 0,
            base_version: 0,
            base_commitment: Commitment::START,
            base_root: Hash::of(b""),
            base_len: 0,
            pepper: "p1".into(),
            pepper_check: pepper().check(),
            accepts_foreign: false,
            policy,
            policy_len: POLICY.len() as u64,
            issued: START,
            valid_until: START + 60_000,
            skew: 5_000,
        };
        let mut this = Self {
            signer: Signer::new("nightlatch/set_0123456789", &[1; 32]).unwrap(),
            keys: keys.into_iter().map(|key| (key.number, key)).collect(),
            files: BTreeMap::from([(FileName::Policy(policy), POLICY.to_vec())]),
            head,
            table: ProfileTable::default(),
        };
        this.cut();
        this
    }

    pub(crate) fn verifier(&self) -> Verifier {
        self.signer.verifier()
    }

    pub(crate) fn note(&self) -> String {
        self.head.sign(&self.signer)
    }

    /// Publishes the model's state as a new base.
    pub(crate) fn cut(&mut self) {
        let head = &mut self.head;
        (head.epoch, head.version) = (head.epoch + 1, head.version + 1);
        let mut builder = BaseBuilder::new(BaseInfo {
            set: SET.into(),
            workspace: WORKSPACE.into(),
            pepper: "p1".into(),
            incarnation: head.incarnation,
            epoch: head.epoch,
            version: head.version,
            cutoff: head.issued / 1000,
        })
        .unwrap();
        for key in self.keys.values() {
            builder.push(&key.change(&pepper())).unwrap();
        }
        let (bytes, table) = builder.finish().unwrap();
        self.table = table;
        head.base_root = Hash::of(&bytes);
        head.base_len = bytes.len() as u64;
        head.commitment = head.commitment.then(&head.base_root);
        (head.base_version, head.base_commitment) = (head.version, head.commitment);
        head.keys = self.keys.len() as u64;
        self.files.insert(head.base_name(), bytes);
        self.tick(1);
    }

    /// Puts keys into the model and publishes them as one delta.
    pub(crate) fn publish(&mut self, changed: &[Key]) {
        let head = &mut self.head;
        let mut builder = DeltaBuilder::new(SET, head.incarnation, head.epoch, head.version).unwrap();
        for key in changed {
            builder.push(&key.change(&pepper())).unwrap();
            self.keys.insert(key.number, key.clone());
        }
        let (file, _, commitment) = builder.finish(&mut self.table, &head.commitment, &self.signer).unwrap();
        self.files.insert(head.delta_name(head.version), file);
        head.version += 1;
        head.commitment = commitment;
        head.keys = self.keys.len() as u64;
        self.tick(1);
    }

    /// Lets time pass and signs anew.
    pub(crate) fn tick(&mut self, ms: u64) {
        self.head.issued += ms;
        self.head.valid_until = self.head.issued + 60_000;
    }
}
