//! Partner organisations: their links to client workspaces.
//!
//! A link says which permissions a partner has earned at a client. It is about what the partner may do there, not about
//! how it proves who it is: its keys come and go beside it.

use super::{LinkId, Reason, Refusal, Scopes, WorkspaceId};

/// How long a link's code works, milliseconds.
pub const LINK_CODE_LIFETIME_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Its code has not been used.
    Pending,
    /// A client accepted it.
    Active,
    /// Either side ended it: final.
    Ended,
}

impl LinkState {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Active, Self::Ended].into_iter().find(|state| state.as_str() == name)
    }
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The partner, or the workspace it is in.
    Partner,
    /// The workspace that accepted it.
    Client,
}

impl Side {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Client => "client",
        }
    }

    /// The side of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Partner, Self::Client].into_iter().find(|side| side.as_str() == name)
    }
}

/// How a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// By whom. Neither side learns which person of the other it was.
    pub by: Side,
    /// Unix milliseconds.
    pub at: i64,
    /// Why.
    pub reason: Option<String>,
}

/// A link between a partner and a client workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// `lnk_…`
    pub id: LinkId,
    /// The workspace the partner is in.
    pub workspace: WorkspaceId,
    /// The partner's number there.
    pub partner: u32,
    /// What the partner's side calls the client.
    pub client_name: String,
    /// Who accepted it.
    pub client: Option<WorkspaceId>,
    /// What the partner has earned there.
    pub permissions: Scopes,
    /// From when its code is refused, unix milliseconds.
    pub code_expires_at: i64,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub accepted_at: Option<i64>,
    /// How it ended.
    pub end: Option<LinkEnd>,
    /// Counts the changes of the record.
    pub revision: i64,
}

impl Link {
    /// Where it stands.
    pub fn state(&self) -> LinkState {
        match (&self.end, &self.client) {
            (Some(_), _) => LinkState::Ended,
            (None, Some(_)) => LinkState::Active,
            (None, None) => LinkState::Pending,
        }
    }

    /// The client takes it up and says what the partner earns.
    ///
    /// # Errors
    /// [`Refusal::LinkCodeUnusable`] where it was accepted or ended before, or the code's time is over.
    pub fn accept(&self, client: WorkspaceId, permissions: Scopes, now: i64) -> Result<Self, Refusal> {
        if self.state() != LinkState::Pending || now >= self.code_expires_at {
            return Err(Refusal::LinkCodeUnusable);
        }
        Ok(Self { client: Some(client), permissions, accepted_at: Some(now), ..self.clone() })
    }

    /// The client says anew what the partner earns. `None` where that changes nothing.
    ///
    /// # Errors
    /// [`Refusal::LinkNotActive`].
    pub fn permit(&self, permissions: Scopes) -> Result<Option<Self>, Refusal> {
        self.require_active()?;
        Ok((permissions != self.permissions).then(|| Self { permissions, ..self.clone() }))
    }

    /// Ends it. `None` where it has ended.
    pub fn ended(&self, by: Side, reason: Option<&Reason>, now: i64) -> Option<Self> {
        if self.end.is_some() {
            return None;
        }
        let end = LinkEnd { by, at: now, reason: reason.map(|reason| reason.as_str().to_owned()) };
        Some(Self { end: Some(end), ..self.clone() })
    }

    /// Whether keys can be bound to it.
    ///
    /// # Errors
    /// [`Refusal::LinkNotActive`].
    pub fn require_active(&self) -> Result<(), Refusal> {
        match self.state() {
            LinkState::Active => Ok(()),
            LinkState::Pending | LinkState::Ended => Err(Refusal::LinkNotActive),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Wait(i64),
        Accept { client: u8, permission: u8 },
        Permit { permission: u8 },
        End { by_client: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => (0..LINK_CODE_LIFETIME_MS).prop_map(Step::Wait),
            3 => (0_u8..2, 0_u8..3).prop_map(|(client, permission)| Step::Accept { client, permission }),
            3 => (0_u8..3).prop_map(|permission| Step::Permit { permission }),
            1 => any::<bool>().prop_map(|by_client| Step::End { by_client }),
        ];
        proptest::collection::vec(step, 1..20)
    }

    fn words(permission: u8) -> Scopes {
        Scopes::new([format!("p{permission}")]).unwrap()
    }

    proptest! {
        /// The model knows who accepted, what was earned last, and who ended it first. Nothing else moves permissions.
        #[test]
        fn a_link_does_what_its_model_does(steps in steps()) {
            let mut now = 0;
            let mut link = Link {
                id: LinkId::generate([1; 10]),
                workspace: WorkspaceId::parse("ws_p").unwrap(),
                partner: 2,
                client_name: "client".to_owned(),
                client: None,
                permissions: Scopes::default(),
                code_expires_at: LINK_CODE_LIFETIME_MS,
                created_at: 0,
                accepted_at: None,
                end: None,
                revision: 1,
            };
            let (mut accepted, mut earned, mut ended) = (None, Scopes::default(), None);
            for step in steps {
                match step {
                    Step::Wait(ms) => now += ms,
                    Step::Accept { client, permission } => {
                        let who = WorkspaceId::parse(&format!("ws_{client}")).unwrap();
                        let after = link.accept(who.clone(), words(permission), now);
                        let good = accepted.is_none() && ended.is_none() && now < LINK_CODE_LIFETIME_MS;
                        prop_assert_eq!(after.is_ok(), good);
                        if let Ok(after) = after {
                            (link, accepted, earned) = (after, Some(who), words(permission));
                        }
                    }
                    Step::Permit { permission } => {
                        let after = link.permit(words(permission));
                        prop_assert_eq!(after.is_ok(), accepted.is_some() && ended.is_none());
                        if let Ok(after) = after {
                            prop_assert_eq!(after.is_some(), earned != words(permission));
                            link = after.unwrap_or(link);
                            earned = words(permission);
                        }
                    }
                    Step::End { by_client } => {
                        let by = if by_client { Side::Client } else { Side::Partner };
                        let after = link.ended(by, None, now);
                        prop_assert_eq!(after.is_some(), ended.is_none());
                        ended = ended.or(Some(by));
                        link = after.unwrap_or(link);
                    }
                }
                prop_assert_eq!(&link.client, &accepted);
                prop_assert_eq!(&link.permissions, &earned);
                prop_assert_eq!(link.end.as_ref().map(|end| end.by), ended);
                let expected = match (ended, &accepted) {
                    (Some(_), _) => LinkState::Ended,
                    (None, Some(_)) => LinkState::Active,
                    (None, None) => LinkState::Pending,
                };
                prop_assert_eq!(link.state(), expected);
                prop_assert_eq!(link.require_active().is_ok(), expected == LinkState::Active);
            }
        }
    }
}
