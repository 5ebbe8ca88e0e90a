//! An edge in a few lines: it goes from the head it has, if any, to the one it finds.

use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Base, Delta, FileName, Head, Replica, levels};

use crate::attacks::Files;

/// Reads a set. `before` is the head that the edge has been at, `head` the one it is offered, `verifier` whom it trusts.
/// The error says what was being read and why it was refused.
pub(crate) fn read(files: &Files) -> Result<(), String> {
    let verifier = std::str::from_utf8(&files["verifier"]).unwrap().trim_end();
    let verifiers = [Verifier::from_vkey(verifier).unwrap()];
    let open = |name: &str| {
        let note = std::str::from_utf8(&files[name]).map_err(|_| String::from("head: not UTF-8"))?;
        Head::open(note, &verifiers).map_err(|error| format!("head: {error}"))
    };
    let mut replica = None;
    if files.contains_key("before") {
        let before = open("before")?;
        replica = Some(follow(files, &verifiers, load(files, &before)?, &before)?);
    }
    let head = open("head")?;
    let replica = match replica {
        Some(replica) if replica.epoch() == head.epoch => replica,
        Some(replica) if file(files, head.rebase_name()).is_some() => rebase(files, replica, &head)?,
        _ => load(files, &head)?,
    };
    follow(files, &verifiers, replica, &head).map(drop)
}

fn file(files: &Files, name: FileName) -> Option<&Vec<u8>> {
    files.get(&name.to_text())
}

fn load(files: &Files, head: &Head) -> Result<Replica, String> {
    let index = file(files, head.base_name()).ok_or("base: missing")?.clone();
    let parts: Vec<_> = head.part_names().map_while(|name| file(files, name).cloned()).collect();
    let whole = Base::load(index.clone(), parts.clone(), &head.base_root).and_then(|base| base.check());
    whole.map_err(|error| format!("base: {error}"))?;
    Replica::load(index, parts, head).map_err(|error| format!("base: {error}"))
}

fn follow(files: &Files, verifiers: &[Verifier], mut replica: Replica, head: &Head) -> Result<Replica, String> {
    let base = head.base_version;
    let steps = levels::path(replica.version().saturating_sub(base), head.version - base);
    let mut deltas = Vec::new();
    for (from, to) in steps {
        let bytes = file(files, head.delta_name(base + from, base + to)).ok_or("delta: missing")?;
        deltas.push(Delta::open(bytes, verifiers).map_err(|error| format!("delta: {error}"))?);
    }
    let before = (replica.version(), *replica.commitment(), replica.len());
    replica.advance(&deltas, head).map_err(|error| {
        let same = (replica.version(), *replica.commitment(), replica.len()) == before;
        assert!(same || replica.is_corrupt(), "refused, and yet something changed");
        format!("delta: {error}")
    })?;
    Ok(replica)
}

fn rebase(files: &Files, mut replica: Replica, head: &Head) -> Result<Replica, String> {
    let record = file(files, head.rebase_name()).ok_or("rebase: missing")?;
    replica.begin_rebase(record, head).map_err(|error| format!("rebase: {error}"))?;
    loop {
        match replica.rebase_step() {
            Ok(true) => return Ok(replica),
            Ok(false) => {}
            Err(error) => {
                assert!(replica.is_corrupt());
                return Err(format!("rebase: {error}"));
            }
        }
    }
}
