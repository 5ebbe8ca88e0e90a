//! Calls about members, roles and who has whose tokens.

use reqwest::Method;

use super::request::Tagged;
use super::{Client, ClientError};
use crate::{
    CreatedToken, Enrol, Enrolled, InviteMember, InvitedMember, Member, MemberFilter, MoveMember, Page, ReinviteMember,
    ReplaceRole, Role, RoleScopes, RotateToken, UpdateMember,
};

/// Every method fails with [`ClientError::Problem`] where the server refuses.
#[expect(clippy::missing_errors_doc, reason = "said once for the whole block")]
impl Client {
    /// Trades the enrolment token for an owner, who may have a name and an address, and a management token of theirs.
    pub async fn enrol_as(&self, request: &Enrol) -> Result<Enrolled, ClientError> {
        self.post(&["v1", "enrol"], request).await
    }

    /// Replaces a management token of the caller's by another of the same rights.
    pub async fn rotate_token(&self, id: &str, request: &RotateToken) -> Result<CreatedToken, ClientError> {
        self.post(&["v1", "tokens", id, "rotations"], request).await
    }

    /// Invites somebody.
    pub async fn invite_member(&self, request: &InviteMember) -> Result<InvitedMember, ClientError> {
        self.post(&["v1", "members"], request).await
    }

    /// Makes another code for somebody who has no account yet.
    pub async fn reinvite_member(&self, id: &str, request: &ReinviteMember) -> Result<InvitedMember, ClientError> {
        self.post(&["v1", "members", id, "invite"], request).await
    }

    /// Lists one page of members.
    pub async fn list_members(&self, filter: &MemberFilter) -> Result<Page<Member>, ClientError> {
        self.list(&["v1", "members"], filter).await
    }

    /// Reads a member.
    pub async fn member(&self, id: &str) -> Result<Tagged<Member>, ClientError> {
        self.read_tagged(&["v1", "members", id], &()).await
    }

    /// Changes a member that still is as the tag says.
    pub async fn update_member(
        &self,
        id: &str,
        etag: &str,
        change: &UpdateMember,
    ) -> Result<Tagged<Member>, ClientError> {
        self.change(Method::PATCH, &["v1", "members", id], &(), etag, change).await
    }

    /// Stops a member, its tokens and its keys until it is resumed.
    pub async fn suspend_member(&self, id: &str, request: &MoveMember) -> Result<Member, ClientError> {
        self.post(&["v1", "members", id, "suspend"], request).await
    }

    /// Lets a suspended member work again.
    pub async fn resume_member(&self, id: &str, request: &MoveMember) -> Result<Member, ClientError> {
        self.post(&["v1", "members", id, "resume"], request).await
    }

    /// Ends a member, its tokens and its keys for ever.
    pub async fn remove_member(&self, id: &str, request: &MoveMember) -> Result<Member, ClientError> {
        self.post(&["v1", "members", id, "remove"], request).await
    }

    /// Lists what every role brings.
    pub async fn list_roles(&self) -> Result<Page<RoleScopes>, ClientError> {
        self.read(&["v1", "roles"]).await
    }

    /// Says what a role brings, in place of what was there.
    pub async fn replace_role(&self, role: Role, request: &ReplaceRole) -> Result<RoleScopes, ClientError> {
        self.put(&["v1", "roles", role.as_str()], request).await
    }
}
