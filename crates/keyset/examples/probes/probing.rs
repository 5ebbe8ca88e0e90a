//! A set of made-up tags, and what it says to tags that are not in it.

use std::ops::Range;

use nightlatch_key::{Brand, Environment};
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{
    Author, BaseBuilder, BaseFiles, BaseInfo, Change, Columns, Commitment, Delta, Hash, Head, Layout, PrincipalKind,
    Profile, Rebased, Replica, Status, Tag,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A replica of a base and of keys that were added to it, and what it takes to rebase it.
pub(crate) struct Probed {
    pub(crate) replica: Replica,
    keys: Range<u64>,
    next: Head,
    record: Vec<u8>,
}

/// A tag as uniform as a hash's, much sooner: SplitMix64, after Steele, Lea and Flood ("Fast splittable pseudorandom number
/// generators", 2014).
pub(crate) fn tag(number: u64) -> Tag {
    let word = |at: u64| {
        let mut x = (3 * number + at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ x >> 31).to_be_bytes()
    };
    let words = [word(1), word(2), word(3)];
    Tag::from_bytes(*words.as_flattened().first_chunk().expect("24 bytes are more than 17"))
}

impl Probed {
    /// A base of that many keys, and one key added for each fifty of them.
    pub(crate) fn new(keys: u64) -> Result<Self> {
        let profile = Profile {
            kind: PrincipalKind::ServiceAccount,
            environment: Environment::Live,
            tier: None,
            scopes: Vec::new(),
            live: None,
            refused: false,
        };
        let change = |number: u64| Change {
            tag: tag(number),
            status: Status::Active,
            foreign: false,
            deadline: None,
            profile: &profile,
            subject: number as u32,
            number: 0,
        };
        let columns = Columns { subject: true, number: false };
        let mut head = first_head()?;
        let info = BaseInfo {
            set: head.set.clone(),
            workspace: head.workspace.clone(),
            pepper: head.pepper.clone(),
            incarnation: 0,
            epoch: 1,
            version: 1,
            cutoff: 0,
        };
        let mut builder = BaseBuilder::new(info, Layout::for_keys(keys, columns), keys)?;
        for number in 0..keys {
            builder.push(&change(number))?;
        }
        let base = builder.finish()?;
        name(&mut head, &base);
        let signer = Signer::new("nightlatch/probed", &[1; 32])?;
        let mut author = Author::new(Replica::load(base.index.clone(), base.parts.clone(), &head)?)?;
        let added: Vec<Change<'_>> = (keys..keys + keys / 50).map(change).collect();
        let delta = author.next(&added, &[], &signer)?;
        let mut replica = Replica::load(base.index, base.parts, &head)?;
        (head.version, head.commitment) = (2, delta.commitment);
        replica.advance(&[Delta::open(&delta.bytes, &[signer.verifier()])?], &head)?;
        let Rebased { files, record } = author.rebase(0, replica.layout(), &Default::default())?;
        let record = record.ok_or("the layout is the same")?;
        let mut next = head;
        name(&mut next, &files);
        next.rebase = Some((Hash::of(&record), record.len() as u64));
        Ok(Self { replica, keys: 0..keys + keys / 50, next, record })
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> u64 {
        self.keys.end
    }

    /// Keys, of `count` evenly spread ones, that are not found as what they are.
    pub(crate) fn lost(&self, count: u64) -> u64 {
        let wrong = |number: &u64| {
            !self
                .replica
                .lookup(&tag(*number))
                .is_ok_and(|found| found.is_some_and(|key| key.subject == *number as u32))
        };
        self.spread(count).filter(wrong).count() as u64
    }

    fn spread(&self, count: u64) -> impl Iterator<Item = u64> + use<> {
        let len = self.len();
        (0..count.min(len)).map(move |number| number * len / count.min(len))
    }

    /// Of random tags that are in no set, how many are taken for one.
    pub(crate) fn accepted_at_random(&self, probes: Range<u64>) -> u64 {
        probes.filter(|number| self.is_accepted(&tag((1 << 40) + number))).count() as u64
    }

    /// Of tags that begin as a key's does, up to and with its tag byte, and then go on at random, how many are taken for one.
    pub(crate) fn accepted_beside_keys(&self, probes: Range<u64>) -> u64 {
        let first_bits = u128::from(self.replica.layout().bucket_bits()) + 8;
        let mask = u128::MAX >> first_bits;
        let beside = |number: u64| {
            let (key, random) = (front(&tag(number % self.len())), front(&tag((1 << 41) + number)));
            let mut bytes = *tag((1 << 41) + number).as_bytes();
            bytes[..16].copy_from_slice(&(key & !mask | random & mask).to_be_bytes());
            Tag::from_bytes(bytes)
        };
        probes.filter(|number| self.is_accepted(&beside(*number))).count() as u64
    }

    /// Of the tags that differ in one matched bit from one of `count` evenly spread keys: how many are taken for a
    /// key.
    pub(crate) fn accepted_with_one_bit_changed(&self, count: u64) -> u64 {
        let bits = self.replica.layout().tag_bits() as usize;
        let accepted = self.spread(count).map(|number| {
            let changed = (0..bits).map(|bit| {
                let mut bytes = *tag(number).as_bytes();
                bytes[bit / 8] ^= 0x80 >> (bit % 8);
                Tag::from_bytes(bytes)
            });
            changed.filter(|tag| self.is_accepted(tag)).count() as u64
        });
        accepted.sum()
    }

    fn is_accepted(&self, tag: &Tag) -> bool {
        self.replica.lookup(tag).is_ok_and(|found| found.is_some())
    }

    /// Folds the added keys into the base.
    pub(crate) fn rebase(&mut self) -> Result<()> {
        self.replica.begin_rebase(&self.record, &self.next)?;
        while !self.replica.rebase_step()? {}
        Ok(())
    }
}

fn front(tag: &Tag) -> u128 {
    tag.as_bytes().first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

fn first_head() -> Result<Head> {
    Ok(Head {
        set: "probed".into(),
        workspace: "probed".into(),
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
        pepper: "p".into(),
        pepper_check: tag(0),
        accepts_foreign: false,
        policy: Hash::of(b""),
        policy_len: 0,
        issued: 0,
        valid_until: 0,
        skew: 0,
        open_until: None,
        trust: None,
        audit: None,
    })
}

/// Makes a base the next version of a head.
fn name(head: &mut Head, base: &BaseFiles) {
    (head.epoch, head.version) = (head.epoch + 1, head.version + 1);
    head.base_root = base.root;
    head.commitment = head.commitment.then(&base.root);
    (head.base_version, head.base_commitment) = (head.version, head.commitment);
    head.keys = base.keys;
}
