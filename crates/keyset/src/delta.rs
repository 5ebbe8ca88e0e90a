//! Deltas: what changed over some versions. FORMAT.md draws their bytes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::bits::{BitReader, Frame};
use crate::codec::{Malformed, Reader};
use crate::layout::{Columns, MAX_BUCKET_BITS};
use crate::note::{self, MAX_NOTE_LEN, Verifier};
use crate::pepper::Tag;
use crate::profile::{FLAGS, FLAGS_BEFORE, LEAST_LEN, Profile};
use crate::row::{MAX_PROFILES, PROFILE_BITS, Record, Status, deadline_of};
use crate::{Commitment, Hash};

/// The version of the delta's format.
pub const DELTA_FORMAT: u16 = 3;
/// The version before it, which is still read. Its profiles have no flag *refused*.
pub(crate) const DELTA_FORMAT_BEFORE: u16 = 2;

/// The longest delta file, in bytes.
pub const MAX_DELTA_LEN: usize = 16 << 20;

pub(crate) const MAGIC: &[u8; 6] = b"NLDLTA";
const FIRST_LINE: &str = "nightlatch.delta/";

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

/// The state that a delta's body names keys and profiles by: that of the version it applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ground {
    /// Keys of the epoch's base.
    pub(crate) base: u32,
    /// Keys added since.
    pub(crate) added: u32,
    pub(crate) profiles: u32,
    pub(crate) tag_bits: u8,
    pub(crate) columns: Columns,
}

/// What a change sets; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) status: Option<Status>,
    /// As rows have it: 0 for none.
    pub(crate) deadline: Option<u32>,
    pub(crate) profile: Option<u32>,
    pub(crate) subject: Option<u32>,
}

impl Patch {
    /// The record with what this sets.
    pub(crate) fn apply(&self, record: Record) -> Record {
        Record {
            status: self.status.unwrap_or(record.status),
            deadline: self.deadline.map_or(record.deadline, deadline_of),
            profile: self.profile.unwrap_or(record.profile),
            subject: self.subject.unwrap_or(record.subject),
            ..record
        }
    }

    /// What this sets, and what a later one sets over it.
    pub(crate) fn then(&self, later: &Self) -> Self {
        Self {
            status: later.status.or(self.status),
            deadline: later.deadline.or(self.deadline),
            profile: later.profile.or(self.profile),
            subject: later.subject.or(self.subject),
        }
    }
}

/// Changes of the same fields: where their keys and columns are in the stream.
#[derive(Clone, Copy, Debug)]
struct Group {
    mask: u8,
    status: Option<Status>,
    count: usize,
    keys_at: u64,
    deadlines: Frame,
    profiles: Frame,
    subjects: Frame,
}

/// Additions: where their columns are in the stream.
#[derive(Clone, Copy, Debug, Default)]
struct Additions {
    count: usize,
    tags_at: u64,
    statuses: Frame,
    foreign: Frame,
    has_deadline_at: u64,
    deadlines: Frame,
    profiles: Frame,
    subjects: Frame,
    numbers: Frame,
}

/// A delta that a trusted signer has signed. Its bytes are kept as they are, all of them checked.
#[derive(Clone)]
pub struct Delta {
    info: DeltaInfo,
    /// The id of the key that signed it.
    signer: [u8; 4],
    from_commitment: Commitment,
    to_commitment: Commitment,
    link: Hash,
    ground: Ground,
    new_profiles: Vec<Profile>,
    replaced_profiles: Vec<(u32, Profile)>,
    stream: Vec<u8>,
    of_base: Vec<Group>,
    of_added: Vec<Group>,
    additions: Additions,
}

impl Delta {
    /// Reads a delta file. What it allocates beside a copy of the body is for profiles, less than 16 times their bytes.
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
        let (text, signer) = note::open_by(note, verifiers).map_err(|_| Malformed::Hash("the delta's statement"))?;
        let (statement, link) = Statement::parse(text)?;
        let body = &bytes[4 + note_len..];
        if Hash::of(body) != link {
            return Err(Malformed::Hash("the delta's body"));
        }
        Self::decode(statement, link, body, signer.id())
    }

    /// Which delta this is.
    pub fn info(&self) -> &DeltaInfo {
        &self.info
    }

    /// The id of the key that signed it.
    pub fn signer(&self) -> [u8; 4] {
        self.signer
    }

    /// How many keys it changes or adds.
    pub fn len(&self) -> usize {
        self.of_base.iter().chain(&self.of_added).map(|group| group.count).sum::<usize>() + self.additions.count
    }

    /// Whether it does neither.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys it adds.
    pub fn additions(&self) -> usize {
        self.additions.count
    }

    /// Bytes of the stream that says so: the body without its header and profiles.
    pub fn stream_len(&self) -> usize {
        self.stream.len()
    }

    /// The commitment of the version it applies to.
    pub fn from_commitment(&self) -> &Commitment {
        &self.from_commitment
    }

    /// The commitment of the version it yields.
    pub fn to_commitment(&self) -> &Commitment {
        &self.to_commitment
    }

    /// The hash of its body: of a level-0 delta, the link of its version.
    pub fn link(&self) -> &Hash {
        &self.link
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    pub(crate) fn new_profiles(&self) -> &[Profile] {
        &self.new_profiles
    }

    pub(crate) fn replaced_profiles(&self) -> &[(u32, Profile)] {
        &self.replaced_profiles
    }

    fn decode(statement: Statement, link: Hash, body: &[u8], signer: [u8; 4]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        if &reader.array::<6>("header")? != MAGIC {
            return Err(Malformed::Magic);
        }
        let flags = match reader.u16("header")? {
            other if other != statement.format => return Err(Malformed::Version(other)),
            DELTA_FORMAT => FLAGS,
            _ => FLAGS_BEFORE,
        };
        let (base, added, profiles) = (reader.u32("header")?, reader.u32("header")?, reader.u32("header")?);
        let tag_bits = reader.u8("header")?;
        if !(128..=136).contains(&tag_bits) || profiles as usize > MAX_PROFILES {
            return Err(Malformed::Value("header"));
        }
        let columns = Columns::from_code(reader.u8("header")?).ok_or(Malformed::Value("columns"))?;
        reader.zeros(2, "header")?;
        let ground = Ground { base, added, profiles, tag_bits, columns };
        let new = reader.u32("header")? as usize;
        let replaced = reader.u32("header")? as usize;
        let profiles_len = reader.u32("header")? as usize;
        let (new_profiles, replaced_profiles) =
            decode_profiles(reader.take(profiles_len, "profiles")?, (new, replaced), profiles, flags)?;
        let limit = profiles as usize + new_profiles.len();
        if limit > MAX_PROFILES {
            return Err(Malformed::Value("profile count"));
        }
        let stream = reader.take(reader.len(), "changes")?.to_vec();

        let mut bits = BitReader::new(&stream);
        let of_base = groups(&mut bits, base, limit as u64, columns)?;
        let of_added = groups(&mut bits, added, limit as u64, columns)?;
        let additions = additions(&mut bits, limit as u64, &ground)?;
        bits.finish("changes")?;
        let Statement { info, from_commitment, to_commitment, .. } = statement;
        Ok(Self {
            info,
            signer,
            from_commitment,
            to_commitment,
            link,
            ground,
            new_profiles,
            replaced_profiles,
            stream,
            of_base,
            of_added,
            additions,
        })
    }

    /// Every change of a base key, by slot; ascending within a group of changes of the same kind.
    pub(crate) fn base_changes(&self, each: impl FnMut(u32, Patch)) {
        self.changes(&self.of_base, self.ground.base, each);
    }

    /// Calls `begin` before each group, and `each` for the changes of added keys, by rank ascending within a group.
    pub(crate) fn added_changes(&self, mut begin: impl FnMut(&mut Vec<(u32, Patch)>)) {
        let mut batch = Vec::new();
        for group in &self.of_added {
            batch.clear();
            self.changes(core::slice::from_ref(group), self.ground.added, |rank, patch| batch.push((rank, patch)));
            begin(&mut batch);
        }
    }

    fn changes(&self, groups: &[Group], limit: u32, mut each: impl FnMut(u32, Patch)) {
        let bits = BitReader::new(&self.stream);
        for group in groups {
            let mut number = 0;
            // All of it was read once before, so nothing fails here.
            let _ = bits.at(group.keys_at).ascending(group.count, limit, "changes", |key| {
                let patch = Patch {
                    status: group.status,
                    deadline: (group.mask & DEADLINE != 0).then(|| bits.framed(&group.deadlines, number)),
                    profile: (group.mask & PROFILE != 0).then(|| bits.framed(&group.profiles, number)),
                    subject: (group.mask & SUBJECT != 0).then(|| bits.framed(&group.subjects, number)),
                };
                number += 1;
                each(key, patch);
            });
        }
    }

    /// Every added key, ascending by tag.
    pub(crate) fn each_addition(&self, mut each: impl FnMut(Tag, Record)) {
        let (bits, columns) = (BitReader::new(&self.stream), &self.additions);
        let (mut number, mut with_deadline) = (0, 0);
        let mut has_deadline = bits.at(columns.has_deadline_at);
        let _ = tags(&mut bits.at(columns.tags_at), columns.count, self.ground.tag_bits, |tag| {
            let deadline = if has_deadline.bits(1, "deadlines").unwrap_or_default() == 1 {
                with_deadline += 1;
                bits.framed(&columns.deadlines, with_deadline - 1)
            } else {
                0
            };
            let record = Record {
                status: Status::from_code(bits.framed(&columns.statuses, number)).unwrap_or(Status::Revoked),
                foreign: bits.framed(&columns.foreign, number) != 0,
                deadline: deadline_of(deadline),
                profile: bits.framed(&columns.profiles, number),
                subject: if self.ground.columns.subject { bits.framed(&columns.subjects, number) } else { 0 },
                number: if self.ground.columns.number { bits.framed(&columns.numbers, number) } else { 0 },
            };
            number += 1;
            each(tag, record);
        });
    }
}

pub(crate) const STATUS: u8 = 1;
pub(crate) const DEADLINE: u8 = 2;
pub(crate) const PROFILE: u8 = 4;
pub(crate) const SUBJECT: u8 = 8;

/// New profiles, and replaced ones by number.
type Profiles = (Vec<Profile>, Vec<(u32, Profile)>);

fn decode_profiles(
    bytes: &[u8],
    (new, replaced): (usize, usize),
    before: u32,
    flags: u8,
) -> Result<Profiles, Malformed> {
    let mut reader = Reader::new(bytes);
    let at_most = bytes.len() / LEAST_LEN;
    let mut profiles = Vec::with_capacity(new.min(at_most));
    for _ in 0..new {
        profiles.push(Profile::decode(&mut reader, flags)?);
    }
    let mut out: Vec<(u32, Profile)> = Vec::with_capacity(replaced.min(at_most));
    for _ in 0..replaced {
        let number = reader.u32("profiles")?;
        if number >= before || out.last().is_some_and(|(last, _)| *last >= number) {
            return Err(Malformed::Order("profiles"));
        }
        let profile = Profile::decode(&mut reader, flags)?;
        if profile.live.is_none() {
            return Err(Malformed::Value("profile"));
        }
        out.push((number, profile));
    }
    reader.finish()?;
    Ok((profiles, out))
}

fn groups(bits: &mut BitReader<'_>, keys: u32, profiles: u64, columns: Columns) -> Result<Vec<Group>, Malformed> {
    const WHAT: &str = "changes";
    let mut groups: Vec<Group> = Vec::new();
    for _ in 0..bits.count(WHAT)? {
        let mask = bits.bits(4, WHAT)? as u8;
        let status = if mask & STATUS != 0 { Status::from_code(bits.bits(2, WHAT)? as u32) } else { None };
        let key = (mask, status.map(Status::code));
        let known = mask != 0 && (mask & SUBJECT == 0 || columns.subject);
        if !known || groups.last().is_some_and(|last| (last.mask, last.status.map(Status::code)) >= key) {
            return Err(Malformed::Order(WHAT));
        }
        let count = bits.count(WHAT)?;
        if count == 0 {
            return Err(Malformed::Value(WHAT));
        }
        let keys_at = bits.position();
        bits.ascending(count, keys, WHAT, |_| {})?;
        let mut group = Group {
            mask,
            status,
            count,
            keys_at,
            deadlines: Frame::default(),
            profiles: Frame::default(),
            subjects: Frame::default(),
        };
        if mask & DEADLINE != 0 {
            group.deadlines = bits.frame(32, count, 1 << 32, "deadlines")?;
        }
        if mask & PROFILE != 0 {
            group.profiles = bits.frame(PROFILE_BITS, count, profiles, "profiles")?;
        }
        if mask & SUBJECT != 0 {
            group.subjects = bits.frame(32, count, 1 << 32, "subjects")?;
        }
        groups.push(group);
    }
    Ok(groups)
}

fn additions(bits: &mut BitReader<'_>, profiles: u64, ground: &Ground) -> Result<Additions, Malformed> {
    let count = bits.count("additions")?;
    if count == 0 {
        return Ok(Additions::default());
    }
    let tags_at = bits.position();
    tags(bits, count, ground.tag_bits, |_| {})?;
    let statuses = bits.frame(2, count, 4, "statuses")?;
    let foreign = bits.frame(1, count, if ground.columns.number { 2 } else { 1 }, "foreign flags")?;
    let has_deadline_at = bits.position();
    let mut with_deadline = 0;
    for _ in 0..count {
        with_deadline += bits.bits(1, "deadlines")? as usize;
    }
    let deadlines = bits.frame(32, with_deadline, 1 << 32, "deadlines")?;
    if with_deadline > 0 && deadlines.least() == 0 {
        return Err(Malformed::Value("deadlines"));
    }
    let profiles = bits.frame(PROFILE_BITS, count, profiles, "profiles")?;
    let mut optional = |has: bool, what| if has { bits.frame(32, count, 1 << 32, what) } else { Ok(Frame::default()) };
    let subjects = optional(ground.columns.subject, "subjects")?;
    let numbers = optional(ground.columns.number, "key numbers")?;
    Ok(Additions { count, tags_at, statuses, foreign, has_deadline_at, deadlines, profiles, subjects, numbers })
}

/// Reads strictly ascending tags.
fn tags(bits: &mut BitReader<'_>, count: usize, tag_bits: u8, mut each: impl FnMut(Tag)) -> Result<(), Malformed> {
    const WHAT: &str = "additions";
    let parameter = bits.parameter(WHAT)?;
    let mut last: Option<(u64, u64, u8)> = None;
    for _ in 0..count {
        let gap = bits.rice(parameter, WHAT)?;
        let high = last.map_or(0, |last| last.0).checked_add(gap).ok_or(Malformed::Value(WHAT))?;
        let middle = bits.bits(64, WHAT)?;
        let spare = u32::from(tag_bits) - 128;
        let low = (bits.bits(spare, WHAT)? << (8 - spare)) as u8;
        let words = (high, middle, low);
        if last.replace(words).is_some_and(|last| last >= words) {
            return Err(Malformed::Order(WHAT));
        }
        each(Tag::from_words(high, middle, low));
    }
    Ok(())
}

const _: () = assert!(MAX_BUCKET_BITS <= 24, "tags have 136 bits");

/// What is signed of a delta, beside the hash of its body.
pub(crate) struct Statement {
    /// The version of the format, of the body's too.
    pub(crate) format: u16,
    pub(crate) info: DeltaInfo,
    pub(crate) from_commitment: Commitment,
    pub(crate) to_commitment: Commitment,
}

impl Statement {
    /// The text, given the hash of the body.
    pub(crate) fn to_text(&self, body: &Hash) -> String {
        let Self { format, info, from_commitment, to_commitment } = self;
        let DeltaInfo { set, incarnation, epoch, from, to } = info;
        format!(
            "{FIRST_LINE}{format}\nset {set}\nincarnation {incarnation}\nepoch {epoch}\nfrom {from}\nto {to}\n\
             from-commitment {from_commitment}\nto-commitment {to_commitment}\nbody {body}\n"
        )
    }

    fn parse(text: &str) -> Result<(Self, Hash), Malformed> {
        let first = text.lines().next().unwrap_or_default();
        let format = first.strip_prefix(FIRST_LINE).and_then(|version| version.parse().ok()).ok_or(Malformed::Magic)?;
        if !(DELTA_FORMAT_BEFORE..=DELTA_FORMAT).contains(&format) {
            return Err(Malformed::Version(format));
        }
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or(Malformed::Value("statement"))
        };
        let number = |name| field(name)?.parse::<u64>().map_err(|_| Malformed::Value("statement"));
        let hash = |name| Hash::from_hex(field(name)?).ok_or(Malformed::Value("statement"));
        let info = DeltaInfo {
            set: field("set")?.into(),
            incarnation: number("incarnation")?,
            epoch: number("epoch")?,
            from: number("from")?,
            to: number("to")?,
        };
        let commitments = (Commitment(hash("from-commitment")?), Commitment(hash("to-commitment")?));
        let body = hash("body")?;
        let this = Self { format, info, from_commitment: commitments.0, to_commitment: commitments.1 };
        // One spelling: what was read, said again, must be what was signed.
        let lead = this.info.to.checked_sub(this.info.from);
        if this.to_text(&body) != text || !lead.is_some_and(u64::is_power_of_two) {
            return Err(Malformed::Value("statement"));
        }
        Ok((this, body))
    }
}
