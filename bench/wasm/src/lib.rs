//! The set's core inside WebAssembly, with loops around it: what one call measures from outside would be lost in the
//! call itself. Bytes come in first; what is timed then starts from bytes in memory.

use nightlatch_key::{Digest, parse};
use nightlatch_keyset::note::Verifier;
use nightlatch_keyset::{Delta, Head, Pepper, Replica, Tag};
use sha2::block_api::compress256;
use wasm_bindgen::prelude::*;

/// Everything that is measured.
#[wasm_bindgen]
pub struct Bench {
    verifiers: [Verifier; 1],
    pepper: Pepper,
    note: String,
    index: Vec<u8>,
    parts: Vec<Vec<u8>>,
    replica: Option<Replica>,
    tags: Vec<Tag>,
    texts: Vec<String>,
    /// The texts, padded to what SHA-256 compresses.
    blocks: Vec<[u8; 64]>,
    file: Vec<u8>,
    delta: Option<Delta>,
}

#[wasm_bindgen]
impl Bench {
    /// With what an edge is told.
    ///
    /// # Errors
    /// Where it is not what it should be.
    #[wasm_bindgen(constructor)]
    pub fn new(set: &str, verifier: &str, pepper_id: &str, pepper: &[u8]) -> Result<Self, JsError> {
        let pepper = pepper.try_into().map_err(|_| JsError::new("a pepper has 32 bytes"))?;
        Ok(Self {
            verifiers: [Verifier::from_vkey(verifier)?],
            pepper: Pepper::new(pepper_id, set, pepper)?,
            note: String::new(),
            index: Vec::new(),
            parts: Vec::new(),
            replica: None,
            tags: Vec::new(),
            texts: Vec::new(),
            blocks: Vec::new(),
            file: Vec::new(),
            delta: None,
        })
    }

    /// A head's note.
    pub fn put_head(&mut self, note: String) {
        self.note = note;
    }

    /// A base's index. What was loaded before is dropped.
    pub fn put_index(&mut self, bytes: Vec<u8>) {
        self.replica = None;
        self.parts.clear();
        self.index = bytes;
    }

    /// The next part.
    pub fn put_part(&mut self, bytes: Vec<u8>) {
        self.parts.push(bytes);
    }

    /// A delta or a rebase record.
    pub fn put_file(&mut self, bytes: Vec<u8>) {
        self.file = bytes;
    }

    /// Tags to look up.
    pub fn put_tags(&mut self, bytes: &[u8]) {
        self.tags = bytes.as_chunks::<{ Tag::LEN }>().0.iter().map(|bytes| Tag::from_bytes(*bytes)).collect();
    }

    /// Texts of keys, one a line.
    pub fn put_texts(&mut self, lines: &str) {
        self.texts = lines.lines().map(str::to_owned).collect();
        self.blocks = self.texts.iter().map(|text| padded(text.as_bytes())).collect();
    }

    /// Makes a replica of head, index and parts.
    ///
    /// # Errors
    /// Where they do not fit.
    pub fn load(&mut self) -> Result<(), JsError> {
        let head = Head::open(&self.note, &self.verifiers)?;
        self.load_for(&head)
    }

    fn load_for(&mut self, head: &Head) -> Result<(), JsError> {
        let (index, parts) = (core::mem::take(&mut self.index), core::mem::take(&mut self.parts));
        self.replica = Some(Replica::load(index, parts, head)?);
        Ok(())
    }

    /// Signature, load and the first verdict, with the check of the segment it touches.
    ///
    /// # Errors
    /// Where the files do not fit.
    pub fn first_verdict(&mut self, text: &str) -> Result<bool, JsError> {
        self.load()?;
        Ok(self.verdict(text.as_bytes()) != 0)
    }

    fn verdict(&self, text: &[u8]) -> u32 {
        if parse(text).is_err() {
            return 0;
        }
        self.find(&self.pepper.tag(&Digest::of(text)))
    }

    fn find(&self, tag: &Tag) -> u32 {
        let Some(replica) = &self.replica else {
            return 0;
        };
        replica.lookup(tag).ok().flatten().map_or(0, |record| 1 + record.profile)
    }

    /// Looks every tag up, and says how many were found.
    pub fn lookups(&self) -> u32 {
        self.tags.iter().map(|tag| u32::from(self.find(tag) != 0)).sum()
    }

    /// The same, each only once the one before is known. `none` is 0.
    pub fn dependent(&self, none: u32) -> u32 {
        let mut last = 0;
        for at in 0..self.tags.len() {
            last = self.tags.get(at + (last & none) as usize).map_or(0, |tag| self.find(tag));
        }
        last
    }

    /// The verdict on every text, and how many were keys.
    pub fn verdicts(&self) -> u32 {
        self.texts.iter().map(|text| u32::from(self.verdict(text.as_bytes()) != 0)).sum()
    }

    /// The shape and the checksum of every text alone, and how many were keys.
    pub fn shapes(&self) -> u32 {
        self.texts.iter().map(|text| u32::from(parse(text.as_bytes()).is_ok())).sum()
    }

    /// Digest and tag of every text alone.
    pub fn tags_of_texts(&self) -> u32 {
        let tags = self.texts.iter().map(|text| self.pepper.tag(&Digest::of(text.as_bytes())));
        tags.fold(0, |sum, tag| sum ^ u32::from(tag.as_bytes()[0]))
    }

    /// What a verdict cannot do without: two compressions of SHA-256, of text and of digest, from states that are there.
    pub fn compressions(&self) -> u32 {
        let mut sum = 0_u32;
        let start =
            [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
        let mut second = padded(&[0; 32]);
        for block in &self.blocks {
            let mut state = start;
            compress256(&mut state, core::slice::from_ref(block));
            for (place, word) in second.as_chunks_mut::<4>().0.iter_mut().zip(state) {
                *place = word.to_be_bytes();
            }
            let mut state = start;
            compress256(&mut state, core::slice::from_ref(&second));
            sum = sum.wrapping_add(state[0]);
        }
        sum
    }

    /// Opens the delta put last: its signature and its bytes.
    ///
    /// # Errors
    /// Where it is none.
    pub fn open_delta(&mut self) -> Result<(), JsError> {
        self.delta = Some(Delta::open(&self.file, &self.verifiers)?);
        Ok(())
    }

    /// Applies the opened delta.
    ///
    /// # Errors
    /// Where it does not follow.
    pub fn apply(&mut self) -> Result<(), JsError> {
        if let (Some(delta), Some(replica)) = (self.delta.take(), &mut self.replica) {
            let (version, commitment) = (delta.info().to, *delta.to_commitment());
            replica.advance_to(&[delta], version, &commitment)?;
        }
        Ok(())
    }

    /// Begins a rebase by the record and the head put last.
    ///
    /// # Errors
    /// Where the record does not fit.
    pub fn begin_rebase(&mut self) -> Result<(), JsError> {
        let head = Head::open(&self.note, &self.verifiers)?;
        if let Some(replica) = &mut self.replica {
            replica.begin_rebase(&self.file, &head)?;
        }
        Ok(())
    }

    /// One slice of it; true when it is done.
    ///
    /// # Errors
    /// Where the base that comes of it is not the head's.
    pub fn rebase_step(&mut self) -> Result<bool, JsError> {
        self.replica.as_mut().map_or(Ok(true), |replica| Ok(replica.rebase_step()?))
    }
}

/// One block of SHA-256 that holds all of a text of at most 55 bytes.
fn padded(text: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    let length = text.len().min(55);
    block[..length].copy_from_slice(&text[..length]);
    block[length] = 0x80;
    block[56..].copy_from_slice(&(length as u64 * 8).to_be_bytes());
    block
}
