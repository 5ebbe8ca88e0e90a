//! Whom an edge believes, and what it no longer believes afterwards.

use nightlatch_keyset::note::{Signer, Verifier, cosign};
use nightlatch_keyset::{Deny, Head, Status, Trust};
use nightlatch_sync::{Edge, EdgeConfig, Freshness, Offer, Refusal};
use proptest::prelude::*;

use crate::common::{Key, Publisher, START, digest};
use crate::source::{Policy, config, take};

const SET: &str = "set_0123456789";

fn root(seed: u8) -> Signer {
    Signer::new("nightlatch-root", &[seed; 32]).unwrap()
}

fn head_signer(seed: u8) -> Signer {
    Signer::new("nightlatch/set_0123456789", &[seed; 32]).unwrap()
}

fn trust(version: u64, roots: &[&Signer], signers: &[&Signer]) -> Trust {
    let verifiers = |keys: &[&Signer]| keys.iter().map(|key| key.verifier()).collect::<Vec<Verifier>>();
    Trust {
        set: SET.into(),
        version,
        issued: START,
        floor: [0, 0, 0],
        roots: verifiers(roots),
        signers: verifiers(signers),
    }
}

/// An edge that pins a root and nothing else.
fn pinned(publisher: &Publisher, root: &Signer) -> Edge<Policy> {
    let config = EdgeConfig { roots: vec![root.verifier()], verifiers: Vec::new(), ..config(publisher) };
    Edge::new(config, None)
}

fn needs_trust(edge: &mut Edge<Policy>, note: &str, now: u64) -> bool {
    matches!(edge.offer(note, now), Ok(Offer::NeedsTrust))
}

/// Routine: the new key is listed, then it signs, then the old one is no longer listed. The edge never stops serving.
#[test]
fn a_signing_key_is_replaced_without_a_gap() {
    let mut publisher = Publisher::new([Key::new(1, &[])]);
    let (root, new) = (root(9), head_signer(2));
    let mut edge = pinned(&publisher, &root);
    assert!(needs_trust(&mut edge, &publisher.note(), START));
    assert_eq!(edge.take_trust(&trust(1, &[&root], &[&publisher.signer]).sign(&root)), Ok(true));
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();

    let both = trust(2, &[&root], &[&publisher.signer, &new]).sign(&root);
    publisher.head.trust = Some(2);
    publisher.head.issued += 1;
    assert!(needs_trust(&mut edge, &publisher.note(), START + 1));
    assert_eq!(edge.freshness(START + 1), Freshness::Fresh);
    assert_eq!(edge.take_trust(&both), Ok(true));
    assert_eq!(edge.take_trust(&both), Ok(false));
    take(&mut edge, &publisher.head.sign(&new), &publisher.files, START + 1).unwrap();

    assert_eq!(edge.take_trust(&trust(3, &[&root], &[&new]).sign(&root)), Ok(true));
    assert_eq!(edge.freshness(START + 1), Freshness::Fresh);
    assert_eq!(edge.trust().unwrap().version, 3);
    // The old key is a stranger's now; and no note goes back.
    publisher.head.issued += 1;
    assert!(needs_trust(&mut edge, &publisher.note(), START + 2));
    assert_eq!(edge.take_trust(&both), Err(Refusal::Rollback));
}

/// Guarantee 4: a thief's heads, however far ahead, are forgotten with the thief's key.
#[test]
fn what_a_stolen_key_has_signed_is_let_go() {
    let publisher = Publisher::new([Key::new(1, &[])]);
    let (root, new) = (root(9), head_signer(2));
    let mut edge = pinned(&publisher, &root);
    edge.take_trust(&trust(1, &[&root], &[&publisher.signer]).sign(&root)).unwrap();
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    let good = publisher.head.clone();
    let stolen = Head { issued: START + 4_999, valid_until: START + 900_000, ..good.clone() };
    take(&mut edge, &stolen.sign(&publisher.signer), &publisher.files, START).unwrap();

    let floor = [good.incarnation, good.epoch, good.version];
    let healed = Trust { floor, ..trust(2, &[&root], &[&new]) }.sign(&root);
    assert_eq!(edge.take_trust(&healed), Ok(true));
    assert_eq!(edge.freshness(START + 1), Freshness::Cold);
    let below = Head { version: good.version - 1, base_version: good.version - 1, ..good.clone() };
    assert_eq!(edge.offer(&below.sign(&new), START + 5_000).unwrap_err(), Refusal::Rollback);
    let next = Head { issued: START + 1, trust: Some(2), ..good };
    let edge_now = edge.now(START + 5_000, None);
    let attempt = match edge.offer(&next.sign(&new), edge_now) {
        Ok(Offer::News(attempt)) => attempt,
        other => panic!("{other:?}"),
    };
    assert_eq!(attempt.head().issued, START + 1);
}

/// After a restart nobody knows who signed the mark that was kept: with the first key that leaves, it leaves too.
#[test]
fn a_kept_mark_of_a_stolen_key_does_not_stay_for_ever() {
    let publisher = Publisher::new([Key::new(1, &[])]);
    let (root, new) = (root(9), head_signer(2));
    let far = nightlatch_sync::Mark { incarnation: u64::MAX, epoch: 0, version: 0, issued: START };
    let config = EdgeConfig { roots: vec![root.verifier()], verifiers: Vec::new(), ..config(&publisher) };
    let mut edge: Edge<Policy> = Edge::new(config, Some(far));
    edge.take_trust(&trust(1, &[&root], &[&publisher.signer]).sign(&root)).unwrap();
    assert_eq!(edge.offer(&publisher.note(), START).unwrap_err(), Refusal::Rollback);
    edge.take_trust(&trust(2, &[&root], &[&new]).sign(&root)).unwrap();
    take(&mut edge, &publisher.head.sign(&new), &publisher.files, START).unwrap();
}

/// The root itself changes hands by a note that both have signed.
#[test]
fn a_root_is_replaced_by_a_note_that_both_sign() {
    let publisher = Publisher::new([Key::new(1, &[])]);
    let (old, new, thief) = (root(9), root(10), root(11));
    let mut edge = pinned(&publisher, &old);
    edge.take_trust(&trust(1, &[&old], &[&publisher.signer]).sign(&old)).unwrap();
    let both = cosign(&trust(2, &[&old, &new], &[&publisher.signer]).sign(&old), &new).unwrap();
    assert_eq!(edge.take_trust(&both), Ok(true));
    let only_new = cosign(&trust(3, &[&new], &[&publisher.signer]).sign(&new), &old).unwrap();
    assert_eq!(edge.take_trust(&only_new), Ok(true));
    for gone in [&old, &thief] {
        assert!(edge.take_trust(&trust(4, &[gone], &[gone]).sign(gone)).is_err());
    }
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    // An edge that starts cold and still pins the old root goes by the note that both have signed.
    let mut cold = pinned(&publisher, &old);
    assert_eq!(cold.take_trust(&only_new), Ok(true));
    take(&mut cold, &publisher.note(), &publisher.files, START).unwrap();
}

/// DESIGN §10: a key dies at the edge while no head can be signed, and stays dead.
#[test]
fn denied_keys_are_found_revoked() {
    let mut publisher = Publisher::new((0..5).map(|n| Key::new(n, &[])));
    let root = root(9);
    let mut edge = pinned(&publisher, &root);
    edge.take_trust(&trust(1, &[&root], &[&publisher.signer]).sign(&root)).unwrap();
    assert!(edge.wants_deny(START));
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    let status = |edge: &Edge<Policy>, number, now| {
        edge.serving(now).unwrap().find(&digest(number)).unwrap().map(|(record, _)| record.status)
    };
    // A quarter of the 60 s without a word.
    assert!(!edge.wants_deny(START + 15_000));
    assert!(edge.wants_deny(START + 15_001));

    let mut digests = vec![digest(3), digest(77)];
    digests.sort_by_key(|digest| *digest.as_bytes());
    let deny = Deny { set: SET.into(), number: 1, issued: START, digests };
    assert!(edge.take_deny(&deny.sign(&head_signer(7))).is_err());
    let elsewhere = Deny { set: "set_other".into(), ..deny.clone() };
    assert_eq!(edge.take_deny(&elsewhere.sign(&root)), Err(Refusal::OtherSet));
    assert_eq!(edge.take_deny(&deny.sign(&root)), Ok(true));
    assert_eq!(edge.take_deny(&deny.sign(&publisher.signer)), Ok(false));
    assert_eq!(status(&edge, 3, START), Some(Status::Revoked));
    assert_eq!(status(&edge, 4, START), Some(Status::Active));
    assert_eq!(status(&edge, 77, START), None);

    // A later note that leaves one out, a new version, a new base: it stays dead.
    let later = Deny { number: 2, digests: vec![digest(4)], ..deny };
    assert_eq!(edge.take_deny(&later.sign(&publisher.signer)), Ok(true));
    publisher.publish(&[Key::new(9, &[])]);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    assert_eq!((status(&edge, 3, START), status(&edge, 4, START)), (Some(Status::Revoked), Some(Status::Revoked)));
    assert_eq!(status(&edge, 9, START), Some(Status::Active));
}

/// A thief's deny note of the highest number does not outlive the thief's key, nor do the keys it names.
#[test]
fn a_thiefs_deny_note_goes_with_the_key() {
    let publisher = Publisher::new((0..5).map(|n| Key::new(n, &[])));
    let (root, new) = (root(9), head_signer(2));
    let mut edge = pinned(&publisher, &root);
    edge.take_trust(&trust(1, &[&root], &[&publisher.signer]).sign(&root)).unwrap();
    let deny = |number, key| Deny { set: SET.into(), number, issued: START, digests: vec![digest(key)] };
    assert_eq!(edge.take_deny(&deny(1, 1).sign(&root)), Ok(true));
    assert_eq!(edge.take_deny(&deny(u64::MAX, 2).sign(&publisher.signer)), Ok(true));
    edge.take_trust(&trust(2, &[&root], &[&new]).sign(&root)).unwrap();
    assert_eq!(edge.take_deny(&deny(2, 3).sign(&root)), Ok(true));
    take(&mut edge, &publisher.head.sign(&new), &publisher.files, START).unwrap();
    let status = |number| edge.serving(START).unwrap().find(&digest(number)).unwrap().unwrap().0.status;
    assert_eq!([1, 2, 3].map(status), [Status::Revoked, Status::Active, Status::Revoked]);
}

/// Guarantee 3: only level-0 deltas are in the commitment. What a coarser one of a removed key has said does not stay, although
/// another key has signed the head since.
#[test]
fn deltas_of_a_removed_key_are_let_go() {
    let mut publisher = Publisher::new((0..5).map(|n| Key::new(n, &[])));
    let (root, new) = (root(9), head_signer(2));
    let mut edge = pinned(&publisher, &root);
    edge.take_trust(&trust(1, &[&root], &[&publisher.signer, &new]).sign(&root)).unwrap();
    take(&mut edge, &publisher.head.sign(&new), &publisher.files, START).unwrap();
    publisher.publish(&[Key::new(9, &[])]);
    take(&mut edge, &publisher.head.sign(&new), &publisher.files, START).unwrap();
    edge.take_trust(&trust(2, &[&root], &[&new]).sign(&root)).unwrap();
    assert_eq!(edge.freshness(START), Freshness::Cold);
}

/// Guarantee 4: a durable edge that knows who signed what its mark is of keeps the mark when another key is removed.
#[test]
fn a_mark_outlives_the_removal_of_another_key() {
    let publisher = Publisher::new([Key::new(1, &[])]);
    let (root, old) = (root(9), head_signer(2));
    let config = EdgeConfig { roots: vec![root.verifier()], verifiers: Vec::new(), ..config(&publisher) };
    let later = nightlatch_sync::Mark { issued: START + 1, ..nightlatch_sync::Mark::of(&publisher.head) };
    let mut edge: Edge<Policy> = Edge::new(config, Some(later));
    edge.set_marked_by(publisher.signer.verifier().id());
    edge.take_trust(&trust(1, &[&root], &[&publisher.signer, &old]).sign(&root)).unwrap();
    edge.take_trust(&trust(2, &[&root], &[&publisher.signer]).sign(&root)).unwrap();
    assert_eq!(edge.offer(&publisher.note(), START + 2).unwrap_err(), Refusal::Rollback);
    assert_eq!(edge.marked_by(), Some(publisher.signer.verifier().id()));
}

/// Open routes have a longer time of their own; everything else ends with the head's validity.
#[test]
fn open_routes_are_answered_from_for_as_long_as_the_head_says() {
    let mut publisher = Publisher::new([Key::new(1, &[])]);
    publisher.head.open_until = Some(START + 600_000);
    let mut edge: Edge<Policy> = Edge::new(config(&publisher), None);
    take(&mut edge, &publisher.note(), &publisher.files, START).unwrap();
    let until = publisher.head.valid_until;
    assert!(edge.serving_open(until - 1).is_none());
    assert_eq!(edge.freshness(until), Freshness::HardStale);
    assert!(edge.serving(until).is_none() && edge.serving_open(until).is_some());
    assert!(edge.serving_open(START + 599_999).is_some());
    assert!(edge.serving_open(START + 600_000).is_none());
}

/// What may happen to an edge that goes by a root. Keys are numbers: 0 to 3 sign heads, 9 and 10 are roots.
#[derive(Clone, Debug)]
enum Event {
    /// A head of this many milliseconds after the start comes, signed by this key, naming this trust note.
    Head { issued: u64, signer: u8, names: Option<u64> },
    /// A trust note comes, signed by this root.
    Trust { version: u64, roots: Vec<u8>, signers: Vec<u8>, by: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    let roots = prop::sample::subsequence(vec![9_u8, 10], 1..=2);
    let signers = prop::sample::subsequence(vec![0_u8, 1, 2, 3], 1..=3);
    prop_oneof![
        3 => (0..40_u64, 0..4_u8, prop::option::of(0..6_u64))
            .prop_map(|(issued, signer, names)| Event::Head { issued, signer, names }),
        2 => (0..8_u64, roots, signers, 9..=11_u8)
            .prop_map(|(version, roots, signers, by)| Event::Trust { version, roots, signers, by }),
    ]
}

/// The same by the rules of DESIGN §5.3, written down plainly.
#[derive(Debug, Default)]
struct Model {
    /// Version, roots and signers of the note in force.
    trust: Option<(u64, Vec<u8>, Vec<u8>)>,
    /// `issued` and signer of the head in force.
    head: Option<(u64, u8)>,
    /// The highest `issued` accepted, and from whom.
    mark: Option<(u64, u8)>,
}

impl Model {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Head { issued, signer, names } => {
                let Some((version, _, signers)) = &self.trust else { return };
                let believed = signers.contains(signer) && names.is_none_or(|names| names <= *version);
                if believed && self.mark.is_none_or(|(mark, _)| *issued >= mark) {
                    self.head = Some((*issued, *signer));
                    self.mark = self.head;
                }
            }
            Event::Trust { version, roots, signers, by } => {
                let known = self.trust.as_ref().map_or_else(|| vec![9], |(_, roots, _)| roots.clone());
                if !known.contains(by) || self.trust.as_ref().is_some_and(|(held, ..)| version <= held) {
                    return;
                }
                let removed = self.trust.as_ref().is_some_and(|(.., old)| old.iter().any(|key| !signers.contains(key)));
                self.head = self.head.filter(|(_, signer)| signers.contains(signer));
                self.mark = self.mark.filter(|(_, signer)| !removed || signers.contains(signer));
                self.trust = Some((*version, roots.clone(), signers.clone()));
            }
        }
    }
}

proptest! {
    /// Guarantee 4: whatever comes in whatever order, the edge answers from a head that a listed key has signed, or not at
    /// all, and goes back only where the key is gone that had led it forward.
    #[test]
    fn an_edge_goes_by_its_trust_notes(events in prop::collection::vec(event(), 1..40)) {
        let publisher = Publisher::new([Key::new(1, &[])]);
        let mut edge = pinned(&publisher, &root(9));
        let mut model = Model::default();
        for event in &events {
            model.apply(event);
            match event {
                Event::Head { issued, signer, names } => {
                    let issued = START + issued;
                    let head = Head { issued, valid_until: issued + 60_000, trust: *names, ..publisher.head.clone() };
                    let _ = take(&mut edge, &head.sign(&head_signer(*signer)), &publisher.files, START);
                }
                Event::Trust { version, roots, signers, by } => {
                    let roots: Vec<Signer> = roots.iter().map(|seed| root(*seed)).collect();
                    let signers: Vec<Signer> = signers.iter().map(|seed| head_signer(*seed)).collect();
                    let note = trust(*version, &roots.iter().collect::<Vec<_>>(), &signers.iter().collect::<Vec<_>>());
                    let _ = edge.take_trust(&note.sign(&root(*by)));
                }
            }
            let serving = edge.serving(START).map(|serving| serving.head().issued - START);
            prop_assert_eq!(serving, model.head.map(|(issued, _)| issued), "{:?}", event);
            prop_assert_eq!(edge.trust().map(|trust| trust.version), model.trust.as_ref().map(|(version, ..)| *version));
        }
    }
}
