//! Percent-escapes, read without allocating.

/// The value of one hexadecimal digit, of either case.
const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The octet that two hexadecimal digits stand for.
pub(crate) fn octet(digits: [u8; 2]) -> Option<u8> {
    Some(hex_value(digits[0])? << 4 | hex_value(digits[1])?)
}

/// The octet escaped at `at` (where a `%` stands), if both digits are there.
pub(crate) fn octet_at(bytes: &[u8], at: usize) -> Option<u8> {
    octet(*bytes.get(at + 1..)?.first_chunk()?)
}

/// The octets a text stands for. A `%` without two hexadecimal digits stands for itself, as in the URL standard.
pub(crate) struct Decoded<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoded<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte == b'%'
            && let Some(octet) = octet_at(self.bytes, self.at)
        {
            self.at += 3;
            return Some(octet);
        }
        self.at += 1;
        Some(byte)
    }
}
