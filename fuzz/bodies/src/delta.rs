//! Deltas: what is signed of them, and what they do to a replica.

use nightlatch_keyset::{Commitment, Delta, Hash, Record, Refused, Replica, Tag};

use crate::stand::{SET, stand};

/// The input is a delta's body, signed here as the one that follows on the stand's version 2. A delta that is taken is
/// applied to a replica that has read its base and to one that has not; both then say the same. A delta that is refused
/// has changed nothing, or has left the replica unfit.
pub fn delta(input: &[u8]) {
    let (file, commitment) = signed(input);
    let Ok(delta) = Delta::open(&file, &stand().verifiers) else { return };
    assert_eq!((delta.info().from, delta.info().to, *delta.link()), (2, 3, Hash::of(input)));
    let before = stand().author.replica();
    let (mut read, mut unread) = (before.clone(), stand().replica.clone());
    let outcome = read.advance_to(std::slice::from_ref(&delta), 3, &commitment);
    assert_eq!(unread.advance_to(std::slice::from_ref(&delta), 3, &commitment).is_ok(), outcome.is_ok());
    match outcome {
        Ok(()) => {
            assert_eq!((read.version(), read.len()), (3, before.len() + delta.additions()));
            let (read_rows, unread_rows) = (rows(&read), rows(&unread));
            assert!(read_rows == unread_rows, "a change is told otherwise when it waits for its segment");
            if let Some(rows) = read_rows {
                for (tag, record) in rows {
                    assert!(read.profile(record.profile).is_some());
                    assert!(read.lookup(&tag).is_ok_and(|found| found.is_some()));
                }
            }
        }
        Err(Refused::Malformed(_)) => {
            assert!(read.is_corrupt() && read.lookup(&crate::stand::tag(0)).is_err(), "unfit, and it answers");
        }
        Err(_) => assert!(read.version() == 2 && rows(&read) == rows(before), "refused, and yet something changed"),
    }
}

/// Everything a replica says, or `None` where a row of it is none.
fn rows(replica: &Replica) -> Option<Vec<(Tag, Record)>> {
    let mut rows = replica.iter().collect::<Result<Vec<_>, _>>().ok()?;
    rows.sort_by_key(|(tag, _)| *tag);
    Some(rows)
}

/// The file of a body that follows on the stand's version 2, and the commitment it leads to.
pub fn signed(body: &[u8]) -> (Vec<u8>, Commitment) {
    let (from, link) = (stand().head.commitment, Hash::of(body));
    let to = from.then(&link);
    // The version is the body's, where it is one that is read.
    let version = body.get(6).copied().filter(|version| *version == 2).unwrap_or(3);
    let text = format!(
        "nightlatch.delta/{version}\nset {SET}\nincarnation 0\nepoch 1\nfrom 2\nto 3\nfrom-commitment {from}\nto-commitment {to}\n\
         body {link}\n"
    );
    (file(&text, body), to)
}

/// The input is a delta's statement, and signed here over the body of the stand's delta. One that is taken has one spelling.
pub fn statement(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if !text.ends_with('\n') {
        return;
    }
    let Some(body) = body(&stand().delta) else { return };
    let Ok(delta) = Delta::open(&file(text, body), &stand().verifiers) else { return };
    let info = delta.info();
    let spelt = format!(
        "nightlatch.delta/3\nset {}\nincarnation {}\nepoch {}\nfrom {}\nto {}\nfrom-commitment {}\nto-commitment {}\n\
         body {}\n",
        info.set,
        info.incarnation,
        info.epoch,
        info.from,
        info.to,
        delta.from_commitment(),
        delta.to_commitment(),
        delta.link()
    );
    assert_eq!(spelt, text, "a statement with two spellings");
    assert!(info.to > info.from);
}

/// The body of a delta's file.
pub(crate) fn body(file: &[u8]) -> Option<&[u8]> {
    let (len, rest) = file.split_first_chunk::<4>()?;
    rest.get(u32::from_le_bytes(*len) as usize..)
}

fn file(text: &str, body: &[u8]) -> Vec<u8> {
    let note = stand().signer.sign(text);
    [&(note.len() as u32).to_le_bytes()[..], note.as_bytes(), body].concat()
}
