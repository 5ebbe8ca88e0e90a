//! A believed head on its way into force: which files lead there, and what has come of them.

use alloc::string::String;
use alloc::vec::Vec;

use nightlatch_keyset::{FileName, Head, MAX_DELTA_LEN, Replica, levels};

use crate::copy::Failure;

/// Where an attempt sets out from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The replica, in its epoch: the files are deltas.
    Here,
    /// The replica, from which the next epoch is built: so many deltas of the epoch that ends, the rebase record, and
    /// deltas of the one that begins.
    Rebase(usize),
    /// The head's base: so many files of it, and deltas.
    Base(usize),
}

/// A head and the files it takes to put it into force.
pub(crate) struct Attempt {
    pub(crate) head: Head,
    pub(crate) start: Start,
    files: Vec<File>,
}

struct File {
    name: FileName,
    max_length: u64,
    bytes: Vec<u8>,
}

impl Attempt {
    /// Says what leads from `replica` to `head`. `whole` asks for the base where the epoch could be built here.
    pub(crate) fn new(head: Head, replica: Option<&Replica>, whole: bool) -> Self {
        let replica = replica.filter(|replica| !replica.is_corrupt() && replica.incarnation() == head.incarnation);
        let mut this = Self { head, start: Start::Here, files: Vec::new() };
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
                this.start = Start::Base(this.files.len());
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
        self.files.push(File { name, max_length, bytes: Vec::new() });
    }

    /// The files, each with the most bytes it may have.
    pub(crate) fn files(&self) -> impl Iterator<Item = (String, u64)> {
        self.files.iter().map(|file| (file.name.to_text(), file.max_length))
    }

    /// Makes a file longer.
    pub(crate) fn extend(&mut self, file: usize, piece: Vec<u8>) -> Result<(), Failure> {
        let File { name, max_length, bytes } = self.files.get_mut(file).ok_or(Failure::Files)?;
        let after = bytes.len() + piece.len();
        if after as u64 > *max_length {
            return Err(Failure::TooLong);
        }
        if bytes.is_empty() && (after as u64 == *max_length || matches!(name, FileName::Delta { .. })) {
            *bytes = piece;
            return Ok(());
        }
        // A base's length is known, and what is reserved too generously stays with a replica; a delta's is not.
        if !matches!(name, FileName::Delta { .. }) {
            bytes.reserve_exact(*max_length as usize - bytes.len());
        }
        bytes.extend_from_slice(&piece);
        Ok(())
    }

    /// The head, where it sets out from, and the bytes of its files in order.
    pub(crate) fn into_parts(self) -> (Head, Start, Vec<Vec<u8>>) {
        (self.head, self.start, self.files.into_iter().map(|file| file.bytes).collect())
    }
}
