//! The rules of signing in, without database or HTTP: what a password must be, how often somebody may guess, how long a
//! session lives, which codes count.
//!
//! Everything here takes the time and the randomness as arguments. The one exception is [`Hashing`], which runs the slow
//! hash on threads of its own.

mod email;
mod hashing;
pub mod lifetime;
pub mod limits;
mod next;
mod password;
pub mod recovery;
mod secret;
pub mod totp;

pub use email::Email;
pub use hashing::{Busy, Hashing};
pub use next::local_path;
pub use password::{MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS, Password, PasswordFault};
pub use secret::SessionSecret;
