//! What is noted for ever has no secret in it.

/// The text with every key in it cut down to its prefix, which finds the same key: somebody may have looked for what they
/// had at hand.
pub(super) fn without_secrets(text: &str) -> String {
    if let Some(prefix) = prefix(text.trim()) {
        return prefix;
    }
    let of_key = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let pieces = text.split_inclusive(|character| !of_key(character)).map(|piece| {
        let word = piece.trim_end_matches(|character| !of_key(character));
        match prefix(word) {
            Some(prefix) => prefix + piece.trim_start_matches(word),
            None => piece.to_owned(),
        }
    });
    pieces.collect()
}

/// The prefix of a text that is a key.
fn prefix(text: &str) -> Option<String> {
    nightlatch_key::parse(text.as_bytes()).ok().map(|parsed| parsed.prefix().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::mint_token;
    use crate::store::tokens::TokenKind;

    #[test]
    fn s0_15_a_key_in_a_text_is_cut_to_its_prefix() {
        let minted = mint_token(TokenKind::Management, 0);
        let key = minted.expose();
        let known = prefix(key).unwrap();
        assert!(known.len() < key.len());
        for (text, noted) in [
            ("KEY", "KEY"),
            (" KEY\n", "KEY"),
            ("team=KEY", "team=KEY"),
            ("KEY=KEY", "KEY=KEY"),
            ("found KEY, and ünïcode (KEY)", "found KEY, and ünïcode (KEY)"),
        ] {
            assert_eq!(without_secrets(&text.replace("KEY", key)), noted.replace("KEY", &known), "{text}");
        }
        for plain in ["", "  ", "invoices:read", "nl_live_almost", "a=b"] {
            assert_eq!(without_secrets(plain), plain);
        }
    }
}
