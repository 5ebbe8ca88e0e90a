//! What a writer makes, changes and ends, as it must be: a member, a service account, or a partner's link, and its keys.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use nightlatch_tests::deployment::{Login, text};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::call::{Call, Repeat};

/// The password of everybody here.
const PASSWORD: &str = "correct horse battery";
/// Most keys of one thing.
const KEYS: usize = 6;

/// Who else takes part.
#[derive(Clone)]
pub(super) struct Cast {
    /// The workspace's owner.
    pub(super) owner: Login,
    /// A partner organisation, and its owner.
    pub(super) partner: String,
    pub(super) partner_owner: Login,
    /// The owner of a client's workspace, which is linked to the partner once at a time.
    pub(super) client: Login,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Member,
    Account,
    Link,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not there.
    New,
    /// There is a code for it.
    Invited,
    /// The code was used; a member has neither session nor token.
    Joined,
    /// The member has a session.
    SignedIn,
    /// It has keys and gets more.
    Live,
    Suspended,
    Ended,
}

/// A key.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) revoked: bool,
}

/// A member, an account or a link.
#[derive(Clone)]
pub(super) struct Thing {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) stage: Stage,
    /// Once it is known.
    pub(super) id: Option<String>,
    principal: Option<String>,
    code: Option<String>,
    role: &'static str,
    /// The session that is used, and how many there are.
    pub(super) session: Option<Login>,
    pub(super) sessions: usize,
    /// One that was ended.
    pub(super) gone: Option<Login>,
    pub(super) token: Option<Login>,
    pub(super) keys: Vec<Held>,
}

/// What becomes of a thing with a call.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    Stage(Stage),
    Role(&'static str),
    Issue(String),
    Revoke(usize),
    RevokeAll,
    /// The key of that place is replaced by one of that name.
    Replace(usize, String),
    /// Nothing that is kept here.
    None,
}

/// What can be seen of a thing and of its keys, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) state: Option<String>,
    pub(super) role: Option<String>,
    pub(super) keys: BTreeMap<String, String>,
}

impl Thing {
    pub(super) fn new(kind: Kind, name: String) -> Self {
        let (role, keys) = ("operator", Vec::new());
        let (stage, id, principal, code) = (Stage::New, None, None, None);
        let (session, sessions, gone, token) = (None, 0, None, None);
        Self { kind, name, stage, id, principal, code, role, session, sessions, gone, token, keys }
    }

    pub(super) fn email(&self) -> String {
        format!("{}@example.com", self.name)
    }

    /// The state of a key, by what became of it and of the thing.
    pub(super) fn state_of(&self, key: &Held) -> &'static str {
        match self.stage {
            _ if key.revoked => "revoked",
            Stage::Ended => "revoked",
            Stage::Suspended => "disabled",
            _ => "active",
        }
    }

    /// What must be seen.
    pub(super) fn facts(&self) -> Facts {
        let state = match (self.kind, self.stage) {
            (_, Stage::New) => None,
            (Kind::Link, Stage::Invited) => Some("pending"),
            (_, Stage::Invited) => Some("invited"),
            (_, Stage::Joined | Stage::SignedIn | Stage::Live) => Some("active"),
            (_, Stage::Suspended) => Some("suspended"),
            (Kind::Link, Stage::Ended) => Some("ended"),
            (_, Stage::Ended) => Some("removed"),
        };
        let role = (self.kind == Kind::Member && state.is_some()).then(|| self.role.to_owned());
        let keys = self.keys.iter().map(|key| (key.name.clone(), self.state_of(key).to_owned())).collect();
        Facts { state: state.map(str::to_owned), role, keys }
    }

    /// Where its keys are listed.
    pub(super) fn keys_path(&self, cast: &Cast) -> Option<String> {
        match self.kind {
            // Those of all the partner's links.
            Kind::Link => Some(format!("keys?principal={}&q={}.", cast.partner, self.name)),
            _ => self.principal.as_ref().map(|principal| format!("keys?principal={principal}")),
        }
    }

    /// The next call, and what it does.
    pub(super) fn next(&self, cast: &Cast, random: &mut ChaCha8Rng, number: u64) -> Result<(Call, Effect)> {
        match (self.kind, self.stage) {
            (Kind::Member, Stage::New) => {
                let body = json!({ "email": self.email(), "name": self.name, "role": self.role });
                let call = Call::post(&cast.owner, "members", body).repeat(Repeat::Replayed);
                Ok((call.told("member.invited", 1), Effect::Stage(Stage::Invited)))
            }
            (Kind::Member, Stage::Invited) => {
                let body = json!({ "code": self.code, "password": PASSWORD });
                let call = Call::post(&Login::Nobody, "invites/accept", body);
                let call = call.repeat(Repeat::Refused(401, "invitation_invalid")).told("member.joined", 1);
                Ok((call, Effect::Stage(Stage::Joined)))
            }
            (Kind::Member, Stage::Joined) => {
                let body = json!({ "email": self.email(), "password": PASSWORD });
                let call = Call::post(&Login::Nobody, "session", body).repeat(Repeat::Again);
                Ok((call.told("session.started", 1), Effect::Stage(Stage::SignedIn)))
            }
            (Kind::Member, Stage::SignedIn) => {
                let session = self.session.as_ref().context("a session")?;
                let call = Call::post(session, "tokens", json!({ "name": self.name, "kind": "management" }));
                Ok((call.repeat(Repeat::Replayed).told("token.created", 1), Effect::Stage(Stage::Live)))
            }
            (Kind::Account, Stage::New) => {
                let call = Call::post(&cast.owner, "service-accounts", json!({ "name": self.name }));
                let call = call.repeat(Repeat::Replayed).told("service_account.created", 1);
                Ok((call, Effect::Stage(Stage::Live)))
            }
            (Kind::Link, Stage::New) => {
                let path = format!("partners/{}/links", cast.partner);
                let call = Call::post(&cast.partner_owner, path, json!({ "client_name": self.name }));
                let call = call.repeat(Repeat::Replayed).told("partner_link.created", 1);
                Ok((call, Effect::Stage(Stage::Invited)))
            }
            (Kind::Link, Stage::Invited) => {
                let body = json!({ "code": self.code, "permissions": ["orders:see"] });
                let call = Call::post(&cast.client, "links/accept", body);
                let call = call.repeat(Repeat::Refused(422, "link_code_invalid")).told_across("partner_link.accepted");
                Ok((call, Effect::Stage(Stage::Live)))
            }
            (_, Stage::Live) => self.change(cast, random, number),
            (_, Stage::Suspended) if random.random_ratio(2, 3) => self.turn(cast, Stage::Live),
            (_, Stage::Suspended) => self.turn(cast, Stage::Ended),
            (Kind::Account, Stage::Invited | Stage::Joined | Stage::SignedIn)
            | (Kind::Link, Stage::Joined | Stage::SignedIn)
            | (_, Stage::Ended) => anyhow::bail!("nothing follows {:?}", self.stage),
        }
    }

    fn change(&self, cast: &Cast, random: &mut ChaCha8Rng, number: u64) -> Result<(Call, Effect)> {
        let live: Vec<usize> = (0..self.keys.len()).filter(|place| !self.keys[*place].revoked).collect();
        let name = format!("{}.{number}", self.name);
        let choice = random.random_range(0..10);
        if live.is_empty() || (choice < 5 && self.keys.len() < KEYS) {
            return self.issue(cast, name);
        }
        let place = live[random.random_range(0..live.len())];
        match choice {
            0..=5 => {
                let who = self.keeper(cast)?;
                let call =
                    Call::post(who, format!("keys/{}/revoke", self.keys[place].id), json!({ "reason": "leaked" }));
                Ok((call.told("key.revoked", 1), Effect::Revoke(place)))
            }
            6 => {
                let who = self.keeper(cast)?;
                let body = json!({ "order": "revoke_first", "reason": "leaked", "name": name });
                let call = Call::post(who, format!("keys/{}/rotations", self.keys[place].id), body);
                let call = call.repeat(Repeat::Replayed).told("key.issued", 1).told("key.revoked", 1);
                let call = call.told("rotation.started", 1);
                Ok((call, Effect::Replace(place, name)))
            }
            7 if self.kind == Kind::Member => {
                let role = if self.role == "operator" { "viewer" } else { "operator" };
                let call = Call::patch(&cast.owner, self.path(cast)?, json!({ "role": role }));
                Ok((call.told("member.updated", 1), Effect::Role(role)))
            }
            7 if self.kind == Kind::Account => {
                let body = json!({ "filter": { "principal": self.principal }, "reason": "the walk says so" });
                let call = Call::post(&cast.owner, "keys:revoke-many", body).told("key.revoked_many", 1);
                Ok((call.told("key.revoked", live.len()), Effect::RevokeAll))
            }
            7 | 8 if self.kind != Kind::Link => self.turn(cast, Stage::Suspended),
            7 | 8 => {
                let permissions = json!({ "permissions": [format!("orders:{number}")] });
                let path = format!("links/{}", self.id.as_deref().context("a link")?);
                let call = Call::patch(&cast.client, path, permissions);
                Ok((call.told_across("partner_link.updated"), Effect::None))
            }
            _ => self.turn(cast, Stage::Ended),
        }
    }

    fn issue(&self, cast: &Cast, name: String) -> Result<(Call, Effect)> {
        let mut body = json!({ "name": name, "environment": "live" });
        match self.kind {
            Kind::Link => (body["principal"], body["link"]) = (json!(cast.partner), json!(self.id)),
            _ => body["principal"] = json!(self.principal),
        }
        let call = Call::post(self.keeper(cast)?, "keys", body).repeat(Repeat::Replayed);
        Ok((call.told("key.issued", 1), Effect::Issue(name)))
    }

    /// Suspends, resumes or ends it, and its keys with it.
    fn turn(&self, cast: &Cast, stage: Stage) -> Result<(Call, Effect)> {
        let verb = match (self.kind, stage) {
            (Kind::Link, _) => "end",
            (_, Stage::Suspended) => "suspend",
            (_, Stage::Ended) => "remove",
            _ => "resume",
        };
        let who = if self.kind == Kind::Link { &cast.partner_owner } else { &cast.owner };
        let call = Call::post(who, format!("{}/{verb}", self.path(cast)?), json!({ "reason": "the walk says so" }));
        let live = self.keys.iter().filter(|key| !key.revoked).count();
        let actions = match self.kind {
            Kind::Member => ["member.resumed", "member.suspended", "member.removed"],
            Kind::Account => ["service_account.resumed", "service_account.suspended", "service_account.removed"],
            Kind::Link => {
                return Ok((call.told_across("partner_link.ended").told("key.revoked", live), Effect::Stage(stage)));
            }
        };
        let call = match stage {
            Stage::Suspended => {
                call.told(actions[1], 1).told("key.disabled", live).told("session.ended", self.sessions)
            }
            Stage::Ended => {
                let call = call.told(actions[2], 1).told("key.revoked", live).told("session.ended", self.sessions);
                call.told("token.revoked", usize::from(self.token.is_some()))
            }
            _ => call.told(actions[0], 1).told("key.enabled", live),
        };
        Ok((call, Effect::Stage(stage)))
    }

    /// Who issues, rotates and revokes its keys.
    fn keeper<'c>(&'c self, cast: &'c Cast) -> Result<&'c Login> {
        match self.kind {
            Kind::Member => self.token.as_ref().context("a token"),
            Kind::Account => Ok(&cast.owner),
            Kind::Link => Ok(&cast.partner_owner),
        }
    }

    pub(super) fn path(&self, cast: &Cast) -> Result<String> {
        let id = self.id.as_deref().context("it is not there yet")?;
        Ok(match self.kind {
            Kind::Member => format!("members/{id}"),
            Kind::Account => format!("service-accounts/{id}"),
            Kind::Link => format!("partners/{}/links/{id}", cast.partner),
        })
    }

    /// What it is once an effect has come about; what an answer says of it is [`Self::learn`]ed apart.
    pub(super) fn after(&self, effect: &Effect) -> Self {
        let mut after = self.clone();
        match effect {
            Effect::Stage(stage) => {
                after.stage = *stage;
                if matches!(stage, Stage::Suspended | Stage::Ended) {
                    after.gone = after.session.take().or(after.gone);
                    after.sessions = 0;
                }
            }
            Effect::Role(role) => after.role = role,
            Effect::Issue(name) => after.keys.push(Held::named(name)),
            Effect::Revoke(place) => after.keys[*place].revoked = true,
            Effect::RevokeAll => after.keys.iter_mut().for_each(|key| key.revoked = true),
            Effect::Replace(place, name) => {
                after.keys[*place].revoked = true;
                after.keys.push(Held::named(name));
            }
            Effect::None => {}
        }
        after
    }

    /// Takes over what only the answer to a call knows.
    pub(super) fn learn(&mut self, effect: &Effect, answer: &Value, session: Option<Login>) -> Result<()> {
        match (self.kind, effect) {
            (_, Effect::Issue(_) | Effect::Replace(..)) => {
                let key = self.keys.last_mut().context("a key")?;
                (key.id, key.secret) = (text(&answer["key"]["id"])?, text(&answer["secret"])?);
            }
            (Kind::Member, Effect::Stage(Stage::Invited)) => {
                self.id = Some(text(&answer["member"]["id"])?);
                self.principal = Some(text(&answer["member"]["principal"])?);
                self.code = Some(text(&answer["code"])?);
            }
            (Kind::Member, Effect::Stage(Stage::SignedIn)) => (self.session, self.sessions) = (session, 1),
            // A resumed member has its token.
            (Kind::Member, Effect::Stage(Stage::Live)) if self.token.is_none() => {
                self.token = Some(Login::Token(text(&answer["secret"])?));
            }
            (Kind::Account, Effect::Stage(Stage::Live)) if self.id.is_none() => {
                self.id = Some(text(&answer["id"])?);
                self.principal = self.id.clone();
            }
            (Kind::Link, Effect::Stage(Stage::Invited)) => {
                self.id = Some(text(&answer["link"]["id"])?);
                self.code = Some(text(&answer["code"])?);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Held {
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), id: String::new(), secret: String::new(), revoked: false }
    }
}
