//! What a sidecar never falls behind, as it lies on the disk: what must never be read wrong.

use nightlatch_sync::Mark;
use sha2::{Digest as _, Sha256};

const FIRST_LINE: &str = "nightlatch.mark/2";
/// Says nothing beyond the mark itself.
const OLD_FIRST_LINE: &str = "nightlatch.mark/1";
/// How no head at all is written.
const NO_MARK: Mark = Mark { incarnation: 0, epoch: 0, version: 0, issued: 0 };

/// What nothing is accepted below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The greatest head accepted.
    pub(crate) mark: Option<Mark>,
    /// The id of the key that signed it.
    pub(crate) signer: Option<[u8; 4]>,
    /// The version of the trust note taken last.
    pub(crate) trust: Option<u64>,
    /// The number of the deny note taken last.
    pub(crate) deny: Option<u64>,
}

/// The text of the mark's file. It ends with a hash of the rest, so that damage shows.
pub(crate) fn encode(set: &str, kept: &Kept) -> String {
    let signer = kept.signer.map_or_else(|| "-".into(), |id| format!("{:08x}", u32::from_be_bytes(id)));
    let number = |number: Option<u64>| number.map_or_else(|| "-".into(), |number| number.to_string());
    let (trust, deny) = (number(kept.trust), number(kept.deny));
    let begin = begin(FIRST_LINE, set, kept.mark.unwrap_or(NO_MARK));
    checked(&format!("{begin}signer {signer}\ntrust {trust}\ndeny {deny}\n"))
}

/// Reads what [`encode`] wrote for this set, or what it wrote when there was only the mark; nothing where it is anything else,
/// to the last byte.
pub(crate) fn decode(text: &str, set: &str) -> Option<Kept> {
    let mut lines = text.lines();
    let first = lines.next()?;
    let mut lines = lines.skip(1);
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let mark = Mark {
        incarnation: field("incarnation")?.parse().ok()?,
        epoch: field("epoch")?.parse().ok()?,
        version: field("version")?.parse().ok()?,
        issued: field("issued")?.parse().ok()?,
    };
    let mut kept = Kept { mark: Some(mark).filter(|mark| *mark != NO_MARK), ..Kept::default() };
    if first == OLD_FIRST_LINE {
        return (checked(&begin(OLD_FIRST_LINE, set, mark)) == text).then_some(kept);
    }
    // What is no number shows when it is written again.
    kept.signer = u32::from_str_radix(field("signer")?, 16).ok().map(u32::to_be_bytes);
    kept.trust = field("trust")?.parse().ok();
    kept.deny = field("deny")?.parse().ok();
    (encode(set, &kept) == text).then_some(kept)
}

/// The number of a deny note that has been verified.
pub(crate) fn deny_number(note: &str) -> Option<u64> {
    note.lines().find_map(|line| line.strip_prefix("number "))?.parse().ok()
}

fn begin(first_line: &str, set: &str, mark: Mark) -> String {
    let Mark { incarnation, epoch, version, issued } = mark;
    format!("{first_line}\nset {set}\nincarnation {incarnation}\nepoch {epoch}\nversion {version}\nissued {issued}\n")
}

fn checked(text: &str) -> String {
    let check: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{text}check {check}\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK: Mark = Mark { incarnation: 1, epoch: 2, version: 345, issued: 1_700_000_000_000 };
    const KEPT: Kept = Kept { mark: Some(MARK), signer: Some([0, 1, 2, 255]), trust: Some(3), deny: None };

    #[test]
    fn what_was_kept_comes_back() {
        for kept in [KEPT, Kept { deny: Some(7), ..Kept::default() }, Kept { mark: Some(MARK), ..Kept::default() }] {
            assert_eq!(decode(&encode("set_a", &kept), "set_a"), Some(kept));
            assert_eq!(decode(&encode("set_a", &kept), "set_b"), None);
        }
    }

    #[test]
    fn a_mark_of_before_is_read() {
        let text = checked(&begin(OLD_FIRST_LINE, "set_a", MARK));
        assert_eq!(decode(&text, "set_a"), Some(Kept { mark: Some(MARK), ..Kept::default() }));
        assert_eq!(decode(&text.replacen("345", "346", 1), "set_a"), None);
    }

    proptest! {
        #[test]
        fn no_damage_goes_unseen(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let good = encode("set_a", &KEPT);
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
