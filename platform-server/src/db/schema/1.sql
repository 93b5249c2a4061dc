-- The state of the platform. What a row may say is checked here, so that no bug elsewhere can store an impossible
-- state; what can be derived (routes, ports, process ids) is not stored at all.
--
-- Each file in this folder takes a database from the version before it to its own. They are never changed: databases
-- exist that each of them made.

CREATE TABLE project (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 63),
    created_at  INTEGER NOT NULL,
    -- Set while the project is deleted. The row stays, because its data does.
    deleted_at  INTEGER
) STRICT;

CREATE TABLE deployment (
    -- Age: a later deployment has a higher number.
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    project_id     INTEGER NOT NULL REFERENCES project (id),
    state          TEXT NOT NULL CHECK (state IN ('queued', 'built', 'loaded', 'deployed', 'error', 'deleted')),
    archive        TEXT NOT NULL CHECK (length(archive) = 64),
    archive_index  TEXT NOT NULL,
    artifact       TEXT CHECK (artifact IS NULL OR length(artifact) = 64),
    manifest       TEXT,
    -- The newer deployment that took this one's place. Only a deployment that rests has one.
    superseded_by  TEXT,
    failure        TEXT,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    CHECK ((artifact IS NULL) = (manifest IS NULL)),
    CHECK (state <> 'queued' OR artifact IS NULL),
    CHECK (state NOT IN ('built', 'loaded', 'deployed') OR artifact IS NOT NULL),
    CHECK ((state = 'error') = (failure IS NOT NULL)),
    CHECK (superseded_by IS NULL OR state IN ('built', 'deleted'))
) STRICT;

CREATE INDEX deployment_by_project ON deployment (project_id, seq);
CREATE UNIQUE INDEX one_deployed_a_project ON deployment (project_id) WHERE state = 'deployed';

CREATE TABLE resource (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  INTEGER NOT NULL REFERENCES project (id),
    kind        TEXT NOT NULL,
    -- The parameter's name when the resource was first asked for.
    name        TEXT NOT NULL,
    -- Opaque name of the database and role.
    handle      TEXT NOT NULL UNIQUE,
    password    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (project_id, kind)
) STRICT;

CREATE TABLE api_key (
    -- SHA-256 of the key; the key itself is not stored.
    hash        TEXT PRIMARY KEY CHECK (length(hash) = 64),
    label       TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE setting (
    key    TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) STRICT;
