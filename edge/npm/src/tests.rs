//! The way from head to head, natively: what JavaScript sees of it is tested in `test/`.

use std::collections::{BTreeMap, BTreeSet};

use nightlatch_key::{Brand, Digest, Environment};
use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{
    Author, BaseBuilder, BaseFiles, BaseInfo, Change, Columns, Commitment, Hash, Head, Layout, Pepper, PrincipalKind,
    Profile, Replica, Status, Trust,
};

use crate::attempt::{Attempt, Start};
use crate::copy::{Copy, Failure, Offer};
use crate::verdict::{self, Code};

const SET: &str = "set_0123456789";
const NOW: u64 = 1_800_000_000_000;

/// A publisher with a few keys, and its files by name.
struct Publisher {
    signer: Signer,
    pepper: Pepper,
    profile: Profile,
    author: Author,
    head: Head,
    files: BTreeMap<String, Vec<u8>>,
}

impl Publisher {
    fn new(keys: u32) -> Self {
        let pepper = Pepper::new("p1", SET, &[5; 32]).unwrap();
        let profile = Profile {
            kind: PrincipalKind::User,
            environment: Environment::Live,
            tier: None,
            scopes: vec!["a".into()],
            live: None,
            refused: false,
        };
        let columns = Columns { subject: false, number: false };
        let info = BaseInfo {
            set: SET.into(),
            workspace: "ws_0123456789".into(),
            pepper: "p1".into(),
            incarnation: 0,
            epoch: 1,
            version: 1,
            cutoff: NOW / 1_000,
        };
        let layout = Layout::for_keys(keys.into(), columns);
        let mut builder = BaseBuilder::new(info, layout, keys.into()).unwrap();
        for number in 0..keys {
            builder.push(&change(&pepper, &profile, number, Status::Active)).unwrap();
        }
        let base = builder.finish().unwrap();
        let commitment = Commitment::START.then(&base.root);
        let head = Head {
            set: SET.into(),
            workspace: "ws_0123456789".into(),
            brand: Brand::new("nl").unwrap(),
            incarnation: 0,
            epoch: 1,
            version: 1,
            commitment,
            keys: base.keys,
            base_version: 1,
            base_commitment: commitment,
            base_root: base.root,
            base_len: base.index.len() as u64,
            base_parts: base.parts.iter().map(|part| part.len() as u64).collect(),
            rebase: None,
            pepper: "p1".into(),
            pepper_check: pepper.check(),
            accepts_foreign: true,
            policy: Hash::of(b""),
            policy_len: 0,
            issued: NOW,
            valid_until: NOW + 60_000,
            skew: 5_000,
            open_until: None,
            trust: None,
            audit: None,
        };
        let replica = Replica::load(base.index.clone(), base.parts.clone(), &head).unwrap();
        let signer = Signer::new(&format!("nightlatch/{SET}"), &[1; 32]).unwrap();
        let author = Author::new(replica).unwrap();
        let mut this = Self { signer, pepper, profile, author, head, files: BTreeMap::new() };
        this.keep(base);
        this
    }

    fn keep(&mut self, base: BaseFiles) {
        self.files.insert(self.head.base_name().to_text(), base.index);
        self.files.extend(self.head.part_names().map(|name| name.to_text()).zip(base.parts));
    }

    fn publish(&mut self, number: u32, status: Status) {
        let profile = self.profile.clone();
        self.publish_with(&[change(&self.pepper.clone(), &profile, number, status)], &[]);
    }

    /// Publishes changed keys, and live profiles that are other than they were.
    fn publish_with(&mut self, keys: &[Change<'_>], profiles: &[Profile]) {
        let authored = self.author.next(keys, profiles, &self.signer).unwrap();
        self.files.insert(authored.name.to_text(), authored.bytes);
        let levels = self.author.levels(&self.signer).unwrap();
        self.files.extend(levels.into_iter().map(|(name, bytes)| (name.to_text(), bytes)));
        self.head.version += 1;
        self.head.commitment = authored.commitment;
        self.head.issued += 1;
    }

    fn rebase(&mut self) {
        let replica = self.author.replica();
        let rebased = self.author.rebase(NOW / 1_000, replica.layout(), &BTreeSet::new()).unwrap();
        let (files, record) = (rebased.files, rebased.record.unwrap());
        let head = &mut self.head;
        (head.epoch, head.version, head.issued) = (head.epoch + 1, head.version + 1, head.issued + 1);
        head.commitment = head.commitment.then(&files.root);
        (head.base_version, head.base_commitment, head.base_root) = (head.version, head.commitment, files.root);
        (head.base_len, head.keys) = (files.index.len() as u64, files.keys);
        head.base_parts = files.parts.iter().map(|part| part.len() as u64).collect();
        head.rebase = Some((Hash::of(&record), record.len() as u64));
        self.author = Author::new(Replica::load(files.index.clone(), files.parts.clone(), head).unwrap()).unwrap();
        self.files.insert(self.head.rebase_name().to_text(), record);
        self.keep(files);
    }

    fn copy(&self) -> Copy {
        Copy::new(SET.into(), Vec::new(), vec![self.signer.verifier()], self.pepper.clone())
    }

    fn note(&self) -> String {
        self.head.sign(&self.signer)
    }

    /// Offers the head and brings the files; where the copy set out from.
    fn follow(&self, copy: &mut Copy) -> Start {
        let mut attempt = news(copy.offer(&self.note(), NOW));
        self.fill(&mut attempt);
        let start = attempt.start;
        if copy.finish(attempt, NOW).unwrap() {
            while copy.work().unwrap() {}
        }
        assert_eq!(copy.replica().unwrap().commitment(), &self.head.commitment);
        start
    }

    fn fill(&self, attempt: &mut Attempt) {
        let names: Vec<_> = attempt.files().collect();
        for (number, (name, _)) in names.iter().enumerate() {
            let bytes = &self.files[name];
            attempt.extend(number, bytes).unwrap();
        }
    }
}

fn news(offer: Result<Offer, Failure>) -> Attempt {
    match offer {
        Ok(Offer::News(attempt)) => attempt,
        Ok(Offer::Nothing) => panic!("it is no news"),
        Ok(Offer::NeedsTrust) => panic!("it needs a trust note"),
        Err(failure) => panic!("{failure}"),
    }
}

fn text(number: u32) -> String {
    format!("key {number}")
}

fn change<'a>(pepper: &Pepper, profile: &'a Profile, number: u32, status: Status) -> Change<'a> {
    let tag = pepper.tag(&Digest::of(text(number).as_bytes()));
    Change { tag, status, foreign: false, deadline: None, profile, subject: 0, number: 0 }
}

fn code(copy: &Copy, number: u32) -> u32 {
    verdict::judge(copy, text(number).as_bytes(), NOW).0 & 0xff
}

#[test]
fn a_copy_follows_by_base_deltas_and_rebase() {
    let mut publisher = Publisher::new(100);
    let mut copy = publisher.copy();
    assert!(matches!(publisher.follow(&mut copy), Start::Base));
    for number in 0..5 {
        publisher.publish(number, Status::Revoked);
    }
    publisher.publish(100, Status::Active);
    assert_eq!(publisher.follow(&mut copy), Start::Here);
    // Two versions that the copy has not seen, and the epoch ends.
    publisher.publish(5, Status::Disabled);
    publisher.publish(101, Status::Active);
    publisher.rebase();
    publisher.publish(6, Status::Revoked);
    assert!(matches!(publisher.follow(&mut copy), Start::Rebase(1..)));
    assert_eq!(copy.replica().unwrap().epoch(), 2);
    let mut fresh = publisher.copy();
    publisher.follow(&mut fresh);
    for copy in [&copy, &fresh] {
        for number in 0..102 {
            let expected = match number {
                0..5 | 6 => Code::Revoked,
                5 => Code::Disabled,
                _ => Code::Allowed,
            };
            assert_eq!(code(copy, number), expected as u32, "{number}");
        }
        assert_eq!(code(copy, 102), Code::Invalid as u32);
    }
}

/// S0-14: a member's keys are refused by one change of their profile, whatever their own status, and no others with them.
#[test]
fn keys_of_a_suspended_member_are_disabled() {
    let mut publisher = Publisher::new(10);
    let mut copy = publisher.copy();
    publisher.follow(&mut copy);
    let live = |refused| Profile { live: Some(7), refused, ..publisher.profile.clone() };
    let (welcome, suspended) = (live(false), live(true));
    let pepper = publisher.pepper.clone();
    let of_member = [(50, Status::Active), (51, Status::Retiring), (52, Status::Revoked)];
    let keys = of_member.map(|(number, status)| change(&pepper, &welcome, number, status));
    publisher.publish_with(&keys, &[]);
    publisher.follow(&mut copy);
    let codes = |copy: &Copy| [50, 51, 52, 1].map(|number| code(copy, number));
    let before = [Code::Allowed, Code::Retiring, Code::Revoked, Code::Allowed].map(|code| code as u32);
    assert_eq!(codes(&copy), before);
    publisher.publish_with(&[], core::slice::from_ref(&suspended));
    publisher.follow(&mut copy);
    let after = [Code::Disabled, Code::Disabled, Code::Revoked, Code::Allowed].map(|code| code as u32);
    assert_eq!(codes(&copy), after);
    // A copy that begins with the base of the next epoch says the same.
    publisher.rebase();
    let mut fresh = publisher.copy();
    publisher.follow(&mut fresh);
    assert_eq!(codes(&fresh), after);
    publisher.publish_with(&[], &[welcome]);
    publisher.follow(&mut fresh);
    assert_eq!(codes(&fresh), before);
}

#[test]
fn verdicts_go_on_while_the_next_epoch_is_built() {
    let mut publisher = Publisher::new(100);
    let mut copy = publisher.copy();
    publisher.follow(&mut copy);
    publisher.publish(1, Status::Revoked);
    publisher.rebase();
    let mut attempt = news(copy.offer(&publisher.note(), NOW));
    publisher.fill(&mut attempt);
    assert!(copy.finish(attempt, NOW).unwrap());
    assert_eq!(code(&copy, 1), Code::Revoked as u32);
    publisher.head.issued += 1;
    assert!(matches!(copy.offer(&publisher.note(), NOW), Ok(Offer::Nothing)), "another head waits");
    while copy.work().unwrap() {}
    assert_eq!(code(&copy, 1), Code::Revoked as u32);
    assert!(!copy.work().unwrap());
}

#[test]
fn a_record_that_leads_nowhere_leads_to_the_base() {
    let mut publisher = Publisher::new(100);
    let mut copy = publisher.copy();
    publisher.follow(&mut copy);
    publisher.rebase();
    let record = publisher.head.rebase_name().to_text();
    let good = publisher.files[&record].clone();
    publisher.files.get_mut(&record).unwrap()[100] ^= 1;
    let mut attempt = news(copy.offer(&publisher.note(), NOW));
    publisher.fill(&mut attempt);
    assert!(copy.finish(attempt, NOW).is_err());
    assert_eq!(code(&copy, 1), Code::Allowed as u32);
    publisher.files.insert(record, good);
    assert!(matches!(publisher.follow(&mut copy), Start::Base));
}

#[test]
fn older_heads_other_histories_and_other_peppers_are_refused() {
    let mut publisher = Publisher::new(10);
    let mut copy = publisher.copy();
    let first = publisher.note();
    publisher.publish(1, Status::Revoked);
    publisher.follow(&mut copy);
    let refused = |copy: &Copy, note: &str| copy.offer(note, NOW).map(|_| ()).unwrap_err();
    assert_eq!(refused(&copy, &first), Failure::Rollback);
    let mut forged = publisher.head.clone();
    forged.issued += 1;
    forged.commitment = Commitment::START;
    assert_eq!(refused(&copy, &forged.sign(&publisher.signer)), Failure::OtherHistory);
    let mut other = publisher.head.clone();
    other.pepper = "p2".into();
    assert_eq!(refused(&copy, &other.sign(&publisher.signer)), Failure::Pepper);
    assert_eq!(copy.offer(&publisher.note(), NOW + 60_001).map(|_| ()).unwrap_err(), Failure::Expired);
}

#[test]
fn a_clock_that_goes_back_makes_no_head_last_longer() {
    let publisher = Publisher::new(10);
    let mut copy = publisher.copy();
    publisher.follow(&mut copy);
    assert!(copy.serving(NOW - 1_000_000).is_some());
    assert!(copy.serving(publisher.head.valid_until).is_none());
    // What is no time counts for itself alone.
    assert_eq!((copy.now(NOW), copy.now(u64::MAX), copy.now(NOW - 1)), (NOW, u64::MAX, NOW));
    copy.now(publisher.head.valid_until);
    let now = copy.now(NOW);
    assert!(copy.serving(now).is_none());
    assert_eq!(copy.offer(&publisher.note(), now).map(|_| ()).unwrap_err(), Failure::Expired);
    assert_eq!(verdict::judge(&copy, b"key 1", u64::MAX).0, Code::Stale as u32);
}

#[test]
fn a_copy_goes_by_its_root() {
    let mut publisher = Publisher::new(10);
    let key = |name: &str, seed: u8| Signer::new(name, &[seed; 32]).unwrap();
    let (root, thief, honest) = (key("root", 9), key(&format!("nightlatch/{SET}"), 1), key("nightlatch/other", 2));
    let trust = |version, signers: &[&Signer]| Trust {
        set: SET.into(),
        version,
        issued: NOW,
        floor: [0, 1, 1],
        roots: vec![root.verifier()],
        signers: signers.iter().map(|signer| signer.verifier()).collect(),
    };
    let mut copy = Copy::new(SET.into(), vec![root.verifier()], Vec::new(), publisher.pepper.clone());
    publisher.head.trust = Some(1);
    assert!(matches!(copy.offer(&publisher.note(), NOW), Ok(Offer::NeedsTrust)));
    assert!(copy.take_trust(&trust(1, &[&thief]).sign(&thief)).is_err());
    copy.take_trust(&trust(1, &[&thief]).sign(&root)).unwrap();
    publisher.follow(&mut copy);
    assert_eq!(code(&copy, 1), Code::Allowed as u32);

    // The key is stolen, and its heads are far ahead when the next note leaves it out.
    let honest_head = publisher.head.clone();
    publisher.head.issued += 1_000;
    publisher.follow(&mut copy);
    publisher.signer = honest;
    publisher.head = Head { trust: Some(2), ..honest_head };
    assert!(matches!(copy.offer(&publisher.note(), NOW), Ok(Offer::NeedsTrust)));
    copy.take_trust(&trust(2, &[&publisher.signer]).sign(&root)).unwrap();
    assert_eq!(code(&copy, 1), Code::Stale as u32);
    publisher.follow(&mut copy);
    assert_eq!(code(&copy, 1), Code::Allowed as u32);

    publisher.signer = thief;
    publisher.head.issued += 1;
    assert!(matches!(copy.offer(&publisher.note(), NOW), Ok(Offer::NeedsTrust)));
    assert_eq!(copy.take_trust(&trust(1, &[&publisher.signer]).sign(&root)), Err(Failure::Rollback));
    let below = Trust { floor: [0, 9, 9], ..trust(3, &[&publisher.signer]) };
    copy.take_trust(&below.sign(&root)).unwrap();
    assert_eq!(copy.offer(&publisher.note(), NOW).map(|_| ()).unwrap_err(), Failure::Rollback);
}
