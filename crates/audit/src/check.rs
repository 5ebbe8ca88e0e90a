//! Holding an export against a signed checkpoint, line by line, in little memory.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use nightlatch_keyset::{AuditCheckpoint, AuditGap, Hash, Head};

use crate::export::{Entry, Footer, Header};
use crate::personal::{Commitments, SALT_LEN, commitment};
use crate::row::START;
use crate::tree::{Tree, is_included};

/// Where an export is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The entry it shows at; `None` where it is not about one.
    pub seq: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A format that this program does not know.
    Version(String),
    /// A line is not what it has to be.
    Line(String),
    /// The header contradicts the head or itself.
    Header(&'static str),
    /// Another entry should stand here.
    Place {
        /// That one.
        expected: u64,
    },
    /// It is not chained to the entry before.
    Previous,
    /// Its content is not what was chained.
    Content,
    /// Its commitments cannot be read.
    Commitments,
    /// A personal value is not the one that was committed to.
    Personal(String),
    /// An entry of a filtered export is not in the log that was signed.
    Proof,
    /// Every entry follows on the one before, and the whole is not what was signed.
    Root {
        /// Up to here an earlier checkpoint has confirmed it.
        confirmed: u64,
    },
    /// The first entries are not those of an earlier checkpoint.
    Checkpoint {
        /// How many it has.
        count: u64,
        /// Up to here another one has confirmed them.
        confirmed: u64,
    },
    /// An earlier checkpoint has more entries than the export.
    Shorter {
        /// How many it has.
        count: u64,
    },
    /// Entries of an earlier checkpoint were lost when the database was restored from a backup.
    Lost {
        /// The first one.
        from: u64,
        /// The last one that the checkpoint has.
        to: u64,
        /// The incarnation that the recovery began.
        incarnation: u64,
    },
    /// The export cannot be held against an earlier checkpoint.
    Incomparable {
        /// How many entries it has.
        count: u64,
        /// Why.
        why: &'static str,
    },
    /// No head with a checkpoint is there: nothing of the log is signed.
    Unsigned,
    /// More personal values are gone than erasures in the log tell of: somebody has destroyed them past the program.
    ErasedUnaccounted {
        /// How many are gone.
        found: u64,
        /// How many erasures tell of.
        accounted: u64,
    },
    /// More personal values are gone than erasures that are signed tell of, and others are said to wait behind the
    /// checkpoint: nobody vouches for that.
    ErasedLater {
        /// How many are gone.
        found: u64,
        /// How many signed erasures tell of.
        accounted: u64,
    },
    /// The export has no end.
    Cut,
    /// The footer counts other entries than there are.
    Count {
        /// What it says.
        said: u64,
        /// What there is.
        found: u64,
    },
    /// Something follows on the footer.
    Trailing,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "entry {seq}: {}", self.fault),
            None => self.fault.fmt(f),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(format) => {
                write!(f, "the export is of the format {}, which this program does not know", format.escape_debug())
            }
            Self::Line(why) => write!(f, "the line cannot be read: {why}"),
            Self::Header(why) => write!(f, "the header is wrong: {why}"),
            Self::Place { expected } => {
                write!(f, "entry {expected} should stand here: one is missing, twice there or moved")
            }
            Self::Previous => f.write_str("it does not follow on the entry before it: one of them was changed"),
            Self::Content => f.write_str("its content was changed after it was chained"),
            Self::Commitments => f.write_str("its commitments were changed"),
            Self::Personal(field) => write!(f, "its personal field {} was changed", field.escape_debug()),
            Self::Proof => f.write_str("it is not in the log that was signed"),
            Self::Root { confirmed } => write!(
                f,
                "the entries are not those that were signed: history was rewritten, somewhere after entry {confirmed}"
            ),
            Self::Checkpoint { count, confirmed } => write!(
                f,
                "the first {count} entries are not those of an earlier signed head: history was rewritten, somewhere after \
                 entry {confirmed}"
            ),
            Self::Shorter { count } => write!(f, "an earlier signed head has {count} entries: the end was cut off"),
            Self::Lost { from, to, incarnation } => write!(
                f,
                "entries {from} to {to} of an earlier signed head were lost when the database was restored from a backup: the \
                 recovery that began incarnation {incarnation} has said so, and the log goes on from there"
            ),
            Self::Incomparable { count, why } => {
                write!(f, "the export cannot be held against a head with {count} entries: {why}")
            }
            Self::Unsigned => f.write_str("it has no signed checkpoint: no head vouches for any of it"),
            Self::ErasedUnaccounted { found, accounted } => write!(
                f,
                "{found} personal values are gone, and erasures in the log account for {accounted}: somebody has destroyed \
                 others"
            ),
            Self::ErasedLater { found, accounted } => write!(
                f,
                "{found} personal values are gone, and erasures that are signed account for {accounted}; that others wait to be \
                 signed, nobody vouches for: export again in a moment"
            ),
            Self::Cut => f.write_str("the export was cut off: its last line is missing"),
            Self::Count { said, found } => write!(f, "the last line counts {said} entries, there are {found}"),
            Self::Trailing => f.write_str("lines follow on the last one"),
        }
    }
}

impl core::error::Error for Break {}

impl From<Fault> for Break {
    fn from(fault: Fault) -> Self {
        Self { seq: None, fault }
    }
}

/// What an earlier signed head says of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Its checkpoint.
    pub checkpoint: AuditCheckpoint,
    /// Its incarnation.
    pub incarnation: u64,
}

/// What has been proven of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Whose log it is.
    pub workspace: String,
    /// Entries in the export.
    pub entries: u64,
    /// A span begins behind this entry.
    pub after: u64,
    /// The signed number of entries.
    pub count: u64,
    /// The signed root.
    pub root: Hash,
    /// Whether it is a choice of entries: each is proven, and not that there are no others.
    pub filtered: bool,
    /// Personal values that have been erased.
    pub erased: u64,
    /// How many personal values the erasures among the entries tell of. Of a span from the beginning, where they are fewer
    /// than `erased`, erasures that wait behind the checkpoint are said to make up for the rest, see
    /// [`Check::allow_unaccounted`]; of any other nothing is known.
    pub accounted: u64,
    /// Whether a head has signed a checkpoint. Always, but where [`Check::allow_unsigned`] was called.
    pub signed: bool,
    /// Earlier heads it agrees with.
    pub earlier: u64,
    /// Entries that wait behind the checkpoint.
    pub unchained: u64,
}

/// A check in progress.
#[derive(Clone, Debug)]
pub struct Check {
    header: Header,
    earlier: Vec<Earlier>,
    gaps: Vec<AuditGap>,
    tree: Tree,
    previous: Hash,
    last: u64,
    confirmed: u64,
    agreed: u64,
    entries: u64,
    erased: u64,
    accounted: u64,
    signed: bool,
    allow_unsigned: bool,
    allow_unaccounted: bool,
    footer: Option<Footer>,
}

impl Check {
    /// Begins with the header and what it names: the head, whose signature has been checked, and the notes of gaps of that
    /// head's set that were signed likewise. `earlier` are other heads of the workspace that the export has to agree with.
    ///
    /// # Errors
    /// [`Break`] where the header contradicts them.
    pub fn new(
        header: Header,
        head: Option<&Head>,
        gaps: Vec<AuditGap>,
        mut earlier: Vec<Earlier>,
    ) -> Result<Self, Break> {
        let wrong = |why| Break::from(Fault::Header(why));
        if head.is_some_and(|head| head.workspace != header.workspace) {
            return Err(wrong("the head is of another workspace"));
        }
        let signed =
            head.and_then(|head| head.audit).map_or_else(|| (0, Tree::default().root()), |at| (at.count, at.root));
        if signed != (header.count, header.root.0) {
            return Err(wrong("the head carries another checkpoint"));
        }
        if header.after > header.count || (header.after == 0 && header.previous_hash.0 != START) {
            return Err(wrong("it begins where it cannot"));
        }
        let peaks = header.peaks.iter().map(|hash| hash.0).collect();
        let tree = Tree::new(header.after, peaks).ok_or_else(|| wrong("peaks are missing"))?;
        earlier.sort_by_key(|one| one.checkpoint.count);
        let mut check = Self {
            previous: header.previous_hash.0,
            last: header.after,
            confirmed: 0,
            agreed: 0,
            entries: 0,
            erased: 0,
            accounted: 0,
            signed: head.is_some_and(|head| head.audit.is_some()),
            allow_unsigned: false,
            allow_unaccounted: false,
            footer: None,
            tree,
            earlier,
            gaps,
            header,
        };
        if check.header.filter.is_some() {
            check.against_own()?;
        } else {
            check.against_those_before()?;
            check.against_earlier()?;
        }
        Ok(check)
    }

    /// Takes an export without a signed checkpoint for what it says it is. Otherwise that is a fault.
    #[must_use]
    pub fn allow_unsigned(self) -> Self {
        Self { allow_unsigned: true, ..self }
    }

    /// Believes the last line, which nobody signs, about erasures that wait behind the checkpoint. Otherwise values of which
    /// only those tell are a fault.
    #[must_use]
    pub fn allow_unaccounted(self) -> Self {
        Self { allow_unaccounted: true, ..self }
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// The first [`Break`].
    pub fn line(&mut self, line: &str) -> Result<(), Break> {
        if self.footer.is_some() {
            return Err(Fault::Trailing.into());
        }
        if let Some(footer) = Footer::parse(line) {
            self.footer = Some(footer);
            return Ok(());
        }
        let entry = Entry::parse(line)
            .map_err(|fault| Break { seq: (!self.is_filtered()).then_some(self.last.saturating_add(1)), fault })?;
        let seq = entry.seq;
        self.entry(&entry).map_err(|fault| Break { seq: Some(seq), fault })?;
        self.against_earlier()
    }

    /// Ends the check.
    ///
    /// # Errors
    /// The [`Break`] that shows only at the end.
    pub fn finish(mut self) -> Result<Proven, Break> {
        let filtered = self.is_filtered();
        let footer = self.footer.take().ok_or(Fault::Cut)?;
        if footer.entries != self.entries {
            return Err(Fault::Count { said: footer.entries, found: self.entries }.into());
        }
        if !self.signed && !self.allow_unsigned {
            return Err(Fault::Unsigned.into());
        }
        if !filtered {
            if self.last != self.header.count {
                return Err(Break {
                    seq: Some(self.last.saturating_add(1)),
                    fault: Fault::Place { expected: self.last + 1 },
                });
            }
            if self.tree.root() != self.header.root.0 {
                return Err(Fault::Root { confirmed: self.confirmed }.into());
            }
            if let Some(beyond) = self.earlier.first().copied() {
                return Err(self.explained(beyond, Fault::Shorter { count: beyond.checkpoint.count }).into());
            }
            // Of a part of the log nobody knows what erasures beside it tell of.
            let (found, accounted) = (self.erased, self.accounted);
            if self.header.after == 0 && found > accounted {
                let later = accounted.saturating_add(footer.erased_later);
                if found > later {
                    return Err(Fault::ErasedUnaccounted { found, accounted: later }.into());
                }
                if !self.allow_unaccounted {
                    return Err(Fault::ErasedLater { found, accounted }.into());
                }
            }
        }
        Ok(Proven {
            workspace: self.header.workspace,
            entries: self.entries,
            after: self.header.after,
            count: self.header.count,
            root: self.header.root.0,
            filtered,
            erased: self.erased,
            accounted: self.accounted,
            signed: self.signed,
            earlier: self.agreed,
            unchained: footer.unchained,
        })
    }

    fn is_filtered(&self) -> bool {
        self.header.filter.is_some()
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Fault> {
        let filtered = self.is_filtered();
        let in_place = if filtered {
            entry.seq > self.last && entry.seq <= self.header.count
        } else {
            entry.seq == self.last + 1 && entry.seq <= self.header.count
        };
        if !in_place {
            return Err(Fault::Place { expected: self.last.saturating_add(1) });
        }
        if !filtered && entry.previous_hash.0 != self.previous {
            return Err(Fault::Previous);
        }
        let hash = entry.content_hash(&self.header.workspace)?;
        if hash != entry.hash.0 {
            return Err(Fault::Content);
        }
        self.erased += erased(entry)?;
        self.accounted = self.accounted.saturating_add(entry.told_erased());
        if filtered {
            let proof: Vec<Hash> = entry.proof.iter().flatten().map(|hash| hash.0).collect();
            if !is_included(&hash, entry.seq - 1, self.header.count, &proof, &self.header.root.0) {
                return Err(Fault::Proof);
            }
        } else {
            self.tree.push(&hash, |_, _, _| {});
        }
        (self.previous, self.last) = (hash, entry.seq);
        self.entries += 1;
        Ok(())
    }

    /// Heads that end before the span begins say nothing of it.
    fn against_those_before(&mut self) -> Result<(), Break> {
        match self.earlier.first() {
            Some(first) if first.checkpoint.count < self.header.after => Err(Fault::Incomparable {
                count: first.checkpoint.count,
                why: "the export begins later; export from the beginning",
            }
            .into()),
            _ => Ok(()),
        }
    }

    /// Of a choice of entries nothing else can be compared.
    fn against_own(&mut self) -> Result<(), Break> {
        for one in core::mem::take(&mut self.earlier) {
            let count = one.checkpoint.count;
            if count != self.header.count {
                let why = "it is a choice of entries; export without a filter";
                return Err(Fault::Incomparable { count, why }.into());
            }
            if one.checkpoint.root != self.header.root.0 {
                return Err(self.explained(one, Fault::Checkpoint { count, confirmed: 0 }).into());
            }
            self.agreed += 1;
        }
        Ok(())
    }

    /// Compares with the heads that end here.
    fn against_earlier(&mut self) -> Result<(), Break> {
        while let Some(one) = self.earlier.first().copied().filter(|one| one.checkpoint.count == self.last) {
            if one.checkpoint.root != self.tree.root() {
                let fault = Fault::Checkpoint { count: self.last, confirmed: self.confirmed };
                return Err(self.explained(one, fault).into());
            }
            self.earlier.remove(0);
            self.confirmed = self.last;
            self.agreed += 1;
        }
        Ok(())
    }

    /// A difference that a recovery has owned up to has a name of its own.
    fn explained(&self, one: Earlier, fault: Fault) -> Fault {
        let AuditCheckpoint { count, .. } = one.checkpoint;
        let said =
            |gap: &&AuditGap| gap.incarnation > one.incarnation && gap.kept < count && count <= gap.published.count;
        match self.gaps.iter().find(said) {
            Some(gap) => Fault::Lost { from: gap.kept + 1, to: count, incarnation: gap.incarnation },
            None => fault,
        }
    }
}

/// Checks the personal values against what was committed to, and counts those that are erased.
fn erased(entry: &Entry) -> Result<u64, Fault> {
    let commitments = match &entry.commitments {
        None => Commitments::default(),
        Some(text) => Commitments::parse(text).ok_or(Fault::Commitments)?,
    };
    let mut shown: Vec<&str> = Vec::new();
    for personal in &entry.personal {
        let wrong = || Fault::Personal(personal.field.clone());
        let salt = salt(&personal.salt).ok_or_else(wrong)?;
        let committed = commitments.of(&personal.field).ok_or_else(wrong)?;
        if shown.contains(&personal.field.as_str()) || *committed != commitment(&personal.field, &salt, &personal.value)
        {
            return Err(wrong());
        }
        shown.push(&personal.field);
    }
    Ok((commitments.len() - shown.len()) as u64)
}

fn salt(text: &str) -> Option<[u8; SALT_LEN]> {
    // Half of a hash's characters: its reader knows the one spelling.
    let padded = format!("{text}{}", "0".repeat(64_usize.checked_sub(text.len())?));
    let bytes = Hash::from_hex(&padded).filter(|_| text.len() == 2 * SALT_LEN)?;
    bytes.0.first_chunk().copied()
}
