//! Random histories of partners, their keys and their links, against a model.
//!
//! The model keeps per key whether it works, per link what was earned and whether it lasts, per partner where it stands.
//! S0-29: nothing that is done to keys moves a link; and no link moves a key but those that are bound to it.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::id;
use crate::app::TestApp;

#[derive(Clone, Debug)]
enum Step {
    Issue { partner: usize, link: Option<usize> },
    Rotate { key: usize, revoke_first: bool },
    Revoke { key: usize },
    Link { partner: usize, client: usize, permission: u8 },
    Permit { link: usize, permission: u8 },
    End { link: usize, by_client: bool },
    Suspend { partner: usize },
    Resume { partner: usize },
    Remove { partner: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (partner, place) = (0..2_usize, 0..8_usize);
    let step = prop_oneof![
        6 => (partner.clone(), proptest::option::of(place.clone())).prop_map(|(partner, link)| Step::Issue { partner, link }),
        4 => (place.clone(), any::<bool>()).prop_map(|(key, revoke_first)| Step::Rotate { key, revoke_first }),
        2 => place.clone().prop_map(|key| Step::Revoke { key }),
        4 => (partner.clone(), 0..2_usize, 0..3_u8).prop_map(|(partner, client, permission)| Step::Link { partner, client, permission }),
        2 => (place.clone(), 0..3_u8).prop_map(|(link, permission)| Step::Permit { link, permission }),
        2 => (place, any::<bool>()).prop_map(|(link, by_client)| Step::End { link, by_client }),
        2 => partner.clone().prop_map(|partner| Step::Suspend { partner }),
        3 => partner.clone().prop_map(|partner| Step::Resume { partner }),
        1 => partner.prop_map(|partner| Step::Remove { partner }),
    ];
    proptest::collection::vec(step, 40..41)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Active,
    Suspended,
    Removed,
}

struct Partner {
    id: String,
    token: String,
    standing: Standing,
}

struct Key {
    id: String,
    secret: Value,
    partner: usize,
    link: Option<usize>,
    /// In an overlap: it cannot be rotated again with one.
    retiring: bool,
    ended: bool,
}

struct Link {
    id: String,
    partner: usize,
    client: usize,
    permission: u8,
    ended: bool,
}

struct World<'a> {
    app: &'a TestApp,
    clients: [String; 2],
    partners: Vec<Partner>,
    keys: Vec<Key>,
    links: Vec<Link>,
}

impl World<'_> {
    async fn run(&mut self, step: &Step) {
        let app = self.app;
        match *step {
            Step::Issue { partner, link } => {
                let link = link.filter(|link| *link < self.links.len());
                let mut body = json!({ "name": "k", "environment": "live", "principal": self.partners[partner].id });
                if let Some(link) = link {
                    body["link"] = json!(self.links[link].id);
                }
                let answer = app.post("/v1/keys", body).token(&self.partners[partner].token).send().await;
                let fits = link.is_none_or(|link| self.links[link].partner == partner && !self.links[link].ended);
                let may = self.partners[partner].standing == Standing::Active && fits;
                assert_eq!(answer.status == 201, may, "{step:?}: {answer:?}");
                if may {
                    let (key, secret) = (id(&answer.json()["key"]), answer.json()["secret"].clone());
                    self.keys.push(Key { id: key, secret, partner, link, retiring: false, ended: false });
                }
            }
            Step::Rotate { key, revoke_first } => {
                let Some(Key { id: of, partner, link, retiring, ended, .. }) = self.keys.get(key) else { return };
                let (partner, link) = (*partner, *link);
                let body = if revoke_first {
                    json!({ "order": "revoke_first", "reason": "r" })
                } else {
                    json!({ "overlap_seconds": 86_400, "reason": "r" })
                };
                let call = app.post(&format!("/v1/keys/{of}/rotations"), body).token(&self.partners[partner].token);
                let answer = call.send().await;
                let lasts = link.is_none_or(|link| !self.links[link].ended);
                let may = self.partners[partner].standing == Standing::Active
                    && lasts
                    && (revoke_first || !retiring && !ended);
                assert_eq!(answer.status == 201, may, "{step:?}: {answer:?}");
                if may {
                    let old = &mut self.keys[key];
                    (old.retiring, old.ended) = (true, old.ended || revoke_first);
                    let (key, secret) = (id(&answer.json()["key"]), answer.json()["secret"].clone());
                    self.keys.push(Key { id: key, secret, partner, link, retiring: false, ended: false });
                }
            }
            Step::Revoke { key } => {
                let Some(key) = self.keys.get_mut(key) else { return };
                let partner = &self.partners[key.partner];
                let call = app.post(&format!("/v1/keys/{}/revoke", key.id), json!({ "reason": "r" }));
                let answer = call.token(&partner.token).send().await;
                let may = partner.standing == Standing::Active;
                assert_eq!(answer.status == 200, may, "{answer:?}");
                key.ended |= may;
            }
            Step::Link { partner, client, permission } => {
                let of = &self.partners[partner];
                let call = app.post(&format!("/v1/partners/{}/links", of.id), json!({ "client_name": "c" }));
                let made = call.send().await;
                assert_eq!(made.status == 201, of.standing == Standing::Active, "{made:?}");
                if made.status != 201 {
                    return;
                }
                let body = json!({ "code": made.json()["code"], "permissions": [format!("p{permission}")] });
                let answer = app.post("/v1/links/accept", body).token(&self.clients[client]).send().await;
                let there = |link: &Link| link.partner == partner && link.client == client && !link.ended;
                let may = !self.links.iter().any(there);
                assert_eq!(answer.status == 200, may, "{answer:?}");
                if may {
                    self.links.push(Link { id: id(&answer.json()), partner, client, permission, ended: false });
                }
            }
            Step::Permit { link, permission } => {
                let Some(link) = self.links.get_mut(link) else { return };
                let call = app.call(reqwest::Method::PATCH, &format!("/v1/links/{}", link.id)).header("if-match", "*");
                let body = json!({ "permissions": [format!("p{permission}")] });
                let answer = call.json(&body).token(&self.clients[link.client]).send().await;
                assert_eq!(answer.status == 200, !link.ended, "{answer:?}");
                if !link.ended {
                    link.permission = permission;
                }
            }
            Step::End { link: place, by_client } => {
                let Some(link) = self.links.get_mut(place) else { return };
                let (path, token) = if by_client {
                    (format!("/v1/links/{}/end", link.id), &self.clients[link.client])
                } else {
                    (format!("/v1/partners/{}/links/{}/end", self.partners[link.partner].id, link.id), &app.token)
                };
                let answer = app.post(&path, json!({ "reason": "over" })).token(token).send().await;
                assert_eq!(answer.status, 200, "{answer:?}");
                link.ended = true;
                for key in self.keys.iter_mut().filter(|key| key.link == Some(place)) {
                    key.ended = true;
                }
            }
            Step::Suspend { partner } => self.turn(partner, "suspend", Standing::Suspended).await,
            Step::Resume { partner } => self.turn(partner, "resume", Standing::Active).await,
            Step::Remove { partner } => {
                let path = format!("/v1/partners/{}/remove", self.partners[partner].id);
                assert_eq!(app.post(&path, json!({ "reason": "over" })).send().await.status, 200);
                self.partners[partner].standing = Standing::Removed;
                self.keys.iter_mut().filter(|key| key.partner == partner).for_each(|key| key.ended = true);
                self.links.iter_mut().filter(|link| link.partner == partner).for_each(|link| link.ended = true);
            }
        }
    }

    async fn turn(&mut self, partner: usize, verb: &str, to: Standing) {
        let partner = &mut self.partners[partner];
        let answer = self.app.post(&format!("/v1/partners/{}/{verb}", partner.id), json!({})).send().await;
        let may = partner.standing != Standing::Removed;
        assert_eq!(answer.status == 200, may, "{answer:?}");
        if may {
            partner.standing = to;
        }
    }

    /// Everything is as the model has it.
    async fn check(&self) {
        for key in &self.keys {
            let expected = match (key.ended, self.partners[key.partner].standing) {
                (true, _) => Some("key_revoked"),
                (false, Standing::Suspended) => Some("key_disabled"),
                (false, _) => None,
            };
            assert_eq!(self.app.refused(&key.secret).await.as_deref(), expected, "{}", key.id);
        }
        for link in &self.links {
            let call = self.app.get(&format!("/v1/links/{}", link.id)).token(&self.clients[link.client]);
            let seen = call.send().await.json();
            assert_eq!(seen["permissions"], json!([format!("p{}", link.permission)]), "{seen}");
            assert_eq!(seen["state"], if link.ended { "ended" } else { "active" }, "{seen}");
        }
        let count = self.app.number("SELECT COUNT(*) FROM keys WHERE kind = 'partner'").await;
        assert_eq!(usize::try_from(count).unwrap(), self.keys.len());
    }
}

async fn run(app: TestApp, seed: u64) {
    let foreign = crate::tenants::foreign(&app).await;
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..2 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let kept = app.number("SELECT COUNT(*) FROM keys WHERE kind = 'partner'").await;
        assert_eq!(kept, 0);
        let mut world = World {
            app: &app,
            clients: [app.token.clone(), foreign.token.clone()],
            partners: Vec::new(),
            keys: Vec::new(),
            links: Vec::new(),
        };
        for name in ["one", "two"] {
            let partner = id(&app.done("/v1/partners", json!({ "name": name })).await);
            let token = app.member_token("partner_owner", Some(&partner)).await;
            world.partners.push(Partner { id: partner, token, standing: Standing::Active });
        }
        for step in &steps {
            world.run(step).await;
            world.check().await;
        }
        // The next history begins without the keys of this one.
        app.sql("UPDATE keys SET kind = 'service_account' WHERE kind = 'partner'").await;
    }
    app.stop().await;
}

#[tokio::test]
async fn s0_29_histories_of_partners_on_sqlite() {
    run(TestApp::sqlite().await, 1).await;
}

#[tokio::test]
async fn s0_29_histories_of_partners_on_postgres() {
    run(TestApp::postgres().await, 2).await;
}
