//! One canonical form of a request target, for every runtime.
//!
//! Gate and origin must never read two different paths out of the same bytes, so a target is either brought into one
//! form, which is what routes are matched against, what the origin receives and what the signature covers, or refused:
//!
//! | input | outcome |
//! |---|---|
//! | letters, digits, `-` `_` `~`, escaped | decoded |
//! | other escapes | kept, with upper-case digits |
//! | `"` `<` `>` `[` `]` `^` `` ` `` `{` `|` `}`, raw | escaped |
//! | `//`, a segment `.` or `..` (also before a `;`), any escaped dot | [`PathError`] |
//! | escaped `/` or `\`, raw `\` | [`PathError`] |
//! | controls, space, octets beyond ASCII, raw; escaped controls | [`PathError`] |
//! | escapes without two digits, escapes that are not UTF-8 together (an overlong `/` would be one) | [`PathError`] |
//! | `#` | [`PathError`]: a request has no fragment |
//!
//! Characters that RFC 3986 reserves (`:`, `@`, `;`, `+` …) keep the form they came in, as only the origin knows
//! whether they are the same to it; route patterns match either form (see [`crate::policy`]). A trailing slash is
//! significant. The query is kept apart, untouched.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use crate::percent::octet_at;

/// The longest request target that is read, in bytes.
pub const MAX_TARGET_BYTES: usize = 16 * 1024;

/// A request target whose path has one reading only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical<'a> {
    /// The path, beginning with `/`; borrowed where it came in canonical form.
    pub path: Cow<'a, str>,
    /// What follows the first `?`, untouched; `None` without a `?`.
    pub query: Option<&'a str>,
}

/// Why a request target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// More than [`MAX_TARGET_BYTES`].
    TooLong,
    /// It does not begin with `/`.
    NotAbsolute,
    /// Two slashes in a row.
    EmptySegment,
    /// A segment `.` or `..`.
    DotSegment,
    /// An escaped dot.
    EncodedDot,
    /// An escaped slash or backslash.
    EncodedSlash,
    /// A raw backslash.
    Backslash,
    /// A `%` without two hexadecimal digits.
    InvalidEscape,
    /// Escapes that together are not UTF-8.
    NotUtf8,
    /// A control character or space, or an escaped control character.
    Control,
    /// A raw octet beyond ASCII.
    NotAscii,
    /// A fragment.
    Fragment,
}

impl PathError {
    /// A stable name, as the shared vectors use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::NotAbsolute => "not_absolute",
            Self::EmptySegment => "empty_segment",
            Self::DotSegment => "dot_segment",
            Self::EncodedDot => "encoded_dot",
            Self::EncodedSlash => "encoded_slash",
            Self::Backslash => "backslash",
            Self::InvalidEscape => "invalid_escape",
            Self::NotUtf8 => "not_utf8",
            Self::Control => "control",
            Self::NotAscii => "not_ascii",
            Self::Fragment => "fragment",
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "The request target is longer than 16384 bytes.",
            Self::NotAbsolute => "The path does not begin with a slash.",
            Self::EmptySegment => "The path has two slashes in a row.",
            Self::DotSegment => "The path has a segment '.' or '..'.",
            Self::EncodedDot => "The path has an escaped dot (%2E); write it as a dot.",
            Self::EncodedSlash => "The path has an escaped slash or backslash.",
            Self::Backslash => "The path has a backslash.",
            Self::InvalidEscape => "The path has a '%' that is not followed by two hexadecimal digits.",
            Self::NotUtf8 => "The path has escapes that are not UTF-8.",
            Self::Control => "The request target has a control character or a space.",
            Self::NotAscii => "The request target has a character beyond ASCII that is not escaped.",
            Self::Fragment => "The request target has a fragment.",
        })
    }
}

impl core::error::Error for PathError {}

/// What a raw byte of a path calls for.
#[derive(Clone, Copy)]
enum Class {
    Plain,
    Slash,
    Percent,
    Query,
    /// Not legal in a path, but unmistakable: escaped.
    Escape,
    Refuse(PathError),
}

const fn class_of(byte: u8) -> Class {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Plain,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => Class::Plain,
        b'/' => Class::Slash,
        b'%' => Class::Percent,
        b'?' => Class::Query,
        b'#' => Class::Refuse(PathError::Fragment),
        b'\\' => Class::Refuse(PathError::Backslash),
        0..=b' ' | 0x7F => Class::Refuse(PathError::Control),
        0x80.. => Class::Refuse(PathError::NotAscii),
        _ => Class::Escape,
    }
}

/// The output, which exists only from the first byte on that differs from the input.
struct Output<'a> {
    input: &'a str,
    changed: Option<String>,
    /// Input bytes that `changed` already stands for.
    taken: usize,
}

impl Output<'_> {
    /// Replaces input bytes `from..to` by `text`.
    fn replace(&mut self, from: usize, to: usize, text: &str) {
        let out = self.changed.get_or_insert_with(|| String::with_capacity(self.input.len() + 16));
        out.push_str(&self.input[self.taken..from]);
        out.push_str(text);
        self.taken = to;
    }
}

/// Brings a request target (path and query, as received) into canonical form. Allocates only where the path is changed.
///
/// # Errors
/// [`PathError`] where the target has no single reading.
pub fn canonicalize(target: &str) -> Result<Canonical<'_>, PathError> {
    let bytes = target.as_bytes();
    if bytes.len() > MAX_TARGET_BYTES {
        return Err(PathError::TooLong);
    }
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let mut output = Output { input: target, changed: None, taken: 0 };
    let mut segment = 1;
    let mut at = 1;
    let mut query = None;
    while let Some(&byte) = bytes.get(at) {
        match class_of(byte) {
            Class::Plain => at += 1,
            Class::Slash => {
                if at == segment {
                    return Err(PathError::EmptySegment);
                }
                refuse_dots(&bytes[segment..at])?;
                at += 1;
                segment = at;
            }
            Class::Percent => at = escape_at(bytes, at, &mut output)?,
            Class::Escape => {
                let text = escaped(byte);
                output.replace(at, at + 1, as_text(&text));
                at += 1;
            }
            Class::Query => {
                query = Some(&target[at + 1..]);
                break;
            }
            Class::Refuse(error) => return Err(error),
        }
    }
    refuse_dots(&bytes[segment..at])?;
    if let Some(query) = query {
        check_query(query)?;
    }
    let path = match output.changed {
        Some(mut changed) => {
            changed.push_str(&target[output.taken..at]);
            Cow::Owned(changed)
        }
        None => Cow::Borrowed(&target[..at]),
    };
    Ok(Canonical { path, query })
}

/// Reads the escapes that begin at `at` and belong together (one octet, or one character of UTF-8); gives the position
/// after.
fn escape_at(bytes: &[u8], at: usize, output: &mut Output<'_>) -> Result<usize, PathError> {
    let octet = octet_at(bytes, at).ok_or(PathError::InvalidEscape)?;
    match octet {
        b'/' | b'\\' => return Err(PathError::EncodedSlash),
        b'.' => return Err(PathError::EncodedDot),
        0..0x20 | 0x7F => return Err(PathError::Control),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
            output.replace(at, at + 3, as_text(&[octet]));
            return Ok(at + 3);
        }
        _ => {}
    }
    let count = match octet {
        0..0x80 => 1,
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return Err(PathError::NotUtf8),
    };
    let mut character = [octet; 4];
    for (place, octet) in character.iter_mut().enumerate().take(count) {
        let start = at + 3 * place;
        if bytes.get(start) != Some(&b'%') {
            return Err(PathError::NotUtf8);
        }
        *octet = octet_at(bytes, start).ok_or(PathError::InvalidEscape)?;
        if bytes[start + 1..start + 3].iter().any(u8::is_ascii_lowercase) {
            output.replace(start, start + 3, as_text(&escaped(*octet)));
        }
    }
    core::str::from_utf8(&character[..count]).map_err(|_| PathError::NotUtf8)?;
    Ok(at + 3 * count)
}

/// A segment that servers read as "here" or "up"; some cut path parameters off before they look.
fn refuse_dots(segment: &[u8]) -> Result<(), PathError> {
    if segment.first() != Some(&b'.') {
        return Ok(());
    }
    let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
    if name == b"." || name == b".." { Err(PathError::DotSegment) } else { Ok(()) }
}

fn check_query(query: &str) -> Result<(), PathError> {
    for byte in query.bytes() {
        match byte {
            b'#' => return Err(PathError::Fragment),
            0..=b' ' | 0x7F => return Err(PathError::Control),
            0x80.. => return Err(PathError::NotAscii),
            _ => {}
        }
    }
    Ok(())
}

const fn escaped(octet: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', DIGITS[(octet >> 4) as usize], DIGITS[(octet & 15) as usize]]
}

/// ASCII bytes made here, as text.
fn as_text(ascii: &[u8]) -> &str {
    core::str::from_utf8(ascii).unwrap_or_default()
}
