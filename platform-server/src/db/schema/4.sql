-- How many servers have begun to work on the deployment and did not live to end that.

ALTER TABLE deployment ADD COLUMN taken_up INTEGER NOT NULL DEFAULT 0 CHECK (taken_up >= 0);
