//! A durable edge as the control plane sees it: a credential, and reports.

use nightlatch_api::client::Client;
use nightlatch_api::{AppliedState, CreateEdge, EdgeClass, EdgeReport, EnrolEdge, Secret};

use crate::app::{TestApp, now};

/// An enrolled edge that says what a test wants it to say.
pub(crate) struct FakeEdge {
    pub(crate) id: String,
    pub(crate) credential: Secret,
    pub(crate) client: Client,
    pub(crate) instance: String,
    pub(crate) sequence: u64,
}

impl FakeEdge {
    pub(crate) async fn enrol(app: &TestApp, name: &str, class: EdgeClass) -> Self {
        let request = CreateEdge { name: name.into(), class, set: None };
        let created = app.client.create_edge(&request).await.unwrap();
        let stranger = Client::new(&app.server.url()).unwrap();
        let request = EnrolEdge { code: created.code, runtime: "fake".into(), version: "1.0.0".into() };
        let enrolled = stranger.enrol_edge(&request).await.unwrap();
        let client = stranger.with_token(enrolled.credential.expose().to_owned());
        Self { id: enrolled.edge.id, credential: enrolled.credential, client, instance: "one".into(), sequence: 0 }
    }

    pub(crate) async fn durable(app: &TestApp, name: &str) -> Self {
        Self::enrol(app, name, EdgeClass::Durable).await
    }

    /// What an edge would report that has applied the newest head.
    pub(crate) async fn newest(&mut self, app: &TestApp) -> EdgeReport {
        let set = app.client.set(&app.set.id).await.unwrap();
        let issued = set.published.map_or(0, |published| ms(published.issued));
        self.sequence += 1;
        EdgeReport {
            set: set.id,
            instance: self.instance.clone(),
            sequence: self.sequence,
            runtime: "fake".into(),
            version: "1.0.1".into(),
            applied: Some(AppliedState {
                incarnation: set.incarnation,
                epoch: set.epoch,
                version: set.version,
                issued,
            }),
            sent_at: Some(ms(now())),
            ..EdgeReport::default()
        }
    }

    /// Reports that it has applied the newest head.
    pub(crate) async fn follow(&mut self, app: &TestApp) {
        let report = self.newest(app).await;
        assert!(self.client.report(&report).await.unwrap().accepted);
    }
}

fn ms(time: jiff::Timestamp) -> u64 {
    time.as_millisecond().unsigned_abs()
}
