//! What travels between the Nightlatch control plane and those who call it.
//!
//! Requests, responses, problems and, behind the feature `client`, a typed client: one set of types
//! for the server, the command line, the tests and the demonstration.
//!
//! Three rules hold throughout. A request refuses fields it does not know, so that a misspelt option
//! is an error and never a default. A response is read leniently, so that an older client survives a
//! newer server. A field that carries a secret is a [`Secret`]: it shows itself in JSON and nowhere else.

#[cfg(feature = "client")]
pub mod client;

mod actor;
mod audit;
mod catalogue;
mod edge;
mod edges;
mod enrol;
mod gateways;
mod import;
mod inventory;
mod key;
mod key_requests;
mod links;
mod member;
mod page;
mod principals;
mod problem;
mod receipt;
mod registry;
mod rotation;
mod route;
mod secret;
mod session;
mod set;
mod token;
mod tristate;
mod verify;
mod warning;
mod workspace;

pub use actor::Actor;
pub use audit::{
    AuditCheckpoint, AuditEntry, AuditExport, AuditFilter, AuditStanding, AuditTarget, EraseAudit, ErasedAudit,
};
pub use catalogue::{PutScope, Scope, Tier};
pub use edge::{AppliedState, EdgeReport, EdgeReportAccepted, Sighting};
pub use edges::{
    CreateEdge, CreatedEdge, Edge, EdgeClass, EdgeState, EnrolEdge, EnrolledEdge, EnrolledEdgeConfig, RotateCredential,
    RotatedCredential,
};
pub use enrol::{Enrol, Enrolled};
pub use gateways::{
    CreateGateway, Gateway, GatewayState, OfferPairing, OfferedPairing, PairGateway, PairedGateway, UnpairGateway,
    UnpairedGateway,
};
pub use import::{ImportLine, ImportOptions, ImportReport, LineError};
pub use inventory::{ExportFormat, OwnerKeys, RefusedKey, RevokeMany, RevokedMany};
pub use key::{Environment, Key, KeyState, PrincipalKind};
pub use key_requests::{DisableKey, EnableKey, IssueKey, IssuedKey, KeyFilter, RevokeKey, RevokedKey, UpdateKey};
pub use links::{
    AcceptLink, ClientLink, CreateLink, CreatedLink, EndedPartnerLink, LinkSide, LinkState, PartnerLink, UpdateLink,
};
pub use member::{
    InviteMember, InvitedMember, Member, MemberFilter, MemberState, MoveMember, ReinviteMember, ReplaceRole, Role,
    RoleScopes, UpdateMember,
};
pub use page::{Page, PageQuery};
pub use principals::{
    ChangedPrincipal, CreatePrincipal, EndPrincipal, Principal, PrincipalFilter, PrincipalState, TurnPrincipal,
    UpdatePrincipal, UpdateStaff,
};
pub use problem::{FieldError, PROBLEM_CONTENT_TYPE, Problem};
pub use receipt::{ConnectionRoute, EdgeClock, EdgeProof, OpenRoute, Receipt, ReceiptEdge, ReceiptState};
pub use registry::Code;
pub use rotation::{
    CancelRotation, ChangedRotation, CompleteRotation, ExtendRotation, Rotation, RotationFilter, RotationOrder,
    RotationOutcome, RotationPlan, RotationState, StartRotation, StartedRotation, SuccessorFate,
};
pub use route::{CacheRule, PreflightRule, RouteDocument, RouteRule, Routes, SetQuery};
pub use secret::Secret;
pub use session::{
    AcceptInvitation, AcceptedInvitation, ChangePassword, ConfirmTotp, ConfirmedTotp, OfferedTotp, OidcAnswer, Session,
    SessionMember, SessionMethod, SessionNeed, SessionState, SessionWorkspace, SignIn, SignedIn, StartOidc, StepUp,
    SwitchWorkspace,
};
pub use set::{PublishedHead, Set};
pub use token::{CreateToken, CreatedToken, RotateToken, Token, TokenFilter, TokenKind, TokenState};
pub use verify::{Verdict, VerifiedKey, VerifyKey};
pub use warning::{RouteRef, Warning};
pub use workspace::{CreateWorkspace, CreatedWorkspace, UpdateWorkspace, Workspace};
