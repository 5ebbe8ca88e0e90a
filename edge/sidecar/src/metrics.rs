//! What the sidecar counts and measures, in the Prometheus text format. Threads count for themselves; a scrape adds up.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::shared::Shared;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Verdict {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Tried {
    outcome: &'static str,
}

/// Everything in the Prometheus text format.
pub(crate) fn encode_all(shared: &Shared) -> String {
    let mut registry = Registry::with_prefix("nightlatch_sidecar");
    let verdicts = Family::<Verdict, Counter>::default();
    registry.register("verdicts", "Requests judged, by outcome", verdicts.clone());
    for (outcome, count) in shared.workers.iter().flat_map(|worker| worker.verdicts()) {
        if count > 0 {
            verdicts.get_or_create(&Verdict { outcome }).inc_by(count);
        }
    }
    let aged = counter(shared.workers.iter().map(|worker| worker.aged()).sum());
    registry.register("connections_ended_by_age", "Connections ended by max_connection_age", aged);

    let status = shared.status().clone();
    for (name, help, (fine, failed)) in [
        ("refreshes", "Attempts to refresh the set, by outcome", status.refreshes),
        ("reports", "Reports to the control plane, by outcome", status.reports),
    ] {
        let family = Family::<Tried, Counter>::default();
        family.get_or_create(&Tried { outcome: "succeeded" }).inc_by(fine);
        family.get_or_create(&Tried { outcome: "failed" }).inc_by(failed);
        registry.register(name, help, family);
    }
    let flag = |is: bool| gauge(u64::from(is));
    registry.register("state_kept", "1 while what is in force is on the disk", flag(status.not_persisted.is_none()));
    registry.register("source_holds", "1 while the source holds questions for the head open", flag(status.held));

    let reading = shared.clock.read();
    let gate = shared.gate();
    registry.register("serving", "1 while requests can be answered", flag(gate.edge.serving(reading.now).is_some()));
    if let Some(loaded) = gate.edge.loaded() {
        let head = loaded.head();
        let seconds = |ms: u64| {
            let gauge = Gauge::<f64, AtomicU64>::default();
            gauge.set(ms as f64 / 1_000.0);
            gauge
        };
        let (age, left) = (reading.now.saturating_sub(head.issued), head.valid_until.saturating_sub(reading.now));
        registry.register_with_unit("data_age", "Age of what is answered from", Unit::Seconds, seconds(age));
        registry.register_with_unit("validity_left", "How long it may be relied on", Unit::Seconds, seconds(left));
        registry.register("set_version", "The version in force", gauge(head.version));
        registry.register("set_epoch", "Its epoch", gauge(head.epoch));
        registry.register("set_incarnation", "Its incarnation", gauge(head.incarnation));
        registry.register("set_keys", "Keys in it", gauge(loaded.replica().len() as u64));
        let memory = gauge(loaded.replica().memory() as u64);
        registry.register_with_unit("set_memory", "Memory it takes", Unit::Bytes, memory);
        registry.register("clock_refused", "1 while the clock cannot be relied on", flag(reading.behind > head.skew));
    }
    if let Some(kept) = status.persisted {
        registry.register("kept_version", "The version on the disk, which reports confirm", gauge(kept.version));
    }
    drop(gate);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn counter(count: u64) -> Counter {
    let counter: Counter = Counter::default();
    counter.inner().store(count, Ordering::Relaxed);
    counter
}

fn gauge(value: u64) -> Gauge {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}
