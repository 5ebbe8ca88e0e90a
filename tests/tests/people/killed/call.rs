//! One call that changes something, what must come of it, and how it is made.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use nightlatch_tests::caller::Answer;
use nightlatch_tests::deployment::{Deployment, Login};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// A call.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) who: Login,
    /// The names of the audit entries that it leaves, in order of the alphabet: all of them, or none.
    pub(super) told: Vec<&'static str>,
    /// The entry of the log on the other side of a link, which names no request but the link.
    pub(super) across: Option<&'static str>,
    pub(super) repeat: Repeat,
}

/// What comes of making a call again that was done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The answer of then: it has an `Idempotency-Key`.
    Replayed,
    /// Nothing: what it asks for is there.
    Nothing,
    /// A refusal, which says that it was done.
    Refused(u16, &'static str),
    /// The same once more.
    Again,
}

impl Call {
    pub(super) fn post(who: &Login, path: impl Into<String>, body: Value) -> Self {
        let (path, who) = (path.into(), who.clone());
        Self { method: Method::POST, path, body, who, told: Vec::new(), across: None, repeat: Repeat::Nothing }
    }

    pub(super) fn patch(who: &Login, path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::PATCH, ..Self::post(who, path, body) }
    }

    pub(super) fn repeat(self, repeat: Repeat) -> Self {
        Self { repeat, ..self }
    }

    /// Leaves these entries.
    pub(super) fn told(mut self, action: &'static str, times: usize) -> Self {
        self.told.extend(std::iter::repeat_n(action, times));
        self.told.sort_unstable();
        self
    }

    /// Leaves this entry, and the same on the other side of a link.
    pub(super) fn told_across(self, action: &'static str) -> Self {
        Self { across: Some(action), ..self.told(action, 1) }
    }

    /// Makes the call under this name. `None`: the connection broke, and nobody knows.
    pub(super) async fn make(&self, all: &Deployment, url: &str, key: &str, request: &str) -> Option<Answer> {
        let build = |call: RequestBuilder| {
            let call = call.json(&self.body).header("x-request-id", request);
            let call = if self.method == Method::PATCH { call.header("if-match", "*") } else { call };
            if self.repeat == Repeat::Replayed { call.header("idempotency-key", key) } else { call }
        };
        all.send_to(url, &self.who, self.method.clone(), &self.path, build).await.ok()
    }
}

/// The entries that the log must have, by the name of their request.
#[derive(Default)]
pub(super) struct Told(BTreeMap<String, Entries>);

enum Entries {
    Exactly(Vec<&'static str>),
    /// Nobody can know, but not half of them.
    AllOrNone(Vec<&'static str>),
}

impl Told {
    pub(super) fn exactly(&mut self, request: String, told: Vec<&'static str>) {
        self.0.insert(request, Entries::Exactly(told));
    }

    /// One more of what has no request of its own.
    pub(super) fn also(&mut self, name: String, action: &'static str) {
        let entries = self.0.entry(name).or_insert_with(|| Entries::Exactly(Vec::new()));
        let (Entries::Exactly(told) | Entries::AllOrNone(told)) = entries;
        told.push(action);
        told.sort_unstable();
    }

    pub(super) fn all_or_none(&mut self, request: String, told: Vec<&'static str>) {
        self.0.insert(request, Entries::AllOrNone(told));
    }

    /// Compares with what the log has of requests that `are_ours`.
    pub(super) fn compare(&self, log: &BTreeMap<String, Vec<String>>, are_ours: impl Fn(&str) -> bool) -> Result<()> {
        for (request, Entries::Exactly(told) | Entries::AllOrNone(told)) in &self.0 {
            let found = log.get(request).map_or(&[][..], Vec::as_slice);
            let none = matches!(self.0[request], Entries::AllOrNone(_)) && found.is_empty();
            ensure!(none || found == told, "{request} must have left {told:?}, the log has {found:?}");
        }
        for (request, found) in log.iter().filter(|(request, _)| are_ours(request)) {
            ensure!(self.0.contains_key(request), "nobody made {request}, which left {found:?}");
        }
        Ok(())
    }
}
