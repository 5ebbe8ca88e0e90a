-- Several workspaces in one deployment. 1: the set's pepper is derived for it alone; 0: it is the deployment's as it is,
-- which the sets of the first workspace have.
ALTER TABLE sets ADD COLUMN own_pepper BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
-- Whom the token is for, where that was said; lower case.
ALTER TABLE enrolments ADD COLUMN email TEXT;

-- One row: the oldest schema that a program may know and still use this database. A contracting migration raises it to its
-- own number.
CREATE TABLE schema_floor (
    version BIGINT NOT NULL
);
INSERT INTO schema_floor (version) VALUES (0);

-- Control planes that run, by the name they hold leases under, and the newest schema that each knows.
CREATE TABLE replicas (
    id         TEXT PRIMARY KEY,
    schema     BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL
);
