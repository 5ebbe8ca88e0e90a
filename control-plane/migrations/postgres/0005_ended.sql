-- Keys that are ended and that no row is of, so that their texts are never taken in again: named by a deny note, or
-- published as ended by a database that was lost since.
CREATE TABLE ended_digests (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    digest       BYTEA NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, digest)
);

-- Known by the tag that they were published under, as many bits of it as the set's files had; ended from ends_at on, and
-- where that is 0, revoked.
CREATE TABLE ended_tags (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id),
    set_id       TEXT COLLATE "C" NOT NULL REFERENCES sets (id),
    pepper_id    TEXT COLLATE "C" NOT NULL,
    tag_bits     BIGINT NOT NULL,
    tag          BYTEA NOT NULL,
    ends_at      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (set_id, pepper_id, tag_bits, tag)
);
CREATE INDEX ended_tags_by_workspace ON ended_tags (workspace_id, pepper_id, tag_bits);
