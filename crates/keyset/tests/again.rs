//! Files of a signed state that were lost are made again in the format in which they were signed, byte for byte: by what the
//! program of the format before has written.

#[expect(dead_code, reason = "other tests use more of it")]
mod common;

use std::collections::BTreeSet;

use common::{Key, Publisher, digest, pepper};
use nightlatch_keyset::{Author, BaseFiles, Change, Commitment, FileName, Hash, Head, Profile, Replica, Status};

fn golden(name: &FileName) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v2").join(name.to_text());
    std::fs::read(path).unwrap()
}

fn member(scopes: &[&str]) -> Profile {
    Profile { live: Some(7), ..Key::new(0, scopes).profile }
}

fn first_base(more: Option<Key>) -> (Publisher, BaseFiles) {
    let keys = [
        Key::new(1, &["invoices:read"]),
        Key { status: Status::Retiring, deadline: Some(1_900_000_000), ..Key::new(2, &["invoices:read"]) },
        Key { foreign: true, ..Key::new(3, &[]) },
        Key { profile: member(&["a"]), ..Key::new(5, &[]) },
    ];
    let publisher = Publisher::new(keys.into_iter().chain(more));
    let (index, parts) = publisher.base_files();
    let files = BaseFiles { index, parts, root: publisher.head.base_root, keys: publisher.head.keys };
    (publisher, files)
}

#[test]
fn s0_25_files_of_the_format_before_are_made_again_byte_for_byte() {
    let (publisher, files) = first_base(None);
    let before = files.in_format_before().unwrap().unwrap();
    let base = FileName::Base { incarnation: 0, epoch: 1 };
    let part = FileName::BasePart { incarnation: 0, epoch: 1, part: 0 };
    assert!(before.index == golden(&base) && before.parts == [golden(&part)]);
    assert_eq!(before.root, Hash::of(&before.index[..before.index.len() - 32 - 2 * (1 + 1)]));

    let commitment = Commitment::START.then(&before.root);
    let head = Head { base_root: before.root, base_commitment: commitment, commitment, ..publisher.head.clone() };
    let mut author = Author::new(Replica::load(before.index, before.parts, &head).unwrap()).unwrap();
    let pepper = pepper();
    let steps = [
        (
            vec![Key { status: Status::Revoked, ..Key::new(1, &["invoices:read"]) }, Key::new(4, &["new"])],
            Vec::new(),
            2,
        ),
        (vec![Key { status: Status::Disabled, ..Key::new(4, &["new"]) }], vec![member(&["b"])], 3),
    ];
    for (keys, live, to) in steps {
        let changes: Vec<Change<'_>> = keys.iter().map(|key| key.change(&pepper)).collect();
        let file = golden(&head.delta_name(to - 1, to));
        let note = u32::from_le_bytes(*file.first_chunk().unwrap()) as usize;
        let link = Hash::of(&file[4 + note..]);
        // What was not signed is not made, and nothing is changed by trying.
        let made = author.again(&changes, &live, &Hash::of(b"another"), &publisher.signer).unwrap();
        assert!(made.is_none() && author.replica().version() == to - 1);
        let made = author.again(&changes, &live, &link, &publisher.signer).unwrap().unwrap();
        assert!((made.link, made.bytes) == (link, file));
    }
    let ended = BTreeSet::from([pepper.tag(&digest(1))]);
    let record = author.rebase_record(1_577_836_801, &ended).unwrap();
    assert!(record == golden(&FileName::Rebase { incarnation: 0, epoch: 2 }));
}

#[test]
fn s0_25_what_the_format_before_cannot_say_is_not_written_in_it() {
    let refused = Profile { refused: true, live: Some(9), ..member(&["c"]) };
    let (_, files) = first_base(Some(Key { profile: refused, ..Key::new(6, &[]) }));
    assert!(files.in_format_before().unwrap().is_none());
}
