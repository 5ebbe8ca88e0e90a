-- The notes that say which keys sign a set's heads; the highest version is in force. Signed by a root key.
CREATE TABLE trust_notes (
    set_id     TEXT NOT NULL REFERENCES sets (id),
    version    BIGINT NOT NULL,
    note       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (set_id, version)
);

-- The verifier key of the key that is to sign heads; NULL until a control plane has said so.
ALTER TABLE sets ADD COLUMN signer TEXT;
-- The one that signs the current epoch, and since when, unix milliseconds: keys it took the place of are listed until no
-- head of theirs is relied on.
ALTER TABLE sets ADD COLUMN signed_by TEXT;
ALTER TABLE sets ADD COLUMN signed_since BIGINT NOT NULL DEFAULT 0;
-- How long routes that are open may be answered beyond a head's validity; 0 means they may not. The largest ever signed.
ALTER TABLE sets ADD COLUMN open_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sets ADD COLUMN largest_open_ms BIGINT NOT NULL DEFAULT 0;

-- Secrets that several processes share, sealed under the master key. The root key is never among them.
CREATE TABLE shared_secrets (
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
);
