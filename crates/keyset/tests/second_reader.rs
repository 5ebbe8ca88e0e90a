//! Two readers of one format: this crate, and one in Python that was written from FORMAT.md alone. What a writer here writes,
//! both read alike; what this crate refuses, the other refuses too.

#[expect(dead_code, reason = "other tests use more of it")]
mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Key, Publisher};
use nightlatch_key::Environment;
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Columns, Delta, Hash, Head, Layout, Profile, Replica, Status, levels};

fn second_reader() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/second_reader")
}

/// Runs the second reader on a directory.
fn read_set(directory: &Path, more: &[&str]) -> Output {
    let mut python = Command::new("python3");
    python.arg("-B").arg(second_reader().join("read_set.py")).arg(directory);
    python.arg("--verifier").arg(directory.join("verifier")).args(more).output().expect("Python 3 is needed")
}

/// A new directory with a set's files as they are published, and the verifier beside them.
fn laid_out<'a>(name: &str, files: impl Iterator<Item = (&'a str, &'a [u8])>) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("second_reader").join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(directory.join("files")).unwrap();
    for (name, bytes) in files {
        let beside = matches!(name, "head" | "verifier");
        std::fs::write(if beside { directory.join(name) } else { directory.join("files").join(name) }, bytes).unwrap();
    }
    directory
}

/// What this crate reads from a directory, as the second reader says it.
fn said_here(directory: &Path) -> String {
    let text = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let file = |name: String| std::fs::read(directory.join("files").join(name)).unwrap();
    let verifiers = [Verifier::from_vkey(text("verifier").trim_end()).unwrap()];
    let head = Head::open(&text("head"), &verifiers).unwrap();
    let parts = head.part_names().map(|name| file(name.to_text())).collect();
    let mut replica = Replica::load(file(head.base_name().to_text()), parts, &head).unwrap();
    let base = head.base_version;
    let steps =
        levels::path(0, head.version - base).map(|(from, to)| head.delta_name(base + from, base + to).to_text());
    let deltas: Vec<Delta> = steps.map(|name| Delta::open(&file(name), &verifiers).unwrap()).collect();
    replica.advance(&deltas, &head).unwrap();
    json(&head, &replica)
}

fn json(head: &Head, replica: &Replica) -> String {
    let mut rows: Vec<_> = replica.iter().map(Result::unwrap).collect();
    rows.sort_by_key(|(tag, _)| *tag);
    let columns = replica.layout().columns();
    let tag_len = replica.layout().tag_bits().div_ceil(8) as usize;
    let mut out = format!(
        "{{\n  \"set\": \"{}\",\n  \"workspace\": \"{}\",\n  \"incarnation\": {},\n  \"epoch\": {},\n  \"version\": {},\n  \
         \"commitment\": \"{}\",\n  \"keys\": {},\n  \"rows\": [",
        head.set, head.workspace, head.incarnation, head.epoch, head.version, head.commitment, head.keys
    );
    for (number, (tag, record)) in rows.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let hex: String = tag.as_bytes()[..tag_len].iter().map(|byte| format!("{byte:02x}")).collect();
        let column = |has: bool, value: u32| if has { value.to_string() } else { "null".into() };
        write!(
            out,
            "{comma}\n    {{\n      \"tag\": \"{hex}\",\n      \"status\": \"{}\",\n      \"foreign\": {},\n      \
             \"deadline\": {},\n      \"subject\": {},\n      \"number\": {},\n      \"profile\": {}\n    }}",
            record.status.as_str(),
            record.foreign,
            record.deadline.map_or(0, |at| at - 1_577_836_800),
            column(columns.subject, record.subject),
            column(columns.number, record.number),
            profile(replica.profile(record.profile).unwrap()),
        )
        .unwrap();
    }
    out + if rows.is_empty() { "]\n}\n" } else { "\n  ]\n}\n" }
}

fn profile(profile: &Profile) -> String {
    let scopes: Vec<String> = profile.scopes.iter().map(|scope| format!("          \"{scope}\"")).collect();
    let scopes = if scopes.is_empty() { "[]".into() } else { format!("[\n{}\n        ]", scopes.join(",\n")) };
    format!(
        "{{\n        \"kind\": \"{}\",\n        \"environment\": \"{}\",\n        \"live\": {},\n        \"subject\": {},\n        \
         \"refused\": {},\n        \"tier\": {},\n        \"scopes\": {scopes}\n      }}",
        profile.kind.as_str(),
        profile.environment.as_str(),
        profile.live.is_some(),
        profile.live.map_or_else(|| "null".into(), |subject| subject.to_string()),
        profile.refused,
        profile.tier.as_ref().map_or_else(|| "null".into(), |tier| format!("\"{tier}\"")),
    )
}

fn assert_both_say_the_same(directory: &Path, more: &[&str]) {
    let output = read_set(directory, more);
    let said = String::from_utf8_lossy(&output.stdout);
    let refused = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: the second reader refuses it: {refused}", directory.display());
    let here = said_here(directory);
    let differs = said.lines().zip(here.lines()).position(|(there, here)| there != here);
    assert!(said == here, "{}: the readers differ in line {differs:?}", directory.display());
}

/// The second reader's own tests.
#[test]
fn the_second_reader_is_in_order() {
    let mut python = Command::new("python3");
    python.args(["-B", "-m", "unittest", "discover", "--quiet", "--start-directory"]).arg(second_reader());
    let output = python.output().expect("Python 3 is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The golden files: both read the same rows, by deltas of all levels or of one, from the base of this epoch or by way of the
/// one before.
#[test]
fn both_readers_read_the_golden_files_alike() {
    for version in ["v2", "v3"] {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(version);
        let files: Vec<(String, Vec<u8>)> = std::fs::read_dir(golden)
            .unwrap()
            .map(|file| file.unwrap())
            .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
            .collect();
        let name = format!("golden/{version}");
        let directory = laid_out(&name, files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        let pepper = "p1:BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=";
        assert_both_say_the_same(&directory, &["--from-epoch", "1", "--single-steps", "--pepper", pepper]);
    }
}

/// Sets of every choice of columns and some layouts, each with every kind of change and two rebases behind it.
#[test]
fn both_readers_read_any_set_alike() {
    let only = |subject, number| Columns { subject, number };
    for (name, keys, bits, columns) in [
        ("empty", 0, 0, Columns::ALL),
        ("small", 30, 1, only(true, false)),
        ("bare", 60, 2, only(false, false)),
        ("numbered", 300, 8, only(false, true)),
        ("segments", 700, 11, Columns::ALL),
    ] {
        let key = |number: u32| Key {
            subject: if columns.subject { number % 7 } else { 0 },
            foreign: columns.number && number.is_multiple_of(4),
            deadline: number.is_multiple_of(3).then_some(1_900_000_000 + u64::from(number)),
            ..Key::new(number, &[["a"], ["b"]][number as usize % 2])
        };
        let live = |number: u32, scopes: &[&str]| Key {
            profile: Profile { live: Some(3), environment: Environment::Test, ..Key::new(0, scopes).profile },
            ..key(number)
        };
        let mut publisher = Publisher::with_layout((0..keys).map(key), Layout::new(bits, columns).unwrap());
        publisher.head.accepts_foreign = true;
        for round in 1..4_u32 {
            let first = 1_000 * round;
            let added: Vec<Key> = (first..first + 25).map(key).chain([live(first + 50, &["x"])]).collect();
            publisher.publish(&added);
            let revoked = |number| Key { status: Status::Revoked, ..key(number) };
            publisher.publish(&(0..keys).step_by(9).chain(first..first + 4).map(revoked).collect::<Vec<_>>());
            publisher.publish_with(&[], &[Profile { refused: round > 1, ..live(0, &["y", "z"]).profile }]);
            let moved = |number| Key { subject: u32::from(columns.subject) * 99, deadline: None, ..key(number) };
            publisher.publish(&(first + 5..first + 20).chain(0..keys / 20).map(moved).collect::<Vec<_>>());
            publisher.publish(&[]);
            if round < 3 {
                publisher.rebase(1_900_000_100 * u64::from(round == 2), &[first, first + 1]);
            }
        }
        let verifier = publisher.verifier().to_vkey() + "\n";
        let note = publisher.note();
        let names: Vec<_> = publisher.files.iter().map(|(name, bytes)| (name.to_text(), bytes)).collect();
        let files = names.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        let directory = laid_out(name, files.chain([("verifier", verifier.as_bytes()), ("head", note.as_bytes())]));
        assert_both_say_the_same(&directory, &["--from-epoch", "1", "--single-steps"]);
    }
}

/// What this crate refuses without a state it had before and without a clock, the second reader refuses too.
#[test]
fn the_second_reader_refuses_hostile_files() {
    let hostile = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
    let mut directories = Vec::new();
    for folder in std::fs::read_dir(hostile).unwrap().map(|folder| folder.unwrap().path()) {
        if folder.join("before").exists() || folder.join("now").exists() {
            continue;
        }
        let files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|file| file.unwrap())
            .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
            .collect();
        let policy = (format!("policy-{}", Hash::of(common::POLICY)), common::POLICY.to_vec());
        let files = files.iter().chain([&policy]).map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        directories.push(laid_out(&format!("hostile/{}", folder.file_name().unwrap().display()), files));
    }
    assert!(directories.len() > 40, "the attacks are missing");
    // One process for all: starting a hundred takes longer than reading.
    let mut python = Command::new("python3");
    python.args(["-B", "-c", READ_ALL]).arg(second_reader()).args(&directories);
    let output = python.output().expect("Python 3 is needed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let codes: Vec<&str> = said.lines().collect();
    assert_eq!(codes.len(), directories.len());
    for (code, directory) in codes.into_iter().zip(directories) {
        assert_eq!(code, "1", "{} is not refused by name", directory.display());
    }
}

/// Reads one directory after the other and prints the exit code of each.
const READ_ALL: &str = "
import contextlib, io, sys
sys.path.insert(0, sys.argv[1])
import read_set
for directory in sys.argv[2:]:
    with contextlib.redirect_stdout(io.StringIO()):
        code = read_set.main([directory, '--verifier', directory + '/verifier'])
    print(code)
";
