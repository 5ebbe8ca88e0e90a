-- What a workspace says of its scopes. An entry's name may be a group, `READ_*`: it stands for all names that begin so.
-- `sensitive` is NULL where nobody has said it of this very name: then the groups it is in decide. first_used_at is 0 where
-- no key has ever carried it, and updated_at NULL where nobody has said anything of it.
ALTER TABLE scopes ADD COLUMN description TEXT;
ALTER TABLE scopes ADD COLUMN sensitive BIGINT;
ALTER TABLE scopes ADD COLUMN updated_at BIGINT;
CREATE INDEX scopes_flagged ON scopes (workspace_id, name) WHERE sensitive IS NOT NULL;

-- Who has to do with a key: the member who looks after it, and the one on whose authority it was issued, by hand or with a
-- token, and who may therefore have seen its secret.
ALTER TABLE keys ADD COLUMN owner_member TEXT;
ALTER TABLE keys ADD COLUMN issuer_member TEXT;
