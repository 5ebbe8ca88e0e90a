-- Who made the code that is out, and with which token: it works as long as they could make it again.
ALTER TABLE members ADD COLUMN invite_member TEXT COLLATE "C" REFERENCES members (id);
ALTER TABLE members ADD COLUMN invite_token TEXT COLLATE "C" REFERENCES tokens (id);
ALTER TABLE gateways ADD COLUMN code_token TEXT COLLATE "C" REFERENCES tokens (id);
ALTER TABLE edges ADD COLUMN code_member TEXT COLLATE "C" REFERENCES members (id);
ALTER TABLE edges ADD COLUMN code_token TEXT COLLATE "C" REFERENCES tokens (id);

-- Service accounts' tokens by the member who may know their text.
CREATE INDEX tokens_by_maker ON tokens (workspace_id, maker_id, created_at, id) WHERE maker_id IS NOT NULL;
