//! Where a browser goes after signing in.

/// The longest path, in bytes.
const MAX_BYTES: usize = 2048;

/// A path of this server, where the text is one: `/…`, and nothing that a browser would take for another host. Browsers
/// read `\` as `/`, drop tabs and line ends, and take `//host` for a host.
pub fn local_path(text: &str) -> Option<&str> {
    let second = text.as_bytes().get(1);
    let local = text.len() <= MAX_BYTES
        && text.starts_with('/')
        && second != Some(&b'/')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    local.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server() {
        for good in ["/", "/keys", "/keys?state=active&x=%2F%2Fevil", "/a#b", "/a//b"] {
            assert_eq!(local_path(good), Some(good));
        }
        for bad in [
            "",
            "keys",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\n/evil",
            "/é",
            " /a",
            "/a b",
        ] {
            assert_eq!(local_path(bad), None, "{bad:?}");
        }
        assert_eq!(local_path(&format!("/{}", "a".repeat(2048))), None);
    }
}
