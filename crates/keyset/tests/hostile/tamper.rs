//! The attacker's tools: put a hash right after a change, sign what was changed, write bits.

use nightlatch_keyset::note::Signer;
use nightlatch_keyset::{Commitment, Hash, Head};

/// Bytes before an index's profiles.
pub(crate) const HEADER_LEN: usize = 192;
/// Bytes before a delta body's profiles.
pub(crate) const BODY_HEADER_LEN: usize = 36;
/// Bytes before a record's bit stream.
pub(crate) const RECORD_HEADER_LEN: usize = 128;

/// Where everything is in the index of a base of one segment.
pub(crate) struct Places {
    pub(crate) profiles: std::ops::Range<usize>,
    pub(crate) ranks: usize,
    pub(crate) node: usize,
    pub(crate) leaf: usize,
    pub(crate) directory: usize,
}

pub(crate) fn places(index: &[u8]) -> Places {
    let ranks = HEADER_LEN + number(index, 48) as usize;
    Places { profiles: HEADER_LEN..ranks, ranks, node: ranks + 8, leaf: ranks + 40, directory: ranks + 72 }
}

pub(crate) fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

pub(crate) fn put_number(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Makes leaf and node of a base of one segment those of what is there.
pub(crate) fn rehash(index: &mut [u8], part: &[u8]) {
    let Places { node, leaf, directory, .. } = places(index);
    let hash = Hash::of(&[&[0; 5][..], &index[directory..], part].concat());
    index[leaf..leaf + 32].copy_from_slice(&hash.0);
    let hash = Hash::of(&[&[1][..], &index[leaf..leaf + 32]].concat());
    index[node..node + 32].copy_from_slice(&hash.0);
}

/// Makes an index whose core ends there the base of a head at that base's version.
pub(crate) fn name_base(head: &mut Head, index: &[u8], core_end: usize) {
    head.base_root = Hash::of(&index[..core_end.min(index.len())]);
    head.base_len = index.len() as u64;
    head.base_commitment = Commitment::START.then(&head.base_root);
    head.commitment = head.base_commitment;
}

/// Note and body of a delta's file.
pub(crate) fn taken_apart(file: &[u8]) -> (String, Vec<u8>) {
    let (note, body) = file[4..].split_at(number(file, 0) as usize);
    (String::from_utf8(note.to_vec()).unwrap(), body.to_vec())
}

pub(crate) fn put_together(note: &str, body: &[u8]) -> Vec<u8> {
    [&(note.len() as u32).to_le_bytes()[..], note.as_bytes(), body].concat()
}

/// The text of a note, its signatures left away.
pub(crate) fn text(note: &str) -> &str {
    &note[..=note.rfind("\n\n").unwrap()]
}

/// A text with another value of one of its lines.
pub(crate) fn with_line(text: &str, name: &str, value: &str) -> String {
    let line = |line: &str| match line.strip_prefix(name) {
        Some(rest) if rest.starts_with(' ') => format!("{name} {value}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// A delta's file with another body, signed as what leads from the same state to the one that this body makes. Gives that
/// state's commitment with it.
pub(crate) fn with_body(file: &[u8], body: &[u8], from: &Commitment, signer: &Signer) -> (Vec<u8>, Commitment) {
    let (note, _) = taken_apart(file);
    let link = Hash::of(body);
    let to = from.then(&link);
    let text = with_line(text(&note), "to-commitment", &to.to_string());
    let text = with_line(&text, "body", &link.to_hex());
    (put_together(&signer.sign(&text), body), to)
}

/// Bits, the lowest of a byte first.
#[derive(Default)]
pub(crate) struct Bits(Vec<bool>);

impl Bits {
    /// Appends a number; what is beyond its 64 bits is zeros.
    pub(crate) fn number(mut self, value: u64, width: u32) -> Self {
        self.0.extend((0..width).map(|bit| bit < 64 && value >> bit & 1 != 0));
        self
    }

    pub(crate) fn count(self, count: u64) -> Self {
        let width = (count + 1).ilog2();
        self.number(0, width).number(1, 1).number((count + 1) & ((1 << width) - 1), width)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
        self.0.chunks(8).map(byte).collect()
    }
}
