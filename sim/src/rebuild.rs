//! Making the published files again, from rows alone: what a leader does that starts.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nightlatch_keyset::{Author, BaseBuilder, BaseFiles, BaseInfo, Columns, FileName, Hash, Head, Layout, Replica};

use crate::Plant;
use crate::database::{ChangeRow, Data, EpochRow, SetRow};
use crate::kit::{Key, Kit, SET};
use crate::members::Members;
use crate::plants;
use crate::store::Bytes;

/// What a leader holds of the epoch it adds to, and every file of it.
pub(crate) struct Rebuilt {
    pub(crate) author: Author,
    pub(crate) files: BTreeMap<FileName, Bytes>,
}

/// Rows have no columns here.
pub(crate) const COLUMNS: Columns = Columns { subject: false, number: false };

/// Rebuilds what the set's row says. `Err` where the rows do not lead there.
pub(crate) fn rebuild(
    kit: &Kit,
    keys: &[Key],
    data: &Data,
    set: &SetRow,
    plant: Option<Plant>,
) -> Result<Option<Rebuilt>, String> {
    let Some(head) = &set.head else { return Ok(None) };
    let at = data.epochs.iter().position(|row| (row.incarnation, row.epoch) == (set.incarnation, set.epoch));
    let Some(at) = at else { return Ok(None) };
    let row = &data.epochs[at];
    let mut files = BTreeMap::new();
    let (base, record) = match (row.record, at.checked_sub(1).map(|before| &data.epochs[before])) {
        (None, _) => (build(kit, keys, data, row)?, None),
        (Some(_), None) => return Err("the epoch before is not on record".into()),
        (Some(hash), Some(before)) => {
            let base = build(kit, keys, data, before)?;
            let mut author = author_of(head, before, base)?;
            for version in before.version + 1..row.version {
                step(kit, keys, data, &mut author, version, before.signer)?;
            }
            let ended = ended(keys, data, row.version - 1, row.cutoff);
            let folded = author.rebase(row.cutoff, row.layout, &ended).map_err(|error| error.to_string())?;
            let record = folded.record.ok_or("the record is gone")?;
            if Hash::of(&record) != hash {
                return Err("the rebase record comes out otherwise".into());
            }
            (folded.files, Some(record))
        }
    };
    if base.root != row.root {
        return Err(format!("the base of epoch {} comes out with another root", row.epoch));
    }
    put_base(&mut files, row.incarnation, row.epoch, &base, record);
    let mut author = author_of(head, row, base)?;
    for version in row.version + 1..=set.version {
        let (name, bytes) = step(kit, keys, data, &mut author, version, row.signer)?;
        files.insert(name, bytes);
        files.extend(levels(kit, &author, row.signer, plant)?);
    }
    if *author.replica().commitment() != set.commitment {
        return Err("the rows do not lead to the stored commitment".into());
    }
    Ok(Some(Rebuilt { author, files }))
}

/// The files of a base.
pub(crate) fn put_base(
    files: &mut BTreeMap<FileName, Bytes>,
    incarnation: u64,
    epoch: u64,
    base: &BaseFiles,
    record: Option<Vec<u8>>,
) {
    files.insert(FileName::Base { incarnation, epoch }, Rc::new(base.index.clone()));
    for (part, bytes) in base.parts.iter().enumerate() {
        let part = part as u64;
        files.insert(FileName::BasePart { incarnation, epoch, part }, Rc::new(bytes.clone()));
    }
    if let Some(record) = record {
        files.insert(FileName::Rebase { incarnation, epoch }, Rc::new(record));
    }
}

/// An author that begins with a base. `head` is any of the set's.
fn author_of(head: &Head, row: &EpochRow, base: BaseFiles) -> Result<Author, String> {
    let head = Head {
        incarnation: row.incarnation,
        epoch: row.epoch,
        base_version: row.version,
        base_commitment: row.commitment,
        base_root: base.root,
        ..head.clone()
    };
    begin(&head, base)
}

/// An author at the base that a head names.
pub(crate) fn begin(head: &Head, base: BaseFiles) -> Result<Author, String> {
    let replica = Replica::load(base.index, base.parts, head).map_err(|error| error.to_string())?;
    Author::new(replica).map_err(|error| error.to_string())
}

/// Takes an author to the next version, by that version's rows.
fn step(
    kit: &Kit,
    keys: &[Key],
    data: &Data,
    author: &mut Author,
    version: u64,
    signer: usize,
) -> Result<(FileName, Bytes), String> {
    let link = data.links.get(&version).ok_or_else(|| format!("version {version} is not on record"))?;
    let made = next(kit, keys, author, &data.rows_of(version), &data.members_at(version), signer)?;
    if made.2 != *link {
        return Err(format!("version {version} comes out otherwise than it was signed"));
    }
    Ok((made.0, made.1))
}

/// Makes the next version's delta.
pub(crate) fn next(
    kit: &Kit,
    keys: &[Key],
    author: &mut Author,
    rows: &[&ChangeRow],
    members: &Members,
    signer: usize,
) -> Result<(FileName, Bytes, Hash), String> {
    let profiles: Vec<_> = rows.iter().map(|row| kit.profile(row.image.profile, members)).collect();
    let rows = rows.iter().zip(&profiles);
    let changes: Vec<_> = rows.map(|(row, profile)| kit.change(&keys[row.key as usize], &row.image, profile)).collect();
    let live: Vec<_> = members.iter().map(|(member, contents)| kit.live(*member, contents)).collect();
    let made = author.next(&changes, &live, &kit.signers[signer]).map_err(|error| error.to_string())?;
    Ok((made.name, Rc::new(made.bytes), made.link))
}

/// The deltas of higher levels that end where the author is.
pub(crate) fn levels(
    kit: &Kit,
    author: &Author,
    signer: usize,
    plant: Option<Plant>,
) -> Result<Vec<(FileName, Bytes)>, String> {
    let levels = author.levels(&kit.signers[signer]).map_err(|error| error.to_string())?;
    let levels =
        if plant == Some(Plant::WrongLevel) { plants::shift_levels(&kit.signers[signer], &levels) } else { levels };
    Ok(levels.into_iter().map(|(name, bytes)| (name, Rc::new(bytes))).collect())
}

/// The tags of keys whose last change up to a version is a revocation from before `cutoff`, in unix seconds.
pub(crate) fn ended(keys: &[Key], data: &Data, through: u64, cutoff: u64) -> BTreeSet<nightlatch_keyset::Tag> {
    let revoked = |image: &crate::kit::Image| image.status == nightlatch_keyset::Status::Revoked;
    let images = data.images(through);
    let ended = images.iter().filter(|(_, (image, at))| revoked(image) && at / 1000 < cutoff);
    ended.map(|(key, _)| keys[*key as usize].tag).collect()
}

/// Builds an epoch's base from rows.
fn build(kit: &Kit, keys: &[Key], data: &Data, row: &EpochRow) -> Result<BaseFiles, String> {
    let info = BaseInfo {
        set: SET.into(),
        workspace: kit.blank().workspace,
        pepper: kit.pepper.id().into(),
        incarnation: row.incarnation,
        epoch: row.epoch,
        version: row.version,
        cutoff: row.cutoff,
    };
    build_as(kit, keys, data, info, row.layout)
}

/// Builds a base from rows.
pub(crate) fn build_as(
    kit: &Kit,
    keys: &[Key],
    data: &Data,
    info: BaseInfo,
    layout: Layout,
) -> Result<BaseFiles, String> {
    let (version, cutoff) = (info.version, info.cutoff);
    let (gone, members) = (ended(keys, data, version, cutoff), data.members_at(version));
    let mut builder = BaseBuilder::new(info, layout, 16).map_err(|error| error.to_string())?;
    for (key, (image, _)) in data.images(version) {
        let key = &keys[key as usize];
        if !gone.contains(&key.tag) && image.deadline.is_none_or(|deadline| deadline >= cutoff) {
            builder
                .push(&kit.change(key, &image, &kit.profile(image.profile, &members)))
                .map_err(|error| error.to_string())?;
        }
    }
    builder.finish().map_err(|error| error.to_string())
}
