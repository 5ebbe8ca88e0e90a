//! The table: role × action × principal kind. What is not in it is refused.

use nightlatch_keyset::PrincipalKind;

use crate::domain::{Action, Role};

/// What a cell of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// May not.
    No,
    /// May where it is its own: a member's own keys, a partner organisation's own.
    Own,
    /// May.
    Yes,
}

use Action as A;
use Cell::{No, Own, Yes};
use PrincipalKind::{Gateway, Partner, ServiceAccount, User};

/// In which column of the table somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// A member with that role.
    Role(Role),
    /// A program, with a token of its service account's: whatever the column says, it may no more than its token names.
    ServiceAccount,
}

impl Seat {
    /// Every column, in their order.
    pub const ALL: [Self; 8] = [
        Self::Role(Role::Owner),
        Self::Role(Role::Admin),
        Self::Role(Role::Operator),
        Self::Role(Role::Viewer),
        Self::Role(Role::PartnerOwner),
        Self::Role(Role::PartnerAdmin),
        Self::Role(Role::PartnerStaff),
        Self::ServiceAccount,
    ];

    /// Whether any target at all would be allowed.
    pub fn may_ever(self, action: Action) -> bool {
        TABLE.iter().any(|(of, kind, _)| *of == action && cell(self, action, *kind) != No)
    }

    pub(super) const fn is_partner(self) -> bool {
        matches!(self, Self::Role(role) if role.is_partner())
    }
}

/// A row of the table: what is done, to keys of which kind of principal where it is done to keys, and for every one of
/// [`Seat::ALL`] whether it may.
///
/// Service accounts may what admins may, but make nobody: no members, no partner's staff. Who acts for whom stays with
/// people.
pub type Row = (Action, Option<PrincipalKind>, [Cell; 8]);

/// The table.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // action                 keys of                owner admin operator viewer  partner: owner admin staff  service account
    (A::KeysRead,             Some(User),           [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::KeysIssue,            Some(User),           [Own,  Own,  Own,     Own,             No,   No,   No,  No ]),
    (A::KeysRotate,           Some(User),           [Own,  Own,  Own,     Own,             No,   No,   No,  No ]),
    (A::KeysDisable,          Some(User),           [Yes,  Yes,  Own,     Own,             No,   No,   No,  Yes]),
    (A::KeysRevoke,           Some(User),           [Yes,  Yes,  Own,     Own,             No,   No,   No,  Yes]),
    (A::KeysForce,            Some(User),           [Own,  Own,  Own,     Own,             No,   No,   No,  No ]),
    (A::KeysUpdate,           Some(User),           [Own,  Own,  Own,     Own,             No,   No,   No,  No ]),

    (A::KeysRead,             Some(ServiceAccount), [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::KeysIssue,            Some(ServiceAccount), [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysRotate,           Some(ServiceAccount), [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysDisable,          Some(ServiceAccount), [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysRevoke,           Some(ServiceAccount), [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysForce,            Some(ServiceAccount), [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysUpdate,           Some(ServiceAccount), [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),

    // The workspace's own people have the brake, a suspension of the organisation, but not its keys.
    (A::KeysRead,             Some(Partner),        [Yes,  Yes,  Yes,     Yes,             Own,  Own,  Own,  Yes]),
    (A::KeysIssue,            Some(Partner),        [No,   No,   No,      No,              Own,  Own,  No,  No ]),
    (A::KeysRotate,           Some(Partner),        [No,   No,   No,      No,              Own,  Own,  No,  No ]),
    (A::KeysDisable,          Some(Partner),        [Yes,  Yes,  No,      No,              Own,  Own,  No,  Yes]),
    (A::KeysRevoke,           Some(Partner),        [No,   No,   No,      No,              Own,  Own,  No,  No ]),
    (A::KeysForce,            Some(Partner),        [No,   No,   No,      No,              Own,  Own,  No,  No ]),
    (A::KeysUpdate,           Some(Partner),        [No,   No,   No,      No,              Own,  Own,  No,  No ]),

    // They come and go with pairing: who may try is told so, and by which call.
    (A::KeysRead,             Some(Gateway),        [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::KeysIssue,            Some(Gateway),        [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysRotate,           Some(Gateway),        [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysDisable,          Some(Gateway),        [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysRevoke,           Some(Gateway),        [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysForce,            Some(Gateway),        [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysUpdate,           Some(Gateway),        [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),

    (A::KeysImport,           None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::KeysExport,           None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::Verify,               None,                 [Yes,  Yes,  Yes,     No,              No,   No,   No,  Yes]),
    (A::MembersRead,          None,                 [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::MembersManage,        None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  No ]),
    (A::MembersOwner,         None,                 [Yes,  No,   No,      No,              No,   No,   No,  No ]),
    (A::ServiceAccountsRead,  None,                 [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::ServiceAccountsManage, None,                [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::PartnersRead,         None,                 [Yes,  Yes,  Yes,     Yes,             Own,  Own,  Own,  Yes]),
    (A::PartnersManage,       None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::PartnerStaffManage,   None,                 [Yes,  Yes,  No,      No,              Own,  Own,  No,  No ]),
    (A::LinksManage,          None,                 [Yes,  Yes,  No,      No,              Own,  Own,  No,  Yes]),
    (A::LinksAccept,          None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::GatewaysRead,         None,                 [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::GatewaysPair,         None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::ScopesRead,           None,                 [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::ScopesManage,         None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::AuditRead,            None,                 [Yes,  Yes,  Yes,     No,              No,   No,   No,  Yes]),
    (A::AuditExport,          None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::AuditErase,           None,                 [Yes,  No,   No,      No,              No,   No,   No,  No ]),
    (A::TokensRead,           None,                 [Yes,  Yes,  Own,     Own,             Own,  Own,  Own,  Own]),
    (A::TokensManage,         None,                 [Yes,  Yes,  Own,     Own,             Own,  Own,  Own,  Own]),
    (A::RoutesRead,           None,                 [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::RoutesManage,         None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::EdgesRead,            None,                 [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::EdgesManage,          None,                 [Yes,  Yes,  No,      No,              No,   No,   No,  Yes]),
    (A::SetsRead,             None,                 [Yes,  Yes,  Yes,     Yes,             No,   No,   No,  Yes]),
    (A::WorkspacesRead,       None,                 [Yes,  Yes,  Yes,     Yes,             Yes,  Yes,  Yes,  Yes]),
    (A::WorkspacesManage,     None,                 [Yes,  No,   No,      No,              No,   No,   No,  No ]),
    (A::WorkspacesCreate,     None,                 [Yes,  No,   No,      No,              No,   No,   No,  No ]),
];

/// What the table says; [`Cell::No`] where it says nothing.
pub fn cell(seat: Seat, action: Action, kind: Option<PrincipalKind>) -> Cell {
    let column = Seat::ALL.iter().position(|known| *known == seat);
    let row = TABLE.iter().find(|(of, keys_of, _)| *of == action && *keys_of == kind);
    column.zip(row).map_or(No, |(column, (_, _, cells))| cells[column])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_says_everything_once() {
        for action in Action::ALL {
            let rows: Vec<_> = TABLE.iter().filter(|(of, _, _)| of == action).collect();
            let kinds: BTreeSet<_> = rows.iter().map(|(_, kind, _)| *kind).collect();
            assert_eq!(kinds.len(), rows.len(), "{action} is there twice");
            let expected: BTreeSet<_> =
                if action.is_of_keys() { PrincipalKind::ALL.map(Some).into() } else { [None].into() };
            assert_eq!(kinds, expected, "{action}");
            assert_eq!(Action::from_name(action.as_str()), Some(*action));
        }
        assert!(Action::ALL.len() <= 64, "a token's scopes fit a key's");
    }
}
