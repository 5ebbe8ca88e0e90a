-- The audit log as a chain. Entries are written without a number; the leader numbers and chains them per workspace. What is
-- personal stands behind salted commitments, so that it can be erased and the chain stays.

-- The member whose authority an actor had.
ALTER TABLE audit ADD COLUMN on_behalf_of TEXT COLLATE "C";
-- Erased together with source.
ALTER TABLE audit ADD COLUMN source_salt BYTEA;
-- `field:hex …`: what stands in the chain for source and for what audit_personal holds.
ALTER TABLE audit ADD COLUMN commitments TEXT;

-- Personal values of entries, but for the source. Rows are erased, never changed.
CREATE TABLE audit_personal (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    audit_id     BIGINT NOT NULL,
    field        TEXT COLLATE "C" NOT NULL,
    salt         BYTEA NOT NULL,
    value        TEXT NOT NULL,
    -- The member whom the value is about, where it is about one.
    about        TEXT COLLATE "C",
    PRIMARY KEY (workspace_id, audit_id, field)
);
CREATE INDEX audit_personal_by_about ON audit_personal (workspace_id, about);

-- How far a workspace's log is chained. Whoever chains holds this row.
CREATE TABLE audit_chains (
    workspace_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    count        BIGINT NOT NULL,
    -- The last entry's hash.
    hash         BYTEA NOT NULL,
    -- The roots of the perfect trees that the entries make, 32 bytes each.
    peaks        BYTEA NOT NULL
);

-- Roots of perfect trees of 2^8, 2^16, … entries, for proofs.
CREATE TABLE audit_nodes (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    level        BIGINT NOT NULL,
    place        BIGINT NOT NULL,
    hash         BYTEA NOT NULL,
    PRIMARY KEY (workspace_id, level, place)
);

-- What recoveries have lost, in signed notes.
CREATE TABLE audit_gaps (
    set_id       TEXT COLLATE "C" NOT NULL REFERENCES sets (id),
    incarnation  BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    kept         BIGINT NOT NULL,
    note         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (set_id, incarnation)
);
CREATE INDEX audit_gaps_by_workspace ON audit_gaps (workspace_id, created_at);
