-- Members, their roles, and what a token has to do with them.

-- 'tenant' or 'reserved'. The reserved workspace holds the keys that are management tokens; it has no set.
ALTER TABLE workspaces ADD COLUMN kind TEXT NOT NULL DEFAULT 'tenant';
ALTER TABLE workspaces ADD COLUMN state TEXT NOT NULL DEFAULT 'active';

-- Suspended principals have disabled keys, removed ones none that work. scopes: the most that its keys may carry, NULL where
-- there is no such limit.
ALTER TABLE principals ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE principals ADD COLUMN description TEXT;
ALTER TABLE principals ADD COLUMN scopes TEXT;
ALTER TABLE principals ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE principals ADD COLUMN suspended_at BIGINT;
ALTER TABLE principals ADD COLUMN removed_at BIGINT;
CREATE INDEX principals_by_kind ON principals (workspace_id, kind, created_at, subject);

-- state: invited, active, suspended or removed. partner: the subject of the organisation whose staff it is. email and name
-- are NULL once they were erased.
CREATE TABLE members (
    id                TEXT COLLATE "C" PRIMARY KEY,
    workspace_id      TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    subject           BIGINT NOT NULL,
    role              TEXT COLLATE "C" NOT NULL,
    partner           BIGINT,
    email             TEXT COLLATE "C",
    name              TEXT,
    state             TEXT NOT NULL,
    scopes            TEXT NOT NULL,
    tier              TEXT,
    account_id        TEXT COLLATE "C",
    invite_digest     BYTEA UNIQUE,
    invite_expires_at BIGINT,
    invited_by_type   TEXT NOT NULL,
    invited_by_id     TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    joined_at         BIGINT,
    suspended_at      BIGINT,
    removed_at        BIGINT,
    revision          BIGINT NOT NULL,
    UNIQUE (workspace_id, subject)
);
CREATE UNIQUE INDEX members_by_email ON members (workspace_id, email) WHERE state <> 'removed';
CREATE INDEX members_by_creation ON members (workspace_id, created_at, id);
CREATE INDEX members_by_role ON members (workspace_id, role, created_at, id);
CREATE INDEX members_by_partner ON members (workspace_id, partner, created_at, id) WHERE partner IS NOT NULL;
CREATE INDEX members_by_account ON members (account_id) WHERE account_id IS NOT NULL;

-- What members of a role have beside their own scopes.
CREATE TABLE role_scopes (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    role         TEXT COLLATE "C" NOT NULL,
    scopes       TEXT NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, role)
);

-- A management token is a key of the reserved workspace; one without key_id is from before and becomes one when it is used.
-- member_id: the member whose authority it has.
ALTER TABLE tokens ADD COLUMN key_id TEXT COLLATE "C" REFERENCES keys (id);
ALTER TABLE tokens ADD COLUMN member_id TEXT COLLATE "C" REFERENCES members (id);
CREATE INDEX tokens_by_member ON tokens (member_id) WHERE member_id IS NOT NULL;
CREATE INDEX tokens_by_key ON tokens (key_id) WHERE key_id IS NOT NULL;

-- created_at is the end of time, so that what looks for the oldest workspace never finds this one.
INSERT INTO workspaces (id, name, brand, next_key_number, next_subject, created_at, kind)
    VALUES ('ws_management', 'management', 'nlm', 1, 2, 9223372036854775807, 'reserved');
INSERT INTO principals (workspace_id, subject, kind, name, created_at)
    VALUES ('ws_management', 1, 'service_account', 'tokens', 0);
