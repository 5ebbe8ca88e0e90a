//! The name of a request, in its answer, its problem, the log and the audit trail.

use axum::http::HeaderMap;

use crate::store::os_random;

/// The header that carries it, both ways.
pub(super) const HEADER: &str = "x-request-id";
/// The longest one taken from a caller.
const MAX_LEN: usize = 64;

/// The id of the request being answered; an extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(pub(super) String);

impl RequestId {
    /// The caller's, where it is one that can stand in a log; a new one otherwise.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|text| is_sane(text));
        match given {
            Some(text) => Self(text.to_owned()),
            None => Self::new(),
        }
    }

    fn new() -> Self {
        let mut random = [0; 10];
        os_random(&mut random);
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("req_{hex}"))
    }
}

fn is_sane(text: &str) -> bool {
    (1..=MAX_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn a_sane_id_is_kept_and_another_replaced() {
        assert_eq!(of("abc-123_D.4").0, "abc-123_D.4");
        for bad in ["", "a b", "a\"b", "ä", &"x".repeat(65)] {
            assert!(of(bad).0.starts_with("req_"), "{bad}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
