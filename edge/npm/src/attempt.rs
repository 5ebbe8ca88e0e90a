//! A believed head on its way into force: which files lead there, and what has come of them.

use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_keyset::{FileName, Head, Index, MAX_DELTA_LEN, Replica, levels};

use crate::copy::Failure;

/// A base's parts are kept in pieces of about so many bytes, which a rebase gives back one by one.
const PIECE: usize = 1 << 20;

/// Where an attempt sets out from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The replica, in its epoch: the files are deltas.
    Here,
    /// The replica, from which the next epoch is built: so many deltas of the epoch that ends, the rebase record, and
    /// deltas of the one that begins.
    Rebase(usize),
    /// The head's base: its index, its parts, and deltas.
    Base,
}

/// A head and the files it takes to put it into force.
pub(crate) struct Attempt {
    pub(crate) head: Head,
    /// Who has signed it.
    pub(crate) signer: [u8; 4],
    pub(crate) start: Start,
    files: Vec<File>,
}

struct File {
    name: FileName,
    max_length: u64,
    /// Bytes that have come.
    length: u64,
    /// How long each piece is to be, and what has come of it.
    pieces: Vec<(usize, Vec<u8>)>,
}

impl Attempt {
    /// Says what leads from `replica` to `head`. `whole` asks for the base where the epoch could be built here.
    pub(crate) fn new(head: Head, signer: [u8; 4], replica: Option<&Replica>, whole: bool) -> Self {
        let replica = replica.filter(|replica| !replica.is_corrupt() && replica.incarnation() == head.incarnation);
        let mut this = Self { head, signer, start: Start::Here, files: Vec::new() };
        let (base_version, version) = (this.head.base_version, this.head.version);
        match replica {
            Some(replica) if replica.epoch() == this.head.epoch && replica.version() <= version => {
                this.deltas(replica.epoch(), base_version, replica.version(), version);
            }
            Some(replica) if !whole && this.can_follow(replica) => {
                this.deltas(replica.epoch(), replica.base_version(), replica.version(), base_version - 1);
                this.start = Start::Rebase(this.files.len());
                if let Some((_, length)) = this.head.rebase {
                    this.add(this.head.rebase_name(), length);
                }
                this.deltas(this.head.epoch, base_version, base_version, version);
            }
            _ => {
                this.add(this.head.base_name(), this.head.base_len);
                let parts: Vec<_> = this.head.part_names().zip(this.head.base_parts.clone()).collect();
                for (name, length) in parts {
                    this.add(name, length);
                }
                this.start = Start::Base;
                this.deltas(this.head.epoch, base_version, base_version, version);
            }
        }
        this
    }

    /// Whether the head's base follows from that replica by its rebase record.
    fn can_follow(&self, replica: &Replica) -> bool {
        let head = &self.head;
        head.rebase.is_some() && replica.epoch() + 1 == head.epoch && replica.version() < head.base_version
    }

    /// Adds the deltas of an epoch that lead from one version to another.
    fn deltas(&mut self, epoch: u64, base_version: u64, from: u64, to: u64) {
        let incarnation = self.head.incarnation;
        for (from, to) in levels::path(from - base_version, to - base_version) {
            let (from, to) = (base_version + from, base_version + to);
            self.add(FileName::Delta { incarnation, epoch, from, to }, MAX_DELTA_LEN as u64);
        }
    }

    fn add(&mut self, name: FileName, max_length: u64) {
        self.files.push(File { name, max_length, length: 0, pieces: Vec::new() });
    }

    /// The files, each with the most bytes it may have.
    pub(crate) fn files(&self) -> impl Iterator<Item = (String, u64)> {
        self.files.iter().map(|file| (file.name.to_text(), file.max_length))
    }

    /// Makes a file longer.
    pub(crate) fn extend(&mut self, file: usize, piece: &[u8]) -> Result<(), Failure> {
        let cuts = self.cuts(file);
        let File { name, max_length, length, pieces } = self.files.get_mut(file).ok_or(Failure::Files)?;
        *length += piece.len() as u64;
        if *length > *max_length {
            return Err(Failure::TooLong);
        }
        if pieces.is_empty() {
            // What is known of its length is reserved to the byte: what is too much stays with a replica.
            let whole = if matches!(name, FileName::Delta { .. }) { piece.len() } else { *max_length as usize };
            let lens = if cuts.is_empty() { alloc::vec![whole] } else { cuts };
            pieces.extend(lens.into_iter().map(|len| (len, Vec::new())));
        }
        let last = pieces.len() - 1;
        let mut rest = piece;
        for (number, (len, bytes)) in pieces.iter_mut().enumerate() {
            let room = if number == last { rest.len() } else { rest.len().min(*len - bytes.len()) };
            if room > 0 && bytes.capacity() == 0 {
                bytes.reserve_exact(*len);
            }
            let (now, later) = rest.split_at(room);
            bytes.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    /// Where a part of a base is to be cut, once its index is there; nothing for what is not to be cut. A bad index is
    /// refused when all files have come.
    fn cuts(&self, file: usize) -> Vec<usize> {
        match (self.files.get(file), self.files.first()) {
            (Some(File { name: FileName::BasePart { part, .. }, length: 0, .. }), Some(index)) if index.is_whole() => {
                let bytes = index.pieces.iter().flat_map(|(_, bytes)| bytes).copied().collect();
                let index = Index::open(bytes, &self.head.base_root);
                index.map_or_else(|_| Vec::new(), |index| index.piece_lens(*part as usize, PIECE))
            }
            _ => Vec::new(),
        }
    }

    /// The head, where it sets out from, the bytes of its files but for a base's parts, and those, in order.
    pub(crate) fn into_parts(self) -> (Head, Start, Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut files, mut parts) = (Vec::new(), Vec::new());
        for File { name, pieces, .. } in self.files {
            let pieces = pieces.into_iter().map(|(_, bytes)| bytes);
            match name {
                FileName::BasePart { .. } => parts.extend(pieces),
                _ => files.push(pieces.flatten().collect()),
            }
        }
        (self.head, self.start, files, parts)
    }
}

impl File {
    fn is_whole(&self) -> bool {
        self.length == self.max_length
    }
}
