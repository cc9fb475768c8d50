-- The operators' hand: what they said of a step, and who did what.

-- What operators said of a step; no row, or null = as the settings of each worker say. Claimers look at it at least
-- every 1.5 s, and at once when they are told, so the claim itself does not ask (ADR 0006).
CREATE TABLE step_controls (
    step         text PRIMARY KEY,
    -- Since when nothing of the step is claimed; null = it goes on.
    paused_at    timestamptz,
    paused_by    text,
    -- For a person; whoever paused it said so.
    pause_reason text,
    -- Jobs at the same time in each worker process, in place of WORKER_CONCURRENCY.
    slots        integer CHECK (slots BETWEEN 1 AND 1000),
    limited_by   text,
    CHECK ((paused_at IS NULL) = (paused_by IS NULL)),
    CHECK ((slots IS NULL) = (limited_by IS NULL))
);

-- One row for each act of an operator, written in the transaction that does it.
CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    -- Who: user and host at the command line, an API key's prefix at the API.
    actor      text NOT NULL,
    -- What: jobs.retry, jobs.cancel, jobs.prioritize, steps.pause, steps.resume, steps.limit
    action     text NOT NULL,
    -- To what: a step, a job, or how jobs were chosen.
    object     text NOT NULL,
    -- How many of them it changed; an act of many batches counts up with each.
    affected   bigint NOT NULL,
    -- done, unchanged (it was so already), refused
    result     text NOT NULL,
    -- Of the API only.
    request_id text,
    address    text
);

-- What needs a person, or was stopped by one: for lists and counts, and for bulk acts in id order.
CREATE INDEX jobs_stopped ON jobs (state, id) WHERE state IN ('failed', 'cancelled');

-- For "in the last hour". Attempts are only ever added, in the order of their ends, so a block range index finds them;
-- to the write of a completion it costs next to nothing, which a third B-tree would not.
CREATE INDEX job_attempts_ended ON job_attempts USING brin (ended_at) WITH (pages_per_range = 32, autosummarize = on);
