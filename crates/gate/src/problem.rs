//! Problem documents (RFC 9457), written without a JSON library.

use alloc::string::String;
use core::fmt::Write as _;

use crate::code::Code;

/// The media type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Writes the problem document of a refusal. `type` is `urn:nightlatch:problem:` and the code.
#[must_use]
pub fn write(code: Code, detail: &str, request_id: &str) -> String {
    let mut out = String::with_capacity(192 + detail.len() + request_id.len());
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        r#"{{"type":"urn:nightlatch:problem:{code}","title":"{}","status":{},"detail":"#,
        code.title(),
        code.status()
    );
    push_string(&mut out, detail);
    let _ = write!(out, r#","code":"{code}","request_id":"#);
    push_string(&mut out, request_id);
    out.push('}');
    out
}

/// Appends a JSON string (RFC 8259 §7), escaping only what must be.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_document_is_json(detail: String, request_id: String) {
            for &code in Code::ALL {
                let document: serde_json::Value = serde_json::from_str(&write(code, &detail, &request_id)).unwrap();
                let expected = serde_json::json!({
                    "type": alloc::format!("urn:nightlatch:problem:{code}"),
                    "title": code.title(),
                    "status": code.status(),
                    "detail": detail,
                    "code": code.as_str(),
                    "request_id": request_id,
                });
                prop_assert_eq!(document, expected);
            }
        }
    }
}
