//! Guesses at passwords and codes, counted for all replicas together.

use std::net::IpAddr;

use nightlatch_api::Code;

use crate::api::App;
use crate::api::refused::Refused;
use crate::signin::limits::{ACCOUNT, ADDRESS};
use crate::store::Error;
use crate::store::sign_in_guesses::{self, Asked, Buckets, Counted};

/// Counts a guess at the account of this address, before it is tried. It is the same for an address without an account.
///
/// # Errors
/// 429 with the time to wait.
pub(super) async fn count(app: &App, email: &str, source: Option<&str>) -> Result<Counted, Refused> {
    let source = network(source.unwrap_or_default());
    let name = |kind: &str, parts: [&str; 2]| {
        let text = format!("{kind}\0{}\0{}", parts[0], parts[1]);
        *app.secrets().server_key().derive("sign-in guesses", text.as_bytes())
    };
    let buckets = Buckets {
        address: (name("address", [&source, ""]), ADDRESS),
        known: (name("known", [email, &source]), ACCOUNT),
        account: (name("account", [email, ""]), ACCOUNT),
    };
    let asked = app
        .store()
        .write::<_, Error, _>(move |tx| Box::pin(async move { sign_in_guesses::ask(tx, buckets).await }))
        .await?;
    match asked {
        Asked::Counted(counted) => Ok(counted),
        Asked::Wait(ms) => Err(Refused::new(Code::RateLimited).retry_after(ms.saturating_add(999) / 1000)),
    }
}

/// Takes a guess back that was right, where more is still to be sent.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn give_back(app: &App, counted: Counted) -> Result<(), Refused> {
    let store = app.store();
    store
        .write::<_, Error, _>(move |tx| Box::pin(async move { sign_in_guesses::give_back(tx, &counted).await }))
        .await?;
    Ok(())
}

/// Whom a source address stands for: itself, or of IPv6, where each customer has many, its /64.
pub(super) fn network(source: &str) -> String {
    match source.parse() {
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
        _ => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_count_together() {
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:0:ffff::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
