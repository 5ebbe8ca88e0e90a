//! The names of a set's files. They follow from the head, so that nobody has to list a directory.

use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::Hash;

/// A file of a set, beside its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileName {
    /// `base-{incarnation}-{epoch}`
    Base {
        /// Recovery count.
        incarnation: u64,
        /// Base number.
        epoch: u64,
    },
    /// `base-{incarnation}-{epoch}-{part}`
    BasePart {
        /// Recovery count.
        incarnation: u64,
        /// Base number.
        epoch: u64,
        /// Which part, from 0.
        part: u64,
    },
    /// `delta-{incarnation}-{epoch}-{from}-{to}`
    Delta {
        /// Recovery count.
        incarnation: u64,
        /// Base number.
        epoch: u64,
        /// The version it applies to.
        from: u64,
        /// The version it yields.
        to: u64,
    },
    /// `policy-{sha256}`
    Policy(Hash),
    /// `rebase-{incarnation}-{epoch}`, of the epoch it leads to
    Rebase {
        /// Recovery count.
        incarnation: u64,
        /// Base number.
        epoch: u64,
    },
}

impl FileName {
    /// Reads a file's name.
    ///
    /// # Errors
    /// [`NameError`] for anything that [`FileName`] does not write, digit for digit.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (kind, rest) = text.split_once('-').ok_or(NameError)?;
        let name = match kind {
            "base" => match numbers(rest) {
                Ok([incarnation, epoch]) => Self::Base { incarnation, epoch },
                Err(NameError) => {
                    let [incarnation, epoch, part] = numbers(rest)?;
                    Self::BasePart { incarnation, epoch, part }
                }
            },
            "delta" => {
                let [incarnation, epoch, from, to] = numbers(rest)?;
                Self::Delta { incarnation, epoch, from, to }
            }
            "policy" => Self::Policy(Hash::from_hex(rest).ok_or(NameError)?),
            "rebase" => {
                let [incarnation, epoch] = numbers(rest)?;
                Self::Rebase { incarnation, epoch }
            }
            _ => return Err(NameError),
        };
        // One spelling per file: no leading zeros, no signs.
        if format!("{name}") == text { Ok(name) } else { Err(NameError) }
    }

    /// The name as text.
    pub fn to_text(&self) -> String {
        format!("{self}")
    }
}

fn numbers<const N: usize>(text: &str) -> Result<[u64; N], NameError> {
    let mut parts = text.split('-');
    let mut out = [0; N];
    for number in &mut out {
        *number = parts.next().and_then(|p| p.parse().ok()).ok_or(NameError)?;
    }
    if parts.next().is_some() { Err(NameError) } else { Ok(out) }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base { incarnation, epoch } => write!(f, "base-{incarnation}-{epoch}"),
            Self::BasePart { incarnation, epoch, part } => write!(f, "base-{incarnation}-{epoch}-{part}"),
            Self::Delta { incarnation, epoch, from, to } => write!(f, "delta-{incarnation}-{epoch}-{from}-{to}"),
            Self::Policy(hash) => write!(f, "policy-{hash}"),
            Self::Rebase { incarnation, epoch } => write!(f, "rebase-{incarnation}-{epoch}"),
        }
    }
}

/// The text is not the name of a set's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of a file of a key set")
    }
}

impl core::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_have_one_spelling() {
        for name in [
            FileName::Base { incarnation: 0, epoch: 1 },
            FileName::Delta { incarnation: 2, epoch: 3, from: 41, to: 42 },
            FileName::Policy(Hash::of(b"p")),
        ] {
            assert_eq!(FileName::parse(&name.to_text()), Ok(name));
        }
        for bad in
            ["", "head", "base-0", "base-0-01", "base-+0-1", "base-0-1-2-3", "delta-0-1-2", "policy-00", "../x-1-1"]
        {
            assert_eq!(FileName::parse(bad), Err(NameError), "{bad}");
        }
    }
}
