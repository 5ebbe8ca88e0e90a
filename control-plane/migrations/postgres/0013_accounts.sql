-- The service account whose management token it is, in place of a member; and the member who made that token, and may know
-- its text.
ALTER TABLE tokens ADD COLUMN subject BIGINT;
ALTER TABLE tokens ADD COLUMN maker_id TEXT COLLATE "C" REFERENCES members (id);
CREATE INDEX tokens_by_subject ON tokens (workspace_id, subject, created_at, id) WHERE subject IS NOT NULL;

-- The member who made the code that is out: whoever pairs with it does so on that member's authority.
ALTER TABLE gateways ADD COLUMN code_member TEXT COLLATE "C" REFERENCES members (id);
