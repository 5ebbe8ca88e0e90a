//! A set published by hand: what a control plane would publish, one step at a time, and whatever it never would.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use base64ct::{Base64, Encoding as _};
use nightlatch_gate::policy::Policy;
use nightlatch_key::{Brand, Digest, Environment, KeyText, mint};
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{
    Author, BaseBuilder, BaseFiles, BaseInfo, Change, Columns, Commitment, Deny, FileName, Hash, Head, Layout, Pepper,
    PrincipalKind, Profile, Rebased, Replica, Status, Trust,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use crate::clock::now_ms;

const PEPPER_ID: &str = "p1";
const PEPPER: [u8; Pepper::LEN] = [42; Pepper::LEN];

/// A key as the set says it.
#[derive(Clone, Debug)]
pub struct Key {
    /// What the set last said.
    pub status: Status,
    /// Imported.
    pub foreign: bool,
    /// Unix seconds.
    pub deadline: Option<u64>,
    /// What it may do.
    pub profile: Profile,
    /// Whom it acts for.
    pub subject: u32,
}

impl Default for Key {
    fn default() -> Self {
        Self {
            status: Status::Active,
            foreign: false,
            deadline: None,
            profile: Profile {
                kind: PrincipalKind::ServiceAccount,
                environment: Environment::Live,
                tier: None,
                scopes: Vec::new(),
                live: None,
                refused: false,
            },
            subject: 1,
        }
    }
}

impl Key {
    /// A live, active key with these scopes, given in order.
    #[must_use]
    pub fn with_scopes(scopes: &[&str]) -> Self {
        let mut key = Self::default();
        key.profile.scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        key
    }

    /// The same with that status.
    #[must_use]
    pub fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// The same, ending at that unix second.
    #[must_use]
    pub fn deadline(mut self, at: u64) -> Self {
        self.deadline = Some(at);
        self
    }
}

/// The publisher's state, and every file it has published.
pub struct PublishedSet {
    /// What the next head says; tests may bend it.
    pub head: Head,
    /// Every file by name; tests may break them.
    pub files: BTreeMap<FileName, Vec<u8>>,
    signer: Signer,
    pepper: Pepper,
    /// The commitment of the version before the last cut.
    before_cut: Commitment,
    author: Option<Author>,
    keys: BTreeMap<u32, (Digest, Key)>,
    changed: Vec<u32>,
    random: ChaCha20Rng,
}

impl PublishedSet {
    /// A set without keys at its first version, valid for a minute from now.
    ///
    /// # Errors
    /// Never, for a policy that is one.
    pub fn new(policy: &Policy) -> Result<Self> {
        let set = "set_0123456789";
        let policy = policy.encode();
        let policy_hash = Hash::of(&policy);
        let head = Head {
            set: set.into(),
            workspace: "ws_0123456789".into(),
            brand: Brand::new("nl")?,
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
            pepper: PEPPER_ID.into(),
            pepper_check: Pepper::new(PEPPER_ID, set, &PEPPER)?.check(),
            accepts_foreign: false,
            policy: policy_hash,
            policy_len: policy.len() as u64,
            issued: now_ms(),
            valid_until: now_ms() + 60_000,
            skew: 5_000,
            open_until: None,
            trust: None,
            audit: None,
        };
        let mut published = Self {
            head,
            files: BTreeMap::from([(FileName::Policy(policy_hash), policy)]),
            signer: Self::signer(1)?,
            pepper: Pepper::new(PEPPER_ID, set, &PEPPER)?,
            before_cut: Commitment::START,
            author: None,
            keys: BTreeMap::new(),
            changed: Vec::new(),
            random: ChaCha20Rng::seed_from_u64(1),
        };
        published.cut()?;
        Ok(published)
    }

    /// The verifier key of its heads.
    #[must_use]
    pub fn verifier(&self) -> String {
        self.signer.verifier().to_vkey()
    }

    /// A key that may sign the set's heads, by a number of its own; the first one signs from the start.
    ///
    /// # Errors
    /// Never.
    pub fn signer(number: u8) -> Result<Signer> {
        Ok(Signer::new("nightlatch/set_0123456789", &[number; 32])?)
    }

    /// From now on, the key of that number signs.
    ///
    /// # Errors
    /// Never.
    pub fn sign_with(&mut self, number: u8) -> Result<()> {
        self.signer = Self::signer(number)?;
        Ok(())
    }

    /// A root key, by a number of its own.
    ///
    /// # Errors
    /// Never.
    pub fn root(number: u8) -> Result<Signer> {
        Ok(Signer::new("nightlatch/root", &[100 + number; 32])?)
    }

    /// A trust note that lists the first root and these signers, and the floor at the first version.
    ///
    /// # Errors
    /// Never.
    pub fn trust(&self, version: u64, signers: &[u8]) -> Result<String> {
        let signers = signers.iter().map(|number| Ok(Self::signer(*number)?.verifier())).collect::<Result<_>>()?;
        let root = Self::root(1)?;
        let roots = vec![root.verifier()];
        let trust = Trust { set: self.head.set.clone(), version, issued: now_ms(), floor: [0, 1, 1], roots, signers };
        Ok(trust.sign(&root))
    }

    /// A deny note of that number, signed by the first root.
    ///
    /// # Errors
    /// Never.
    pub fn deny(&self, number: u64, keys: &[&KeyText]) -> Result<String> {
        let mut digests: Vec<_> = keys.iter().map(|key| key.digest()).collect();
        digests.sort_unstable_by_key(|digest| *digest.as_bytes());
        let deny = Deny { set: self.head.set.clone(), number, issued: now_ms(), digests };
        Ok(deny.sign(&Self::root(1)?))
    }

    /// The pepper as edges take it.
    #[must_use]
    pub fn peppers(&self) -> String {
        format!("{PEPPER_ID}:{}", Base64::encode_string(&PEPPER))
    }

    /// Mints a key, issued a minute ago, into the next version.
    pub fn issue(&mut self, key: Key) -> KeyText {
        self.issue_at(key, now_ms() / 1_000 - 60)
    }

    /// Mints a key, issued at that unix second, into the next version.
    pub fn issue_at(&mut self, key: Key, issued_at: u64) -> KeyText {
        let text = self.mint(issued_at);
        self.add(text.digest(), key);
        text
    }

    /// Mints a key that no version knows.
    pub fn mint(&mut self, issued_at: u64) -> KeyText {
        let random = &mut self.random;
        let mut fill = |bytes: &mut [u8]| random.fill_bytes(bytes);
        mint(&self.head.brand, Environment::Live, issued_at, &mut fill)
    }

    /// Takes a key of another shape into the next version.
    pub fn import(&mut self, text: &str, key: Key) {
        self.add(Digest::of(text.as_bytes()), Key { foreign: true, ..key });
    }

    /// Changes a minted key in the next version.
    ///
    /// # Errors
    /// When the set does not have it.
    pub fn change(&mut self, text: &KeyText, change: impl FnOnce(&mut Key)) -> Result<()> {
        let digest = text.digest();
        let found = self.keys.iter_mut().find(|(_, (known, _))| *known == digest);
        let (number, (_, key)) = found.context("the set has no such key")?;
        change(key);
        self.changed.push(*number);
        Ok(())
    }

    fn add(&mut self, digest: Digest, key: Key) {
        let number = self.keys.len() as u32 + 1;
        self.keys.insert(number, (digest, key));
        self.changed.push(number);
    }

    fn row(&self, number: u32) -> Change<'_> {
        let (digest, key) = &self.keys[&number];
        Change {
            tag: self.pepper.tag(digest),
            status: key.status,
            foreign: key.foreign,
            deadline: key.deadline,
            profile: &key.profile,
            subject: key.subject,
            number,
        }
    }

    /// Publishes what changed as the next version, with deltas of every level that ends there.
    ///
    /// # Errors
    /// When a key cannot be encoded.
    pub fn publish(&mut self) -> Result<()> {
        let changed = std::mem::take(&mut self.changed);
        let mut author = self.author.take().context("no base has been cut")?;
        let changes: Vec<Change<'_>> = changed.into_iter().map(|number| self.row(number)).collect();
        let authored = author.next(&changes, &[], &self.signer)?;
        self.files.insert(authored.name, authored.bytes);
        self.files.extend(author.levels(&self.signer)?);
        self.head.version += 1;
        self.head.commitment = authored.commitment;
        self.head.keys = author.replica().len() as u64;
        self.author = Some(author);
        self.renew(60_000);
        Ok(())
    }

    /// Publishes everything as the next version, a new base.
    ///
    /// # Errors
    /// When a key cannot be encoded.
    pub fn cut(&mut self) -> Result<()> {
        self.changed.clear();
        self.before_cut = self.head.commitment;
        (self.head.epoch, self.head.version) = (self.head.epoch + 1, self.head.version + 1);
        let keys = self.keys.len() as u64;
        let mut builder = BaseBuilder::new(
            BaseInfo {
                set: self.head.set.clone(),
                workspace: self.head.workspace.clone(),
                pepper: PEPPER_ID.into(),
                incarnation: self.head.incarnation,
                epoch: self.head.epoch,
                version: self.head.version,
                cutoff: self.head.issued / 1_000,
            },
            Layout::for_keys(keys, Columns::ALL),
            keys,
        )?;
        for number in self.keys.keys() {
            builder.push(&self.row(*number))?;
        }
        self.begin(builder.finish()?, None)
    }

    /// Folds what has changed into the next version, a new base that replicas can build themselves.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn rebase(&mut self) -> Result<()> {
        let author = self.author.take().context("no base has been cut")?;
        let Rebased { files, record } = author.rebase(0, author.replica().layout(), &BTreeSet::new())?;
        self.before_cut = self.head.commitment;
        (self.head.epoch, self.head.version) = (self.head.epoch + 1, self.head.version + 1);
        self.begin(files, record)
    }

    fn begin(&mut self, files: BaseFiles, record: Option<Vec<u8>>) -> Result<()> {
        let loaded = files.clone();
        self.head.keys = files.keys;
        self.replace_base(files);
        self.head.rebase = record.as_ref().map(|record| (Hash::of(record), record.len() as u64));
        if let Some(record) = record {
            self.files.insert(self.head.rebase_name(), record);
        }
        self.author = Some(Author::new(Replica::load(loaded.index, loaded.parts, &self.head)?)?);
        self.renew(60_000);
        Ok(())
    }

    /// Makes these files the base of the version that has just been cut.
    pub fn replace_base(&mut self, files: BaseFiles) {
        self.head.base_root = files.root;
        self.head.base_len = files.index.len() as u64;
        self.head.base_parts = files.parts.iter().map(|part| part.len() as u64).collect();
        self.head.commitment = self.before_cut.then(&self.head.base_root);
        (self.head.base_version, self.head.base_commitment) = (self.head.version, self.head.commitment);
        self.files.insert(self.head.base_name(), files.index);
        self.files.extend(self.head.part_names().zip(files.parts));
    }

    /// Says that the head is issued now and valid for that many milliseconds.
    pub fn renew(&mut self, validity_ms: u64) {
        // Never twice the same instant: it orders heads of one version.
        self.head.issued = now_ms().max(self.head.issued + 1);
        self.head.valid_until = self.head.issued + validity_ms;
    }

    /// The head's note.
    #[must_use]
    pub fn note(&self) -> String {
        self.head.sign(&self.signer)
    }
}
