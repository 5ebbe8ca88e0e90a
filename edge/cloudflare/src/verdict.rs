//! The number in which a verdict crosses to JavaScript: an outcome in the low bits, flags above.
//!
//! `js/verdict.mjs` holds the same numbers; a test compares them.

/// Which bits hold the outcome.
#[cfg(test)]
pub(crate) const OUTCOME: u32 = 0b111;

/// Forward it with its admission.
pub(crate) const ALLOW: u32 = 0;
/// Answer it with its refusal.
pub(crate) const REFUSE: u32 = 1;
/// The set cannot answer yet: fetch it, or wait for who does.
pub(crate) const WAIT: u32 = 2;
/// The key is unknown but may be newer than the set: this request has the right to look once, then ask again.
pub(crate) const PROBE: u32 = 3;
/// Forward it without identity.
pub(crate) const PREFLIGHT: u32 = 4;

/// This request is to refresh the set in the background.
pub(crate) const REFRESH: u32 = 1 << 3;
/// This request is to send a report in the background.
pub(crate) const REPORT: u32 = 1 << 4;
/// The answer has to announce the key's end.
pub(crate) const RETIRING: u32 = 1 << 5;
/// `Authorization` belongs to the origin.
pub(crate) const KEEP_AUTHORIZATION: u32 = 1 << 6;
/// The answer may come from a shared cache, under a key that holds the principal.
pub(crate) const CACHE: u32 = 1 << 7;
/// The bits from here on are how many seconds the route lets a connection last, 0 where it does not say.
pub(crate) const AGE: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javascript_has_the_same_numbers() {
        let script = include_str!("../js/verdict.mjs");
        for (name, number) in [
            ("OUTCOME", OUTCOME),
            ("ALLOW", ALLOW),
            ("REFUSE", REFUSE),
            ("WAIT", WAIT),
            ("PROBE", PROBE),
            ("PREFLIGHT", PREFLIGHT),
            ("REFRESH", REFRESH),
            ("REPORT", REPORT),
            ("RETIRING", RETIRING),
            ("KEEP_AUTHORIZATION", KEEP_AUTHORIZATION),
            ("CACHE", CACHE),
            ("AGE", AGE),
        ] {
            assert!(script.contains(&format!("export const {name} = {number};\n")), "{name} = {number}");
        }
    }
}
