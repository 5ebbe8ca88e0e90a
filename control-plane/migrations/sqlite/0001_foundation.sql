-- Times are unix milliseconds, deadlines and expiries unix seconds. Booleans are 0 or 1.
-- Lists of words (scopes, disabled_by) are separated by single blanks, ascending; documents are JSON text.
-- Every tenant table carries workspace_id. Kept in step with ../postgres: same tables, same columns, same order.
CREATE TABLE workspaces (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    brand           TEXT NOT NULL,
    next_key_number BIGINT NOT NULL,
    next_subject    BIGINT NOT NULL,
    created_at      BIGINT NOT NULL
);

CREATE TABLE principals (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    subject      BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    name         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, subject)
);

CREATE TABLE sets (
    id                  TEXT PRIMARY KEY,
    workspace_id        TEXT NOT NULL REFERENCES workspaces (id),
    name                TEXT NOT NULL,
    heartbeat_ms        BIGINT NOT NULL,
    validity_ms         BIGINT NOT NULL,
    skew_ms             BIGINT NOT NULL,
    largest_validity_ms BIGINT NOT NULL,
    pepper_id           TEXT NOT NULL,
    accepts_foreign     BIGINT NOT NULL,
    incarnation         BIGINT NOT NULL,
    epoch               BIGINT NOT NULL,
    version             BIGINT NOT NULL,
    commitment          BLOB NOT NULL,
    key_count           BIGINT NOT NULL,
    routes_revision     BIGINT NOT NULL,
    -- The exact text of the last signed head, NULL before the first; and the clock it was signed over.
    head                TEXT,
    head_issued         BIGINT,
    created_at          BIGINT NOT NULL,
    UNIQUE (workspace_id, name)
);

-- One row per published base: everything a rebuild of its bytes needs beside the change rows.
CREATE TABLE set_epochs (
    set_id      TEXT NOT NULL REFERENCES sets (id),
    incarnation BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    commitment  BLOB NOT NULL,
    root        BLOB NOT NULL,
    cutoff      BIGINT NOT NULL,
    key_count   BIGINT NOT NULL,
    pepper_id   TEXT NOT NULL,
    reason      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (set_id, incarnation, epoch)
);

-- One row per version. kind 'delta' or 'base'; a 'base' row without a link is a cut that is still being built.
CREATE TABLE set_versions (
    set_id       TEXT NOT NULL REFERENCES sets (id),
    version      BIGINT NOT NULL,
    incarnation  BIGINT NOT NULL,
    epoch        BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    issued       BIGINT NOT NULL,
    cutoff       BIGINT,
    link         BLOB,
    commitment   BLOB,
    change_count BIGINT NOT NULL,
    reason       TEXT NOT NULL,
    PRIMARY KEY (set_id, version)
);

-- One row per set. A term is taken by compare-and-swap and never falls.
CREATE TABLE leases (
    set_id     TEXT PRIMARY KEY REFERENCES sets (id),
    term       BIGINT NOT NULL,
    holder     TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- `state` is active, retiring or revoked. What passes with time is not written back: a retiring key whose deadline has
-- passed is revoked, an active one whose expiry has passed is expired, whoever reads it.
CREATE TABLE keys (
    id            TEXT PRIMARY KEY,
    workspace_id  TEXT NOT NULL REFERENCES workspaces (id),
    number        BIGINT NOT NULL,
    digest        BLOB NOT NULL,
    prefix        TEXT NOT NULL,
    name          TEXT NOT NULL,
    state         TEXT NOT NULL,
    disabled_by   TEXT NOT NULL,
    environment   TEXT NOT NULL,
    subject       BIGINT NOT NULL,
    kind          TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    tier          TEXT,
    owner         TEXT,
    labels        TEXT NOT NULL,
    issued_by_type TEXT NOT NULL,
    issued_by_id  TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    rotate_by     BIGINT,
    deadline      BIGINT,
    revoked_at    BIGINT,
    revoke_reason TEXT,
    last_used_at  BIGINT,
    lineage       TEXT NOT NULL,
    predecessor   TEXT,
    successor     TEXT,
    imported      BIGINT NOT NULL,
    weak          BIGINT NOT NULL,
    revision      BIGINT NOT NULL,
    UNIQUE (workspace_id, digest),
    UNIQUE (workspace_id, number)
);
-- Lists are newest first, or, narrowed by a time, earliest first by that time: each filter that can be rare has its order
-- in an index, so that a page costs the same at any size. Those that most keys are not in are partial.
CREATE INDEX keys_by_creation ON keys (workspace_id, created_at, id);
CREATE INDEX keys_by_owner ON keys (workspace_id, owner, created_at, id) WHERE owner IS NOT NULL;
CREATE INDEX keys_by_issuer ON keys (workspace_id, issued_by_id, created_at, id);
CREATE INDEX keys_by_subject ON keys (workspace_id, subject, created_at, id);
CREATE INDEX keys_leaving ON keys (workspace_id, created_at, id) WHERE state <> 'active';
CREATE INDEX keys_retiring ON keys (workspace_id, created_at, id) WHERE state = 'retiring';
CREATE INDEX keys_disabled ON keys (workspace_id, created_at, id) WHERE disabled_by <> '';
CREATE INDEX keys_of_test ON keys (workspace_id, created_at, id) WHERE environment = 'test';
CREATE INDEX keys_by_last_use ON keys (workspace_id, COALESCE(last_used_at, created_at), id);
CREATE INDEX keys_by_expiry ON keys (workspace_id, expires_at, id) WHERE expires_at IS NOT NULL;
CREATE INDEX keys_by_rotate_by ON keys (workspace_id, rotate_by, id) WHERE rotate_by IS NOT NULL;

-- created_at is the key's: a list by scope is newest first too.
CREATE TABLE key_scopes (
    workspace_id TEXT NOT NULL,
    scope        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    key_id       TEXT NOT NULL REFERENCES keys (id),
    PRIMARY KEY (workspace_id, scope, created_at, key_id)
) WITHOUT ROWID;

CREATE TABLE rotations (
    id               TEXT PRIMARY KEY,
    workspace_id     TEXT NOT NULL REFERENCES workspaces (id),
    predecessor      TEXT NOT NULL REFERENCES keys (id),
    successor        TEXT NOT NULL REFERENCES keys (id),
    lineage          TEXT NOT NULL,
    step_order       TEXT NOT NULL,
    state            TEXT NOT NULL,
    outcome          TEXT,
    reason           TEXT NOT NULL,
    overlap_seconds  BIGINT NOT NULL,
    deadline         BIGINT,
    started_by_type  TEXT NOT NULL,
    started_by_id    TEXT NOT NULL,
    started_at       BIGINT NOT NULL,
    ended_by_type    TEXT,
    ended_by_id      TEXT,
    ended_at         BIGINT,
    revision         BIGINT NOT NULL
);
CREATE UNIQUE INDEX rotations_open ON rotations (predecessor) WHERE state = 'open';
CREATE INDEX rotations_by_deadline ON rotations (deadline) WHERE state = 'open';
CREATE INDEX rotations_by_predecessor ON rotations (workspace_id, predecessor);
CREATE INDEX rotations_by_start ON rotations (workspace_id, started_at, id);
CREATE INDEX rotations_by_successor ON rotations (workspace_id, successor);

CREATE TABLE scopes (
    workspace_id  TEXT NOT NULL REFERENCES workspaces (id),
    name          TEXT NOT NULL,
    first_used_at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, name)
);

CREATE TABLE tiers (
    workspace_id  TEXT NOT NULL REFERENCES workspaces (id),
    name          TEXT NOT NULL,
    first_used_at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, name)
);

-- What edges must learn. Written without a version in the mutation's transaction; the leader numbers committed rows.
-- A numbered row never changes. The post-image is whole: a base is rebuilt from the latest row of each key.
CREATE TABLE changes (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    set_id       TEXT NOT NULL REFERENCES sets (id),
    workspace_id TEXT NOT NULL,
    key_number   BIGINT NOT NULL,
    digest       BLOB NOT NULL,
    status       BIGINT NOT NULL,
    imported     BIGINT NOT NULL,
    deadline     BIGINT,
    kind         TEXT NOT NULL,
    environment  TEXT NOT NULL,
    tier         TEXT,
    scopes       TEXT NOT NULL,
    subject      BIGINT NOT NULL,
    is_new       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    version      BIGINT,
    position     BIGINT
);
CREATE INDEX changes_unnumbered ON changes (set_id, seq) WHERE version IS NULL;
CREATE INDEX changes_by_version ON changes (set_id, version, position);
CREATE INDEX changes_by_key ON changes (set_id, key_number, version);

CREATE TABLE routes (
    set_id          TEXT NOT NULL REFERENCES sets (id),
    workspace_id    TEXT NOT NULL,
    revision        BIGINT NOT NULL,
    document        TEXT NOT NULL,
    policy          BLOB NOT NULL,
    policy_hash     BLOB NOT NULL,
    created_at      BIGINT NOT NULL,
    created_by_type TEXT NOT NULL,
    created_by_id   TEXT NOT NULL,
    PRIMARY KEY (set_id, revision)
);

CREATE TABLE tokens (
    id              TEXT PRIMARY KEY,
    workspace_id    TEXT NOT NULL REFERENCES workspaces (id),
    kind            TEXT NOT NULL,
    set_id          TEXT REFERENCES sets (id),
    name            TEXT NOT NULL,
    digest          BLOB NOT NULL UNIQUE,
    prefix          TEXT NOT NULL,
    scopes          TEXT NOT NULL,
    created_by_type TEXT NOT NULL,
    created_by_id   TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT,
    revoked_at      BIGINT,
    last_used_at    BIGINT
);
CREATE INDEX tokens_by_creation ON tokens (workspace_id, created_at, id);

CREATE TABLE enrolments (
    digest       BLOB PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT
);

CREATE TABLE idempotency (
    token_id      TEXT NOT NULL,
    route         TEXT NOT NULL,
    key_hash      BLOB NOT NULL,
    workspace_id  TEXT NOT NULL,
    request_hash  BLOB NOT NULL,
    status        BIGINT NOT NULL,
    body          TEXT NOT NULL,
    had_secret    BIGINT NOT NULL,
    sealed_secret BLOB,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (token_id, route, key_hash)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- seq, prev_hash and hash stay NULL until the leader chains the row.
CREATE TABLE audit (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    at           BIGINT NOT NULL,
    actor_type   TEXT NOT NULL,
    actor_id     TEXT NOT NULL,
    action       TEXT NOT NULL,
    category     TEXT NOT NULL,
    target_type  TEXT NOT NULL,
    target_id    TEXT NOT NULL,
    prefix       TEXT,
    short_prefix TEXT,
    scopes       TEXT,
    before       TEXT,
    after        TEXT,
    reason       TEXT,
    source       TEXT,
    request_id   TEXT NOT NULL,
    seq          BIGINT,
    prev_hash    BLOB,
    hash         BLOB
);
CREATE INDEX audit_by_time ON audit (workspace_id, at, id);
CREATE INDEX audit_by_target ON audit (workspace_id, target_id, at, id);
CREATE INDEX audit_by_action ON audit (workspace_id, action, at, id);
CREATE INDEX audit_by_actor ON audit (workspace_id, actor_id, at, id);

CREATE TABLE edge_instances (
    token_id    TEXT NOT NULL REFERENCES tokens (id),
    instance    TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    set_id      TEXT NOT NULL,
    runtime     TEXT NOT NULL,
    version     TEXT NOT NULL,
    sequence    BIGINT NOT NULL,
    applied_incarnation BIGINT,
    applied_epoch       BIGINT,
    applied_version     BIGINT,
    applied_issued      BIGINT,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (token_id, instance)
);
