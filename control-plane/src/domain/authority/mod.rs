//! Who may do what: one table, role × action × principal kind. The code obeys it and the tests walk it; what is not in it
//! is refused.

mod table;

use std::collections::BTreeSet;

use nightlatch_keyset::PrincipalKind;
use nightlatch_keyset::PrincipalKind::{Gateway, Partner};

use super::ids::MemberId;
use super::{Action, Refusal, Role, Scope, Scopes};

pub use table::{Cell, Row, Seat, TABLE, cell};

use Cell::{No, Own, Yes};

/// What something is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing that belongs to somebody.
    None,
    /// A key.
    Key {
        /// Its principal's kind.
        kind: PrincipalKind,
        /// Its principal.
        subject: u32,
    },
    /// A principal, or what belongs to one: a partner organisation's staff and links, a member's tokens.
    Principal {
        /// Which.
        subject: u32,
    },
}

impl Target {
    const fn kind(self) -> Option<PrincipalKind> {
        match self {
            Self::Key { kind, .. } => Some(kind),
            Self::None | Self::Principal { .. } => None,
        }
    }
}

/// Somebody in a column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What they are.
    pub seat: Seat,
    /// Which member; `None` for service accounts, and for tokens from before there were members.
    pub member: Option<MemberId>,
    /// The subject of that member, or of the service account.
    pub subject: Option<u32>,
    /// The member who made the service account's token, and may know its text.
    pub maker: Option<MemberId>,
    /// The subject of the partner organisation whose staff it is.
    pub partner: Option<u32>,
    /// What of the table the token may use; `None` where all.
    pub rights: Option<BTreeSet<Action>>,
    /// Whether they have just proved who they are. Tokens always have.
    pub elevated: bool,
    /// What keys they may give: no scope beyond it. `None` is every scope.
    pub ceiling: Option<BTreeSet<Scope>>,
    /// When the token that acts ends, unix seconds; `None` of one that does not, and of a session.
    pub expires_at: Option<i64>,
}

impl Standing {
    /// An owner without a member, as tokens from before there were members have it.
    pub const fn founder() -> Self {
        Self {
            seat: Seat::Role(Role::Owner),
            member: None,
            subject: None,
            maker: None,
            partner: None,
            rights: None,
            elevated: true,
            ceiling: None,
            expires_at: None,
        }
    }

    /// Whether something is its own: its own keys, its partner organisation's, what belongs to either.
    fn owns(&self, target: &Target) -> bool {
        let is = |own: Option<u32>, subject| own == Some(subject);
        match *target {
            Target::None => false,
            Target::Key { kind: Partner, subject } => is(self.partner, subject),
            Target::Key { subject, .. } => is(self.subject, subject),
            Target::Principal { subject } => is(self.subject, subject) || is(self.partner, subject),
        }
    }

    /// Whether a cell of the table could be satisfied by anything.
    const fn could(&self, cell: Cell) -> bool {
        match cell {
            No => false,
            Own => self.subject.is_some() || self.partner.is_some(),
            Yes => true,
        }
    }
}

/// On whose authority something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The program's own: what it does follows from what somebody with a role has done, or from time.
    System,
    /// An edge's: its reports and its set's files.
    Edge,
    /// A member's, a service account's, or that of a token.
    Of(Box<Standing>),
    /// None: what is done is refused, and noted. The member whose token was shown, where it was one's.
    Refused(Option<MemberId>),
}

impl Authority {
    /// Somebody in a column of the table.
    pub fn of(standing: Standing) -> Self {
        Self::Of(Box::new(standing))
    }

    /// Refuses what the table does not allow.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`]; [`Refusal::StepUpRequired`] where it would be allowed to somebody who has just proved who
    /// they are; [`Refusal::NotRevocableHere`] where pairing does it.
    pub fn require(&self, action: Action, target: &Target) -> Result<(), Refusal> {
        let standing = match self {
            Self::System => return Ok(()),
            Self::Edge | Self::Refused(_) => return Err(Refusal::Forbidden { action }),
            Self::Of(standing) => standing,
        };
        let allowed = match cell(standing.seat, action, target.kind()) {
            No => false,
            Own => standing.owns(target),
            Yes => true,
        };
        if !allowed || standing.rights.as_ref().is_some_and(|rights| !rights.contains(&action)) {
            return Err(Refusal::Forbidden { action });
        }
        if action.needs_step_up() && !standing.elevated {
            return Err(Refusal::StepUpRequired);
        }
        match *target {
            Target::Key { kind: Gateway, subject } if action != Action::KeysRead => {
                Err(Refusal::NotRevocableHere { call: super::gateway::call_instead(action, subject) })
            }
            _ => Ok(()),
        }
    }

    /// Whether the table allows it to them only because it is their own.
    pub fn is_holder(&self, action: Action, target: &Target) -> bool {
        matches!(self, Self::Of(standing) if cell(standing.seat, action, target.kind()) == Own)
    }

    /// Refuses where no target at all would be allowed: asked before anything is looked up.
    ///
    /// # Errors
    /// As [`Authority::require`].
    pub fn may_ever(&self, action: Action) -> Result<(), Refusal> {
        let standing = match self {
            Self::System => return Ok(()),
            Self::Edge | Self::Refused(_) => return Err(Refusal::Forbidden { action }),
            Self::Of(standing) => standing,
        };
        let mut rows = TABLE.iter().filter(|(of, _, _)| *of == action);
        let some = rows.any(|(_, kind, _)| standing.could(cell(standing.seat, action, *kind)));
        if !some || standing.rights.as_ref().is_some_and(|rights| !rights.contains(&action)) {
            return Err(Refusal::Forbidden { action });
        }
        if action.needs_step_up() && !standing.elevated {
            return Err(Refusal::StepUpRequired);
        }
        Ok(())
    }

    /// The only principal whose keys they see; `None` where there is no such limit. What they do not see is answered like
    /// what does not exist.
    pub fn sees_only(&self) -> Option<u32> {
        match self {
            // Without an organisation, nothing: no principal has this number.
            Self::Of(standing) if standing.seat.is_partner() => Some(standing.partner.unwrap_or(0)),
            _ => None,
        }
    }

    /// Whether they see what belongs to a principal.
    pub fn sees(&self, subject: u32) -> bool {
        self.sees_only().is_none_or(|only| only == subject)
    }

    /// Refuses scopes beyond their own.
    ///
    /// # Errors
    /// [`Refusal::BeyondOwnScopes`].
    pub fn require_grant(&self, scopes: &Scopes) -> Result<(), Refusal> {
        let Self::Of(standing) = self else { return Ok(()) };
        let Some(ceiling) = &standing.ceiling else { return Ok(()) };
        let beyond: Vec<_> = scopes.iter().filter(|scope| !ceiling.contains(*scope)).cloned().collect();
        if beyond.is_empty() { Ok(()) } else { Err(Refusal::BeyondOwnScopes { scopes: beyond }) }
    }

    /// Refuses to let others grant what they may not grant themselves; everything where there is no ceiling.
    ///
    /// # Errors
    /// [`Refusal::BeyondOwnScopes`].
    pub fn require_ceiling(&self, ceiling: Option<&Scopes>) -> Result<(), Refusal> {
        ceiling.map_or_else(|| self.require_everything(), |scopes| self.require_grant(scopes))
    }

    /// Refuses who may not grant every scope there is.
    ///
    /// # Errors
    /// [`Refusal::BeyondOwnScopes`].
    pub fn require_everything(&self) -> Result<(), Refusal> {
        match self {
            Self::Of(standing) if standing.ceiling.is_some() => Err(Refusal::BeyondOwnScopes { scopes: Vec::new() }),
            _ => Ok(()),
        }
    }

    /// Refuses rights that they do not have themselves: a token is never more than who makes it.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn require_rights(&self, rights: Option<&BTreeSet<Action>>) -> Result<(), Refusal> {
        let Self::Of(standing) = self else { return Ok(()) };
        let Some(own) = &standing.rights else { return Ok(()) };
        let asked: Vec<Action> = rights.map_or_else(|| Action::ALL.to_vec(), |rights| rights.iter().copied().collect());
        match asked.into_iter().find(|action| !own.contains(action)) {
            Some(action) => Err(Refusal::Forbidden { action }),
            None => Ok(()),
        }
    }

    /// Refuses a token that works longer than the one with which it is made: an end would be no end.
    ///
    /// # Errors
    /// [`Refusal::BeyondOwnEnd`].
    pub fn require_end(&self, expires_at: Option<i64>) -> Result<(), Refusal> {
        let Self::Of(standing) = self else { return Ok(()) };
        let Some(own) = standing.expires_at else { return Ok(()) };
        if expires_at.is_some_and(|expiry| expiry <= own) { Ok(()) } else { Err(Refusal::BeyondOwnEnd { until: own }) }
    }

    /// Refuses to come by the text of somebody else's token: who has it acts with that member's authority. Tokens from
    /// before there were members have an owner's.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn require_holder(&self, member: Option<&MemberId>) -> Result<(), Refusal> {
        let Self::Of(standing) = self else { return Ok(()) };
        let own = match member {
            Some(member) => standing.member.as_ref() == Some(member),
            None => standing.seat == Seat::Role(Role::Owner),
        };
        if own { Ok(()) } else { Err(Refusal::Forbidden { action: Action::TokensManage }) }
    }

    /// Refuses to come by the text of a token of this service account's: who has it acts as the account does. What the
    /// token and the account may is asked by [`Authority::require_rights`] and [`Authority::require_ceiling`].
    ///
    /// # Errors
    /// [`Refusal::Forbidden`], [`Refusal::StepUpRequired`].
    pub fn require_account(&self, subject: u32) -> Result<(), Refusal> {
        if self.account() == Some(subject) {
            Ok(())
        } else {
            self.require(Action::ServiceAccountsManage, &Target::None)
        }
    }

    /// Refuses to make, change or end a member of this role: owners are made by owners, an organisation's owners by each
    /// other and by the workspace's own people.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`], [`Refusal::StepUpRequired`].
    pub fn require_member(&self, role: Role, partner: Option<u32>) -> Result<(), Refusal> {
        match (role, partner) {
            (Role::Owner, _) => self.require(Action::MembersOwner, &Target::None),
            (role, Some(subject)) if role.is_partner() => {
                self.require(Action::PartnerStaffManage, &Target::Principal { subject })?;
                match self {
                    Self::Of(standing)
                        if standing.seat == Seat::Role(Role::PartnerAdmin) && role == Role::PartnerOwner =>
                    {
                        Err(Refusal::Forbidden { action: Action::PartnerStaffManage })
                    }
                    _ => Ok(()),
                }
            }
            _ => self.require(Action::MembersManage, &Target::None),
        }
    }

    /// The subject of the service account that acts, where one does.
    pub fn account(&self) -> Option<u32> {
        match self {
            Self::Of(standing) if standing.seat == Seat::ServiceAccount => standing.subject,
            _ => None,
        }
    }

    /// The member who answers for what is done: who acts, or made the token with which a service account does.
    pub fn answerable(&self) -> Option<&MemberId> {
        match self {
            Self::Of(standing) => standing.member.as_ref().or(standing.maker.as_ref()),
            _ => None,
        }
    }

    /// The member who acts, or tries to, where one does.
    pub fn member(&self) -> Option<&MemberId> {
        match self {
            Self::Of(standing) => standing.member.as_ref(),
            Self::Refused(member) => member.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use PrincipalKind::{ServiceAccount, User};

    use super::*;
    use crate::domain::Action as A;

    /// S0-27, S0-28, S1-02, S1-03.
    #[test]
    fn what_the_documents_say_of_roles() {
        let key = |kind, subject| Target::Key { kind, subject };
        let of = |role, subject: Option<u32>, partner| {
            Authority::of(Standing { seat: Seat::Role(role), subject, partner, ..Standing::founder() })
        };
        let (owner, operator) = (of(Role::Owner, Some(2), None), of(Role::Operator, Some(3), None));
        assert!(owner.require(A::KeysIssue, &key(ServiceAccount, 1)).is_ok());
        let refused = Err(Refusal::Forbidden { action: A::KeysIssue });
        assert_eq!(operator.require(A::KeysIssue, &key(ServiceAccount, 1)), refused);
        assert!(operator.require(A::KeysIssue, &key(User, 3)).is_ok());
        assert_eq!(owner.require(A::KeysIssue, &key(User, 3)), refused);
        assert_eq!(owner.require(A::KeysIssue, &key(Partner, 9)), refused);
        for (role, may) in [(Role::PartnerOwner, true), (Role::PartnerAdmin, true), (Role::PartnerStaff, false)] {
            let staff = of(role, Some(4), Some(9));
            assert_eq!(staff.require(A::KeysIssue, &key(Partner, 9)).is_ok(), may);
            assert_eq!(staff.require(A::KeysRevoke, &key(Partner, 9)).is_ok(), may);
            assert!(staff.require(A::KeysRead, &key(Partner, 9)).is_ok());
            assert!(staff.require(A::KeysRead, &key(Partner, 8)).is_err());
            assert!(!staff.sees(1) && staff.sees(9));
        }
    }

    #[test]
    fn tokens_are_no_more_than_their_rights() {
        let standing = Standing { rights: Some([A::KeysRead].into()), ..Standing::founder() };
        let token = Authority::of(standing);
        assert!(token.require(A::KeysRead, &Target::Key { kind: User, subject: 1 }).is_ok());
        assert!(token.require(A::TokensManage, &Target::None).is_err());
        assert!(token.require_rights(Some(&[A::KeysRead].into())).is_ok());
        assert!(token.require_rights(Some(&[A::KeysRead, A::AuditRead].into())).is_err());
        assert!(token.require_rights(None).is_err(), "a narrow token makes none that may do everything");
    }

    /// Nobody grants beyond their own: who makes tokens of service accounts may everything that those may.
    #[test]
    fn service_accounts_may_no_more_than_who_manages_them() {
        for seat in Seat::ALL.into_iter().filter(|seat| cell(*seat, A::ServiceAccountsManage, None) == Yes) {
            for (action, kind, _) in TABLE {
                let (account, maker) = (cell(Seat::ServiceAccount, *action, *kind), cell(seat, *action, *kind));
                assert!(account == No || account == Own || maker == Yes, "{action} {kind:?}: {seat:?}");
            }
        }
        for action in [A::MembersManage, A::MembersOwner, A::PartnerStaffManage, A::AuditErase, A::WorkspacesCreate] {
            assert!(!Seat::ServiceAccount.may_ever(action), "{action}");
        }
    }

    /// S1-14.
    #[test]
    fn a_service_accounts_token_is_its_own_and_of_who_manages_accounts() {
        let account = |subject, rights: &[Action]| {
            let (seat, rights) = (Seat::ServiceAccount, Some(rights.iter().copied().collect()));
            Authority::of(Standing { seat, subject: Some(subject), rights, ..Standing::founder() })
        };
        let one = account(5, &[A::TokensManage]);
        assert_eq!((one.account(), one.member()), (Some(5), None));
        assert!(one.require_account(5).is_ok());
        assert_eq!(one.require_account(6), Err(Refusal::Forbidden { action: A::ServiceAccountsManage }));
        assert!(one.require(A::TokensManage, &Target::Principal { subject: 5 }).is_ok());
        assert!(one.require(A::TokensManage, &Target::Principal { subject: 6 }).is_err());
        assert!(one.require(A::TokensManage, &Target::None).is_err());
        // Tokens from before there were members are an owner's, and none of theirs.
        assert!(one.require_holder(None).is_err());
        let owner = Authority::of(Standing::founder());
        assert!(owner.require_account(5).is_ok() && owner.account().is_none());
        let narrow = Authority::of(Standing { ceiling: Some(BTreeSet::new()), ..Standing::founder() });
        assert_eq!(narrow.require_ceiling(None), Err(Refusal::BeyondOwnScopes { scopes: Vec::new() }));
        assert!(narrow.require_ceiling(Some(&Scopes::new(["a"]).unwrap())).is_err());
        assert!(narrow.require_ceiling(Some(&Scopes::default())).is_ok() && owner.require_ceiling(None).is_ok());
    }

    #[test]
    fn step_up_comes_after_the_table() {
        let session = Authority::of(Standing { elevated: false, ..Standing::founder() });
        assert_eq!(session.require(A::TokensManage, &Target::None), Err(Refusal::StepUpRequired));
        assert!(session.require(A::TokensRead, &Target::None).is_ok());
        let seat = Seat::Role(Role::Viewer);
        let viewer = Authority::of(Standing { elevated: false, seat, ..Standing::founder() });
        let refused = Err(Refusal::Forbidden { action: A::MembersManage });
        assert_eq!(viewer.require(A::MembersManage, &Target::None), refused);
    }
}
