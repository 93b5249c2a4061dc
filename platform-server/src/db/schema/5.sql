-- Environment variables of a project, beside those that its deployments bring.
CREATE TABLE variable (
    project_id  INTEGER NOT NULL REFERENCES project (id),
    name        TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    value       TEXT NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT, WITHOUT ROWID;
