//! Service accounts, partners with their staff and links, gateways.

use futures::Stream;
use reqwest::Method;

use super::pages::walk;
use super::request::Tagged;
use super::{Client, ClientError};
use crate::{
    AcceptLink, ChangedPrincipal, ClientLink, CreateGateway, CreateLink, CreatePrincipal, CreatedLink, EndPrincipal,
    EndedPartnerLink, Gateway, InviteMember, InvitedMember, Member, MoveMember, OfferPairing, OfferedPairing, Page,
    PageQuery, PairGateway, PairedGateway, PartnerLink, Principal, PrincipalFilter, TurnPrincipal, UnpairGateway,
    UnpairedGateway, UpdateLink, UpdatePrincipal, UpdateStaff,
};

/// Which principals a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principals {
    /// Service accounts.
    ServiceAccounts,
    /// Partners.
    Partners,
}

impl Principals {
    const fn segment(self) -> &'static str {
        match self {
            Self::ServiceAccounts => "service-accounts",
            Self::Partners => "partners",
        }
    }
}

/// Every method fails with [`ClientError::Problem`] where the server refuses.
#[expect(clippy::missing_errors_doc, reason = "said once for the whole block")]
impl Client {
    /// Makes a service account or a partner.
    pub async fn create_principal(&self, of: Principals, request: &CreatePrincipal) -> Result<Principal, ClientError> {
        self.post(&["v1", of.segment()], request).await
    }

    /// Lists one page of service accounts or partners.
    pub async fn list_principals(
        &self,
        of: Principals,
        filter: &PrincipalFilter,
    ) -> Result<Page<Principal>, ClientError> {
        self.list(&["v1", of.segment()], filter).await
    }

    /// Every service account or partner that passes the filter.
    pub fn principals(
        &self,
        of: Principals,
        filter: PrincipalFilter,
    ) -> impl Stream<Item = Result<Principal, ClientError>> + '_ {
        walk(move |cursor| {
            let filter = PrincipalFilter { cursor, ..filter.clone() };
            async move { self.list_principals(of, &filter).await }
        })
    }

    /// Reads a service account or a partner.
    pub async fn principal(&self, of: Principals, id: &str) -> Result<Tagged<Principal>, ClientError> {
        self.read_tagged(&["v1", of.segment(), id], &()).await
    }

    /// Changes a service account or a partner that still is as the tag says.
    pub async fn update_principal(
        &self,
        of: Principals,
        id: &str,
        etag: &str,
        change: &UpdatePrincipal,
    ) -> Result<Tagged<Principal>, ClientError> {
        self.change(Method::PATCH, &["v1", of.segment(), id], &(), etag, change).await
    }

    /// Disables the keys of a service account or a partner.
    pub async fn suspend_principal(
        &self,
        of: Principals,
        id: &str,
        request: &TurnPrincipal,
    ) -> Result<ChangedPrincipal, ClientError> {
        self.post(&["v1", of.segment(), id, "suspend"], request).await
    }

    /// Lets the keys of a service account or a partner work again.
    pub async fn resume_principal(
        &self,
        of: Principals,
        id: &str,
        request: &TurnPrincipal,
    ) -> Result<ChangedPrincipal, ClientError> {
        self.post(&["v1", of.segment(), id, "resume"], request).await
    }

    /// Ends a service account or a partner and its keys for ever.
    pub async fn remove_principal(
        &self,
        of: Principals,
        id: &str,
        request: &EndPrincipal,
    ) -> Result<ChangedPrincipal, ClientError> {
        self.post(&["v1", of.segment(), id, "remove"], request).await
    }

    /// Invites somebody to a partner's staff.
    pub async fn invite_staff(&self, partner: &str, request: &InviteMember) -> Result<InvitedMember, ClientError> {
        self.post(&["v1", "partners", partner, "staff"], request).await
    }

    /// Everybody on a partner's staff.
    pub fn staff<'c>(&'c self, partner: &'c str) -> impl Stream<Item = Result<Member, ClientError>> + 'c {
        walk(move |cursor| async move {
            let page = PageQuery { cursor, ..PageQuery::default() };
            self.list::<_, Page<Member>>(&["v1", "partners", partner, "staff"], &page).await
        })
    }

    /// Reads one of a partner's staff.
    pub async fn staff_member(&self, partner: &str, member: &str) -> Result<Tagged<Member>, ClientError> {
        self.read_tagged(&["v1", "partners", partner, "staff", member], &()).await
    }

    /// Changes one of a partner's staff that still is as the tag says.
    pub async fn update_staff(
        &self,
        partner: &str,
        member: &str,
        etag: &str,
        change: &UpdateStaff,
    ) -> Result<Tagged<Member>, ClientError> {
        self.change(Method::PATCH, &["v1", "partners", partner, "staff", member], &(), etag, change).await
    }

    /// Removes one of a partner's staff for ever.
    pub async fn remove_staff(&self, partner: &str, member: &str, request: &MoveMember) -> Result<Member, ClientError> {
        self.post(&["v1", "partners", partner, "staff", member, "remove"], request).await
    }

    /// Makes a link to a client and the one-time code it is accepted with.
    pub async fn create_link(&self, partner: &str, request: &CreateLink) -> Result<CreatedLink, ClientError> {
        self.post(&["v1", "partners", partner, "links"], request).await
    }

    /// Every link of a partner.
    pub fn partner_links<'c>(&'c self, partner: &'c str) -> impl Stream<Item = Result<PartnerLink, ClientError>> + 'c {
        walk(move |cursor| async move {
            let page = PageQuery { cursor, ..PageQuery::default() };
            self.list::<_, Page<PartnerLink>>(&["v1", "partners", partner, "links"], &page).await
        })
    }

    /// Ends a link from the partner's side.
    pub async fn end_partner_link(
        &self,
        partner: &str,
        link: &str,
        request: &EndPrincipal,
    ) -> Result<EndedPartnerLink, ClientError> {
        self.post(&["v1", "partners", partner, "links", link, "end"], request).await
    }

    /// Accepts a partner's link.
    pub async fn accept_link(&self, request: &AcceptLink) -> Result<ClientLink, ClientError> {
        self.post(&["v1", "links", "accept"], request).await
    }

    /// Every link that the workspace has accepted.
    pub fn links(&self) -> impl Stream<Item = Result<ClientLink, ClientError>> + '_ {
        walk(move |cursor| async move {
            let page = PageQuery { cursor, ..PageQuery::default() };
            self.list::<_, Page<ClientLink>>(&["v1", "links"], &page).await
        })
    }

    /// Reads a link that the workspace has accepted.
    pub async fn link(&self, id: &str) -> Result<Tagged<ClientLink>, ClientError> {
        self.read_tagged(&["v1", "links", id], &()).await
    }

    /// Says anew what a partner has earned, where the link still is as the tag says.
    pub async fn update_link(
        &self,
        id: &str,
        etag: &str,
        change: &UpdateLink,
    ) -> Result<Tagged<ClientLink>, ClientError> {
        self.change(Method::PATCH, &["v1", "links", id], &(), etag, change).await
    }

    /// Ends a link from the client's side.
    pub async fn end_link(&self, id: &str, request: &EndPrincipal) -> Result<ClientLink, ClientError> {
        self.post(&["v1", "links", id, "end"], request).await
    }

    /// Makes a gateway and the one-time code it pairs with.
    pub async fn create_gateway(&self, request: &CreateGateway) -> Result<OfferedPairing, ClientError> {
        self.post(&["v1", "gateways"], request).await
    }

    /// Every gateway.
    pub fn gateways(&self) -> impl Stream<Item = Result<Gateway, ClientError>> + '_ {
        walk(move |cursor| async move {
            let page = PageQuery { cursor, ..PageQuery::default() };
            self.list::<_, Page<Gateway>>(&["v1", "gateways"], &page).await
        })
    }

    /// Reads a gateway.
    pub async fn gateway(&self, id: &str) -> Result<Gateway, ClientError> {
        self.read(&["v1", "gateways", id]).await
    }

    /// Makes another code for a gateway.
    pub async fn offer_pairing(&self, id: &str, request: &OfferPairing) -> Result<OfferedPairing, ClientError> {
        self.post(&["v1", "gateways", id, "pairing-code"], request).await
    }

    /// Trades the one-time code for the gateway's key.
    pub async fn pair_gateway(&self, request: &PairGateway) -> Result<PairedGateway, ClientError> {
        self.post(&["v1", "gateways", "pair"], request).await
    }

    /// Ends a gateway's key and code.
    pub async fn unpair_gateway(&self, id: &str, request: &UnpairGateway) -> Result<UnpairedGateway, ClientError> {
        self.post(&["v1", "gateways", id, "unpair"], request).await
    }
}
