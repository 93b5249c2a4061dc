-- Sets of secrets, several databases of a project, and deployments whose files are gone.

CREATE TABLE secret_set (
    -- Age: a later set has a higher number.
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL REFERENCES project (id),
    -- A nonce, and what was encrypted under it.
    sealed      BLOB NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX secret_set_by_project ON secret_set (project_id, seq);

-- The set that the deployment is started with.
ALTER TABLE deployment ADD COLUMN secrets TEXT REFERENCES secret_set (id) ON DELETE SET NULL;

-- Whether its files are gone: it is too old to be kept. Only a deployment at rest can be.
ALTER TABLE deployment ADD COLUMN files_removed INTEGER NOT NULL DEFAULT 0 CHECK (
    files_removed = 0
    OR (files_removed = 1 AND (state IN ('error', 'deleted') OR (state = 'built' AND superseded_by IS NOT NULL)))
);

-- SQLite cannot change a UNIQUE constraint.
CREATE TABLE new_resource (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  INTEGER NOT NULL REFERENCES project (id),
    kind        TEXT NOT NULL,
    -- What its parameters call it by their option `name`; empty for the one that they share without a name.
    instance    TEXT NOT NULL,
    -- The parameter's name when the resource was first asked for.
    name        TEXT NOT NULL,
    -- Opaque name of the database and role, or of whatever it is made of.
    handle      TEXT NOT NULL UNIQUE,
    password    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (project_id, kind, instance)
) STRICT;

INSERT INTO new_resource (id, project_id, kind, instance, name, handle, password, created_at)
SELECT id, project_id, kind, '', name, handle, password, created_at FROM resource;

DROP TABLE resource;

ALTER TABLE new_resource RENAME TO resource;
