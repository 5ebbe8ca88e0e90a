//! One isolate's state, and what it says about a request.
//!
//! Everything here is synchronous and borrows the state for the length of one call, so that nothing is ever held across
//! a wait.

use std::fmt::Write as _;

use nightlatch_gate::headers::{Identity, lifecycle};
use nightlatch_gate::policy::{Cache, Policy};
use nightlatch_gate::{Allow, Denial, Found, Keys, SetFacts, Unfit, Verdict, decide};
use nightlatch_key::Digest;
use nightlatch_keyset::Head;
use nightlatch_sync::{Edge, EdgeConfig, Freshness, REBASE_FROM, Serving};

use crate::config::{Config, ROOM};
use crate::flight::Flights;
use crate::journey::Journeys;
use crate::sightings::Sightings;
use crate::{line, verdict};

/// Characters of a request id that are repeated in an answer.
const MAX_REQUEST_ID: usize = 64;

/// The status of refusals that say nothing of the key.
const UNFIT: u16 = 503;

/// The state of one isolate.
pub(crate) struct Instance {
    pub(crate) config: Config,
    /// Its name for itself.
    pub(crate) name: String,
    pub(crate) edge: Edge<Policy>,
    pub(crate) flights: Flights,
    pub(crate) sightings: Sightings,
    pub(crate) journeys: Journeys,
    /// What a request is told when the set cannot answer it.
    pub(crate) unfit: Unfit,
    /// The code of the last failed flight, until one lands.
    pub(crate) last_failure: Option<&'static str>,
    /// The same of heads that were pushed.
    pub(crate) last_pushed_failure: Option<&'static str>,
    /// The files that came last were not what was signed, see [`Self::doubts_files`].
    pub(crate) has_doubts: bool,
    /// What the last admitted request is to be forwarded with, see [`Self::admission`].
    admission: String,
    /// When the last admitted key ends, where it is retiring; unix seconds.
    retiring: Option<u64>,
}

/// A set that is fresh enough to answer, as the gate asks it; or only fresh enough for routes that are open.
struct FreshKeys<'a> {
    serving: &'a Serving<Policy>,
    only_open: bool,
}

impl Keys for FreshKeys<'_> {
    fn only_open(&self) -> bool {
        self.only_open
    }

    fn find(&self, digest: &Digest) -> Result<Option<Found<'_>>, Unfit> {
        let found = self.serving.find(digest).map_err(|_| Unfit::SetCorrupt)?;
        Ok(found.map(|(record, profile)| Found { record, profile, workspace: &self.serving.head().workspace }))
    }
}

/// What may be answered from now, if anything.
fn keys(edge: &Edge<Policy>, now: u64) -> Option<FreshKeys<'_>> {
    let fresh = edge.serving(now).map(|serving| FreshKeys { serving, only_open: false });
    fresh.or_else(|| edge.serving_open(now).map(|serving| FreshKeys { serving, only_open: true }))
}

fn facts(head: &Head) -> SetFacts<'_> {
    SetFacts {
        workspace: &head.workspace,
        brand: head.brand,
        accepts_foreign: head.accepts_foreign,
        issued: head.issued,
        skew: head.skew,
    }
}

impl Instance {
    /// An instance that has loaded nothing. `name` is random, and its own.
    pub(crate) fn new(config: Config, name: String) -> Self {
        let edge = EdgeConfig {
            set: config.set.clone(),
            roots: config.roots.clone(),
            verifiers: config.verifiers.clone(),
            peppers: config.peppers.clone(),
            poll_ms: config.poll_ms,
            room: ROOM,
            rebase_from: REBASE_FROM,
        };
        let offset = name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        Self {
            flights: Flights::new(config.poll_ms, config.fetch_timeout_ms, config.begun),
            config,
            name,
            edge: Edge::new(edge, None),
            sightings: Sightings::new(offset),
            journeys: Journeys::default(),
            unfit: Unfit::SetStale,
            last_failure: None,
            last_pushed_failure: None,
            has_doubts: false,
            admission: String::new(),
            retiring: None,
        }
    }

    /// Judges a request; see [`verdict`] for the number. After `last_word` the request does not wait for the set any more.
    pub(crate) fn decide(&mut self, line: &str, wall: u64, last_word: bool) -> u32 {
        let now = self.edge.now(wall, None);
        let Some(keys) = keys(&self.edge, now) else {
            return if last_word { verdict::REFUSE } else { verdict::WAIT };
        };
        let request = line::read(line);
        let serving = keys.serving;
        let verdict = decide(&request, serving.policy(), &facts(serving.head()), &keys, now);
        if keys.only_open && matches!(&verdict, Verdict::Deny(denial) if denial.status() == UNFIT) {
            return if last_word { verdict::REFUSE } else { verdict::WAIT };
        }
        let mut flags = 0;
        let urgent = self.edge.is_working() || self.edge.is_damaged();
        if self.edge.freshness(now) != Freshness::Fresh && self.flights.begin_background(now, urgent) {
            flags |= verdict::REFRESH;
        }
        match verdict {
            Verdict::Allow(Allow { forward, accepted }) => {
                let identity = Identity::from(&accepted);
                let target = plain_query(&forward.target);
                let key = self.config.origin_key.as_ref();
                let signature = key.map(|key| key.sign(now / 1_000, request.method, &target, &identity));
                self.admission.clear();
                let Identity { key_id, principal, workspace, scopes } = &identity;
                // Writing to a string cannot fail.
                let _ = write!(
                    self.admission,
                    "{target}\n{key_id}\n{principal}\n{workspace}\n{scopes}\n{}",
                    signature.as_deref().unwrap_or_default(),
                );
                self.retiring = accepted.retiring;
                if accepted.retiring.is_some() {
                    flags |= verdict::RETIRING;
                }
                flags |= forward.route.max_connection_age().unwrap_or_default() << verdict::AGE;
                if forward.keep_authorization {
                    flags |= verdict::KEEP_AUTHORIZATION;
                }
                if forward.route.cache() == Cache::BySubject {
                    flags |= verdict::CACHE;
                }
                if self.config.reports && self.sightings.saw(accepted.key, now) {
                    flags |= verdict::REPORT;
                }
                verdict::ALLOW | flags
            }
            Verdict::Preflight(forward) => {
                self.admission.clear();
                self.admission.push_str(&plain_query(&forward.target));
                flags |= forward.route.max_connection_age().unwrap_or_default() << verdict::AGE;
                if forward.keep_authorization {
                    flags |= verdict::KEEP_AUTHORIZATION;
                }
                verdict::PREFLIGHT | flags
            }
            Verdict::Deny(denial) if denial.recently_issued && !last_word && self.flights.begin_probe(now) => {
                verdict::PROBE | flags
            }
            Verdict::Deny(_) => verdict::REFUSE | flags,
        }
    }

    /// How the request admitted last is forwarded: `{target}\n{key id}\n{principal}\n{workspace}\n{scopes}\n{signature}`, of
    /// a preflight the target alone.
    pub(crate) fn admission(&self) -> &str {
        &self.admission
    }

    /// Headers for the answer to the request admitted last, of a retiring key: `{name}\n{value}` and so on.
    pub(crate) fn announcement(&self) -> String {
        let developer_url = self.edge.loaded().and_then(|serving| serving.policy().developer_url());
        let headers = self.retiring.map_or_else(Vec::new, |deadline| lifecycle::headers(deadline, developer_url));
        headers.iter().map(|(name, value)| format!("{name}\n{value}\n")).collect()
    }

    /// The answer to a request that was refused at this time: `{status}\n{name}\n{value}\n…\n\n{body}`. It is judged once
    /// more, so that nothing has to be kept of refusals.
    pub(crate) fn refusal(&mut self, line: &str, wall: u64, request_id: &str) -> String {
        let now = self.edge.now(wall, None);
        let Some(keys) = keys(&self.edge, now) else {
            return answer(&Denial::unfit(self.unfit), "", request_id);
        };
        let serving = keys.serving;
        let realm = serving.policy().realm();
        match decide(&line::read(line), serving.policy(), &facts(serving.head()), &keys, now) {
            Verdict::Deny(denial) if keys.only_open && denial.status() == UNFIT => {
                answer(&Denial::unfit(self.unfit), realm, request_id)
            }
            Verdict::Deny(denial) => answer(&denial, realm, request_id),
            // The set moved on between two calls, which one isolate never does: refuse as it was said.
            Verdict::Allow(_) | Verdict::Preflight(_) => answer(&Denial::unfit(Unfit::SetStale), realm, request_id),
        }
    }

    /// The answer when the origin cannot be reached, in the form of [`Self::refusal`].
    pub(crate) fn unreachable(request_id: &str) -> String {
        answer(&Denial::origin_unreachable(), "", request_id)
    }
}

fn answer(denial: &Denial<'_>, realm: &str, request_id: &str) -> String {
    let id: String = request_id.chars().filter(|c| c.is_ascii_graphic()).take(MAX_REQUEST_ID).collect();
    let mut out = format!("{}\n", denial.status());
    for (name, value) in denial.headers(realm) {
        let _ = writeln!(out, "{name}\n{value}");
    }
    out.push('\n');
    out.push_str(&denial.problem(&id));
    out
}

/// The target with those characters of its query escaped that the URL standard does not let through: signed and sent are
/// then the same text. Paths are canonical and have none.
fn plain_query(target: &str) -> std::borrow::Cow<'_, str> {
    const ESCAPED: [char; 4] = ['"', '\'', '<', '>'];
    let Some((path, query)) = target.split_once('?').filter(|(_, query)| query.contains(ESCAPED)) else {
        return target.into();
    };
    let mut out = format!("{path}?");
    for character in query.chars() {
        match character {
            '"' => out.push_str("%22"),
            '\'' => out.push_str("%27"),
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            other => out.push(other),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_sent_as_they_are_signed() {
        assert_eq!(plain_query("/it's?a='b'&c=<\">"), "/it's?a=%27b%27&c=%3C%22%3E");
        for untouched in ["/a", "/a?", "/a?b={|}^`[]\\~%27"] {
            assert!(matches!(plain_query(untouched), std::borrow::Cow::Borrowed(text) if text == untouched));
        }
    }
}
