-- Where a deployment is from, as the client told it: one identifier a line. NULL where it told nothing.

ALTER TABLE deployment ADD COLUMN origin TEXT CHECK (origin IS NULL OR length(origin) BETWEEN 1 AND 20000);
