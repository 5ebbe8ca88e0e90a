-- What a base's bytes depend on beside the change rows, its pepper and its cutoff.
ALTER TABLE set_epochs ADD COLUMN bucket_bits BIGINT NOT NULL DEFAULT 0;
-- Columns of its rows: bit 0 subject, bit 1 key number.
ALTER TABLE set_epochs ADD COLUMN row_columns BIGINT NOT NULL DEFAULT 0;
-- The hash of the record by which replicas make the base from the epoch before; NULL where it was built anew.
ALTER TABLE set_epochs ADD COLUMN rebase BYTEA;

-- Since when the oldest change has waited for a version: a head that leaves some out is issued no later than that.
CREATE INDEX changes_waiting ON changes (set_id, created_at) WHERE version IS NULL;
-- Revoked keys that have come to the end of their retention.
CREATE INDEX changes_revoked_at ON changes (set_id, created_at) WHERE status = 3;
CREATE INDEX changes_revoked_by_version ON changes (set_id, version) WHERE status = 3;
