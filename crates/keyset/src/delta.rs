//! Deltas: what changed from one version to the next. FORMAT.md draws their bytes.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::{Malformed, Reader, is_id, put_id};
use crate::note::{self, MAX_NOTE_LEN, Signer, Verifier};
use crate::pepper::{TAG_LEN, Tag};
use crate::profile::{Profile, ProfileTable, decode_section};
use crate::row::{self, Change, ROW_LEN, Record};
use crate::{Commitment, Hash};

/// The version of the delta's format.
pub const DELTA_FORMAT: u16 = 1;

/// The longest delta file, in bytes. A batch of changes that needs more begins a new epoch instead.
pub const MAX_DELTA_LEN: usize = 4 << 20;

const MAGIC: &[u8; 6] = b"NLDLTA";
const FIRST_LINE: &str = "nightlatch.delta/1";

/// Which delta this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaInfo {
    /// The set's id.
    pub set: String,
    /// How often the set was recovered.
    pub incarnation: u64,
    /// The epoch it belongs to; no delta leads out of one.
    pub epoch: u64,
    /// The version it applies to.
    pub from: u64,
    /// The version it yields.
    pub to: u64,
}

/// A delta that a trusted signer has signed, decoded.
#[derive(Clone)]
pub struct Delta {
    pub(crate) info: DeltaInfo,
    pub(crate) from_commitment: Commitment,
    pub(crate) to_commitment: Commitment,
    pub(crate) link: Hash,
    pub(crate) first_profile: usize,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) rows: Vec<[u8; ROW_LEN]>,
}

impl Delta {
    /// Reads a delta file.
    ///
    /// # Errors
    /// [`Malformed`] where it is not signed by one of `verifiers`, its body is not what they signed, or it is no delta.
    pub fn open(bytes: &[u8], verifiers: &[Verifier]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_DELTA_LEN {
            return Err(Malformed::Value("length"));
        }
        let mut reader = Reader::new(bytes);
        let note_len = reader.u32("note")? as usize;
        if note_len > MAX_NOTE_LEN {
            return Err(Malformed::Value("note"));
        }
        let note = core::str::from_utf8(reader.take(note_len, "note")?).map_err(|_| Malformed::Value("note"))?;
        let statement = note::open(note, verifiers).map_err(|_| Malformed::Hash("the delta's statement"))?;
        let body = &bytes[4 + note_len..];
        let link = Hash::of(body);
        let mut delta = Self::decode(body, link)?;
        let commitment = |field: &str| {
            let line = statement.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(' '));
            line.and_then(Hash::from_hex).map(Commitment).ok_or(Malformed::Value("statement"))
        };
        delta.from_commitment = commitment("from-commitment")?;
        delta.to_commitment = commitment("to-commitment")?;
        // Everything the signer said, said again from what was read, must be what was signed.
        if delta.statement() != statement {
            return Err(Malformed::Hash("the delta's body"));
        }
        Ok(delta)
    }

    /// Which delta this is.
    pub fn info(&self) -> &DeltaInfo {
        &self.info
    }

    /// How many keys it changes.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it changes none. Such a delta is in order and does nothing.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The commitment of the version it applies to.
    pub fn from_commitment(&self) -> &Commitment {
        &self.from_commitment
    }

    /// The commitment of the version it yields.
    pub fn to_commitment(&self) -> &Commitment {
        &self.to_commitment
    }

    fn decode(body: &[u8], link: Hash) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        if &reader.array::<6>("header")? != MAGIC {
            return Err(Malformed::Magic);
        }
        match reader.u16("header")? {
            DELTA_FORMAT => {}
            other => return Err(Malformed::Version(other)),
        }
        let (incarnation, epoch) = (reader.u64("header")?, reader.u64("header")?);
        let (from, to) = (reader.u64("header")?, reader.u64("header")?);
        if from.checked_add(1) != Some(to) {
            return Err(Malformed::Value("versions"));
        }
        let count = reader.u32("header")? as usize;
        let profile_count = reader.u32("header")? as usize;
        let first_profile = reader.u32("header")? as usize;
        let profiles_len = reader.u32("header")? as usize;
        let set = reader.id("set id")?;
        let profiles = decode_section(reader.take(profiles_len, "profiles")?, profile_count)?;
        let rows = reader.take(count.checked_mul(ROW_LEN).ok_or(Malformed::Value("row count"))?, "rows")?;
        reader.finish()?;
        let rows: Vec<[u8; ROW_LEN]> = rows.as_chunks().0.to_vec();
        if !rows.is_sorted_by(|a, b| a[..TAG_LEN] < b[..TAG_LEN]) {
            return Err(Malformed::Order("rows"));
        }
        for row in &rows {
            row::decode(row, first_profile.saturating_add(profile_count))?;
        }
        let info = DeltaInfo { set, incarnation, epoch, from, to };
        let unknown = Commitment::START;
        Ok(Self { info, from_commitment: unknown, to_commitment: unknown, link, first_profile, profiles, rows })
    }

    fn statement(&self) -> String {
        statement(&self.info, &self.from_commitment, &self.to_commitment, &self.link)
    }
}

/// What is signed of a delta.
fn statement(info: &DeltaInfo, from_commitment: &Commitment, to_commitment: &Commitment, body: &Hash) -> String {
    let DeltaInfo { set, incarnation, epoch, from, to } = info;
    format!(
        "{FIRST_LINE}\nset {set}\nincarnation {incarnation}\nepoch {epoch}\nfrom {from}\nto {to}\n\
         from-commitment {from_commitment}\nto-commitment {to_commitment}\nbody {body}\n"
    )
}

/// Collects the changes of one version. The same changes, the last one of each key, give the same bytes.
#[derive(Debug)]
pub struct DeltaBuilder {
    info: DeltaInfo,
    changes: BTreeMap<[u8; TAG_LEN], (Vec<u8>, Record)>,
}

impl DeltaBuilder {
    /// Begins the delta from version `from` to the next.
    ///
    /// # Errors
    /// [`Malformed::Value`] where the set's id is not one.
    pub fn new(set: &str, incarnation: u64, epoch: u64, from: u64) -> Result<Self, Malformed> {
        if !is_id(set.as_bytes()) {
            return Err(Malformed::Value("set id"));
        }
        let info = DeltaInfo { set: set.into(), incarnation, epoch, from, to: from + 1 };
        Ok(Self { info, changes: BTreeMap::new() })
    }

    /// Adds a key's new state; a later one of the same key replaces it.
    ///
    /// # Errors
    /// [`Malformed`] where its profile cannot be encoded.
    pub fn push(&mut self, change: &Change<'_>) -> Result<(), Malformed> {
        let encoded = change.profile.encode()?;
        // Profiles are numbered at the end, over all of them.
        self.changes.insert(change.tag.0, (encoded, change.record(0)));
        Ok(())
    }

    /// The delta's file, the hash of its body, and the commitment it leads to. New profiles get the table's next numbers.
    ///
    /// # Errors
    /// [`Malformed::Value`] where there are more profiles than rows can name.
    pub fn finish(
        self,
        profiles: &mut ProfileTable,
        from_commitment: &Commitment,
        signer: &Signer,
    ) -> Result<(Vec<u8>, Hash, Commitment), Malformed> {
        let first_profile = profiles.len();
        let section = profiles.append(self.changes.values().map(|(encoded, _)| encoded.clone()).collect())?;
        let mut body = Vec::with_capacity(96 + section.len() + self.changes.len() * ROW_LEN);
        body.extend_from_slice(MAGIC);
        body.extend_from_slice(&DELTA_FORMAT.to_le_bytes());
        for number in [self.info.incarnation, self.info.epoch, self.info.from, self.info.to] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.changes.len(), profiles.len() - first_profile, first_profile, section.len()] {
            let number = u32::try_from(number).map_err(|_| Malformed::Value("count"))?;
            body.extend_from_slice(&number.to_le_bytes());
        }
        put_id(&mut body, &self.info.set);
        body.extend_from_slice(&section);
        for (tag, (encoded, record)) in self.changes {
            let profile = profiles.number(&encoded).unwrap_or_default();
            body.extend_from_slice(&row::encode(&Tag(tag), &Record { profile, ..record }));
        }

        let link = Hash::of(&body);
        let to_commitment = from_commitment.then(&link);
        let note = signer.sign(&statement(&self.info, from_commitment, &to_commitment, &link));
        let mut file = Vec::with_capacity(4 + note.len() + body.len());
        file.extend_from_slice(&(note.len() as u32).to_le_bytes());
        file.extend_from_slice(note.as_bytes());
        file.extend_from_slice(&body);
        Ok((file, link, to_commitment))
    }
}
