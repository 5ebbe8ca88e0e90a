-- Labels of keys, to find keys by them. The database itself keeps them as `keys` says, so that programs of before, which run
-- beside this one while it is introduced, need not know of it. created_at is the key's: a list by label is newest first too.
CREATE TABLE key_labels (
    workspace_id TEXT NOT NULL,
    name         TEXT NOT NULL,
    value        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    key_id       TEXT NOT NULL REFERENCES keys (id),
    PRIMARY KEY (workspace_id, name, value, created_at, key_id)
) WITHOUT ROWID;
CREATE INDEX key_labels_by_name ON key_labels (workspace_id, name, created_at, key_id);

CREATE TRIGGER key_labels_come AFTER INSERT ON keys WHEN NEW.labels <> '{}'
BEGIN
    INSERT INTO key_labels SELECT NEW.workspace_id, l.key, l.value, NEW.created_at, NEW.id FROM json_each(NEW.labels) l;
END;
CREATE TRIGGER key_labels_change AFTER UPDATE OF labels ON keys WHEN NEW.labels <> OLD.labels
BEGIN
    DELETE FROM key_labels WHERE workspace_id = OLD.workspace_id AND created_at = OLD.created_at AND key_id = OLD.id
        AND name IN (SELECT l.key FROM json_each(OLD.labels) l);
    INSERT INTO key_labels SELECT NEW.workspace_id, l.key, l.value, NEW.created_at, NEW.id FROM json_each(NEW.labels) l;
END;
INSERT INTO key_labels SELECT k.workspace_id, l.key, l.value, k.created_at, k.id FROM keys k, json_each(k.labels) l
    WHERE k.labels <> '{}';
