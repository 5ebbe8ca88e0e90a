CREATE TABLE members (
    id TEXT PRIMARY KEY, workspace_id TEXT NOT NULL REFERENCES workspaces (id), subject BIGINT NOT NULL, role TEXT NOT NULL, partner BIGINT,
    email TEXT, name TEXT NOT NULL, state TEXT NOT NULL, scopes TEXT NOT NULL, tier TEXT, account_id TEXT, invite_digest BLOB UNIQUE,
    invite_expires_at BIGINT, invited_by_type TEXT NOT NULL, invited_by_id TEXT NOT NULL, created_at BIGINT NOT NULL, joined_at BIGINT,
    suspended_at BIGINT, removed_at BIGINT, revision BIGINT NOT NULL);
CREATE TABLE role_scopes (workspace_id TEXT NOT NULL REFERENCES workspaces (id), role TEXT NOT NULL, scopes TEXT NOT NULL, PRIMARY KEY (workspace_id, role));
ALTER TABLE principals ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
