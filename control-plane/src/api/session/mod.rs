//! Signing in, and sessions as callers.
//!
//! A session is 256 random bits in a `__Host-` cookie, of which the database holds the digest. Whoever signs in, steps up
//! or goes to another workspace gets other bits, so that bits somebody else knew before are worth nothing after. What a
//! session may do is read from its member at every request.

mod check;
mod cookie;
mod guesses;
mod holder;
mod invitation;
mod oidc;
mod oidc_limit;
mod origin;
mod own;
mod password;
mod refused_sign_in;
mod second_factor;
mod sign_in;
mod step_up;
mod totp;
mod view;
mod workspace;

pub(super) use cookie::is_sent;
pub(super) use holder::Holder;
pub(super) use invitation::{__path_accept, accept};
pub(super) use oidc::{__path_callback, __path_start, callback, start};
pub(super) use oidc_limit::OidcLimit;
pub(super) use origin::is_safe;
pub(super) use own::{__path_current, __path_end, __path_list, __path_sign_out, current, end, list, sign_out};
pub(super) use password::{__path_change, change};
pub(super) use sign_in::{__path_sign_in, sign_in};
pub(super) use step_up::{__path_step_up, step_up};
pub(super) use totp::{__path_begin, __path_confirm, __path_remove, begin, confirm, remove};
pub(super) use workspace::{__path_switch, switch};
