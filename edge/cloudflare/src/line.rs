//! What the JavaScript entry tells about a request, in one text.

use nightlatch_gate::Request;

/// Reads `{method}\n{url}\n{authorization}\n{x-api-key}\n{upgrade}\n{preflight}`, where an empty part stands for an
/// absent header. None of the parts can hold a line break: HTTP and the URL standard see to that.
pub(crate) fn read(line: &str) -> Request<'_> {
    let mut parts = line.split('\n');
    let mut next = || parts.next().unwrap_or_default();
    let (method, url) = (next(), next());
    let (authorization, x_api_key, upgrade, preflight) = (next(), next(), next(), next());
    Request {
        method,
        target: target(url),
        authorization: some(authorization).map(str::as_bytes),
        x_api_key: some(x_api_key).map(str::as_bytes),
        upgrade: !upgrade.is_empty(),
        preflight: some(preflight),
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Path and query of an absolute URL, and whatever else stands behind its authority, as it came.
fn target(url: &str) -> &str {
    let rest = url.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//")).unwrap_or_default();
    rest.find(['/', '?', '#', '\\']).map_or("", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let request = read("GET\nhttps://a.example/b?c=/d\nBearer x\n\nwebsocket\n");
        assert_eq!((request.method, request.target), ("GET", "/b?c=/d"));
        assert_eq!(request.authorization, Some(b"Bearer x".as_slice()));
        assert_eq!((request.x_api_key, request.upgrade, request.preflight), (None, true, None));
        let request = read("OPTIONS\nhttp://[::1]:8787//x\n\nk\n\nPOST");
        assert_eq!((request.target, request.x_api_key), ("//x", Some(b"k".as_slice())));
        assert_eq!((request.upgrade, request.preflight), (false, Some("POST")));
        assert_eq!(read("").target, "");
    }

    #[test]
    fn targets_are_not_repaired() {
        for (url, expected) in [
            ("http://h/", "/"),
            ("http://h", ""),
            ("http://h?x=/y", "?x=/y"),
            ("http://h/a#b", "/a#b"),
            ("http://h\\..\\a", "\\..\\a"),
            ("http://h/a/%2e%2e//b", "/a/%2e%2e//b"),
        ] {
            assert_eq!(target(url), expected, "{url}");
        }
    }
}
