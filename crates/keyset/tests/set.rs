//! Base, delta and replica against a plain map, and against whoever wants them to be something else.

mod common;

use common::{Key, Publisher, digest, pepper};
use nightlatch_keyset::{Base, Delta, FileName, Hash, Head, Malformed, Refused, Replica, Status};
use proptest::prelude::*;

fn load(publisher: &Publisher) -> Replica {
    Replica::load(publisher.files[&publisher.head.base_name()].clone(), &publisher.head).unwrap()
}

fn delta(publisher: &Publisher, from: u64) -> Delta {
    Delta::open(&publisher.files[&publisher.head.delta_name(from)], &[publisher.verifier()]).unwrap()
}

/// A replica equals the model at its version: every key with all it says, and no key beside them.
fn assert_equals_model(replica: &Replica, publisher: &Publisher) {
    assert_eq!(replica.len(), publisher.keys.len());
    assert_eq!(replica.commitment(), &publisher.head.commitment);
    for key in publisher.keys.values() {
        let record = replica.lookup(&pepper().tag(&digest(key.number))).unwrap().unwrap();
        let profile = replica.profile(record.profile).unwrap().clone();
        let found = Key {
            status: record.status,
            foreign: record.foreign,
            deadline: record.deadline,
            profile,
            subject: record.subject,
            number: record.number,
        };
        assert_eq!(&found, key);
    }
    for stranger in 1_000_000..1_000_100 {
        assert_eq!(replica.lookup(&pepper().tag(&digest(stranger))), Ok(None));
    }
}

fn key() -> impl Strategy<Value = Key> {
    let status =
        prop_oneof![Just(Status::Active), Just(Status::Retiring), Just(Status::Disabled), Just(Status::Revoked)];
    let scopes = proptest::sample::subsequence(vec!["a:read", "a:write", "b:read", "READ_CASH"], 0..4);
    (0u32..60, status, any::<bool>(), proptest::option::of(1_577_836_801u64..3_000_000_000), scopes).prop_map(
        |(number, status, foreign, deadline, scopes)| Key { status, foreign, deadline, ..Key::new(number, &scopes) },
    )
}

proptest! {
    /// Random histories of changes and cuts: at every version the replica is the model.
    #[test]
    fn a_replica_equals_the_database_at_its_version(
        first in proptest::collection::vec(key(), 0..40),
        history in proptest::collection::vec((any::<u8>(), proptest::collection::vec(key(), 0..8)), 0..20),
    ) {
        let mut publisher = Publisher::new(first);
        let mut replica = load(&publisher);
        assert_equals_model(&replica, &publisher);
        for (choice, changed) in history {
            if choice < 30 {
                publisher.cut();
                replica = load(&publisher);
            } else {
                let from = publisher.head.version;
                publisher.publish(&changed);
                replica.advance(&[delta(&publisher, from)], &publisher.head).unwrap();
            }
            assert_equals_model(&replica, &publisher);
        }
    }

    #[test]
    fn no_bytes_upset_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Base::load(bytes.clone(), &Hash::of(&bytes));
        let _ = Delta::open(&bytes, &[]);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = Head::open(text, &[]);
            let _ = FileName::parse(text);
        }
    }

    /// A base with any byte changed is refused; with its root recomputed, as only its signer could, it still does not
    /// upset the reader.
    #[test]
    fn a_changed_base_is_refused(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let publisher = Publisher::new((0..20).map(|n| Key::new(n, &["a"])));
        let mut bytes = publisher.files[&publisher.head.base_name()].clone();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let load = Base::load(bytes.clone(), &publisher.head.base_root);
        prop_assert!(matches!(load, Err(Malformed::Hash(_))));
        if let Ok(base) = Base::load(bytes.clone(), &Hash::of(&bytes)) {
            let _ = base.check_rows();
            for number in 0..20 {
                let _ = base.lookup(&pepper().tag(&digest(number)));
            }
        }
    }

    #[test]
    fn a_changed_delta_is_refused(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
        let mut publisher = Publisher::new([Key::new(1, &["a"])]);
        publisher.publish(&[Key::new(2, &["b"]), Key { status: Status::Revoked, ..Key::new(1, &["a"]) }]);
        let mut bytes = publisher.files[&publisher.head.delta_name(1)].clone();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(Delta::open(&bytes, &[publisher.verifier()]).is_err());
    }
}

/// Guarantee 9: the same version always encodes to the same bytes, in whatever order its keys come.
#[test]
fn encoding_is_canonical() {
    let keys: Vec<Key> = (0..50).map(|n| Key::new(n, &[["a", "b", "c"][n as usize % 3]])).collect();
    let forward = Publisher::new(keys.clone());
    let backward = Publisher::new(keys.into_iter().rev());
    assert_eq!(forward.files, backward.files);
    assert_eq!(forward.note(), backward.note());
}

#[test]
fn a_head_comes_back_and_only_as_it_was_signed() {
    let publisher = Publisher::new([Key::new(1, &[])]);
    let verifiers = [publisher.verifier()];
    let note = publisher.note();
    assert_eq!(Head::open(&note, &verifiers).unwrap(), publisher.head);
    for (line, wrong) in [
        ("version 1", "version 01"),
        ("version 1", "version +1"),
        ("accepts-foreign no", "accepts-foreign maybe"),
        ("open-until -", "open-until 5"),
        ("nightlatch.head/1", "nightlatch.head/2"),
        ("nightlatch.head/1", "nightlatch.delta/1"),
        ("set set", "tes set"),
        ("epoch 1\n", ""),
        ("audit -\n", "audit -\nmore -\n"),
    ] {
        let (text, _) = note.split_once("\n\n").unwrap();
        let text = format!("{text}\n").replacen(line, wrong, 1);
        assert!(Head::open(&publisher.signer.sign(&text), &verifiers).is_err(), "{wrong}");
    }
}

/// Guarantee 4: deltas apply in their order, from the replica's own version, all of them or none.
#[test]
fn deltas_out_of_place_change_nothing() {
    let mut publisher = Publisher::new((0..5).map(|n| Key::new(n, &["a"])));
    let start = load(&publisher);
    for number in 5..8 {
        publisher.publish(&[Key::new(number, &["b"])]);
    }
    let deltas: Vec<Delta> = (1..4).map(|from| delta(&publisher, from)).collect();
    let refuse = |deltas: &[Delta], head: &Head| {
        let mut replica = start.clone();
        let error = replica.advance(deltas, head).unwrap_err();
        assert_eq!((replica.version(), replica.len()), (1, 5), "a refusal leaves the replica as it was");
        error
    };
    let [one, two, three] = [&deltas[0], &deltas[1], &deltas[2]].map(Clone::clone);
    assert_eq!(refuse(&[two.clone(), one.clone(), three.clone()], &publisher.head), Refused::Gap { at: 1, offered: 2 });
    assert_eq!(refuse(&[one.clone(), three.clone()], &publisher.head), Refused::Gap { at: 2, offered: 3 });
    assert_eq!(refuse(&[one.clone(), one.clone()], &publisher.head), Refused::Gap { at: 2, offered: 1 });
    assert_eq!(refuse(&[one.clone(), two.clone()], &publisher.head), Refused::Gap { at: 3, offered: 4 });
    let other = Head { commitment: publisher.head.base_commitment, ..publisher.head.clone() };
    assert_eq!(refuse(&[one.clone(), two.clone(), three.clone()], &other), Refused::OtherHistory);
    let other = Head { epoch: 2, ..publisher.head.clone() };
    assert_eq!(refuse(&[one, two.clone(), three.clone()], &other), Refused::OtherSet);

    // A sibling publisher with the same signer and another past: same numbers, other history.
    let mut sibling = Publisher::new((0..5).map(|n| Key::new(n, &["z"])));
    sibling.publish(&[Key::new(5, &["b"])]);
    let foreign = delta(&sibling, 1);
    assert_eq!(refuse(&[foreign, two, three], &publisher.head), Refused::OtherHistory);

    let mut replica = start.clone();
    replica.advance(&deltas, &publisher.head).unwrap();
    assert_equals_model(&replica, &publisher);
}

/// An empty delta is in order and changes nothing.
#[test]
fn an_empty_delta_changes_nothing() {
    let mut publisher = Publisher::new([Key::new(1, &["a"])]);
    let mut replica = load(&publisher);
    publisher.publish(&[]);
    replica.advance(&[delta(&publisher, 1)], &publisher.head).unwrap();
    assert_equals_model(&replica, &publisher);
}

#[test]
fn two_keys_of_one_tag_are_no_base() {
    use nightlatch_keyset::{BaseBuilder, BaseInfo, Change};
    let info = BaseInfo {
        set: common::SET.into(),
        workspace: common::WORKSPACE.into(),
        pepper: "p1".into(),
        incarnation: 0,
        epoch: 1,
        version: 1,
        cutoff: 0,
    };
    let mut builder = BaseBuilder::new(info).unwrap();
    let key = Key::new(1, &["a"]);
    for _ in 0..2 {
        let change = Change {
            tag: pepper().tag(&digest(1)),
            status: key.status,
            foreign: false,
            deadline: None,
            profile: &key.profile,
            subject: 1,
            number: 1,
        };
        builder.push(&change).unwrap();
    }
    assert_eq!(builder.finish().unwrap_err(), Malformed::Order("rows"));
}

/// The format's golden files: what version 1 of base, delta and head looks like, byte for byte.
#[test]
fn golden_files() {
    let mut publisher = Publisher::new([
        Key::new(1, &["invoices:read"]),
        Key { status: Status::Retiring, deadline: Some(1_900_000_000), ..Key::new(2, &["invoices:read"]) },
        Key { foreign: true, ..Key::new(3, &[]) },
    ]);
    publisher.publish(&[Key { status: Status::Revoked, ..Key::new(1, &["invoices:read"]) }, Key::new(4, &["new"])]);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1");
    let mut files: Vec<(String, Vec<u8>)> =
        publisher.files.iter().map(|(name, bytes)| (name.to_text(), bytes.clone())).collect();
    files.push(("head".into(), publisher.note().into_bytes()));
    files.push(("verifier".into(), (publisher.verifier().to_vkey() + "\n").into_bytes()));
    for (name, bytes) in files {
        let path = golden.join(&name);
        if std::env::var_os("NIGHTLATCH_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(&golden).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let stored = std::fs::read(&path).unwrap();
        assert!(stored == bytes, "{name} is no longer the format it was");
    }
}
