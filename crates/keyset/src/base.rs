//! The base: a whole set at the version where an epoch begins. FORMAT.md draws its bytes.

use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::{Malformed, Reader, is_id, put_id};
use crate::pepper::{TAG_LEN, Tag};
use crate::profile::{Profile, ProfileTable, decode_section};
use crate::row::{self, Change, ROW_LEN, Record};
use crate::{Hash, MAX_ID_LEN};

/// The version of the base's format.
pub const BASE_FORMAT: u16 = 1;

const MAGIC: &[u8; 6] = b"NLBASE";
const HEADER_LEN: usize = 64 + 4 * MAX_ID_LEN;
const ALIGNMENT: usize = 64;
/// The columns of a row, as a bit set: tag, deadline and meta always, then subject and key number.
const COLUMNS: u32 = 0b11;

/// Which base this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseInfo {
    /// The set's id.
    pub set: String,
    /// The workspace it belongs to.
    pub workspace: String,
    /// The pepper its tags are made with.
    pub pepper: String,
    /// How often the set was recovered.
    pub incarnation: u64,
    /// The base's number.
    pub epoch: u64,
    /// The version at which the epoch begins.
    pub version: u64,
    /// Unix seconds: keys that had ended before were left out.
    pub cutoff: u64,
}

/// A base's bytes, used where they lie.
#[derive(Clone)]
pub struct Base {
    info: BaseInfo,
    profiles: Vec<Profile>,
    bytes: Vec<u8>,
    rows_at: usize,
    root: Hash,
}

impl Base {
    /// Takes a file's bytes. They are kept as they are; nothing is copied but the profiles, which are few.
    ///
    /// # Errors
    /// [`Malformed`] where the bytes do not have the hash `root`, or are not a base.
    pub fn load(bytes: Vec<u8>, root: &Hash) -> Result<Self, Malformed> {
        if Hash::of(&bytes) != *root {
            return Err(Malformed::Hash("the base"));
        }
        let mut reader = Reader::new(&bytes);
        if &reader.array::<6>("header")? != MAGIC {
            return Err(Malformed::Magic);
        }
        match reader.u16("header")? {
            BASE_FORMAT => {}
            other => return Err(Malformed::Version(other)),
        }
        let (incarnation, epoch) = (reader.u64("header")?, reader.u64("header")?);
        let (version, cutoff) = (reader.u64("header")?, reader.u64("header")?);
        let count = reader.u32("header")? as usize;
        let profile_count = reader.u32("header")? as usize;
        let profiles_len = reader.u32("header")? as usize;
        if reader.u32("header")? != COLUMNS {
            return Err(Malformed::Value("columns"));
        }
        reader.zeros(8, "header")?;
        let (set, workspace) = (reader.id("set id")?, reader.id("workspace id")?);
        let pepper = reader.id("pepper id")?;
        reader.zeros(MAX_ID_LEN, "header")?;
        let profiles = decode_section(reader.take(profiles_len, "profiles")?, profile_count)?;
        let rows_at = aligned(HEADER_LEN + profiles_len);
        reader.zeros(rows_at - HEADER_LEN - profiles_len, "padding")?;
        reader.take(count.checked_mul(ROW_LEN).ok_or(Malformed::Value("row count"))?, "rows")?;
        reader.finish()?;
        let info = BaseInfo { set, workspace, pepper, incarnation, epoch, version, cutoff };
        Ok(Self { info, profiles, bytes, rows_at, root: *root })
    }

    /// Which base this is.
    pub fn info(&self) -> &BaseInfo {
        &self.info
    }

    /// The hash of its bytes.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// Its profiles, by number.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// [`Malformed::Value`] where the row found is not one: the publisher signed nonsense.
    pub fn lookup(&self, tag: &Tag) -> Result<Option<Record>, Malformed> {
        // The tag is a keyed hash: the order of rows tells nothing about a key to whoever times the search.
        let rows = self.rows();
        let at = rows.partition_point(|row| row[..TAG_LEN] < tag.0[..]);
        match rows.get(at) {
            Some(row) if tag.matches(&row[..TAG_LEN]) => row::decode(row, self.profiles.len()).map(Some),
            _ => Ok(None),
        }
    }

    /// Every row, in the order of tags.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Tag, Record), Malformed>> + '_ {
        self.rows().iter().map(|row| {
            let mut tag = [0; TAG_LEN];
            tag.copy_from_slice(&row[..TAG_LEN]);
            Ok((Tag(tag), row::decode(row, self.profiles.len())?))
        })
    }

    /// Reads every row once and says whether they are ascending, which a lookup takes for granted because the
    /// publisher signed them so.
    ///
    /// # Errors
    /// [`Malformed`] names what is wrong.
    pub fn check_rows(&self) -> Result<(), Malformed> {
        self.iter().try_for_each(|row| row.map(drop))?;
        if !self.rows().is_sorted_by(|a, b| a[..TAG_LEN] < b[..TAG_LEN]) {
            return Err(Malformed::Order("rows"));
        }
        Ok(())
    }

    fn rows(&self) -> &[[u8; ROW_LEN]] {
        self.bytes[self.rows_at..].as_chunks().0
    }
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}

/// Collects a set's rows into the bytes of a base. The same rows give the same bytes, in whatever order they came.
#[derive(Debug)]
pub struct BaseBuilder {
    info: BaseInfo,
    profiles: Vec<Vec<u8>>,
    numbers: alloc::collections::BTreeMap<Vec<u8>, u32>,
    rows: Vec<(Tag, Record)>,
}

impl BaseBuilder {
    /// Begins a base.
    ///
    /// # Errors
    /// [`Malformed::Value`] where an id is not one.
    pub fn new(info: BaseInfo) -> Result<Self, Malformed> {
        for id in [&info.set, &info.workspace, &info.pepper] {
            if !is_id(id.as_bytes()) {
                return Err(Malformed::Value("id"));
            }
        }
        Ok(Self { info, profiles: Vec::new(), numbers: alloc::collections::BTreeMap::new(), rows: Vec::new() })
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`Malformed`] where its profile cannot be encoded.
    pub fn push(&mut self, change: &Change<'_>) -> Result<(), Malformed> {
        let encoded = change.profile.encode()?;
        let number = match self.numbers.get(&encoded) {
            Some(number) => *number,
            None => {
                let number = self.profiles.len() as u32;
                self.profiles.push(encoded.clone());
                self.numbers.insert(encoded, number);
                number
            }
        };
        self.rows.push((change.tag, change.record(number)));
        Ok(())
    }

    /// The base's bytes, and its numbered profiles, from which the epoch's deltas go on.
    ///
    /// # Errors
    /// [`Malformed::Order`] where two keys have the same tag, [`Malformed::Value`] where there are too many.
    pub fn finish(mut self) -> Result<(Vec<u8>, ProfileTable), Malformed> {
        let mut table = ProfileTable::default();
        let section = table.append(self.profiles.clone())?;
        // Numbers were given in order of arrival; what counts is the order of bytes.
        let renumbered: Vec<u32> = self.profiles.iter().map(|p| table.number(p).unwrap_or_default()).collect();
        self.rows.sort_unstable_by_key(|(tag, _)| tag.0);
        if !self.rows.is_sorted_by(|a, b| a.0.0 < b.0.0) {
            return Err(Malformed::Order("rows"));
        }
        let count = u32::try_from(self.rows.len()).map_err(|_| Malformed::Value("row count"))?;
        let profiles_len = u32::try_from(section.len()).map_err(|_| Malformed::Value("profiles"))?;

        let rows_at = aligned(HEADER_LEN + section.len());
        let mut out = Vec::with_capacity(rows_at + self.rows.len() * ROW_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&BASE_FORMAT.to_le_bytes());
        for number in [self.info.incarnation, self.info.epoch, self.info.version, self.info.cutoff] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [count, table.len() as u32, profiles_len, COLUMNS] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.resize(64, 0);
        put_id(&mut out, &self.info.set);
        put_id(&mut out, &self.info.workspace);
        put_id(&mut out, &self.info.pepper);
        out.resize(HEADER_LEN, 0);
        out.extend_from_slice(&section);
        out.resize(rows_at, 0);
        for (tag, record) in self.rows {
            let record = Record { profile: renumbered[record.profile as usize], ..record };
            out.extend_from_slice(&row::encode(&tag, &record));
        }
        Ok((out, table))
    }
}
