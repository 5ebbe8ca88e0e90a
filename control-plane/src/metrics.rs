//! What the control plane counts and measures, in the Prometheus text format.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a millisecond, where most calls lie, to the longest import.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// A call that was answered.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    method: String,
    route: String,
    status: u16,
}

/// A kind of call.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallKind {
    method: String,
    route: String,
}

/// A published set.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfSet {
    set: String,
}

/// An edge that has an identity.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfEdge {
    edge: String,
}

/// A state of edges.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// The state of one edge at the time of a scrape.
#[derive(Clone, Debug)]
pub struct EdgeGauges {
    /// The edge's id.
    pub edge: String,
    /// How old the state is that it answers from, in seconds: as it last reported, and grown since.
    pub data_age: Option<f64>,
    /// Its clock minus the database's, in seconds.
    pub clock_offset: Option<f64>,
}

/// A reason for which an epoch began.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Cut {
    reason: &'static str,
}

/// The state of one set at the time of a scrape.
#[derive(Clone, Debug)]
pub struct SetGauges {
    /// The set's id.
    pub set: String,
    /// Committed changes that no version holds yet.
    pub unpublished: u64,
    /// How old the published head is, in seconds.
    pub head_age: Option<f64>,
    /// How much older the head is than a heartbeat allows, in seconds; 0 when it is in time.
    pub heartbeat_lag: Option<f64>,
    /// The lease's fencing term, whoever holds it; 0 before the first.
    pub lease_term: i64,
    /// Whether this process leads.
    pub leading: bool,
    /// Whether the set is not in order here: nothing valid is published, or publishing is refused.
    pub failing: bool,
    /// Keys added since the current base.
    pub overlay: u64,
    /// Bytes of the current epoch's deltas of level 0.
    pub delta_bytes: u64,
    /// Change rows read by a build from the database, and how many there are; 0 where none goes on.
    pub build: (u64, u64),
    /// A deny note is there and cannot be read.
    pub deny_unreadable: bool,
    /// The chain of the workspace's audit log stands still: it is not the one that was signed, cannot be chained, or somebody
    /// holds it.
    pub audit_broken: bool,
    /// How long the oldest audit entry has waited to be chained, in seconds; 0 where none waits.
    pub audit_unchained_age: f64,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What names sets and edges.
    named: Registry,
    requests: Family<Call, Counter>,
    durations: Family<CallKind, Histogram>,
    unpublished: Family<OfSet, Gauge>,
    head_age: Family<OfSet, Gauge<f64, AtomicU64>>,
    heartbeat_lag: Family<OfSet, Gauge<f64, AtomicU64>>,
    lease_term: Family<OfSet, Gauge>,
    leading: Family<OfSet, Gauge>,
    failing: Family<OfSet, Gauge>,
    overlay: Family<OfSet, Gauge>,
    delta_bytes: Family<OfSet, Gauge>,
    build_rows: Family<OfSet, Gauge>,
    build_rows_expected: Family<OfSet, Gauge>,
    deny_unreadable: Family<OfSet, Gauge>,
    audit_broken: Family<OfSet, Gauge>,
    audit_unchained_age: Family<OfSet, Gauge<f64, AtomicU64>>,
    publish: Histogram,
    cuts: Family<Cut, Counter>,
    cut: Histogram,
    edge_data_age: Family<OfEdge, Gauge<f64, AtomicU64>>,
    edge_clock_offset: Family<OfEdge, Gauge<f64, AtomicU64>>,
    edges: Family<InState, Gauge>,
    passwords_verified: Counter,
    attempts_not_noted: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry in which nothing has happened yet.
    pub fn new() -> Self {
        let (mut registry, mut named) = (Registry::with_prefix("nightlatch"), Registry::with_prefix("nightlatch"));
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            unpublished: Family::default(),
            head_age: Family::default(),
            heartbeat_lag: Family::default(),
            lease_term: Family::default(),
            leading: Family::default(),
            failing: Family::default(),
            overlay: Family::default(),
            delta_bytes: Family::default(),
            build_rows: Family::default(),
            build_rows_expected: Family::default(),
            deny_unreadable: Family::default(),
            audit_broken: Family::default(),
            audit_unchained_age: Family::default(),
            publish: Histogram::new(BUCKETS),
            cuts: Family::default(),
            cut: Histogram::new(BUCKETS),
            edge_data_age: Family::default(),
            edge_clock_offset: Family::default(),
            edges: Family::default(),
            passwords_verified: Counter::default(),
            attempts_not_noted: Counter::default(),
            registry: Registry::default(),
            named: Registry::default(),
        };
        registry.register("http_requests", "Calls answered", metrics.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time to answer",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        named.register("unpublished_changes", "Committed, not yet in a version", metrics.unpublished.clone());
        named.register_with_unit("head_age", "Age of the published head", Unit::Seconds, metrics.head_age.clone());
        named.register_with_unit(
            "heartbeat_lag",
            "By how much the head is overdue",
            Unit::Seconds,
            metrics.heartbeat_lag.clone(),
        );
        named.register("lease_term", "Fencing term of the publisher's lease", metrics.lease_term.clone());
        named.register("leading", "Whether this process numbers and signs: 1 or 0", metrics.leading.clone());
        named.register("set_failing", "Whether the set is not in order here: 1 or 0", metrics.failing.clone());
        registry.register_with_unit(
            "publish_duration",
            "From numbering a version to its head in place",
            Unit::Seconds,
            metrics.publish.clone(),
        );
        named.register("overlay_keys", "Keys added since the current base", metrics.overlay.clone());
        named.register("delta_bytes", "Bytes of the current epoch's deltas", metrics.delta_bytes.clone());
        named.register(
            "deny_note_unreadable",
            "Whether a deny note is there that cannot be read: 1 or 0",
            metrics.deny_unreadable.clone(),
        );
        named.register(
            "audit_broken",
            "Whether the audit log is not the one that was signed, cannot be chained, or its chain is held: 1 or 0",
            metrics.audit_broken.clone(),
        );
        named.register_with_unit(
            "audit_unchained_age",
            "How long the oldest audit entry has waited to be chained, 0 where none waits",
            Unit::Seconds,
            metrics.audit_unchained_age.clone(),
        );
        named.register(
            "base_build_rows",
            "Change rows read by a base build from the database, 0 where none goes on",
            metrics.build_rows.clone(),
        );
        named.register(
            "base_build_rows_expected",
            "Change rows that build will read",
            metrics.build_rows_expected.clone(),
        );
        registry.register("epochs_begun", "Bases published, by reason", metrics.cuts.clone());
        registry.register_with_unit(
            "cut_duration",
            "From deciding on a new base to its head in place",
            Unit::Seconds,
            metrics.cut.clone(),
        );
        named.register_with_unit(
            "edge_data_age",
            "Age of the state an edge answers from",
            Unit::Seconds,
            metrics.edge_data_age.clone(),
        );
        named.register_with_unit(
            "edge_clock_offset",
            "An edge's clock minus the database's, when it last reported",
            Unit::Seconds,
            metrics.edge_clock_offset.clone(),
        );
        named.register("edges", "Edges by state", metrics.edges.clone());
        registry.register(
            "password_verifications",
            "Passwords compared with a hash, one where there is no account among them",
            metrics.passwords_verified.clone(),
        );
        registry.register(
            "refused_attempts_not_noted",
            "Refused attempts beyond what the audit log takes of one caller",
            metrics.attempts_not_noted.clone(),
        );
        Self { registry, named, ..metrics }
    }

    /// Counts a password that is compared with a hash.
    pub fn password_verified(&self) {
        self.passwords_verified.inc();
    }

    /// Counts an answered call. `route` is a pattern such as `/v1/keys/{id}`, never a path.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.durations
            .get_or_create(&CallKind { method: method.clone(), route: route.clone() })
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&Call { method, route, status }).inc();
    }

    /// Counts a refused attempt that the audit log did not take.
    pub fn attempt_not_noted(&self) {
        self.attempts_not_noted.inc();
    }

    /// Notes how long a publish took: from numbering a version to its head in place.
    pub fn published(&self, took: Duration) {
        self.publish.observe(took.as_secs_f64());
    }

    /// Notes that an epoch began, why, and how long its base took to make and publish.
    pub fn cut(&self, reason: &'static str, took: Duration) {
        self.cuts.get_or_create(&Cut { reason }).inc();
        self.cut.observe(took.as_secs_f64());
    }

    /// Notes the state of a set.
    pub fn observe_set(&self, gauges: &SetGauges) {
        let set = OfSet { set: gauges.set.clone() };
        self.unpublished.get_or_create(&set).set(i64::try_from(gauges.unpublished).unwrap_or(i64::MAX));
        self.lease_term.get_or_create(&set).set(gauges.lease_term);
        self.leading.get_or_create(&set).set(i64::from(gauges.leading));
        self.failing.get_or_create(&set).set(i64::from(gauges.failing));
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.overlay.get_or_create(&set).set(whole(gauges.overlay));
        self.delta_bytes.get_or_create(&set).set(whole(gauges.delta_bytes));
        self.build_rows.get_or_create(&set).set(whole(gauges.build.0));
        self.build_rows_expected.get_or_create(&set).set(whole(gauges.build.1));
        self.deny_unreadable.get_or_create(&set).set(i64::from(gauges.deny_unreadable));
        self.audit_broken.get_or_create(&set).set(i64::from(gauges.audit_broken));
        self.audit_unchained_age.get_or_create(&set).set(gauges.audit_unchained_age);
        if let Some(age) = gauges.head_age {
            self.head_age.get_or_create(&set).set(age);
        }
        if let Some(lag) = gauges.heartbeat_lag {
            self.heartbeat_lag.get_or_create(&set).set(lag);
        }
    }

    /// Notes the state of the edges there are; those of the time before leave.
    pub fn observe_edges(&self, edges: &[EdgeGauges], by_state: impl IntoIterator<Item = (&'static str, i64)>) {
        self.edge_data_age.clear();
        self.edge_clock_offset.clear();
        for gauges in edges {
            let edge = OfEdge { edge: gauges.edge.clone() };
            if let Some(age) = gauges.data_age {
                self.edge_data_age.get_or_create(&edge).set(age);
            }
            if let Some(offset) = gauges.clock_offset {
                self.edge_clock_offset.get_or_create(&edge).set(offset);
            }
        }
        for (state, count) in by_state {
            self.edges.get_or_create(&InState { state }).set(count);
        }
    }

    /// Everything in the Prometheus text format; without what names sets and edges where those are not to be shown.
    pub fn encode(&self, with_names: bool) -> String {
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| if with_names { encode_registry(&mut text, &self.named) } else { Ok(()) })
            .and_then(|()| encode_eof(&mut text));
        // Writing to a string cannot fail.
        written.expect("a string takes every text");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_shows_by_route_and_status() {
        let metrics = Metrics::new();
        metrics.answered("GET", "/v1/keys/{id}", 404, Duration::from_millis(2));
        let text = metrics.encode(true);
        let line = r#"nightlatch_http_requests_total{method="GET",route="/v1/keys/{id}",status="404"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains("nightlatch_http_request_duration_seconds_bucket"));
    }
    #[test]
    fn names_of_sets_and_edges_can_be_left_out() {
        let metrics = Metrics::new();
        metrics.answered("GET", "/metrics", 200, Duration::from_millis(2));
        let edge = EdgeGauges { edge: "edge_7".to_owned(), data_age: Some(1.0), clock_offset: None };
        metrics.observe_edges(&[edge], [("healthy", 1)]);
        assert!(metrics.encode(true).contains("edge_7"));
        let text = metrics.encode(false);
        assert!(text.contains("nightlatch_http_requests_total") && text.ends_with("# EOF\n"), "{text}");
        assert!(!text.contains("edge_7") && !text.contains("set="), "{text}");
    }
}
