//! The bytes of files: those of the format as it is, and of the version before, which is still read.

use std::collections::BTreeSet;

use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{
    AuditCheckpoint, Author, BASE_FORMAT, Commitment, Delta, Deny, FileName, Hash, Head, Malformed, Profile, Replica,
    Status, Trust, note,
};

use crate::common::{Key, Publisher, START, digest, pepper};
use crate::{assert_equals_model, delta, found, load};

fn member(scopes: &[&str]) -> Profile {
    Profile { live: Some(7), ..Key::new(0, scopes).profile }
}

/// A small set with every kind of change behind it.
fn golden_set() -> Publisher {
    let mut publisher = Publisher::new([
        Key::new(1, &["invoices:read"]),
        Key { status: Status::Retiring, deadline: Some(1_900_000_000), ..Key::new(2, &["invoices:read"]) },
        Key { foreign: true, ..Key::new(3, &[]) },
        Key { profile: member(&["a"]), ..Key::new(5, &[]) },
    ]);
    publisher.head.accepts_foreign = true;
    publisher.publish(&[Key { status: Status::Revoked, ..Key::new(1, &["invoices:read"]) }, Key::new(4, &["new"])]);
    publisher.publish_with(&[Key { status: Status::Disabled, ..Key::new(4, &["new"]) }], &[member(&["b"])]);
    publisher.rebase(1_577_836_801, &[1]);
    let more = (10..40).map(|number| Key { subject: number, ..Key::new(number, &["new", "invoices:read"]) });
    publisher.publish(&more.collect::<Vec<_>>());
    publisher.publish(&[Key { deadline: Some(1_950_000_000), subject: 10, ..Key::new(10, &["new", "invoices:read"]) }]);
    publisher.publish(&[Key { status: Status::Revoked, ..Key::new(3, &[]) }].map(|key| Key { foreign: true, ..key }));
    publisher
}

/// The version before of base, delta and head, as it was written then: read, and made from one epoch to the next.
#[test]
fn s0_25_files_of_the_version_before_are_still_read() {
    let mut publisher = golden_set();
    let verifiers = [publisher.verifier()];
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v2");
    let file = |name: FileName| std::fs::read(golden.join(name.to_text())).unwrap();
    let head = Head::open(&std::fs::read_to_string(golden.join("head")).unwrap(), &verifiers).unwrap();
    assert_eq!((head.version, head.keys), (publisher.head.version, publisher.head.keys));
    publisher.head.commitment = head.commitment;
    let open = |head: &Head, from, to| Delta::open(&file(head.delta_name(from, to)), &verifiers).unwrap();

    let mut fetched = Replica::load(file(head.base_name()), head.part_names().map(&file).collect(), &head).unwrap();
    let deltas = [open(&head, 4, 6), open(&head, 6, 7)];
    fetched.advance(&deltas, &head).unwrap();
    assert_equals_model(&fetched, &publisher);

    // From the epoch before, whose end the rebase record names: the base that comes out is of the old version too.
    let index = file(FileName::Base { incarnation: 0, epoch: 1 });
    let root = Hash::of(&index[..index.len() - 32 - 2 * (1 + 1)]);
    let first = Head {
        epoch: 1,
        base_version: 1,
        base_root: root,
        base_commitment: Commitment::START.then(&root),
        ..head.clone()
    };
    let parts = vec![file(FileName::BasePart { incarnation: 0, epoch: 1, part: 0 })];
    let mut rebased = Replica::load(index, parts, &first).unwrap();
    let last = open(&first, 1, 3);
    rebased.advance_to(std::slice::from_ref(&last), 3, last.to_commitment()).unwrap();
    rebased.begin_rebase(&file(head.rebase_name()), &head).unwrap();
    while !rebased.rebase_step().unwrap() {}
    rebased.advance(&deltas, &head).unwrap();
    assert_equals_model(&rebased, &publisher);

    // A publisher goes on from there with files of this version, and its next base has to be fetched.
    let mut author =
        Author::new(Replica::load(file(head.base_name()), head.part_names().map(&file).collect(), &head).unwrap())
            .unwrap();
    for delta in &deltas {
        author.replay(delta, 0).unwrap();
    }
    let refused = Profile { refused: true, ..member(&["b"]) };
    let made = author.next(&[], &[refused], &publisher.signer).unwrap();
    fetched.advance_to(&[Delta::open(&made.bytes, &verifiers).unwrap()], 8, &made.commitment).unwrap();
    assert!(fetched.profiles().iter().any(|profile| profile.refused));
    let next = author.rebase(0, author.replica().layout(), &BTreeSet::new()).unwrap();
    assert_eq!((next.record, &next.files.index[6..8]), (None, &BASE_FORMAT.to_le_bytes()[..]));
}

/// What the flag is worth in each version: no profile but a live one has it, and none in files of the version before.
#[test]
fn s0_14_a_refused_profile_is_none_of_the_version_before() {
    let mut publisher = golden_set();
    publisher.publish_with(&[], &[Profile { refused: true, ..member(&["b"]) }]);
    let verifiers = [publisher.verifier()];
    let name = publisher.head.delta_name(7, 8);
    let bytes = publisher.files[&name].clone();
    let delta = Delta::open(&bytes, &verifiers).unwrap();
    assert!(delta.is_empty(), "no key changes");
    // The same said in the version before.
    let note_len = u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let mut body = bytes[4 + note_len..].to_vec();
    let text = std::str::from_utf8(&bytes[4..4 + note_len]).unwrap();
    let text = &text[..=text.find("\n\n").unwrap()];
    let file = |format: u16, body: &[u8]| {
        let text = text.replace("nightlatch.delta/3", &format!("nightlatch.delta/{format}"));
        let hash = text.find("body ").unwrap();
        let note = publisher.signer.sign(&format!("{}body {}\n", &text[..hash], Hash::of(body)));
        [&(note.len() as u32).to_le_bytes(), note.as_bytes(), body].concat()
    };
    assert!(Delta::open(&file(3, &body), &verifiers).is_ok());
    // A statement and a body of two versions.
    assert_eq!(Delta::open(&file(2, &body), &verifiers).err(), Some(Malformed::Version(3)));
    body[6] = 2;
    assert_eq!(Delta::open(&file(3, &body), &verifiers).err(), Some(Malformed::Version(2)));
    assert_eq!(Delta::open(&file(2, &body), &verifiers).err(), Some(Malformed::Value("profile")));
    body[6] = 4;
    assert_eq!(Delta::open(&file(4, &body), &verifiers).err(), Some(Malformed::Version(4)));
    // Number, kind, environment, then the flags: without the flag, it is read.
    body[6] = 2;
    body[36 + 4 + 2] = 1;
    assert!(Delta::open(&file(2, &body), &verifiers).is_ok());
    for flags in [2, 4, 7] {
        body[36 + 4 + 2] = flags;
        body[6] = 3;
        assert_eq!(Delta::open(&file(3, &body), &verifiers).err(), Some(Malformed::Value("profile")), "{flags}");
    }
    let shared = Profile { refused: true, ..Key::new(0, &[]).profile };
    let key = Key { profile: shared, ..Key::new(50, &[]) };
    let changed = publisher.author.next(&[key.change(&pepper())], &[], &publisher.signer);
    assert_eq!(changed.err(), Some(Malformed::Value("profile")));
}

/// What a member's suspension costs: one profile, whatever the number of keys.
#[test]
fn s0_14_one_profile_change_for_ten_thousand_keys_is_one_small_delta() {
    let of_member = |number| Key { profile: member(&["invoices:read"]), subject: 7, ..Key::new(number, &[]) };
    let mut publisher = Publisher::new((0..10_000).map(of_member));
    let mut replica = load(&publisher);
    let refused = Profile { refused: true, ..member(&["invoices:read"]) };
    publisher.publish_with(&[], core::slice::from_ref(&refused));
    let bytes = &publisher.files[&publisher.head.delta_name(1, 2)];
    let note_len = u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    // Kind, environment, flags, subject; tier and scope with a length each; the number of scopes.
    let profile = 3 + 4 + (1 + "gold".len()) + 2 + (1 + "invoices:read".len());
    // The header, the number of the profile and its bytes, and three counts of nothing in one more.
    assert_eq!(bytes.len(), 4 + note_len + 36 + 4 + profile + 1);
    assert!(note_len < 600, "{note_len}");
    replica.advance(&[delta(&publisher, 1)], &publisher.head).unwrap();
    for number in 0..10_000 {
        assert_eq!(found(&replica, number).unwrap().profile, refused);
    }
}

/// The format's golden files, byte for byte: version 3 of base and delta, and version 1 of rebase record, trust note and deny
/// note in `v3`; version 4 of the head in `v4`. Those of the version before are in `v2`. Heads of version 3, which are still
/// read, are in `v2` and `v3`.
#[test]
fn golden_files() {
    let mut publisher = golden_set();
    publisher.publish_with(&[], &[Profile { refused: true, ..member(&["b"]) }]);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    // As the writer of version 3 wrote it.
    let earlier = |publisher: &Publisher| {
        let note = publisher.note();
        let (text, _) = note.split_once("\n\n").unwrap();
        let text = format!("{}\n", text.replacen("nightlatch.head/4", "nightlatch.head/3", 1));
        let note = publisher.signer.sign(&text);
        assert_eq!(Head::open(&note, &[publisher.verifier()]).unwrap(), publisher.head);
        note.into_bytes()
    };
    let mut files: Vec<(String, Vec<u8>)> =
        publisher.files.iter().map(|(name, bytes)| (format!("v3/{name}"), bytes.clone())).collect();
    publisher.head.open_until = Some(START + 3_600_000);
    publisher.head.trust = Some(2);
    files.push(("v3/head".into(), earlier(&publisher)));
    publisher.head.audit = Some(AuditCheckpoint { count: 1_000, root: Hash::of(b"audit") });
    let (old, new) = (Signer::new("root", &[8; 32]).unwrap(), Signer::new("root", &[9; 32]).unwrap());
    let trust = Trust {
        set: publisher.head.set.clone(),
        version: 2,
        issued: START,
        floor: [0, 2, 7],
        roots: vec![old.verifier(), new.verifier()],
        signers: vec![publisher.verifier()],
    };
    let mut digests = vec![digest(10), digest(11)];
    digests.sort_by_key(|digest| *digest.as_bytes());
    let deny = Deny { set: publisher.head.set.clone(), number: 1, issued: START, digests };
    let (verifier, root) = (publisher.verifier().to_vkey(), old.verifier().to_vkey());
    files.push(("v4/head".into(), publisher.note().into_bytes()));
    files.push(("v3/trust".into(), note::cosign(&trust.sign(&old), &new).unwrap().into_bytes()));
    files.push(("v3/deny".into(), deny.sign(&publisher.signer).into_bytes()));
    files.push(("v3/verifier".into(), format!("{verifier}\n").into_bytes()));
    files.push(("v3/root".into(), format!("{root}\n").into_bytes()));
    for (name, bytes) in files {
        let path = golden.join(&name);
        if std::env::var_os("NIGHTLATCH_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let stored = std::fs::read(&path).unwrap();
        assert!(stored == bytes, "{name} is no longer the format it was");
    }
}
