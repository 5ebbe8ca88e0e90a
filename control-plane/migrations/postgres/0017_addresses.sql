-- Members by their address: codes of one that are out, in all workspaces, and lists of a workspace's.
CREATE INDEX members_with_code ON members (email) WHERE invite_digest IS NOT NULL;
CREATE INDEX members_by_address ON members (workspace_id, email, created_at, id);
