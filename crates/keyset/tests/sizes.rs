//! Sets of every layout: many segments, every length of the rest, every choice of columns.

#[expect(dead_code, reason = "other tests use more of it")]
mod common;

use std::collections::BTreeMap;

use common::{Key, Publisher, digest, pepper};
use nightlatch_keyset::{Columns, Delta, Layout, Replica, Status, levels};

/// The key of that number in a set with those columns.
fn key(number: u32, columns: Columns) -> Key {
    let key = Key::new(number, &[["a", "b", "c"][number as usize % 3]]);
    // The model names its keys by number, so a set without that column is held against the column's absence.
    Key {
        subject: if columns.subject { number % 1_000 } else { 0 },
        foreign: columns.number && number.is_multiple_of(11),
        ..key
    }
}

fn load(publisher: &Publisher) -> Replica {
    let (index, parts) = publisher.base_files();
    Replica::load(index, parts, &publisher.head).unwrap()
}

fn catch_up(replica: &mut Replica, publisher: &Publisher) {
    let base = publisher.head.base_version;
    let steps = levels::path(replica.version() - base, publisher.head.version - base);
    let names = steps.map(|(from, to)| publisher.head.delta_name(base + from, base + to));
    let deltas: Vec<_> =
        names.map(|name| Delta::open(&publisher.files[&name], &[publisher.verifier()]).unwrap()).collect();
    replica.advance(&deltas, &publisher.head).unwrap();
}

/// Every one of the model's keys is found with all that the set says of it, and nobody else.
fn assert_equals(replica: &Replica, keys: &BTreeMap<u32, Key>, columns: Columns) {
    assert_eq!(replica.len(), keys.len());
    for key in keys.values() {
        let found = replica.lookup(&pepper().tag(&digest(key.number))).unwrap().unwrap();
        assert_eq!((found.status, found.deadline, found.foreign), (key.status, key.deadline, key.foreign));
        assert_eq!(replica.profile(found.profile), Some(&key.profile));
        assert_eq!(found.subject, if columns.subject { key.subject } else { 0 });
        assert_eq!(found.number, if columns.number { key.number } else { 0 });
    }
    for stranger in 5_000_000..5_000_500 {
        assert_eq!(replica.lookup(&pepper().tag(&digest(stranger))), Ok(None));
    }
}

/// A history over a base of that layout, followed by a replica that reads nothing before it has all deltas, by one that reads
/// everything at once, and by one that looks up a few keys between; then a rebase by all three.
fn follow(keys: u32, layout: Layout) {
    let columns = layout.columns();
    let mut publisher = Publisher::with_layout((0..keys).map(|number| key(number, columns)), layout);
    let [mut unread, mut read, mut partly] = [(); 3].map(|()| load(&publisher));
    assert_eq!(read.iter().filter(Result::is_ok).count(), keys as usize);
    for version in 1..6_u32 {
        let changed = (0..keys).filter(|number| number % 61 == version).map(|number| Key {
            status: if version.is_multiple_of(2) { Status::Revoked } else { Status::Retiring },
            deadline: Some(1_900_000_000 + u64::from(number)),
            ..key(number, columns)
        });
        let added = (0..keys / 50).map(|number| key(1_000_000 + version * 10_000 + number, columns));
        // Keys of the first addition change again, by rank.
        let again = (0..keys / 500).map(|number| Key { subject: 0, ..key(1_010_000 + 7 * number, columns) });
        let changes: Vec<Key> =
            if version == 1 { changed.chain(added).collect() } else { changed.chain(added).chain(again).collect() };
        publisher.publish(&changes);
        catch_up(&mut read, &publisher);
        catch_up(&mut partly, &publisher);
        for number in (0..keys).step_by(keys as usize / 3) {
            partly.lookup(&pepper().tag(&digest(number))).unwrap();
        }
    }
    catch_up(&mut unread, &publisher);
    let mut rebased_unread = unread.clone();
    for replica in [&unread, &read, &partly] {
        assert_equals(replica, &publisher.keys, columns);
    }
    let before = publisher.head.version;
    publisher.rebase(1_900_000_500, &[4, 5, 1_010_003]);
    for replica in [&mut rebased_unread, &mut unread, &mut read, &mut partly] {
        assert_eq!(replica.version(), before);
        replica.begin_rebase(&publisher.files[&publisher.head.rebase_name()], &publisher.head).unwrap();
        while !replica.rebase_step().unwrap() {}
        assert_equals(replica, &publisher.keys, columns);
    }
    assert_equals(&load(&publisher), &publisher.keys, columns);
}

const NONE: Columns = Columns { subject: false, number: false };
const SUBJECT: Columns = Columns { subject: true, number: false };
const NUMBER: Columns = Columns { subject: false, number: true };

/// Guarantee 3, with 15 bytes of rest: 0 to 7 bucket bits.
#[test]
fn small_layouts() {
    for (keys, bits, columns) in [(100, 0, Columns::ALL), (200, 3, NONE), (1_500, 6, SUBJECT), (3_000, 7, NUMBER)] {
        follow(keys, Layout::new(bits, columns).unwrap());
    }
}

/// Guarantee 3, with 14 bytes of rest: 8 to 15 bucket bits, up to 64 segments.
#[test]
fn middle_layouts() {
    for (keys, bits, columns) in [(3_000, 8, Columns::ALL), (3_000, 9, NONE), (3_000, 10, SUBJECT), (4_000, 15, NUMBER)]
    {
        follow(keys, Layout::new(bits, columns).unwrap());
    }
}

/// Guarantee 3, with 13 bytes of rest: 16 bucket bits and more, 128 segments and more, more than one node of leaves. They
/// are emptier here than they would be; `cargo xtask probes` has a full one.
#[test]
fn large_layouts() {
    for (keys, bits, columns) in [(4_000, 16, Columns::ALL), (3_000, 17, NONE)] {
        follow(keys, Layout::new(bits, columns).unwrap());
    }
}

/// Guarantee 3, laid out as such a set is: 1,024 buckets in two segments.
#[test]
fn twenty_thousand_keys() {
    let layout = Layout::for_keys(20_000, Columns::ALL);
    assert_eq!(layout.bucket_bits(), 10);
    follow(20_000, layout);
}
