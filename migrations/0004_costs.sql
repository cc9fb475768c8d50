-- What an attempt cost, in millionths of a US dollar, at the prices of the day on which it ended. Null = not known: a
-- model without a price, or one that did not say what it used. An attempt that paid nobody costs 0.
ALTER TABLE job_attempts ADD COLUMN cost_micro_units bigint;
UPDATE job_attempts SET cost_micro_units = 0 WHERE model IS NULL;

-- The lease of the attempt whose cost has this answer in it. When that attempt was lost with its worker, and its cost
-- with it, the attempt that finds the answer takes it over.
ALTER TABLE step_answers ADD COLUMN counted_by bigint;
