-- What the keys of a member may do, said once for all of them: a `user` key has no contents of its own but those of its
-- member's live profile in its environment. Written like rows of changes: without a version in the mutation's transaction,
-- whole; the leader numbers committed rows, and a numbered row never changes. The contents in force at a version are those
-- of the last row up to it.
CREATE TABLE profile_changes (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    set_id       TEXT NOT NULL REFERENCES sets (id),
    workspace_id TEXT NOT NULL,
    subject      BIGINT NOT NULL,
    environment  TEXT NOT NULL,
    kind         TEXT NOT NULL,
    tier         TEXT,
    scopes       TEXT NOT NULL,
    refused      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    version      BIGINT,
    position     BIGINT
);
CREATE INDEX profile_changes_unnumbered ON profile_changes (set_id, seq) WHERE version IS NULL;
CREATE INDEX profile_changes_by_version ON profile_changes (set_id, version, position);
CREATE INDEX profile_changes_by_subject ON profile_changes (set_id, subject, environment, version, position);

-- 1 where a key was revoked with its member, so that edges refuse it by its profile and its own change row has yet to be
-- written, for it to leave the set in time; 0 once that is done; NULL where it was revoked by itself.
ALTER TABLE receipts ADD COLUMN by_profile BIGINT;
CREATE INDEX receipts_by_profile ON receipts (key_id, set_id) WHERE by_profile = 1;
