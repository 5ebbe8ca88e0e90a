//! A writer: it makes things, changes and ends them, one call after another, and remembers what it was told.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use nightlatch_tests::caller::Answer;
use nightlatch_tests::deployment::{Deployment, Login, session_of, text};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::watch;

use super::call::{Call, Repeat, Told};
use super::thing::{Cast, Effect, Facts, Kind, Stage, Thing};

/// What writers have done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) cut_off: u64,
    pub(super) cut_off_but_done: u64,
}

/// A call that was cut off, under which name it was made, and what it would do.
struct CutOff {
    call: Call,
    name: String,
    effect: Effect,
}

/// A writer.
pub(super) struct Writer {
    number: usize,
    kind: Kind,
    cast: Cast,
    random: ChaCha8Rng,
    calls: u64,
    pub(super) things: Vec<Thing>,
    cut_off: Option<CutOff>,
    pub(super) told: Told,
    pub(super) counts: Counts,
}

impl Writer {
    pub(super) fn new(number: usize, kind: Kind, cast: Cast, random: ChaCha8Rng) -> Self {
        let (things, told, counts) = (Vec::new(), Told::default(), Counts::default());
        Self { number, kind, cast, random, calls: 0, things, cut_off: None, told, counts }
    }

    /// The token of the client whose links it makes.
    pub(super) fn client(&self) -> Option<&str> {
        match &self.cast.client {
            Login::Token(token) => Some(token),
            _ => None,
        }
    }

    /// Whether it made a request of this name.
    pub(super) fn made(&self, request: &str) -> bool {
        request.strip_prefix(&self.prefix()).is_some_and(|rest| rest.starts_with('.'))
    }

    fn prefix(&self) -> String {
        format!("w{}", self.number)
    }

    /// Makes one call after another at this replica until the connection breaks or `stopped`.
    pub(super) async fn write(&mut self, all: &Deployment, url: &str, stopped: watch::Receiver<()>) -> Result<()> {
        // An error: the sender is gone.
        while stopped.has_changed().is_ok() {
            if self.things.last().is_none_or(|thing| thing.stage == Stage::Ended) {
                let name = format!("{}-{}", self.prefix(), self.things.len());
                self.things.push(Thing::new(self.kind, name));
            }
            self.calls += 1;
            let name = format!("{}.{}", self.prefix(), self.calls);
            let thing = self.things.last().context("a thing")?;
            let (call, effect) = thing.next(&self.cast, &mut self.random, self.calls)?;
            match call.make(all, url, &name, &name).await {
                Some(answer) => {
                    ensure!((200..300).contains(&answer.status), "{name} {} {}: {answer:?}", call.method, call.path);
                    self.apply(&call, &effect, &answer)?;
                    self.told.exactly(name, call.told);
                }
                None => {
                    self.counts.cut_off += 1;
                    self.cut_off = Some(CutOff { call, name, effect });
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes over what a call has done.
    fn apply(&mut self, call: &Call, effect: &Effect, answer: &Answer) -> Result<()> {
        let thing = self.things.last_mut().context("a thing")?;
        let body = if answer.status < 300 { serde_json::from_str(&answer.body)? } else { Value::Null };
        *thing = thing.after(effect);
        thing.learn(effect, &body, session_of(answer).ok())?;
        if let Some(action) = call.across {
            self.told.also(thing.id.clone().context("a link")?, action);
        }
        self.counts.acknowledged += 1;
        Ok(())
    }

    /// Finds out whether what was cut off is there, wholly or not at all; makes the call again, and sees that it has one
    /// effect.
    pub(super) async fn settle(&mut self, all: &Deployment, url: &str) -> Result<()> {
        let Some(CutOff { call, name, effect }) = self.cut_off.take() else { return Ok(()) };
        let context = || format!("cut off: {name} {} {} {effect:?}", call.method, call.path);
        let before = self.things.last().context("a thing")?.clone();
        let after = before.after(&effect);
        let found = see(all, &self.cast, url, &before).await.with_context(context)?;
        ensure!([before.facts(), after.facts()].contains(&found), "{}: half done: {found:?}", context());
        let visible = before.facts() != after.facts();
        let seen = visible.then(|| found == after.facts());

        let again = format!("{name}.again");
        let answer = call.make(all, url, &name, &again).await.with_context(context)?;
        let done = match call.repeat {
            Repeat::Replayed => {
                ensure!((200..300).contains(&answer.status), "{}: {answer:?}", context());
                Some(answer.header("idempotency-replayed") == "true")
            }
            Repeat::Refused(status, code) if answer.status == status => {
                ensure!(answer.code.as_deref() == Some(code), "{}: {answer:?}", context());
                Some(true)
            }
            Repeat::Refused(..) => {
                ensure!((200..300).contains(&answer.status), "{}: {answer:?}", context());
                Some(false)
            }
            Repeat::Nothing | Repeat::Again => {
                ensure!((200..300).contains(&answer.status), "{}: {answer:?}", context());
                None
            }
        };
        ensure!(done.is_none() || seen.is_none() || done == seen, "{}: seen {seen:?}, told {done:?}", context());
        self.apply(&call, &effect, &answer).with_context(context)?;
        let mut done = done.or(seen);
        if call.repeat == Repeat::Again {
            // Each sign-in has a session of its own.
            let thing = self.things.last_mut().context("a thing")?;
            thing.sessions = sessions(all, url, thing).await?;
            done = Some(thing.sessions == 2);
            self.told.exactly(again.clone(), call.told.clone());
        }
        self.counts.cut_off_but_done += u64::from(done == Some(true));
        match done {
            Some(true) => {
                self.told.exactly(name, call.told);
                match (call.repeat, &call.who) {
                    (Repeat::Again, _) => {}
                    // What somebody known was refused is told, too.
                    (Repeat::Refused(..), Login::Token(_)) => self.told.exactly(again, vec!["request.refused"]),
                    _ => self.told.exactly(again, Vec::new()),
                }
            }
            Some(false) => {
                self.told.exactly(name, Vec::new());
                self.told.exactly(again, call.told);
            }
            None => {
                self.told.all_or_none(name, call.told.clone());
                self.told.all_or_none(again, call.told);
            }
        }
        Ok(())
    }

    /// Compares what it was told with what is there, from the first of these things on.
    pub(super) async fn compare(&self, all: &Deployment, url: &str, first: usize) -> Result<()> {
        for thing in &self.things[first.min(self.things.len())..] {
            let found = see(all, &self.cast, url, thing).await?;
            ensure!(found == thing.facts(), "{} must be {:?}, it is {found:?}", thing.name, thing.facts());
            if thing.kind != Kind::Member {
                continue;
            }
            // Whoever is suspended or gone comes in with nothing, and nobody with a session that was ended.
            let works = !matches!(thing.stage, Stage::Suspended | Stage::Ended);
            let opens = [(&thing.session, true), (&thing.token, works), (&thing.gone, false)];
            for (login, works) in opens {
                let Some(login) = login else { continue };
                let answer = all.send_to(url, login, Method::GET, "scopes", |request| request).await?;
                let status = if works { 200 } else { 401 };
                ensure!(answer.status == status, "{} is {:?}: {answer:?}", thing.name, thing.stage);
            }
        }
        Ok(())
    }
}

/// What there is of a thing at a replica.
async fn see(all: &Deployment, cast: &Cast, url: &str, thing: &Thing) -> Result<Facts> {
    let get = async |path: &str| -> Result<Value> {
        let answer = all.send_to(url, &cast.owner, Method::GET, path, |request| request).await?.allowed()?;
        Ok(serde_json::from_str(&answer.body)?)
    };
    let list = async |path: &str| -> Result<Vec<Value>> {
        let page = get(&format!("{path}{}limit=200", if path.contains('?') { '&' } else { '?' })).await?;
        page["items"].as_array().cloned().context("items")
    };
    let found = match (thing.kind, &thing.id) {
        (Kind::Member, None) => list(&format!("members?email={}", thing.email())).await?.pop(),
        (Kind::Member | Kind::Account, Some(_)) => Some(get(&thing.path(cast)?).await?),
        // The newest come first: nobody makes two hundred at once.
        (Kind::Account, None) => {
            list("service-accounts").await?.into_iter().find(|account| account["name"] == thing.name.as_str())
        }
        (Kind::Link, _) => {
            let links = list(&format!("partners/{}/links", cast.partner)).await?;
            links.into_iter().find(|link| link["client_name"] == thing.name.as_str())
        }
    };
    let role = match (&found, thing.kind) {
        (Some(found), Kind::Member) => Some(text(&found["role"])?),
        _ => None,
    };
    let state = found.map(|found| text(&found["state"])).transpose()?;
    let mut keys = BTreeMap::new();
    if let Some(path) = thing.keys_path(cast) {
        for key in list(&path).await? {
            let name = text(&key["name"])?;
            ensure!(keys.insert(name, text(&key["state"])?).is_none(), "{} exists twice", key["name"]);
        }
    }
    Ok(Facts { state, role, keys })
}

/// How many sessions a member has.
async fn sessions(all: &Deployment, url: &str, thing: &Thing) -> Result<usize> {
    let session: &Login = thing.session.as_ref().context("a session")?;
    let answer = all.send_to(url, session, Method::GET, "sessions", |request| request).await?.allowed()?;
    let page: Value = serde_json::from_str(&answer.body)?;
    let sessions = page["items"].as_array().context("sessions")?;
    Ok(sessions.iter().filter(|session| session["state"] == "active").count())
}
