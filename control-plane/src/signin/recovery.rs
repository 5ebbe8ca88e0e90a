//! Recovery codes: each stands once for the second factor, for who has lost it.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Codes that somebody is given at a time.
pub const COUNT: usize = 10;
/// The characters of codes: Crockford's base 32, lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a code: 80 bits.
const LEN: usize = 16;

/// A new code: four groups of four characters.
pub fn draw(random: &mut dyn FnMut(&mut [u8])) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; LEN]);
    random(bytes.as_mut_slice());
    let mut text = Zeroizing::new(String::with_capacity(LEN + 3));
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 && place % 4 == 0 {
            text.push('-');
        }
        // 32 divides 256: every character is as likely.
        text.push(char::from(ALPHABET[usize::from(byte & 31)]));
    }
    text
}

/// What is kept of an account's code; `None` where the text is none. Blanks, dashes and case do not matter.
pub fn digest(account: &str, text: &str) -> Option<[u8; 32]> {
    let mut plain = Zeroizing::new(Vec::with_capacity(LEN));
    for byte in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
        let byte = byte.to_ascii_lowercase();
        if plain.len() == LEN || !ALPHABET.contains(&byte) {
            return None;
        }
        plain.push(byte);
    }
    let hash =
        || Sha256::new().chain_update(account).chain_update([0]).chain_update(plain.as_slice()).finalize().into();
    (plain.len() == LEN).then(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::os_random;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = draw(&mut os_random);
        assert_eq!(code.len(), 19);
        let kept = digest("acc_1", &code).unwrap();
        assert_eq!(digest("acc_1", &code.to_uppercase().replace('-', " ")), Some(kept));
        assert_ne!(digest("acc_2", &code), Some(kept), "another account's");
        for bad in ["", "0000-0000-0000-000", "0000-0000-0000-00000", "0000-0000-0000-000u", "0000000000000000\0"] {
            assert_eq!(digest("acc_1", bad), None, "{bad}");
        }
    }
}
