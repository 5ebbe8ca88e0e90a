//! What an instance tells the control plane: which state it answers from, what it can read, and which keys it saw.

use std::fmt::Write as _;

use nightlatch_sync::Mark;

use crate::instance::Instance;
use crate::sightings::Report;

/// The formats this build reads, as the control plane names them.
const FORMATS: &str = r#""head/4","head/3","base/3","base/2","delta/3","delta/2","rebase/1","trust/1","deny/1""#;

impl Instance {
    /// A report to send: `{sequence}\n{body}`. What does not arrive goes with the next one.
    pub(crate) fn report(&mut self) -> String {
        let now = self.now();
        let applied = self.edge.loaded().and_then(|_| self.edge.mark());
        let (config, name, failure) = (&self.config, &self.name, self.last_failure);
        let about = About {
            set: &config.set,
            instance: name,
            now,
            peppers: config.peppers.iter().map(nightlatch_keyset::Pepper::id).collect(),
            trust: self.edge.trust().map(|trust| trust.version),
            failure,
        };
        self.sightings.take(applied, now, |report| write(report, &about))
    }
}

/// What a report says of the instance.
struct About<'a> {
    set: &'a str,
    instance: &'a str,
    now: u64,
    /// The ids of those it holds.
    peppers: Vec<&'a str>,
    /// The version of the trust note it goes by.
    trust: Option<u64>,
    /// The code of the last failed flight, until one lands.
    failure: Option<&'static str>,
}

/// None of the texts in a report needs escaping.
fn write(report: &Report, about: &About<'_>) -> String {
    let About { set, instance, now, peppers, trust, failure } = about;
    let Report { sequence, applied, seen } = report;
    let mut out = String::with_capacity(500 + 48 * seen.len());
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        r#"{sequence}
{{"set":"{set}","instance":"{instance}","sequence":{sequence},"runtime":"cloudflare","version":"{}","sent_at":{now},"formats":[{FORMATS}],"peppers":["{}"]"#,
        env!("CARGO_PKG_VERSION"),
        peppers.join(r#"",""#),
    );
    if let Some(version) = trust {
        let _ = write!(out, r#","trust":{version}"#);
    }
    if let Some(code) = failure {
        let _ = write!(out, r#","failure":"{code}""#);
    }
    if let Some(Mark { incarnation, epoch, version, issued }) = applied {
        let age = now.saturating_sub(*issued);
        let _ = write!(
            out,
            r#","data_age_ms":{age},"applied":{{"incarnation":{incarnation},"epoch":{epoch},"version":{version},"issued":{issued}}}"#
        );
    }
    out.push_str(r#","seen":["#);
    for (index, (key, at)) in seen.iter().enumerate() {
        let _ = write!(out, r#"{}{{"key":"{key}","at":{at}}}"#, if index == 0 { "" } else { "," });
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use nightlatch_gate::KeyId;

    use super::*;

    #[test]
    fn a_report_is_json() {
        let mark = Mark { incarnation: 0, epoch: 1, version: 7, issued: 1_700 };
        let seen = vec![(KeyId::Number(1), 1), (KeyId::Number(2), 3)];
        let report = Report { sequence: 2, applied: Some(mark), seen };
        let peppers = vec!["p1", "p2"];
        let about =
            About { set: "set_a", instance: "i", now: 2_000, peppers, trust: Some(3), failure: Some("fetch_failed") };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            write(&report, &about),
            format!(
                r#"2
{{"set":"set_a","instance":"i","sequence":2,"runtime":"cloudflare","version":"{version}","sent_at":2000,"formats":[{FORMATS}],"peppers":["p1","p2"],"trust":3,"failure":"fetch_failed","data_age_ms":300,"applied":{{"incarnation":0,"epoch":1,"version":7,"issued":1700}},"seen":[{{"key":"kn_1","at":1}},{{"key":"kn_2","at":3}}]}}"#
            )
        );
        let nothing = About { trust: None, failure: None, ..about };
        let empty = Report { sequence: 1, applied: None, seen: Vec::new() };
        assert!(write(&empty, &nothing).ends_with(r#""peppers":["p1","p2"],"seen":[]}"#));
    }
}
