//! Sending what was seen to the control plane.

use web_sys::AbortSignal;

use crate::{log, now, source, with};

/// Milliseconds a report may take.
const TIMEOUT_MS: u32 = 5_000;

/// Sends what is pending. What does not arrive goes with the next report.
pub(crate) async fn send() {
    let start = with(|instance| {
        let url = instance.config.report_url.clone()?;
        let now = instance.edge.now(now(), None);
        let report = instance.sightings.take(now);
        let applied = instance.edge.loaded().and_then(|_| instance.edge.mark());
        let json = report.to_json(&instance.config.set, &instance.name, applied);
        Some((instance.config.clone(), url, report, applied, json))
    });
    let Some(Some((config, url, report, applied, json))) = start else {
        return;
    };
    let signal = AbortSignal::timeout_with_u32(TIMEOUT_MS);
    let sent = source::post(&config, &url, &json, &signal).await;
    let _ = with(|instance| {
        if matches!(sent, Ok(true)) {
            instance.sightings.arrived(applied);
        } else {
            log::warn("nightlatch: a report did not arrive; it goes with the next one");
            instance.sightings.failed(report);
        }
    });
}
