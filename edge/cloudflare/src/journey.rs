//! What one flight has on its hands: a head on its way into force, and what has come of its files.

use nightlatch_keyset::{FileName, Index};
use nightlatch_sync::{Attempt, Refusal};

/// A base's parts are kept in pieces of about so many bytes, which a rebase gives back one by one.
const PIECE: usize = 1 << 20;
/// Flights that are remembered. Those that died without a word leave theirs behind; so many are never on their way.
const MOST: usize = 8;

/// One flight's.
pub(crate) struct Journey {
    flight: u32,
    pub(crate) attempt: Option<Attempt>,
    /// Each file's bytes, a base's parts in pieces.
    files: Vec<Vec<u8>>,
    /// The head's base, whose parts are being fetched.
    index: Option<Index>,
    loading: bool,
    /// Where the file under way begins among `files`, how long each of its pieces is to be, and how much may still come.
    first: usize,
    lens: Vec<usize>,
    left: u64,
    /// Why it came to nothing.
    pub(crate) refusal: Option<Refusal>,
}

impl Journey {
    /// The names of files, one a line.
    pub(crate) fn names(&self, parts: bool) -> String {
        let Some(attempt) = &self.attempt else {
            return String::new();
        };
        let fetches = if parts { attempt.parts() } else { attempt.small() };
        let mut out = String::new();
        for fetch in fetches {
            out.push_str(&fetch.name.to_text());
            out.push('\n');
        }
        out
    }

    /// Sets out for another head, or by another way.
    pub(crate) fn head_for(&mut self, attempt: Attempt) {
        self.attempt = Some(attempt);
        self.files.clear();
        self.loading = false;
    }

    /// Turns to a base's parts. Its index has come last before them and says where they can be cut; a bad one is refused
    /// with them.
    pub(crate) fn load(&mut self) {
        self.loading = true;
        self.index = self
            .attempt
            .as_ref()
            .zip(self.files.last())
            .and_then(|(attempt, bytes)| Index::open(bytes.clone(), &attempt.head().base_root).ok());
    }

    /// Begins the file of that number. Memory for all of it is taken at once: growing to the length of a part would take it
    /// twice.
    pub(crate) fn begin_file(&mut self, number: usize) {
        self.left = 0;
        let Some(fetch) = self.attempt.as_ref().and_then(|attempt| attempt.fetches().get(number)) else {
            return;
        };
        self.lens = match (fetch.name, &self.index) {
            (FileName::BasePart { part, .. }, Some(index)) => index.piece_lens(part as usize, PIECE),
            _ => Vec::new(),
        };
        if self.lens.is_empty() {
            self.lens.push(if fetch.is_exact() { fetch.max_len as usize } else { 0 });
        }
        self.left = fetch.max_len;
        self.first = self.files.len();
        self.files.push(Vec::with_capacity(self.lens[0]));
    }

    /// Makes the file under way longer; false where it is longer than it may be.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> bool {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return false;
        };
        self.left = left;
        while !bytes.is_empty() {
            let piece = self.files.len() - 1 - self.first;
            let last = piece + 1 == self.lens.len();
            let Some(file) = self.files.last_mut() else {
                return false;
            };
            let room = if last { bytes.len() } else { bytes.len().min(self.lens[piece].saturating_sub(file.len())) };
            let (now, later) = bytes.split_at(room);
            file.extend_from_slice(now);
            bytes = later;
            if !last && file.len() >= self.lens[piece] {
                self.files.push(Vec::with_capacity(self.lens[piece + 1]));
            }
        }
        true
    }

    /// Hands over the attempt and its files.
    pub(crate) fn take(&mut self) -> Option<(Attempt, Vec<Vec<u8>>)> {
        (self.index, self.left) = (None, 0);
        Some((self.attempt.take()?, std::mem::take(&mut self.files)))
    }
}

/// The journeys of an instance, by the numbers of their flights.
#[derive(Default)]
pub(crate) struct Journeys(Vec<Journey>);

impl Journeys {
    /// Begins one, or begins it again.
    pub(crate) fn begin(&mut self, flight: u32) {
        self.end(flight);
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(Journey {
            flight,
            attempt: None,
            files: Vec::new(),
            index: None,
            loading: false,
            first: 0,
            lens: Vec::new(),
            left: 0,
            refusal: None,
        });
    }

    /// That flight's, where it is remembered.
    pub(crate) fn of(&mut self, flight: u32) -> Option<&mut Journey> {
        self.0.iter_mut().find(|journey| journey.flight == flight)
    }

    /// Forgets every other one that was loading a base: it is lost, and there is no room for both.
    pub(crate) fn alone(&mut self, flight: u32) {
        self.0.retain(|journey| journey.flight == flight || !journey.loading);
    }

    /// Ends one.
    pub(crate) fn end(&mut self, flight: u32) -> Option<Refusal> {
        let at = self.0.iter().position(|journey| journey.flight == flight)?;
        self.0.remove(at).refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journey whose file under way has pieces of these lengths.
    fn journey(lens: &[usize], left: u64) -> Journeys {
        let mut journeys = Journeys::default();
        journeys.begin(1);
        let journey = journeys.of(1).unwrap();
        journey.files = vec![b"another file".to_vec(), Vec::with_capacity(lens[0])];
        (journey.first, journey.lens, journey.left) = (1, lens.to_vec(), left);
        journeys
    }

    #[test]
    fn a_file_is_cut_where_it_is_to_be_cut() {
        let bytes: Vec<u8> = (0..100).collect();
        for lens in [vec![100], vec![0], vec![10, 90], vec![33, 33, 34], vec![1, 1, 1]] {
            for step in [1, 7, 33, 100] {
                let mut journeys = journey(&lens, 100);
                let journey = journeys.of(1).unwrap();
                assert!(bytes.chunks(step).all(|chunk| journey.append(chunk)));
                assert!(!journey.append(b"x"), "it is longer than it may be");
                let pieces = &journey.files[1..];
                assert_eq!(pieces.concat(), bytes, "{lens:?} by {step}");
                let cut = pieces.iter().zip(&lens).take(lens.len() - 1);
                assert!(pieces.len() == lens.len() && cut.into_iter().all(|(piece, len)| piece.len() == *len));
            }
        }
    }

    #[test]
    fn the_lost_are_forgotten() {
        let mut journeys = Journeys::default();
        for flight in 1..=20 {
            journeys.begin(flight);
        }
        assert!(journeys.of(12).is_none() && journeys.of(13).is_some() && journeys.0.len() == MOST);
        journeys.of(13).unwrap().loading = true;
        journeys.alone(14);
        assert!(journeys.of(13).is_none() && journeys.of(15).is_some());
        journeys.end(14);
        assert!(journeys.of(14).is_none());
    }
}
