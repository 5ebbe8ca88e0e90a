//! Everybody and everything on the sides of the borders.

use nightlatch::domain::{PrincipalKind, Role};
use serde_json::json;

use crate::app::TestApp;
use crate::durable::FakeEdge;
use crate::people::{People, Person, SERVICE_ACCOUNT};
use crate::principals::{Whole, id};

/// A side of a border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// A workspace, with its own people.
    Home,
    /// A partner organisation in it.
    Partner,
    /// Another partner organisation in it.
    Rival,
    /// Another workspace.
    Abroad,
    /// A link between the two workspaces, which is the only thing that both see.
    Between,
}

impl Side {
    /// Whether people of this side see what is on another.
    pub(super) fn sees(self, other: Self) -> bool {
        self == other || self == Self::Home && other != Self::Abroad || self == Self::Abroad && other == Self::Between
    }
}

/// Something that belongs to a side.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) side: Side,
    pub(super) text: String,
    /// Nothing else is called so: it may not show up across a border.
    pub(super) unique: bool,
    /// Of which kind it is in a path, a query or a body; nothing where it is in none.
    pub(super) kind: &'static str,
}

pub(super) struct Caller {
    pub(super) side: Side,
    pub(super) role: Role,
    pub(super) text: String,
    /// What must not be ended while the test runs: its own token and member.
    own: Vec<String>,
}

/// The kinds of things there are.
pub(super) const KINDS: &[&str] = &[
    "edge",
    "gateway",
    "key",
    "link",
    "member",
    "partner",
    "principal",
    "rotation",
    "service_account",
    "set",
    "staff",
    "token",
    "workspace",
];

/// Of the shape of this kind's ids.
pub(super) fn of_kind(kind: &str) -> &'static str {
    match kind {
        "edge" => "edge_0123456789abcdef",
        "key" => "key_0123456789",
        "link" => "lnk_0123456789abcdef",
        "member" | "staff" => "mem_0123456789abcdef",
        "rotation" => "rot_0123456789abcdef",
        "set" => "set_0123456789abcdef",
        "token" => "tok_0123456789abcdef",
        "workspace" => "ws_0123456789abcdef",
        "gateway" | "partner" | "principal" | "service_account" => "prn_9",
        _ => panic!("{kind}: say here what its ids look like"),
    }
}

/// Everybody and everything.
pub(super) struct World {
    pub(super) home: String,
    pub(super) abroad: String,
    pub(super) partner: u32,
    pub(super) rival: u32,
    /// The links that go from one workspace to the other.
    pub(super) crossing: Vec<String>,
    pub(super) callers: Vec<Caller>,
    pub(super) things: Vec<Thing>,
    pub(super) texts: Vec<String>,
}

impl World {
    /// Something that nothing else is called, of no kind that a call takes.
    fn text(&mut self, side: Side, text: impl Into<String>) {
        self.things.push(Thing { side, text: text.into(), unique: true, kind: "" });
    }

    /// A thing of a kind.
    fn id(&mut self, side: Side, kind: &'static str, id: impl Into<String>) {
        let text = id.into();
        // Numbers begin anew in each workspace.
        let unique = !text.starts_with("prn_") && !text.starts_with("kn_");
        self.things.push(Thing { side, text, unique, kind });
    }

    /// Whether it must not be ended: a caller's own; and by no call the organisation that callers are of.
    pub(super) fn keeps(&self, operation: &str, id: &str) -> bool {
        let ends = ["suspendPartner", "removePartner"].contains(&operation);
        let organisation = [self.partner, self.rival].iter().any(|subject| id == format!("prn_{subject}"));
        ends && organisation || self.callers.iter().any(|caller| caller.own.iter().any(|own| own == id))
    }

    /// A key with all that is known of it, and one that is being replaced.
    async fn keys(&mut self, people: &People, side: Side, subject: u32) {
        let ((key, text), (turning, other)) = (people.key(subject).await, people.key(subject).await);
        let rotation = people.rotation(&turning).await;
        for key in [&key, &turning] {
            self.id(side, "key", key.id.as_str());
            self.text(side, &key.prefix);
            self.id(side, "key", format!("kn_{}", key.number));
        }
        self.id(side, "rotation", rotation.as_str());
        self.id(side, "principal", format!("prn_{subject}"));
        self.text(side, format!("\"key of {subject} in {}\"", people.workspace.as_str()));
        self.texts.extend([text, other]);
    }

    /// Everything of which there is one.
    fn whole(&mut self, side: Side, whole: &Whole) {
        self.id(side, "service_account", &whole.service_account);
        self.id(side, "partner", &whole.partner);
        self.id(side, "staff", &whole.staff);
        self.id(side, "link", &whole.link);
        self.id(side, "gateway", &whole.gateway);
    }

    /// Somebody, who calls.
    async fn person(&mut self, people: &People, side: Side, role: Role, partner: Option<u32>) {
        let email = format!("{role}.{side:?}.{}@example.com", self.callers.len()).to_lowercase();
        let Person { member, token, text } = people.person(role, partner, &email).await;
        let own = vec![member.id.to_string(), token.id.to_string()];
        self.id(side, if partner.is_some() { "staff" } else { "member" }, member.id.as_str());
        self.id(side, "token", token.id.as_str());
        self.text(side, &token.prefix);
        self.id(side, "principal", format!("prn_{}", member.subject));
        self.text(side, email);
        self.callers.push(Caller { side, role, text, own });
        if !role.is_partner() {
            self.keys(people, side, member.subject).await;
        }
    }
}

pub(super) async fn world(app: &TestApp) -> World {
    let stranger = crate::tenants::foreign(app).await;
    let (home, abroad) = (People::of(app).await, People::of_set(app, &stranger.set).await);
    let mut world = World {
        home: home.workspace.to_string(),
        abroad: abroad.workspace.to_string(),
        partner: home.principal(app, PrincipalKind::Partner, "organisation one").await,
        rival: home.principal(app, PrincipalKind::Partner, "organisation two").await,
        crossing: Vec::new(),
        callers: Vec::new(),
        things: Vec::new(),
        texts: Vec::new(),
    };
    for (people, side) in [(&home, Side::Home), (&abroad, Side::Abroad)] {
        for role in [Role::Owner, Role::Admin, Role::Viewer] {
            world.person(people, side, role, None).await;
        }
        world.keys(people, side, SERVICE_ACCOUNT).await;
        // Whom nobody needs.
        let invited = people.invite(Role::Operator, None, &format!("invited.{side:?}@example.com")).await;
        world.id(side, "member", invited.id.as_str());
        world.text(side, format!("invited.{side:?}@example.com").to_lowercase());
        let spare = people.person(Role::Viewer, None, &format!("spare.{side:?}@example.com")).await;
        world.id(side, "member", spare.member.id.as_str());
        world.id(side, "token", spare.token.id.as_str());
    }
    for (side, subject) in [(Side::Partner, world.partner), (Side::Rival, world.rival)] {
        for role in [Role::PartnerOwner, Role::PartnerAdmin, Role::PartnerStaff] {
            world.person(&home, side, role, Some(subject)).await;
        }
        world.keys(&home, side, subject).await;
        world.id(side, "partner", format!("prn_{subject}"));
        let spare = home.person(Role::PartnerStaff, Some(subject), &format!("spare.{side:?}@example.com")).await;
        world.id(side, "staff", spare.member.id.as_str());
        world.id(side, "token", spare.token.id.as_str());
        let link = app.done(&format!("/v1/partners/prn_{subject}/links"), json!({ "client_name": "c" })).await;
        world.id(side, "link", id(&link["link"]));
    }
    let theirs = abroad.principal(app, PrincipalKind::Partner, "organisation abroad").await;
    world.person(&abroad, Side::Abroad, Role::PartnerOwner, Some(theirs)).await;
    world.callers.pop();
    world.whole(Side::Abroad, &stranger.whole);
    world.whole(Side::Home, &Whole::make(app, &app.token).await);
    world.id(Side::Abroad, "key", &stranger.key);
    world.id(Side::Abroad, "rotation", &stranger.rotation);
    world.id(Side::Abroad, "token", &stranger.token_id);
    world.id(Side::Abroad, "set", &stranger.set);
    world.id(Side::Abroad, "edge", &stranger.edge);
    world.id(Side::Abroad, "member", &stranger.member);
    crossing(app, &mut world, &stranger.token).await;
    // One that is counted in receipts.
    let edge = FakeEdge::durable(app, "edge of the home").await;
    world.id(Side::Home, "edge", &edge.id);
    world.text(Side::Home, "edge of the home");
    // Names, too, tell nobody across a border anything. Which workspace they are in, and which set has their keys, a
    // partner's people may know.
    for (side, name) in
        [(Side::Partner, "organisation one"), (Side::Rival, "organisation two"), (Side::Abroad, "organisation abroad")]
    {
        world.text(side, name);
    }
    let abroad = world.abroad.clone();
    world.id(Side::Abroad, "workspace", abroad);
    world.things.push(Thing { side: Side::Home, text: world.home.clone(), unique: false, kind: "workspace" });
    world.things.push(Thing { side: Side::Home, text: app.set.id.clone(), unique: false, kind: "set" });
    world
}

/// Two partners of the workspace, linked to the other one: one of the two links will last.
async fn crossing(app: &TestApp, world: &mut World, client: &str) {
    for name in ["first", "second"] {
        let partner = id(&app.done("/v1/partners", json!({ "name": format!("{name} across") })).await);
        let path = format!("/v1/partners/{partner}/links");
        let offered = app.done(&path, json!({ "client_name": format!("what {name} calls the client") })).await;
        let accept = app.post("/v1/links/accept", json!({ "code": offered["code"] })).token(client).send().await;
        assert_eq!(accept.status, 200, "{accept:?}");
        let link = id(&accept.json());
        world.id(Side::Between, "link", &link);
        world.id(Side::Home, "partner", &partner);
        // The partner's own name for its client is the partner's.
        world.text(Side::Home, format!("what {name} calls the client"));
        world.crossing.push(link);
    }
}
