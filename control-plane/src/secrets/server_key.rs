//! The key under which the server seals what it hands out or keeps, and wants back unread and unchanged.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::store::os_random;

/// Bytes of an `XChaCha20-Poly1305` nonce, drawn at random for each message.
const NONCE_LEN: usize = 24;

/// The server key. Every use derives a key of its own (HKDF-SHA-256), so that what one use reveals helps no other.
pub struct ServerKey(Hkdf<Sha256>);

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(hidden)")
    }
}

impl ServerKey {
    /// A server key from 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Hkdf::new(Some(b"nightlatch/server-key/1"), secret.as_slice()))
    }

    /// A key, or a keyed hash, for one purpose and context.
    pub fn derive(&self, purpose: &'static str, context: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut derived = Zeroizing::new([0; 32]);
        let info = [purpose.as_bytes(), &[0], context];
        // HKDF refuses only outputs longer than 8,160 bytes.
        self.0.expand_multi_info(&info, derived.as_mut_slice()).expect("32 bytes are within HKDF's limit");
        derived
    }
}

/// Encrypts and authenticates `plain`, and authenticates `bound_to` along with it.
pub(crate) fn seal(key: &[u8; 32], bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    os_random(&mut nonce);
    let cipher = XChaCha20Poly1305::new(key.into());
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: bound_to })
        .expect("a message in memory is within the cipher's limit");
    [nonce.as_slice(), &sealed].concat()
}

/// Opens what [`seal`] made; `None` for anything else.
pub(crate) fn open(key: &[u8; 32], bound_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: bound_to }).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_unchanged_and_in_its_place() {
        let key = ServerKey::new(&[7; 32]).derive("test", b"a");
        let sealed = seal(&key, b"place", b"text");
        assert_eq!(open(&key, b"place", &sealed).unwrap().as_slice(), b"text");
        assert!(open(&key, b"elsewhere", &sealed).is_none());
        for index in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[index] ^= 1;
            assert!(open(&key, b"place", &forged).is_none(), "byte {index}");
        }
        assert!(open(&key, b"place", &sealed[..10]).is_none());
    }

    #[test]
    fn purposes_and_contexts_have_keys_of_their_own() {
        let key = ServerKey::new(&[7; 32]);
        assert_ne!(key.derive("a", b"x"), key.derive("a", b"y"));
        assert_ne!(key.derive("a", b"x"), key.derive("b", b"x"));
        assert_ne!(key.derive("a", b"x"), ServerKey::new(&[8; 32]).derive("a", b"x"));
    }
}
