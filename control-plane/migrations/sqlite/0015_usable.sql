-- Lists of principals count the usable keys of each: all that the count needs, so that no key is read for it.
CREATE INDEX keys_usable ON keys (workspace_id, subject, state, disabled_by, expires_at, deadline)
    WHERE state <> 'revoked' AND disabled_by = '';
