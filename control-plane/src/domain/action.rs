//! Roles, and what can be done.

use std::fmt;

/// What a member is in the workspace, or in a partner organisation inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything, and the only one who makes owners.
    Owner,
    /// Administers everything but owners.
    Admin,
    /// Runs things: sees, and has keys of its own.
    Operator,
    /// Sees.
    Viewer,
    /// Manages its partner organisation: keys and staff.
    PartnerOwner,
    /// Manages its partner organisation's keys and staff below its own rank.
    PartnerAdmin,
    /// Sees its partner organisation's keys.
    PartnerStaff,
}

impl Role {
    /// Every role, in the order of the table's columns.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Admin,
        Self::Operator,
        Self::Viewer,
        Self::PartnerOwner,
        Self::PartnerAdmin,
        Self::PartnerStaff,
    ];

    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::PartnerOwner => "partner_owner",
            Self::PartnerAdmin => "partner_admin",
            Self::PartnerStaff => "partner_staff",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether it is a role in a partner organisation.
    pub const fn is_partner(self) -> bool {
        matches!(self, Self::PartnerOwner | Self::PartnerAdmin | Self::PartnerStaff)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Something that can be done. Its name is also the scope that a management token needs for it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name, which is also the scope's.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// See keys, rotations and receipts.
    KeysRead = "keys:read";
    /// Make keys.
    KeysIssue = "keys:issue";
    /// Replace keys by others: start, extend, cancel and complete rotations.
    KeysRotate = "keys:rotate";
    /// Stop keys for a while, and let them work again.
    KeysDisable = "keys:disable";
    /// End keys.
    KeysRevoke = "keys:revoke";
    /// Complete a rotation whose predecessor is still in use.
    KeysForce = "keys:force";
    /// Change names, labels, owners, tiers and expiries.
    KeysUpdate = "keys:update";
    /// Take in keys made elsewhere.
    KeysImport = "keys:import";
    /// Take lists of keys away.
    KeysExport = "keys:export";
    /// Ask whether a key would be let through.
    Verify = "verify";
    /// See members and roles.
    MembersRead = "members:read";
    /// Invite, change, suspend and remove members, and say what roles may.
    MembersManage = "members:manage";
    /// The same for owners.
    MembersOwner = "members:owner";
    /// See service accounts.
    ServiceAccountsRead = "service_accounts:read";
    /// Make, change, suspend and remove service accounts.
    ServiceAccountsManage = "service_accounts:manage";
    /// See partner organisations, their staff and links.
    PartnersRead = "partners:read";
    /// Make, change, suspend and remove partner organisations.
    PartnersManage = "partners:manage";
    /// Invite, change and remove a partner organisation's staff.
    PartnerStaffManage = "partner_staff:manage";
    /// Link a partner organisation to client workspaces.
    LinksManage = "links:manage";
    /// Accept, change and end links to partner organisations of other workspaces.
    LinksAccept = "links:accept";
    /// See gateways.
    GatewaysRead = "gateways:read";
    /// Pair and unpair gateways.
    GatewaysPair = "gateways:pair";
    /// See scopes and tiers.
    ScopesRead = "scopes:read";
    /// Describe scopes and mark them sensitive.
    ScopesManage = "scopes:manage";
    /// See the audit log.
    AuditRead = "audit:read";
    /// Take the audit log away.
    AuditExport = "audit:export";
    /// Erase personal data from the audit log.
    AuditErase = "audit:erase";
    /// See tokens.
    TokensRead = "tokens:read";
    /// Make, rotate and revoke tokens.
    TokensManage = "tokens:manage";
    /// See route documents.
    RoutesRead = "routes:read";
    /// Replace route documents.
    RoutesManage = "routes:manage";
    /// See edges.
    EdgesRead = "edges:read";
    /// Add and remove edges and their credentials.
    EdgesManage = "edges:manage";
    /// See sets and read their files.
    SetsRead = "sets:read";
    /// See the workspace.
    WorkspacesRead = "workspaces:read";
    /// Change the workspace.
    WorkspacesManage = "workspaces:manage";
    /// Make further workspaces in this deployment.
    WorkspacesCreate = "workspaces:create";
}

impl Action {
    /// The action of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == name)
    }

    /// Whether it is about keys, so that the table says it for every kind of principal.
    pub const fn is_of_keys(self) -> bool {
        matches!(
            self,
            Self::KeysRead
                | Self::KeysIssue
                | Self::KeysRotate
                | Self::KeysDisable
                | Self::KeysRevoke
                | Self::KeysForce
                | Self::KeysUpdate
        )
    }

    /// Whether a person has to prove anew who they are before it.
    pub const fn needs_step_up(self) -> bool {
        matches!(
            self,
            Self::KeysIssue
                | Self::KeysRotate
                | Self::KeysDisable
                | Self::KeysRevoke
                | Self::KeysForce
                | Self::KeysUpdate
                | Self::KeysImport
                | Self::KeysExport
                | Self::MembersManage
                | Self::MembersOwner
                | Self::ServiceAccountsManage
                | Self::PartnersManage
                | Self::PartnerStaffManage
                | Self::LinksManage
                | Self::LinksAccept
                | Self::GatewaysPair
                | Self::ScopesManage
                | Self::AuditExport
                | Self::AuditErase
                | Self::TokensManage
                | Self::RoutesManage
                | Self::EdgesManage
                | Self::WorkspacesManage
                | Self::WorkspacesCreate
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
