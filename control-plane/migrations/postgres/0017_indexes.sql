-- Indexes of what the migrations before have added, apart from them: while columns are added nobody reads the table, and that
-- is over at once; while an index is built nobody writes to it, and all who read go on.
CREATE UNIQUE INDEX audit_by_seq ON audit (workspace_id, seq) WHERE seq IS NOT NULL;
CREATE INDEX audit_unchained ON audit (workspace_id, id) WHERE seq IS NULL;
-- What was done on a member's behalf, in the order of the list.
CREATE INDEX audit_by_beneficiary_and_time ON audit (workspace_id, on_behalf_of, at, id) WHERE on_behalf_of IS NOT NULL;

CREATE INDEX keys_by_owner_member ON keys (workspace_id, owner_member, created_at, id) WHERE owner_member IS NOT NULL;
CREATE INDEX keys_by_issuer_member ON keys (workspace_id, issuer_member, created_at, id) WHERE issuer_member IS NOT NULL;
CREATE INDEX keys_by_kind ON keys (workspace_id, kind, created_at, id);
CREATE INDEX keys_never_used ON keys (workspace_id, created_at, id) WHERE last_used_at IS NULL;

-- Members by their address: codes of one that are out, in all workspaces, and lists of a workspace's.
CREATE INDEX members_with_code ON members (email) WHERE invite_digest IS NOT NULL;
CREATE INDEX members_by_address ON members (workspace_id, email, created_at, id);
