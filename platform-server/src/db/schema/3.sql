-- Which builds a deployment is given, and what became of the optimised one where it follows the fast one.

ALTER TABLE deployment ADD COLUMN build TEXT NOT NULL DEFAULT 'fast' CHECK (build IN ('fast', 'optimised', 'both'));

ALTER TABLE deployment ADD COLUMN optimised TEXT CHECK (
    optimised IS NULL OR (length(optimised) = 64 AND build = 'both' AND artifact IS NOT NULL)
);

-- Why there is none: it is not tried again.
ALTER TABLE deployment ADD COLUMN optimised_failure TEXT CHECK (
    optimised_failure IS NULL OR (optimised IS NULL AND build = 'both' AND artifact IS NOT NULL)
);
