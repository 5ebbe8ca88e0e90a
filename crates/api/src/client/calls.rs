//! Every call, one method each.

use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use reqwest::header::{ETAG, IF_NONE_MATCH};
use reqwest::{Method, Response, StatusCode};

use super::request::{Tagged, bytes};
use super::{Client, ClientError};
use crate::{
    AuditEntry, AuditExport, AuditFilter, AuditStanding, CancelRotation, ChangedRotation, CompleteRotation, CreateEdge,
    CreateToken, CreateWorkspace, CreatedEdge, CreatedToken, CreatedWorkspace, DisableKey, Edge, EdgeReport,
    EdgeReportAccepted, EnableKey, Enrol, EnrolEdge, Enrolled, EnrolledEdge, EraseAudit, ErasedAudit, ExportFormat,
    ExtendRotation, ImportOptions, ImportReport, IssueKey, IssuedKey, Key, KeyFilter, Page, PageQuery, PutScope,
    Receipt, RevokeKey, RevokeMany, RevokedKey, RevokedMany, RotateCredential, RotatedCredential, Rotation,
    RotationFilter, RotationPlan, RouteDocument, Routes, Scope, Secret, Set, SetQuery, StartRotation, StartedRotation,
    Tier, Token, TokenFilter, UpdateKey, UpdateWorkspace, Verdict, VerifyKey, Workspace,
};

/// How long an export may take.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// Every method fails with [`ClientError::Problem`] where the server refuses.
#[expect(clippy::missing_errors_doc, reason = "said once for the whole block")]
impl Client {
    /// Trades the enrolment token for a management token.
    pub async fn enrol(&self, token: Secret) -> Result<Enrolled, ClientError> {
        self.post(&["v1", "enrol"], &Enrol { token, name: None, email: None }).await
    }

    /// Issues a key.
    pub async fn issue_key(&self, request: &IssueKey) -> Result<IssuedKey, ClientError> {
        self.post(&["v1", "keys"], request).await
    }

    /// Lists one page of keys.
    pub async fn list_keys(&self, filter: &KeyFilter) -> Result<Page<Key>, ClientError> {
        self.list(&["v1", "keys"], filter).await
    }

    /// Exports all keys that pass the filter. The body is to be read as it comes: it can be long.
    pub async fn export_keys(&self, filter: &KeyFilter, format: ExportFormat) -> Result<Response, ClientError> {
        let query = [("format", format.as_str())];
        self.send(Method::GET, &["v1", "keys", "export"], |r| r.query(filter).query(&query).timeout(LONG)).await
    }

    /// Ends keys that pass a filter, as many as one call may; or, in a dry run, says which.
    pub async fn revoke_many(&self, request: &RevokeMany) -> Result<RevokedMany, ClientError> {
        self.post(&["v1", "keys:revoke-many"], request).await
    }

    /// Reads a key.
    pub async fn key(&self, id: &str) -> Result<Tagged<Key>, ClientError> {
        self.read_tagged(&["v1", "keys", id], &()).await
    }

    /// Changes a key that still is as the tag says.
    pub async fn update_key(&self, id: &str, etag: &str, change: &UpdateKey) -> Result<Tagged<Key>, ClientError> {
        self.change(Method::PATCH, &["v1", "keys", id], &(), etag, change).await
    }

    /// Stops a key until it is enabled.
    pub async fn disable_key(&self, id: &str, request: &DisableKey) -> Result<Key, ClientError> {
        self.post(&["v1", "keys", id, "disable"], request).await
    }

    /// Lets a disabled key work again.
    pub async fn enable_key(&self, id: &str, request: &EnableKey) -> Result<Key, ClientError> {
        self.post(&["v1", "keys", id, "enable"], request).await
    }

    /// Ends a key for ever.
    pub async fn revoke_key(&self, id: &str, request: &RevokeKey) -> Result<RevokedKey, ClientError> {
        self.post(&["v1", "keys", id, "revoke"], request).await
    }

    /// Reads what is proven of a revocation.
    pub async fn receipt(&self, key: &str, set: Option<&str>) -> Result<Receipt, ClientError> {
        self.list(&["v1", "keys", key, "receipt"], &set_query(set)).await
    }

    /// Imports lines of JSON, each an [`ImportLine`](crate::ImportLine); at most 10,000.
    pub async fn import_keys(&self, options: ImportOptions, lines: Vec<u8>) -> Result<ImportReport, ClientError> {
        self.post_lines(&["v1", "keys", "import"], &options, lines).await
    }

    /// Asks whether a key would be let through.
    pub async fn verify_key(&self, request: &VerifyKey) -> Result<Verdict, ClientError> {
        self.post(&["v1", "verify"], request).await
    }

    /// Starts a rotation.
    pub async fn start_rotation(&self, key: &str, request: &StartRotation) -> Result<StartedRotation, ClientError> {
        self.post(&["v1", "keys", key, "rotations"], request).await
    }

    /// What a rotation would do.
    pub async fn plan_rotation(&self, key: &str, request: &StartRotation) -> Result<RotationPlan, ClientError> {
        let request = StartRotation { dry_run: true, ..request.clone() };
        self.post(&["v1", "keys", key, "rotations"], &request).await
    }

    /// Lists one page of rotations.
    pub async fn list_rotations(&self, filter: &RotationFilter) -> Result<Page<Rotation>, ClientError> {
        self.list(&["v1", "rotations"], filter).await
    }

    /// Reads a rotation.
    pub async fn rotation(&self, id: &str) -> Result<Rotation, ClientError> {
        self.read(&["v1", "rotations", id]).await
    }

    /// Moves a deadline.
    pub async fn extend_rotation(&self, id: &str, request: &ExtendRotation) -> Result<ChangedRotation, ClientError> {
        self.post(&["v1", "rotations", id, "extend"], request).await
    }

    /// Takes a rotation back.
    pub async fn cancel_rotation(&self, id: &str, request: &CancelRotation) -> Result<ChangedRotation, ClientError> {
        self.post(&["v1", "rotations", id, "cancel"], request).await
    }

    /// Ends a rotation: the predecessor is revoked.
    pub async fn complete_rotation(
        &self,
        id: &str,
        request: &CompleteRotation,
    ) -> Result<ChangedRotation, ClientError> {
        self.post(&["v1", "rotations", id, "complete"], request).await
    }

    /// Makes a token.
    pub async fn create_token(&self, request: &CreateToken) -> Result<CreatedToken, ClientError> {
        self.post(&["v1", "tokens"], request).await
    }

    /// Lists one page of tokens.
    pub async fn list_tokens(&self, filter: &TokenFilter) -> Result<Page<Token>, ClientError> {
        self.list(&["v1", "tokens"], filter).await
    }

    /// Ends a token for ever.
    pub async fn revoke_token(&self, id: &str) -> Result<Token, ClientError> {
        self.post(&["v1", "tokens", id, "revoke"], &serde_json::json!({})).await
    }

    /// Reads the routes of a set.
    pub async fn routes(&self, set: Option<&str>) -> Result<Tagged<Routes>, ClientError> {
        self.read_tagged(&["v1", "routes"], &set_query(set)).await
    }

    /// Replaces the routes of a set, where they still are as the tag says.
    pub async fn put_routes(
        &self,
        set: Option<&str>,
        etag: &str,
        document: &RouteDocument,
    ) -> Result<Tagged<Routes>, ClientError> {
        let path = ["v1", "routes"];
        self.change(Method::PUT, &path, &set_query(set), etag, document).await
    }

    /// Lists the workspace's sets.
    pub async fn list_sets(&self) -> Result<Page<Set>, ClientError> {
        self.read(&["v1", "sets"]).await
    }

    /// Reads a set.
    pub async fn set(&self, id: &str) -> Result<Set, ClientError> {
        self.read(&["v1", "sets", id]).await
    }

    /// Reads the head of a set; `None` when it still is the one of this tag.
    pub async fn head(&self, set: &str, known: Option<&str>) -> Result<Option<Tagged<Vec<u8>>>, ClientError> {
        let path = ["v1", "sets", set, "head"];
        let response = self
            .send(Method::GET, &path, |r| match known {
                Some(etag) => r.header(IF_NONE_MATCH, etag),
                None => r,
            })
            .await?;
        tagged_bytes(response).await
    }

    /// Reads a file of a set.
    pub async fn file(&self, set: &str, name: &str) -> Result<Vec<u8>, ClientError> {
        let path = ["v1", "sets", set, "files", name];
        bytes(self.send(Method::GET, &path, |r| r).await?).await
    }

    /// Reads the head of a set as soon as it is another than the one of this tag, waiting at most `seconds`; `None` when
    /// it still is.
    pub async fn head_after(
        &self,
        set: &str,
        known: &str,
        seconds: u64,
    ) -> Result<Option<Tagged<Vec<u8>>>, ClientError> {
        let prefer = format!("wait={seconds}");
        let path = ["v1", "sets", set, "head"];
        let build = |r: reqwest::RequestBuilder| r.header(IF_NONE_MATCH, known).header("prefer", prefer);
        tagged_bytes(self.send(Method::GET, &path, build).await?).await
    }

    /// Reads the note that lists a set's signing keys; fails with 404 where there is none.
    pub async fn trust(&self, set: &str) -> Result<Vec<u8>, ClientError> {
        bytes(self.send(Method::GET, &["v1", "sets", set, "trust"], |r| r).await?).await
    }

    /// Reads the note of digests that are to be refused; fails with 404 where there is none.
    pub async fn deny(&self, set: &str) -> Result<Vec<u8>, ClientError> {
        bytes(self.send(Method::GET, &["v1", "sets", set, "deny"], |r| r).await?).await
    }

    /// Makes an edge and the one-time code it enrols with.
    pub async fn create_edge(&self, request: &CreateEdge) -> Result<CreatedEdge, ClientError> {
        self.post(&["v1", "edges"], request).await
    }

    /// Trades the one-time code for the edge's credential.
    pub async fn enrol_edge(&self, request: &EnrolEdge) -> Result<EnrolledEdge, ClientError> {
        self.post(&["v1", "edges", "enrol"], request).await
    }

    /// Lists one page of edges.
    pub async fn list_edges(&self, page: &PageQuery) -> Result<Page<Edge>, ClientError> {
        self.list(&["v1", "edges"], page).await
    }

    /// Reads an edge.
    pub async fn edge(&self, id: &str) -> Result<Edge, ClientError> {
        self.read(&["v1", "edges", id]).await
    }

    /// Makes a new credential for an edge.
    pub async fn rotate_edge_credential(
        &self,
        id: &str,
        request: &RotateCredential,
    ) -> Result<RotatedCredential, ClientError> {
        self.post(&["v1", "edges", id, "credentials"], request).await
    }

    /// Ends an edge and its credential for ever.
    pub async fn remove_edge(&self, id: &str) -> Result<Edge, ClientError> {
        self.post(&["v1", "edges", id, "remove"], &serde_json::json!({})).await
    }

    /// Makes a workspace and the one-time token of its first owner.
    pub async fn create_workspace(&self, request: &CreateWorkspace) -> Result<CreatedWorkspace, ClientError> {
        self.post(&["v1", "workspaces"], request).await
    }

    /// Lists one page of the workspaces that the caller may see.
    pub async fn list_workspaces(&self, page: &PageQuery) -> Result<Page<Workspace>, ClientError> {
        self.list(&["v1", "workspaces"], page).await
    }

    /// Reads a workspace.
    pub async fn workspace(&self, id: &str) -> Result<Tagged<Workspace>, ClientError> {
        self.read_tagged(&["v1", "workspaces", id], &()).await
    }

    /// Changes a workspace that still is as the tag says.
    pub async fn update_workspace(
        &self,
        id: &str,
        etag: &str,
        change: &UpdateWorkspace,
    ) -> Result<Tagged<Workspace>, ClientError> {
        self.change(Method::PATCH, &["v1", "workspaces", id], &(), etag, change).await
    }

    /// Posts what an edge observed.
    pub async fn report(&self, report: &EdgeReport) -> Result<EdgeReportAccepted, ClientError> {
        self.post(&["v1", "edges", "reports"], report).await
    }

    /// Lists one page of the audit trail.
    pub async fn list_audit(&self, filter: &AuditFilter) -> Result<Page<AuditEntry>, ClientError> {
        self.list(&["v1", "audit"], filter).await
    }

    /// Reads an export of the audit log, piece by piece.
    pub async fn export_audit(
        &self,
        wanted: &AuditExport,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, ClientError>> + use<>, ClientError> {
        let response = self.send(Method::GET, &["v1", "audit", "export"], |r| r.query(wanted).timeout(LONG)).await?;
        let url = response.url().to_string();
        let broken =
            move |source: reqwest::Error| ClientError::Transport { url: url.clone(), source: source.without_url() };
        Ok(response.bytes_stream().map_ok(Into::into).map_err(broken))
    }

    /// How far the audit log is chained and signed.
    pub async fn audit_checkpoint(&self) -> Result<AuditStanding, ClientError> {
        self.read(&["v1", "audit", "checkpoint"]).await
    }

    /// Erases what is personal about a member from the audit log.
    pub async fn erase_audit(&self, request: &EraseAudit) -> Result<ErasedAudit, ClientError> {
        self.post(&["v1", "audit", "erase"], request).await
    }

    /// Lists one page of the scope catalogue.
    pub async fn list_scopes(&self, page: &PageQuery) -> Result<Page<Scope>, ClientError> {
        self.list(&["v1", "scopes"], page).await
    }

    /// Says what a scope or a group of scopes is.
    pub async fn put_scope(&self, name: &str, said: &PutScope) -> Result<Scope, ClientError> {
        self.put(&["v1", "scopes", name], said).await
    }

    /// Takes a scope that no usable key carries out of the catalogue, or a group.
    pub async fn remove_scope(&self, name: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, &["v1", "scopes", name], |r| r).await.map(drop)
    }

    /// Lists one page of the tier catalogue.
    pub async fn list_tiers(&self, page: &PageQuery) -> Result<Page<Tier>, ClientError> {
        self.list(&["v1", "tiers"], page).await
    }
}

fn set_query(set: Option<&str>) -> SetQuery {
    SetQuery { set: set.map(str::to_owned) }
}

/// A body and its tag; `None` where it has not changed.
async fn tagged_bytes(response: Response) -> Result<Option<Tagged<Vec<u8>>>, ClientError> {
    if response.status() == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    let etag = response.headers().get(ETAG);
    let etag = etag.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let value = bytes(response).await?;
    Ok(Some(Tagged { value, etag }))
}
