//! Path patterns: reading them, and their order from the most specific on.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Range;

use super::{MAX_PATTERN_BYTES, MAX_SEGMENTS};
use crate::path::{PathError, canonicalize};
use crate::percent::Decoded;

/// A path pattern that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

/// One segment: what it matches, and where its text stands in the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    kind: Kind,
    text: Range<u16>,
}

/// What a segment matches, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Itself.
    Literal,
    /// Any one segment that is not empty.
    Name,
    /// All that follows.
    Rest,
}

/// Why a text is not a path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// More than [`MAX_PATTERN_BYTES`].
    TooLong,
    /// More than [`MAX_SEGMENTS`].
    TooManySegments,
    /// It has a query.
    Query,
    /// No request could have such a path.
    Path(PathError),
    /// A literal would never match as written; its canonical form would.
    NotCanonical(String),
    /// A brace that is not around a whole segment.
    Brace,
    /// What stands in the braces is not `[A-Za-z_][A-Za-z0-9_]{0,31}`, after a `*` or not.
    Name,
    /// `{*…}` before the last segment.
    RestNotLast,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the path is longer than {MAX_PATTERN_BYTES} bytes"),
            Self::TooManySegments => write!(f, "the path has more than {MAX_SEGMENTS} segments"),
            Self::Query => f.write_str("the path has a query; routes match paths only"),
            Self::Path(error) => write!(f, "no request can have this path: {error}"),
            Self::NotCanonical(canonical) => write!(f, "the segment would never match; write it as '{canonical}'"),
            Self::Brace => f.write_str("a brace must enclose a whole segment, as in '/users/{id}'"),
            Self::Name => {
                f.write_str("the name in braces must be a letter or '_' and at most 31 letters, digits or '_'")
            }
            Self::RestNotLast => f.write_str("'{*…}' must be the last segment"),
        }
    }
}

impl core::error::Error for PatternError {}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        let Some(inner) = text.strip_prefix('/') else {
            return Err(PatternError::Path(PathError::NotAbsolute));
        };
        let count = inner.bytes().filter(|&b| b == b'/').count() + 1;
        if count > MAX_SEGMENTS {
            return Err(PatternError::TooManySegments);
        }
        let mut segments = Vec::with_capacity(count);
        let mut start = 1;
        for (index, part) in inner.split('/').enumerate() {
            let last = index + 1 == count;
            if part.is_empty() && !last {
                return Err(PatternError::Path(PathError::EmptySegment));
            }
            let kind = kind_of(part)?;
            if kind == Kind::Rest && !last {
                return Err(PatternError::RestNotLast);
            }
            let end = start + part.len();
            // Both fit: a pattern has at most `MAX_PATTERN_BYTES`.
            segments.push(Segment { kind, text: start as u16..end as u16 });
            start = end + 1;
        }
        Ok(Self { text: text.into(), segments })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many segments there are.
    pub(super) const fn len(&self) -> usize {
        self.segments.len()
    }

    /// The kind of segment `index`, which there is.
    pub(super) fn kind(&self, index: usize) -> Kind {
        self.segments[index].kind
    }

    /// The text of segment `index`, which there is.
    pub(super) fn literal(&self, index: usize) -> &str {
        let range = &self.segments[index].text;
        &self.text[usize::from(range.start)..usize::from(range.end)]
    }

    /// Orders shapes so that, of two patterns that match the same path, the more specific comes first. `Equal` means
    /// that they match the same paths.
    pub(super) fn cmp_shape(&self, other: &Self) -> Ordering {
        for index in 0..self.len().min(other.len()) {
            let order = self.kind(index).cmp(&other.kind(index)).then_with(|| match self.kind(index) {
                Kind::Literal => cmp_segments(self.literal(index), other.literal(index)),
                Kind::Name | Kind::Rest => Ordering::Equal,
            });
            if order.is_ne() {
                return order;
            }
        }
        self.len().cmp(&other.len())
    }
}

/// Orders two canonical segments by the octets they stand for.
pub(super) fn cmp_segments(left: &str, right: &str) -> Ordering {
    Decoded::new(left.as_bytes()).cmp(Decoded::new(right.as_bytes()))
}

fn kind_of(part: &str) -> Result<Kind, PatternError> {
    if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let (kind, name) = match name.strip_prefix('*') {
            Some(name) => (Kind::Rest, name),
            None => (Kind::Name, name),
        };
        let bytes = name.as_bytes();
        let shape = bytes.len() <= 32
            && bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        return if shape { Ok(kind) } else { Err(PatternError::Name) };
    }
    if part.contains(['{', '}']) {
        return Err(PatternError::Brace);
    }
    let mut path = String::with_capacity(part.len() + 1);
    path.push('/');
    path.push_str(part);
    let canonical = canonicalize(&path).map_err(PatternError::Path)?;
    if canonical.query.is_some() {
        return Err(PatternError::Query);
    }
    match canonical.path {
        Cow::Borrowed(_) => Ok(Kind::Literal),
        Cow::Owned(canonical) => Err(PatternError::NotCanonical(canonical[1..].into())),
    }
}
