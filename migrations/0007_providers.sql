-- Upstreams that were found not to work, for the whole cluster (ADR 0005): `recordings`, `transcription`, `analysis`, and
-- one for each channel. Names are text without a CHECK, so that a new one needs no migration. No row = nothing is known
-- against it. All times are the database's.
CREATE TABLE providers (
    name          text PRIMARY KEY,
    -- Calls that failed at it in a row, each at most twice, with no success in between.
    failed_calls  uuid[] NOT NULL DEFAULT '{}',
    -- Since when nobody but one probe at a time asks it; null = it may be asked.
    paused_at     timestamptz,
    -- What it said: a word for filters, a sentence for a person.
    error_class   text,
    reason        text,
    -- When the next probe may begin, how many have failed with the same word, and when the last one began, or the pause.
    probe_at      timestamptz,
    probes        integer NOT NULL DEFAULT 0,
    probed_at     timestamptz,
    -- The job that probes, and its lease: a prober that died blocks the next one only so long.
    prober        bigint,
    probe_token   bigint,
    probe_until   timestamptz,
    -- It asked for a rest until then (Retry-After).
    limited_until timestamptz,
    -- When it worked again after a pause, and when the next request may leave in the seconds after that.
    recovered_at  timestamptz,
    next_slot     timestamptz,
    CHECK ((paused_at IS NULL) = (probe_at IS NULL))
);

-- What a waiting job waits for together with others, so that they can be let go when it is there. Without an index: it
-- is asked for together with the step, while something is wrong. Safe on a running system: columns without a default
-- rewrite nothing, and older programs do not name them.
ALTER TABLE jobs ADD COLUMN waits_for text;
-- Where finished jobs have a table of their own, its rows stay like those of `jobs`.
ALTER TABLE IF EXISTS jobs_history ADD COLUMN waits_for text;
