//! The statements of the store of schema 5, word for word.

pub(super) const WORKSPACES: &str = "INSERT INTO workspaces (id, name, brand, next_key_number, next_subject, created_at) \
    VALUES ($1, $2, $3, 1, $4, $5)";
pub(super) const PRINCIPALS: &str =
    "INSERT INTO principals (workspace_id, subject, kind, name, created_at) VALUES ($1, $2, $3, 'default', $4)";
pub(super) const SETS: &str = "INSERT INTO sets (id, workspace_id, name, heartbeat_ms, validity_ms, skew_ms, largest_validity_ms, \
    pepper_id, accepts_foreign, incarnation, epoch, version, commitment, key_count, routes_revision, created_at) \
    VALUES ($1, $2, 'default', $3, $4, $5, $4, $6, $7, 0, 0, 0, $8, 0, 0, $9)";
pub(super) const NUMBERS: &str = "UPDATE workspaces SET next_key_number = next_key_number + $2 WHERE id = $1";
pub(super) const SCOPES: &str =
    "INSERT INTO scopes (workspace_id, name, first_used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
pub(super) const TIERS: &str =
    "INSERT INTO tiers (workspace_id, name, first_used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
pub(super) const KEYS: &str = "INSERT INTO keys (id, workspace_id, number, digest, prefix, name, state, disabled_by, environment, \
    subject, kind, scopes, tier, owner, labels, issued_by_type, issued_by_id, created_at, expires_at, rotate_by, \
    deadline, revoked_at, revoke_reason, last_used_at, lineage, predecessor, successor, imported, weak, revision) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, \
    $24, $25, $26, $27, $28, $29, $30) ON CONFLICT (id) DO NOTHING";
pub(super) const KEY_SCOPES: &str =
    "INSERT INTO key_scopes (workspace_id, scope, created_at, key_id) VALUES ($1, $2, $3, $4)";
pub(super) const KEY_CHANGED: &str = "UPDATE keys SET name = $3, state = $4, disabled_by = $5, tier = $6, owner = $7, labels = $8, \
    expires_at = $9, rotate_by = $10, deadline = $11, revoked_at = $12, revoke_reason = $13, successor = $14, \
    revision = $15 WHERE id = $1 AND revision = $2";
pub(super) const CHANGES: &str = "INSERT INTO changes (set_id, workspace_id, key_number, digest, status, imported, deadline, kind, \
    environment, tier, scopes, subject, is_new, created_at) \
    SELECT id, workspace_id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM sets \
    WHERE workspace_id = $1 ORDER BY id";
pub(super) const AUDIT: &str = "INSERT INTO audit (workspace_id, at, actor_type, actor_id, action, category, target_type, \
    target_id, prefix, short_prefix, scopes, before, after, reason, source, request_id) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
pub(super) const RECEIPTS: &str = "INSERT INTO receipts (set_id, key_id, workspace_id, key_number, revoked_at) \
    SELECT id, $2, $1, $3, $4 FROM sets WHERE workspace_id = $1 ORDER BY id ON CONFLICT (set_id, key_id) DO NOTHING";
pub(super) const RECEIPT_NOTED: &str =
    "UPDATE receipts SET committed_by = $3 WHERE set_id = $1 AND key_id = $2 AND committed_by IS NULL";
pub(super) const ROTATIONS: &str = "INSERT INTO rotations (id, workspace_id, predecessor, successor, lineage, step_order, state, \
    outcome, reason, overlap_seconds, deadline, started_by_type, started_by_id, started_at, ended_by_type, ended_by_id, \
    ended_at, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
pub(super) const ROTATION_CHANGED: &str = "UPDATE rotations SET state = $3, outcome = $4, overlap_seconds = $5, deadline = $6, \
    ended_by_type = $7, ended_by_id = $8, ended_at = $9, revision = revision + 1 WHERE id = $1 AND revision = $2";
pub(super) const TOKENS: &str = "INSERT INTO tokens (id, workspace_id, kind, set_id, name, digest, prefix, scopes, \
    created_by_type, created_by_id, created_at, expires_at, edge_id) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
pub(super) const TOKEN_USED: &str =
    "UPDATE tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)";
pub(super) const TOKEN_REVOKED: &str =
    "UPDATE tokens SET revoked_at = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL";
pub(super) const ENROLMENTS: &str =
    "INSERT INTO enrolments (digest, workspace_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
pub(super) const IDEMPOTENCY: &str = "INSERT INTO idempotency (token_id, route, key_hash, workspace_id, request_hash, status, body, \
    had_secret, sealed_secret, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
pub(super) const ROUTES_MOVED: &str =
    "UPDATE sets SET routes_revision = $4 WHERE workspace_id = $1 AND id = $2 AND routes_revision = $3";
pub(super) const ROUTES: &str = "INSERT INTO routes (set_id, workspace_id, revision, document, policy, policy_hash, created_at, \
    created_by_type, created_by_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
pub(super) const EDGES: &str = "INSERT INTO edges (id, workspace_id, set_id, name, class, code_digest, code_expires_at, \
    created_by_type, created_by_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
pub(super) const INSTANCES: &str = "INSERT INTO edge_instances (token_id, instance, workspace_id, set_id, runtime, version, \
    sequence, applied_incarnation, applied_epoch, applied_version, applied_issued, reported_at, edge_id, \
    first_reported_at, formats, peppers, trust, data_age_ms, clock_offset_ms, clock_refused, failure, ahead) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $12, $14, $15, $16, $17, $18, $19, $20, $21) \
    ON CONFLICT (token_id, instance) DO UPDATE SET set_id = excluded.set_id, runtime = excluded.runtime, \
    version = excluded.version, sequence = excluded.sequence, applied_incarnation = excluded.applied_incarnation, \
    applied_epoch = excluded.applied_epoch, applied_version = excluded.applied_version, \
    applied_issued = excluded.applied_issued, reported_at = excluded.reported_at, formats = excluded.formats, \
    peppers = excluded.peppers, trust = excluded.trust, data_age_ms = excluded.data_age_ms, \
    clock_offset_ms = excluded.clock_offset_ms, clock_refused = excluded.clock_refused, failure = excluded.failure, \
    ahead = excluded.ahead WHERE edge_instances.sequence < excluded.sequence";
pub(super) const MARKS: &str = "INSERT INTO edge_marks (set_id, edge_id, instance, incarnation, version, workspace_id, at) \
    SELECT $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM edge_marks WHERE set_id = $1 AND edge_id = $2 \
    AND instance = $3 AND (incarnation, version) >= ($4, $5)) ON CONFLICT DO NOTHING";
pub(super) const ENDED: &str = "INSERT INTO ended_digests (workspace_id, digest, created_at) VALUES ($1, $2, $3)";
pub(super) const SHARED: &str = "INSERT INTO shared_secrets (kind, name, sealed, created_at) VALUES ($1, $2, $3, $4)";
pub(super) const LEASE: &str =
    "INSERT INTO leases (set_id, term, holder, expires_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
pub(super) const TRUST: &str = "INSERT INTO trust_notes (set_id, version, note, created_at) VALUES ($1, $2, $3, $4)";
pub(super) const EPOCHS: &str = "INSERT INTO set_epochs (set_id, incarnation, epoch, version, commitment, root, cutoff, key_count, \
    pepper_id, reason, created_at, bucket_bits, row_columns, rebase) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
pub(super) const VERSIONS: &str = "INSERT INTO set_versions (set_id, version, incarnation, epoch, kind, issued, link, commitment, \
    change_count, reason) VALUES ($1, $2, $3, $4, 'delta', $5, $6, $7, $8, '')";
pub(super) const NUMBERED: &str = "UPDATE changes SET version = $1, position = seq WHERE seq IN \
    (SELECT seq FROM changes WHERE set_id = $2 AND version IS NULL AND imported <= $3 ORDER BY seq LIMIT $4)";
pub(super) const SIGNED: &str = "UPDATE sets SET incarnation = $1, epoch = $2, version = $3, commitment = $4, key_count = $5, \
    head = $6, head_issued = $7, largest_validity_ms = CASE WHEN largest_validity_ms < $8 THEN $8 ELSE \
    largest_validity_ms END WHERE id = $9";
