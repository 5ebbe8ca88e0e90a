//! Files made by somebody who wants a reader to be wrong. Each folder of `hostile/` is one attack: the files as an edge
//! would find them, and what it says when it refuses them. Where a signature stands before the parser under attack, the
//! attacker has the signer's key.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod common;

mod attacks;
mod edge;
mod tamper;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use attacks::Files;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile")
}

fn stored() -> BTreeMap<String, Files> {
    let files_of = |attack: &Path| -> Files {
        let files = std::fs::read_dir(attack).unwrap().map(|file| file.unwrap().path());
        files.map(|file| (file.file_name().unwrap().to_str().unwrap().into(), std::fs::read(&file).unwrap())).collect()
    };
    let folders = std::fs::read_dir(folder()).unwrap().map(|folder| folder.unwrap().path());
    folders.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), files_of(&path))).collect()
}

/// S2-14, S2-15, guarantee 4. Every attack is refused, and the reason said is its own. Those that need a clock to be known are
/// tried in the tests of `nightlatch-sync`.
#[test]
fn every_hostile_file_is_refused_by_name() {
    if std::env::var_os("NIGHTLATCH_WRITE_GOLDEN").is_some() {
        write();
    }
    let stored = stored();
    assert!(stored.len() > 40, "the attacks are missing");
    for (name, mut files) in stored.into_iter().filter(|(_, files)| !attacks::is_of_time(files)) {
        let expected = String::from_utf8(files.remove("expected").unwrap()).unwrap();
        let refused = edge::read(&files).err().unwrap_or_else(|| "nothing was refused".into());
        assert_eq!(refused, expected.trim_end(), "{name}");
    }
}

/// The set that all attacks begin with is in order, so what is refused is the attack.
#[test]
fn what_the_attacks_begin_with_is_taken() {
    for files in attacks::harmless() {
        assert_eq!(edge::read(&files), Ok(()));
    }
}

/// Attacks are stored as they would be made today.
#[test]
fn attacks_are_current() {
    let (made, mut stored) = (attacks::all(), stored());
    assert_eq!(made.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>());
    for (name, mut files) in made {
        let stored = stored.get_mut(&name).unwrap();
        files.remove("expected");
        stored.remove("expected");
        assert!(files == *stored, "{name} is no longer the attack it was");
    }
}

fn write() {
    for (name, files) in attacks::all() {
        let folder = folder().join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        if !attacks::is_of_time(&files) {
            let refused = edge::read(&files).expect_err(&name);
            std::fs::write(folder.join("expected"), refused + "\n").unwrap();
        }
        files.iter().for_each(|(file, bytes)| std::fs::write(folder.join(file), bytes).unwrap());
    }
}
