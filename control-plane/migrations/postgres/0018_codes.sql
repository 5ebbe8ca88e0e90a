-- The member who made the code that is out: it works as long as they may act.
ALTER TABLE members ADD COLUMN invite_member TEXT COLLATE "C" REFERENCES members (id);
ALTER TABLE edges ADD COLUMN code_member TEXT COLLATE "C" REFERENCES members (id);

-- Service accounts' tokens by the member who may know their text.
CREATE INDEX tokens_by_maker ON tokens (workspace_id, maker_id, created_at, id) WHERE maker_id IS NOT NULL;
