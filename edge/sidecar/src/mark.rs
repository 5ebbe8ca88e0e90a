//! The high-water mark as it lies on the disk: what must never be read wrong.

use nightlatch_sync::Mark;
use sha2::{Digest as _, Sha256};

const FIRST_LINE: &str = "nightlatch.mark/1";

/// The text of the mark's file. It ends with a hash of the rest, so that damage shows.
pub(crate) fn encode(set: &str, mark: Mark) -> String {
    let Mark { incarnation, epoch, version, issued } = mark;
    let text = format!(
        "{FIRST_LINE}\nset {set}\nincarnation {incarnation}\nepoch {epoch}\nversion {version}\nissued {issued}\n"
    );
    let check = check(&text);
    format!("{text}check {check}\n")
}

/// Reads what [`encode`] wrote for this set; nothing where it is anything else, to the last byte.
pub(crate) fn decode(text: &str, set: &str) -> Option<Mark> {
    let mut lines = text.lines().skip(2);
    let mut number = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    let mark = Mark {
        incarnation: number("incarnation")?,
        epoch: number("epoch")?,
        version: number("version")?,
        issued: number("issued")?,
    };
    (encode(set, mark) == text).then_some(mark)
}

fn check(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK: Mark = Mark { incarnation: 1, epoch: 2, version: 345, issued: 1_700_000_000_000 };

    #[test]
    fn a_mark_comes_back() {
        assert_eq!(decode(&encode("set_a", MARK), "set_a"), Some(MARK));
        assert_eq!(decode(&encode("set_a", MARK), "set_b"), None);
    }

    proptest! {
        #[test]
        fn no_damage_goes_unseen(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let good = encode("set_a", MARK);
            let mut bytes = good.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert_eq!(decode(&text, "set_a").is_some(), text == good);
            }
            prop_assert_eq!(decode(&good[..cut.index(good.len())], "set_a"), None);
        }
    }
}
