//! Who acts.

use std::fmt;

/// What kind of actor an [`Actor`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorType {
    /// A management token of a member's; the id is the token's.
    Token,
    /// A service account, with any of its management tokens or with a key of its that this API refused; the id is its
    /// principal's.
    ServiceAccount,
    /// A member, in a session; the id is the member's.
    Member,
    /// An edge token that reported something.
    Edge,
    /// The program itself: first start, passing deadlines.
    System,
    /// Whoever held an enrolment token.
    Enrolment,
    /// A gateway that paired; the id is its principal's.
    Gateway,
    /// A partner, with a key of its that this API refused; the id is its principal's. And the other side of a link, where that
    /// is the partner: the id is the link's then.
    Partner,
    /// The other side of a link, where that is the client; the id is its workspace's.
    Client,
}

impl ActorType {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ServiceAccount => "service_account",
            Self::Member => "member",
            Self::Edge => "edge",
            Self::System => "system",
            Self::Enrolment => "enrolment",
            Self::Gateway => "gateway",
            Self::Partner => "partner",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for ActorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who did it, as the audit log and `issued_by` say it. Stored actors keep their type as text, so that history stays
/// readable when kinds of actors come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// An [`ActorType`] name.
    pub kind: String,
    /// The id within its kind.
    pub id: String,
}

impl Actor {
    /// An actor of a known type.
    pub fn new(kind: ActorType, id: impl Into<String>) -> Self {
        Self { kind: kind.as_str().to_owned(), id: id.into() }
    }

    /// The program itself.
    pub fn system() -> Self {
        Self::new(ActorType::System, "nightlatch")
    }
}
