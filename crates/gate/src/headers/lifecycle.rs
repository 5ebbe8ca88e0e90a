//! What callers learn in band about a key that is about to end.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::date::ImfFixdate;

/// The headers to add to the answer when a retiring key was accepted, with lower-case names: `Deprecation` (RFC 9745)
/// and `Sunset` (RFC 8594), both of the deadline (unix seconds), and `Link` to where the successor is explained, if the
/// policy says.
#[must_use]
pub fn headers(deadline: u64, developer_url: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = Vec::with_capacity(3);
    headers.push(("deprecation", format!("@{deadline}")));
    headers.push(("sunset", ImfFixdate(deadline).to_string()));
    if let Some(url) = developer_url {
        headers.push(("link", format!("<{url}>; rel=\"successor-version\"")));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retiring_key_is_announced() {
        assert_eq!(
            headers(784_111_777, Some("https://example.com/developers")),
            [
                ("deprecation", "@784111777".to_string()),
                ("sunset", "Sun, 06 Nov 1994 08:49:37 GMT".to_string()),
                ("link", "<https://example.com/developers>; rel=\"successor-version\"".to_string()),
            ]
        );
        assert_eq!(headers(0, None).len(), 2);
    }
}
