//! A publisher in a few lines and the plain map it publishes from: what the real ones are held against.

use std::collections::BTreeMap;

use nightlatch_key::{Brand, Digest, Environment};
use nightlatch_keyset::note::{Signer, Verifier};
use nightlatch_keyset::{
    Author, BaseBuilder, BaseFiles, BaseInfo, Change, Columns, Commitment, FileName, Hash, Head, Layout, Pepper,
    PrincipalKind, Profile, Rebased, Replica, Status,
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
                live: None,
                refused: false,
            },
            subject: 1,
            number,
        }
    }

    pub(crate) fn change(&self, pepper: &Pepper) -> Change<'_> {
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
    pub(crate) author: Author,
    pub(crate) columns: Columns,
}

impl Publisher {
    pub(crate) fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        Self::with_columns(keys, Columns::ALL)
    }

    /// Without a column, every key must be 0 in it.
    pub(crate) fn with_columns(keys: impl IntoIterator<Item = Key>, columns: Columns) -> Self {
        let keys: Vec<Key> = keys.into_iter().collect();
        let layout = Layout::for_keys(keys.len() as u64, columns);
        Self::with_layout(keys, layout)
    }

    /// The first base is laid out so, whatever suits its keys.
    pub(crate) fn with_layout(keys: impl IntoIterator<Item = Key>, layout: Layout) -> Self {
        let policy = Hash::of(POLICY);
        let mut head = Head {
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
            base_parts: Vec::new(),
            rebase: None,
            pepper: "p1".into(),
            pepper_check: pepper().check(),
            accepts_foreign: false,
            policy,
            policy_len: POLICY.len() as u64,
            issued: START,
            valid_until: START + 60_000,
            skew: 5_000,
            open_until: None,
            trust: None,
            audit: None,
        };
        let mut keys: BTreeMap<u32, Key> = keys.into_iter().map(|key| (key.number, key)).collect();
        let live = keys.values().filter(|key| key.profile.live.is_some());
        for profile in live.map(|key| key.profile.clone()).collect::<Vec<_>>() {
            replace_live(&mut keys, &profile);
        }
        let mut files = BTreeMap::from([(FileName::Policy(policy), POLICY.to_vec())]);
        let base = build_as(&head, &keys, layout);
        let author = begin(&mut head, &mut files, base, None);
        let signer = Signer::new("nightlatch/set_0123456789", &[1; 32]).unwrap();
        Self { signer, keys, files, head, author, columns: layout.columns() }
    }

    pub(crate) fn verifier(&self) -> Verifier {
        self.signer.verifier()
    }

    pub(crate) fn note(&self) -> String {
        self.head.sign(&self.signer)
    }

    /// Publishes the model's state as a new base, built from the model.
    pub(crate) fn cut(&mut self) {
        let files = build(&self.head, &self.keys, self.columns);
        self.author = begin(&mut self.head, &mut self.files, files, None);
        self.tick(1);
    }

    /// Folds what has changed into a new base. Keys that `ended` names leave the model too, as do those whose deadline was
    /// before `cutoff`.
    pub(crate) fn rebase(&mut self, cutoff: u64, ended: &[u32]) {
        let tags = ended.iter().map(|number| pepper().tag(&digest(*number))).collect();
        let Rebased { files, record } = self.author.rebase(cutoff, self.author.replica().layout(), &tags).unwrap();
        self.keys.retain(|number, key| !ended.contains(number) && key.deadline.is_none_or(|at| at >= cutoff));
        self.author = begin(&mut self.head, &mut self.files, files, record);
        self.tick(1);
    }

    /// Puts keys into the model and publishes them as the next version, with deltas of every level that ends there.
    pub(crate) fn publish(&mut self, changed: &[Key]) {
        self.publish_with(changed, &[]);
    }

    /// The same, with new contents of live profiles; keys of the model that have one change with it.
    pub(crate) fn publish_with(&mut self, changed: &[Key], live: &[Profile]) {
        let pepper = pepper();
        let changes: Vec<Change<'_>> = changed.iter().map(|key| key.change(&pepper)).collect();
        let authored = self.author.next(&changes, live, &self.signer).unwrap();
        self.keys.extend(changed.iter().map(|key| (key.number, key.clone())));
        let replaced =
            live.iter().chain(changed.iter().map(|key| &key.profile)).filter(|profile| profile.live.is_some());
        for profile in replaced {
            replace_live(&mut self.keys, profile);
        }
        self.files.insert(authored.name, authored.bytes);
        self.files.extend(self.author.levels(&self.signer).unwrap());
        let head = &mut self.head;
        (head.version, head.commitment) = (head.version + 1, authored.commitment);
        head.keys = self.keys.len() as u64;
        self.tick(1);
    }

    /// Lets time pass and signs anew.
    pub(crate) fn tick(&mut self, ms: u64) {
        self.head.issued += ms;
        self.head.valid_until = self.head.issued + 60_000;
    }

    /// The files of the head's base, as a replica takes them.
    pub(crate) fn base_files(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        let parts = self.head.part_names().map(|name| self.files[&name].clone()).collect();
        (self.files[&self.head.base_name()].clone(), parts)
    }
}

/// Gives a live profile's contents to all keys that have it.
fn replace_live(keys: &mut BTreeMap<u32, Key>, profile: &Profile) {
    let owner = |profile: &Profile| (profile.live, profile.environment);
    let sharing = keys.values_mut().filter(|key| profile.live.is_some() && owner(&key.profile) == owner(profile));
    sharing.for_each(|key| key.profile = profile.clone());
}

/// The base that follows on a head, built from keys. Its cutoff is the head's time.
pub(crate) fn build(head: &Head, keys: &BTreeMap<u32, Key>, columns: Columns) -> BaseFiles {
    build_as(head, keys, Layout::for_keys(keys.len() as u64, columns))
}

fn build_as(head: &Head, keys: &BTreeMap<u32, Key>, layout: Layout) -> BaseFiles {
    let info = BaseInfo {
        set: SET.into(),
        workspace: WORKSPACE.into(),
        pepper: "p1".into(),
        incarnation: head.incarnation,
        epoch: head.epoch + 1,
        version: head.version + 1,
        cutoff: head.issued / 1000,
    };
    let mut builder = BaseBuilder::new(info, layout, keys.len() as u64).unwrap();
    for key in keys.values() {
        builder.push(&key.change(&pepper())).unwrap();
    }
    builder.finish().unwrap()
}

/// Makes a base the next version.
fn begin(
    head: &mut Head,
    published: &mut BTreeMap<FileName, Vec<u8>>,
    files: BaseFiles,
    record: Option<Vec<u8>>,
) -> Author {
    (head.epoch, head.version) = (head.epoch + 1, head.version + 1);
    head.base_root = files.root;
    head.base_len = files.index.len() as u64;
    head.base_parts = files.parts.iter().map(|part| part.len() as u64).collect();
    head.commitment = head.commitment.then(&head.base_root);
    (head.base_version, head.base_commitment) = (head.version, head.commitment);
    head.keys = files.keys;
    head.rebase = record.as_ref().map(|record| (Hash::of(record), record.len() as u64));
    published.insert(head.base_name(), files.index.clone());
    published.extend(head.part_names().zip(files.parts.iter().cloned()));
    if let Some(record) = record {
        published.insert(head.rebase_name(), record);
    }
    Author::new(Replica::load(files.index, files.parts, head).unwrap()).unwrap()
}
