//! How much memory a reader can be made to take, in multiples of what it reads.
//!
//! One test, so that nothing else allocates meanwhile.

use nightlatch_fuzz_bodies::mutate::{Numbers, mutate};
use nightlatch_fuzz_bodies::seeds::seeds;
use nightlatch_fuzz_bodies::stand::stand;
use nightlatch_fuzz_bodies::{in_delta, in_index, named_by_head, rehashed, signed};
use nightlatch_keyset::{Base, Delta};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a reader may take whatever it reads: ids, errors, the note's text, the marks of segments.
const FIXED: usize = 16 * 1024;

/// What an index, a delta and a record may take, in multiples of their profiles' bytes, of those and a copy of the rest,
/// and of their own.
const ALLOWED: [f64; 3] = [16.0, 17.0, 65.0];

/// The most that is in use at any time of `read`, beyond what was in use before.
fn peak<T>(read: impl FnOnce() -> T) -> usize {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let kept = read();
    let peak = MEMORY.peak_usage().saturating_sub(before);
    drop(kept);
    peak
}

fn of_base(input: &[u8]) -> usize {
    let (index, parts, root) = rehashed(input);
    peak(|| Base::load(index, parts, &root))
}

fn of_delta(body: &[u8]) -> usize {
    let file = signed(body).0;
    peak(|| Delta::open(&file, &stand().verifiers))
}

fn of_record(record: &[u8]) -> usize {
    let (mut replica, head) = (stand().replica.clone(), named_by_head(record));
    peak(|| replica.begin_rebase(record, &head))
}

/// Bits, the lowest of a byte first.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn number(&mut self, value: u64, width: u32) -> &mut Self {
        self.0.extend((0..width).map(|bit| value >> bit & 1 != 0));
        self
    }

    fn count(&mut self, count: u64) -> &mut Self {
        let width = (count + 1).ilog2();
        self.number(0, width).number(1, 1).number(count + 1, width)
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
        self.0.chunks(8).map(byte).collect()
    }
}

/// A record that names that many old profiles, `slots` removed slots from 0 on, and no profile that stays.
fn record(slots: u64, profiles: u32) -> Vec<u8> {
    let mut record = stand().record[..128].to_vec();
    record[72..80].fill(0xff);
    record[80..84].copy_from_slice(&profiles.to_le_bytes());
    record[84..88].fill(0);
    let mut bits = Bits::default();
    bits.count(slots);
    if slots > 0 {
        // Parameter 0 and gaps of 0: a bit each.
        bits.number(0, 6);
        bits.0.extend(std::iter::repeat_n(true, slots as usize));
    }
    bits.count(0);
    bits.0.extend(std::iter::repeat_n(false, profiles as usize));
    record.extend(bits.bytes());
    record
}

/// Many profiles of as few bytes as can be.
fn profiles(count: u32, scopes: u8) -> Vec<u8> {
    let mut one = vec![0, 0, 0, 0, scopes, 0];
    (0..scopes).for_each(|scope| one.extend([1, b'!' + scope]));
    one.repeat(count as usize)
}

/// S2-14. An index and a delta take less than 16 times the bytes of their profiles, a rebase record less than 65 times its
/// own, whatever they say.
#[test]
fn no_input_makes_a_reader_take_more_than_a_multiple_of_it() {
    let mut worst: [Option<(f64, String)>; 3] = Default::default();
    let mut note = |at: usize, taken: usize, len: usize, what: &str| {
        let multiple = taken.saturating_sub(FIXED) as f64 / len as f64;
        if worst[at].as_ref().is_none_or(|(most, _)| *most < multiple) {
            worst[at] = Some((multiple, format!("{what}, {len} bytes")));
        }
    };
    // Just beyond powers of two, where a vector that grows has just doubled.
    for count in [1, 5, 17, 65, 1025, 32_769] {
        for scopes in [0, 1, 2, 5, 65].into_iter().filter(|scopes| count < 2_000 || *scopes < 3) {
            let bytes = profiles(count, scopes);
            let what = format!("{count} profiles of {scopes} scopes");
            let (index, root) = in_index(count, &bytes);
            note(0, peak(|| Base::load(index, Vec::new(), &root)), bytes.len(), &what);
            note(1, of_delta(&in_delta(count, &bytes)), bytes.len(), &what);
        }
    }
    for removed in [0, 1, 1025, (1 << 18) + 1] {
        for profiles in [0, 1025, (1 << 18) + 1] {
            let record = record(removed, profiles);
            let what = format!("record of {removed} removed slots and {profiles} profiles");
            note(2, of_record(&record), record.len(), &what);
        }
    }
    let mut numbers = Numbers::new(3);
    for (at, target, read) in
        [(0, "base", of_base as fn(&[u8]) -> usize), (1, "delta", of_delta), (2, "rebase", of_record)]
    {
        let seeds = seeds(target);
        for _ in 0..1_000 {
            let input = mutate(&seeds[numbers.below(seeds.len())], &seeds[0], &mut numbers);
            note(at, read(&input), input.len().max(1), target);
        }
    }
    println!("the most, as multiples: {worst:?}");
    for (worst, allowed) in worst.into_iter().zip(ALLOWED) {
        assert!(worst.as_ref().is_some_and(|(most, _)| *most < allowed), "{worst:?} where {allowed} times is allowed");
    }
}
