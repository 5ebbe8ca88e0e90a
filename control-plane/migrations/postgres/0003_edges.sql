-- Edges as things: who they are, what they hold, and what that proves of a revocation.
CREATE TABLE edges (
    id              TEXT COLLATE "C" PRIMARY KEY,
    workspace_id    TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    set_id          TEXT COLLATE "C" NOT NULL REFERENCES sets (id),
    name            TEXT NOT NULL,
    class           TEXT NOT NULL,
    -- SHA-256 of the one-time code; NULL once it was used or the edge was removed.
    code_digest     BYTEA UNIQUE,
    code_expires_at BIGINT NOT NULL,
    created_by_type TEXT NOT NULL,
    created_by_id   TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    -- What it said of itself when it enrolled; later reports say what runs now.
    runtime         TEXT,
    version         TEXT,
    enrolled_at     BIGINT,
    removed_at      BIGINT
);
CREATE INDEX edges_by_creation ON edges (workspace_id, created_at, id);
CREATE INDEX edges_by_set ON edges (set_id, class);

-- The credential of an edge is a token of kind 'edge'; tokens without an edge belong to edges without identity.
ALTER TABLE tokens ADD COLUMN edge_id TEXT COLLATE "C" REFERENCES edges (id);
CREATE INDEX tokens_by_edge ON tokens (edge_id) WHERE edge_id IS NOT NULL;

-- Lists of words are separated by single blanks. clock_offset_ms is the edge's clock minus the database's.
ALTER TABLE edge_instances ADD COLUMN edge_id TEXT COLLATE "C";
ALTER TABLE edge_instances ADD COLUMN first_reported_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE edge_instances ADD COLUMN formats TEXT NOT NULL DEFAULT '';
ALTER TABLE edge_instances ADD COLUMN peppers TEXT NOT NULL DEFAULT '';
ALTER TABLE edge_instances ADD COLUMN trust BIGINT;
ALTER TABLE edge_instances ADD COLUMN data_age_ms BIGINT;
ALTER TABLE edge_instances ADD COLUMN clock_offset_ms BIGINT;
ALTER TABLE edge_instances ADD COLUMN clock_refused BIGINT NOT NULL DEFAULT 0;
ALTER TABLE edge_instances ADD COLUMN failure TEXT;
-- The state it reported is one that the set has not reached.
ALTER TABLE edge_instances ADD COLUMN ahead BIGINT NOT NULL DEFAULT 0;
CREATE INDEX edge_instances_by_edge ON edge_instances (edge_id, reported_at) WHERE edge_id IS NOT NULL;

-- When an instance of a durable edge first reported that it had applied a version. Old ones go, an instance's last stays.
CREATE TABLE edge_marks (
    set_id       TEXT COLLATE "C" NOT NULL,
    edge_id      TEXT COLLATE "C" NOT NULL REFERENCES edges (id),
    instance     TEXT COLLATE "C" NOT NULL,
    incarnation  BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    at           BIGINT NOT NULL,
    PRIMARY KEY (set_id, edge_id, instance, incarnation, version)
);
CREATE INDEX edge_marks_by_time ON edge_marks (at);

-- One row per revoked key and set, written with the revocation. committed_by is a database clock read after the commit;
-- NULL until somebody has read it. incarnation and version are noted once the change is numbered. note is the signed
-- receipt: written once, never changed.
CREATE TABLE receipts (
    set_id       TEXT COLLATE "C" NOT NULL REFERENCES sets (id),
    key_id       TEXT COLLATE "C" NOT NULL REFERENCES keys (id),
    workspace_id TEXT COLLATE "C" NOT NULL,
    key_number   BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL,
    committed_by BIGINT,
    incarnation  BIGINT,
    version      BIGINT,
    decided_at   BIGINT,
    note         TEXT,
    PRIMARY KEY (set_id, key_id)
);
CREATE INDEX receipts_unmarked ON receipts (revoked_at) WHERE committed_by IS NULL;
CREATE INDEX receipts_unnumbered ON receipts (revoked_at) WHERE version IS NULL;
