//! Signing in, and sessions as callers.

mod browser;
mod crossing;
mod founder;
mod guessing;
mod invitations;
mod lifetimes;
mod own;
mod provider;
mod proxies;
mod refused;
mod reset;
mod second_factor;
mod side_doors;
mod signing_in;

use guessing::at_once;

pub(crate) use browser::{Browser, PASSWORD, invite, join};
pub(crate) use second_factor::base32;
