-- Gateways: what pairing knows of them. Name, scopes and state are their principal's.
CREATE TABLE gateways (
    workspace_id    TEXT NOT NULL REFERENCES workspaces (id),
    subject         BIGINT NOT NULL,
    environment     TEXT NOT NULL,
    -- SHA-256 of the one-time code that is out; NULL once it was used or taken back. step_order is what its use does to
    -- the key that is there.
    code_digest     BLOB UNIQUE,
    code_expires_at BIGINT,
    step_order      TEXT,
    -- The key it got last, until it is unpaired.
    key_id          TEXT REFERENCES keys (id),
    paired_at       BIGINT,
    unpaired_at     BIGINT,
    revision        BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, subject),
    FOREIGN KEY (workspace_id, subject) REFERENCES principals (workspace_id, subject)
);

-- Links between a partner and client workspaces. workspace_id is the partner's; both sides see their links and nothing
-- else of each other. Permissions are separated by single blanks.
CREATE TABLE partner_links (
    id                  TEXT PRIMARY KEY,
    workspace_id        TEXT NOT NULL REFERENCES workspaces (id),
    partner             BIGINT NOT NULL,
    client_workspace_id TEXT REFERENCES workspaces (id),
    -- SHA-256 of the one-time code; NULL once it was used or the link ended.
    code_digest         BLOB UNIQUE,
    code_expires_at     BIGINT NOT NULL,
    client_name         TEXT NOT NULL,
    permissions         TEXT NOT NULL,
    state               TEXT NOT NULL,
    created_by_type     TEXT NOT NULL,
    created_by_id       TEXT NOT NULL,
    created_at          BIGINT NOT NULL,
    accepted_by_type    TEXT,
    accepted_by_id      TEXT,
    accepted_at         BIGINT,
    -- 'partner' or 'client'.
    ended_by            TEXT,
    ended_at            BIGINT,
    end_reason          TEXT,
    revision            BIGINT NOT NULL,
    FOREIGN KEY (workspace_id, partner) REFERENCES principals (workspace_id, subject)
);
CREATE INDEX partner_links_by_partner ON partner_links (workspace_id, partner, created_at, id);
CREATE INDEX partner_links_by_client ON partner_links (client_workspace_id, created_at, id) WHERE client_workspace_id IS NOT NULL;
CREATE UNIQUE INDEX partner_links_active ON partner_links (workspace_id, partner, client_workspace_id) WHERE state = 'active';

-- The link a partner's key is bound to: ending the link revokes the key.
ALTER TABLE keys ADD COLUMN link_id TEXT REFERENCES partner_links (id);
CREATE INDEX keys_by_link ON keys (link_id, number) WHERE link_id IS NOT NULL;
