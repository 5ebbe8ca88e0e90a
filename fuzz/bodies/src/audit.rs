//! The audit log: exports as somebody hands them in, and the bytes of an entry.

use nightlatch_audit::{Check, Commitments, Entry, Footer, Header, Row, START};

/// The input is an export. What is read of it is written the same in every word that is chained, and no order of lines does
/// more than be refused.
pub fn audit_export(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut check = None;
    for line in text.lines() {
        if let Ok(header) = Header::parse(line) {
            let spelt = serde_json::to_string(&header).expect("a header can be written");
            assert_eq!(Header::parse(&spelt).as_ref(), Ok(&header));
            check = check.or_else(|| Check::new(Header { head: None, ..header }, None, Vec::new(), Vec::new()).ok());
        }
        if let Some(footer) = Footer::parse(line) {
            assert!(footer.end);
        }
        if let Ok(entry) = Entry::parse(line)
            && let Ok(hash) = entry.content_hash("ws_0")
        {
            let spelt = serde_json::to_string(&entry).expect("an entry can be written");
            let again = Entry::parse(&spelt).expect("what was written can be read");
            assert_eq!(again.content_hash("ws_0"), Ok(hash), "an entry that changes by being copied");
            if let Some(commitments) = entry.commitments.as_deref().and_then(Commitments::parse) {
                assert_eq!(commitments.to_text(), entry.commitments, "commitments with two spellings");
            }
        }
        if let Some(check) = &mut check {
            let _ = check.line(line);
        }
    }
    if let Some(Ok(proven)) = check.map(Check::finish) {
        assert_eq!((proven.entries, proven.count), (0, 0), "proven without a signed head");
    }
}

/// The input is cut into the words of an entry. From its bytes they can be had back: no other entry has the same ones.
pub fn audit_row(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut words = text.split('\u{1f}');
    let mut numbers = [0_i64; 3];
    for number in &mut numbers {
        *number =
            words.next().map_or(0, |word| word.bytes().fold(7, |sum, byte| sum.wrapping_mul(257) ^ i64::from(byte)));
    }
    let words: Vec<Option<&str>> = words.map(|word| (word != "-").then_some(word)).collect();
    let word = |at: usize| words.get(at).copied().flatten();
    let text = |at: usize| word(at).unwrap_or_default();
    let row = Row {
        seq: numbers[0].cast_unsigned(),
        id: numbers[1],
        at: numbers[2],
        workspace: text(0),
        actor_type: text(1),
        actor_id: text(2),
        on_behalf_of: word(3),
        action: text(4),
        category: text(5),
        target_type: text(6),
        target_id: text(7),
        prefix: word(8),
        short_prefix: word(9),
        scopes: word(10),
        before: word(11),
        after: word(12),
        reason: word(13),
        request_id: text(14),
        commitments: word(15),
    };
    let mut bytes = Vec::new();
    row.write(&mut |piece| bytes.extend_from_slice(piece));
    assert_eq!(decode(&bytes), Some(row), "bytes that say something else");
    assert_ne!(row.hash(&START), Row { at: row.at ^ 1, ..row }.hash(&START));
}

/// A second reader, from FORMAT.md.
fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (numbers, mut rest) = bytes.split_at_checked(24)?;
    let (numbers, _) = numbers.as_chunks::<8>();
    let mut next = || -> Option<Option<&str>> {
        let (tag, more) = rest.split_first()?;
        rest = more;
        if *tag == 0 {
            return Some(None);
        }
        let (len, more) = rest.split_first_chunk::<4>()?;
        let (text, more) = more.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        rest = more;
        Some(Some(std::str::from_utf8(text).ok().filter(|_| *tag == 1)?))
    };
    let row = Row {
        seq: u64::from_le_bytes(numbers[0]),
        id: i64::from_le_bytes(numbers[1]),
        at: i64::from_le_bytes(numbers[2]),
        workspace: next()??,
        actor_type: next()??,
        actor_id: next()??,
        on_behalf_of: next()?,
        action: next()??,
        category: next()??,
        target_type: next()??,
        target_id: next()??,
        prefix: next()?,
        short_prefix: next()?,
        scopes: next()?,
        before: next()?,
        after: next()?,
        reason: next()?,
        request_id: next()??,
        commitments: next()?,
    };
    rest.is_empty().then_some(row)
}
