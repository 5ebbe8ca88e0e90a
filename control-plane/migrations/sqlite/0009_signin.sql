-- People who sign in. An account is a person's, not a workspace's: it may be a member of several, so these tables name a
-- workspace only where a row belongs to one. E-mail addresses are in lower case.
CREATE TABLE accounts (
    id                  TEXT PRIMARY KEY,
    email               TEXT NOT NULL UNIQUE,
    -- A PHC text of argon2id; NULL where the person signs in through an identity provider only.
    password_hash       TEXT,
    -- The secret of an authenticator, sealed under the server key; the one that is not confirmed yet stands beside it.
    totp_sealed         BLOB,
    totp_offered        BLOB,
    -- The last step a code was taken of: no code counts twice.
    totp_last_step      BIGINT NOT NULL,
    oidc_issuer         TEXT,
    oidc_subject        TEXT,
    created_at          BIGINT NOT NULL,
    password_changed_at BIGINT,
    UNIQUE (oidc_issuer, oidc_subject)
);

-- SHA-256 of the account and the code.
CREATE TABLE recovery_codes (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    digest     BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT,
    PRIMARY KEY (account_id, digest)
);

-- digest is SHA-256 of what the cookie holds. An ended session has no digest: nothing opens it.
CREATE TABLE sessions (
    id             TEXT PRIMARY KEY,
    workspace_id   TEXT NOT NULL REFERENCES workspaces (id),
    member_id      TEXT NOT NULL,
    account_id     TEXT NOT NULL REFERENCES accounts (id),
    digest         BLOB UNIQUE,
    method         TEXT NOT NULL,
    source         TEXT,
    signed_in_at   BIGINT NOT NULL,
    last_seen_at   BIGINT NOT NULL,
    elevated_until BIGINT,
    ended_at       BIGINT,
    end_reason     TEXT
);
CREATE INDEX sessions_by_account ON sessions (account_id, signed_in_at, id);
CREATE INDEX sessions_by_member ON sessions (workspace_id, member_id);

-- How often somebody guessed. A bucket is named by a keyed hash of an account's e-mail address, whether there is such an
-- account or not, or of a source address: the rows name nobody.
CREATE TABLE sign_in_guesses (
    bucket   BLOB PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    -- Kept at least until then: for a bucket of somebody who has signed in from that address.
    known_until BIGINT
);
CREATE INDEX sign_in_guesses_by_age ON sign_in_guesses (last_at);

-- Sign-ins that are at the identity provider. state is SHA-256 of what the provider sends back; the rest is sealed under a
-- key of which the browser's cookie holds a part.
CREATE TABLE oidc_flows (
    state      BLOB PRIMARY KEY,
    sealed     BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX oidc_flows_by_age ON oidc_flows (created_at);

-- Made on the host for a workspace whose owners cannot sign in: makes an owner where there are owners.
ALTER TABLE enrolments ADD COLUMN recovery BIGINT NOT NULL DEFAULT 0;
