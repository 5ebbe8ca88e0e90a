//! Checking the files of an epoch, and making those again that are not what was signed.

use std::collections::BTreeSet;

use nightlatch_keyset::{
    Author, BaseFiles, BaseInfo, Commitment, Delta, FileName, Hash, Head, Index, Layout, MAX_DELTA_LEN, Replica, levels,
};

use super::blocking;
use super::build::{Watch, build};
use super::config::PublisherConfig;
use super::directory::SetDirectory;
use super::error::Error;
use super::fold::{self, Since};
use super::numbering::author_again;
use crate::store::versions::{self, EpochRow};
use crate::store::{self, Store, profile_rows};

/// Checks files, and makes those again that are not what was signed.
pub(super) struct Mender<'a> {
    pub(super) store: &'a Store,
    pub(super) config: &'a PublisherConfig,
    watch: &'a Watch<'a>,
    pub(super) mended: Vec<String>,
}

impl<'a> Mender<'a> {
    pub(super) fn new(store: &'a Store, config: &'a PublisherConfig, watch: &'a Watch<'a>) -> Self {
        Self { store, config, watch, mended: Vec::new() }
    }

    /// The head's base: its index and parts.
    pub(super) async fn base(&mut self, head: &Head, row: &EpochRow) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
        let name = head.base_name();
        let index = self.read(&name, head.base_len).await?;
        let mut parts = Vec::new();
        for (part, len) in head.part_names().zip(&head.base_parts) {
            parts.push(self.read(&part, *len).await?);
        }
        let root = head.base_root;
        let (index, parts, whole) = blocking(move || {
            let whole = is_whole(index.as_deref(), &parts, &root);
            Ok((index, parts, whole))
        })
        .await?;
        if let (true, Some(index)) = (whole, index.as_ref()) {
            return Ok((index.clone(), parts.into_iter().flatten().collect()));
        }
        let files = self.build(head, row).await?;
        if index.as_ref() != Some(&files.index) {
            self.write(&name, files.index.clone()).await?;
        }
        for ((name, part), there) in head.part_names().zip(&files.parts).zip(&parts) {
            if there.as_ref() != Some(part) {
                self.write(&name, part.clone()).await?;
            }
        }
        Ok((files.index, files.parts))
    }

    /// Builds an epoch's base from the change rows. `head` is of the same set.
    async fn build(&self, head: &Head, row: &EpochRow) -> Result<BaseFiles, Error> {
        let info = BaseInfo {
            set: head.set.clone(),
            workspace: head.workspace.clone(),
            pepper: row.pepper_id.clone(),
            incarnation: row.incarnation,
            epoch: row.epoch,
            version: row.version,
            cutoff: row.cutoff,
        };
        let layout = Layout::new(row.bucket_bits, row.columns)?;
        let built = build(self.store, self.config, info, layout, row.keys, self.watch).await?;
        let root = row.root;
        // An older program may have written it, just before this one has taken its place.
        let built = match built.filter(|built| built.keys == row.keys) {
            Some(built) if built.root != root => blocking(move || Ok(built.in_format_before()?)).await?,
            built => built,
        };
        built.filter(|built| built.root == root).ok_or_else(|| {
            let name = FileName::Base { incarnation: row.incarnation, epoch: row.epoch };
            Error::file_contradicts(&name, "comes out with another root than the one that was signed")
        })
    }

    /// The head's rebase record. One that is lost is made again as it was made first: by folding the epoch before.
    pub(super) async fn record(
        &mut self,
        head: &Head,
        row: &EpochRow,
        previous: Option<&EpochRow>,
    ) -> Result<(), Error> {
        let Some((hash, len)) = head.rebase else { return Ok(()) };
        let name = head.rebase_name();
        let there = self.read(&name, len).await?;
        if there.is_some_and(|bytes| Hash::of(&bytes) == hash) {
            return Ok(());
        }
        let previous = previous.ok_or(store::Error::Corrupt("epoch"))?;
        let files = self.build(head, previous).await?;
        let old_head = Head {
            epoch: previous.epoch,
            incarnation: previous.incarnation,
            base_version: previous.version,
            base_commitment: previous.commitment,
            base_root: files.root,
            pepper: previous.pepper_id.clone(),
            ..head.clone()
        };
        let links = self.links(previous.version, row.version - 1).await?;
        let mut author = blocking(move || {
            Ok(Author::new(Replica::load(files.index, files.parts, &old_head).map_err(Error::Inapplicable)?)?)
        })
        .await?;
        for link in links {
            author = self.step(author, &previous.pepper_id, &link).await?.0;
        }
        let since = Since { version: previous.version, cutoff: previous.cutoff };
        let record = fold::record(self.store, self.config, author, &previous.pepper_id, since, row.cutoff).await?;
        if Hash::of(&record) != hash {
            return Err(Error::file_contradicts(&name, "comes out otherwise than it was signed"));
        }
        self.write(&name, record).await
    }

    /// Takes the author of the head's base to the head's version, and sees to the deltas on the way there and to all that
    /// end there.
    pub(super) async fn deltas(&mut self, head: &Head, mut author: Author) -> Result<Author, Error> {
        let links = self.links(head.base_version, head.version).await?;
        let mut commitments = vec![head.base_commitment];
        commitments.extend(links.iter().scan(head.base_commitment, |commitment, link| {
            *commitment = commitment.then(link);
            Some(*commitment)
        }));
        let end = links.len() as u64;
        let mut lacking = BTreeSet::new();
        for level in levels::levels_at(end).filter(|_| end > 0).chain(levels::path(0, end)) {
            if self.delta(head, level, &commitments).await?.is_none() {
                lacking.insert(level);
            }
        }
        // What ends at the head is made at the head: the last step is then taken from the rows.
        let by_files = if lacking.iter().any(|(_, to)| *to == end) { end - 1 } else { end };
        let mut waypoints: Vec<(u64, u64)> = levels::path(0, by_files).collect();
        if by_files < end {
            waypoints.push((by_files, end));
        }
        for level in waypoints {
            let there = if lacking.contains(&level) || level.1 > by_files {
                None
            } else {
                self.delta(head, level, &commitments).await?
            };
            author = match there {
                Some((delta, len)) => {
                    blocking(move || {
                        author.replay(&delta, len)?;
                        Ok(author)
                    })
                    .await?
                }
                None => self.by_rows(head, author, level, &links, &mut lacking).await?,
            };
        }
        Ok(author)
    }

    /// Takes the author over some versions by their rows, and writes the deltas that are lacking there.
    async fn by_rows(
        &mut self,
        head: &Head,
        mut author: Author,
        (from, to): (u64, u64),
        links: &[Hash],
        lacking: &mut BTreeSet<(u64, u64)>,
    ) -> Result<Author, Error> {
        for offset in from + 1..=to {
            let link = usize::try_from(offset - 1).ok().and_then(|at| links.get(at));
            let link = link.ok_or(store::Error::Corrupt("version"))?;
            let (stepped, mut made) = self.step(author, &head.pepper, link).await?;
            let signer = &self.config.signer;
            if lacking.iter().any(|(start, end)| *end == offset && *start + 1 < offset) {
                made.extend(stepped.levels(signer)?);
            }
            author = stepped;
            for (name, bytes) in made {
                let FileName::Delta { from, to, .. } = name else { continue };
                if lacking.remove(&(from - head.base_version, to - head.base_version)) {
                    self.write(&name, bytes).await?;
                }
            }
        }
        Ok(author)
    }

    /// Takes an author to its next version by that version's rows; with the delta that leads there.
    async fn step(
        &self,
        mut author: Author,
        pepper: &str,
        link: &Hash,
    ) -> Result<(Author, Vec<(FileName, Vec<u8>)>), Error> {
        let version = author.replica().version() + 1;
        let rows = profile_rows::of_version(&mut self.store.read().await?, &self.config.set, version).await?;
        let made = author_again(&mut author, self.config.pepper(pepper)?, &rows, link, &self.config.signer)?;
        let Some(made) = made else {
            let replica = author.replica();
            let (incarnation, epoch, from) = (replica.incarnation(), replica.epoch(), replica.version());
            let name = FileName::Delta { incarnation, epoch, from, to: version };
            return Err(Error::file_contradicts(&name, "comes out otherwise than it was signed"));
        };
        Ok((author, vec![(made.name, made.bytes)]))
    }

    /// The delta between two offsets and its file's length, if it is there and what was signed.
    async fn delta(
        &self,
        head: &Head,
        (from, to): (u64, u64),
        commitments: &[Commitment],
    ) -> Result<Option<(Delta, usize)>, Error> {
        let name = head.delta_name(head.base_version + from, head.base_version + to);
        let Some(bytes) = self.read(&name, MAX_DELTA_LEN as u64).await? else { return Ok(None) };
        let Ok(delta) = Delta::open(&bytes, &self.config.verifiers()) else { return Ok(None) };
        let info = delta.info();
        let named = FileName::Delta { incarnation: info.incarnation, epoch: info.epoch, from: info.from, to: info.to };
        let ends = (commitment_at(commitments, from)?, commitment_at(commitments, to)?);
        let right = info.set == head.set && named == name && (*delta.from_commitment(), *delta.to_commitment()) == ends;
        Ok(right.then_some((delta, bytes.len())))
    }

    async fn links(&self, from: u64, through: u64) -> Result<Vec<Hash>, Error> {
        Ok(versions::links(&mut self.store.read().await?, &self.config.set, from, through).await?)
    }

    pub(super) async fn read(&self, name: &FileName, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let (directory, name) = (self.config.directory.clone(), *name);
        blocking(move || Ok(directory.file(&name, limit)?)).await
    }

    pub(super) async fn write(&mut self, name: &FileName, bytes: Vec<u8>) -> Result<(), Error> {
        let directory: SetDirectory = self.config.directory.clone();
        let file = *name;
        blocking(move || Ok(directory.put(&file, &bytes)?)).await?;
        self.mended.push(name.to_text());
        Ok(())
    }
}

fn commitment_at(commitments: &[Commitment], offset: u64) -> Result<Commitment, Error> {
    let found = usize::try_from(offset).ok().and_then(|at| commitments.get(at));
    Ok(*found.ok_or(store::Error::Corrupt("version"))?)
}

/// Whether a base's files are what was signed.
fn is_whole(index: Option<&[u8]>, parts: &[Option<Vec<u8>>], root: &Hash) -> bool {
    let Some(opened) = index.and_then(|bytes| Index::open(bytes.to_vec(), root).ok()) else { return false };
    if parts.is_empty() {
        return opened.check_part(0, &[]).is_ok();
    }
    let right = |(number, part): (usize, &Option<Vec<u8>>)| {
        part.as_ref().is_some_and(|bytes| opened.check_part(number, bytes).is_ok())
    };
    opened.part_lens().len() == parts.len() && parts.iter().enumerate().all(right)
}
