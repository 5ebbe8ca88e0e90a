//! The slow hash of passwords: argon2id, away from the threads that answer requests, a few at a time.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::Password;
use crate::store::os_random;

/// Memory per hash in KiB, passes and lanes: the OWASP password storage cheat sheet's for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Bytes of a salt.
const SALT_LEN: usize = 16;
/// Hashes at a time: each takes 19 MiB and a core for some 20 ms.
const AT_ONCE: usize = 2;
/// Hashes that may wait. Who comes then is told to come back.
const QUEUE: usize = 64;

/// What is verified where there is no account or no password: a hash of the same cost of a password that nobody knows.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bmlnaHRsYXRjaC1ub2JvZHk$0PcxhZ0hy3pkQ0t8W3fJ4p9sYb8m1nV5rXqTz7uLwEo";

/// Too many hashes are waiting.
#[derive(Debug)]
pub struct Busy;

/// Hashes and verifies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hashing {
    running: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(AT_ONCE)), queue: Arc::new(Semaphore::new(QUEUE)) }
    }
}

impl Hashing {
    /// The PHC text of a password under a fresh salt.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn hash(&self, password: Password) -> Result<SecretString, Busy> {
        let mut salt = [0; SALT_LEN];
        os_random(&mut salt);
        self.run(move || {
            // Fails only for parameters and salts out of range, and these are fixed.
            let hash = argon2().hash_password_with_salt(password.expose(), &salt).expect("a password of 1 KiB hashes");
            SecretString::from(hash.to_string())
        })
        .await
    }

    /// Whether the password is the one that was hashed. Where there is no hash it is verified against one that no password
    /// has, so that it takes as long to learn that there is no account.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn verify(&self, password: SecretString, hash: Option<SecretString>) -> Result<bool, Busy> {
        self.run(move || {
            let known = hash.is_some();
            let text = hash.as_ref().map_or(NOBODY, ExposeSecret::expose_secret);
            let Ok(hash) = PasswordHash::new(text) else {
                tracing::error!("a stored password hash cannot be read");
                return false;
            };
            argon2().verify_password(password.expose_secret().as_bytes(), &hash).is_ok() && known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _place = self.queue.try_acquire().map_err(|_| Busy)?;
        // Owned by the work: a caller that goes away must not let another hash start beside this one.
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|_| Busy)
    }
}

fn argon2() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).expect("the parameters are argon2's own defaults");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signin::Email;

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let hashing = Hashing::default();
        let email = Email::parse("a@b").unwrap();
        let password = Password::new("correct horse battery", &email).unwrap();
        let (first, second) = (hashing.hash(password.clone()).await.unwrap(), hashing.hash(password).await.unwrap());
        assert_ne!(first.expose_secret(), second.expose_secret(), "salted");
        assert!(first.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hashing.verify("correct horse battery".into(), Some(first.clone())).await.unwrap());
        assert!(!hashing.verify("correct horse batterx".into(), Some(first)).await.unwrap());
        assert!(!hashing.verify("correct horse battery".into(), Some("junk".into())).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_has_no_password_and_costs_as_much() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let params = Params::try_from(&nobody).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), COST);
        assert_eq!(nobody.hash.unwrap().len(), Params::DEFAULT_OUTPUT_LEN);
        assert!(!Hashing::default().verify("".into(), None).await.unwrap());
    }
}
