-- The operators' hand: what they said of a step, and who did what.

-- What operators said of a step; no row, or null = as the settings of each worker say. Claimers look at it at least
-- every 1.5 s, and at once when they are told, so the claim itself does not ask (ADR 0005).
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

-- As in 0002, but that a call whose job was cancelled by a person is not completed. (A re-run cancels jobs as well; it
-- writes the call's state itself, later in the same transaction.)
CREATE OR REPLACE FUNCTION project_call_states() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched uuid[];
BEGIN
    -- A claim of a job that did not wait, or a renewal, moves nothing.
    SELECT array_agg(DISTINCT n.call_id) INTO touched
    FROM new_rows n JOIN old_rows o ON o.id = n.id
    WHERE n.reason IS DISTINCT FROM o.reason
       OR (n.state <> o.state AND NOT (o.state = 'available' AND n.state = 'running'))
       OR (n.state = 'available' AND n.run_at <> o.run_at);
    IF touched IS NULL THEN
        RETURN NULL;
    END IF;
    -- A job may end without its handler: parked, waited in vain, out of attempts, cancelled. The message that it was for
    -- must not look as if somebody would still send it.
    UPDATE deliveries d
    SET state = CASE d.state WHEN 'sending' THEN 'unknown' ELSE 'failed' END,
        detail = coalesce(d.detail, n.reason), updated_at = now()
    FROM new_rows n JOIN old_rows o ON o.id = n.id
    WHERE n.state IN ('failed', 'cancelled') AND n.state <> o.state
      AND d.id = n.target AND d.state IN ('pending', 'sending');
    -- Two jobs of one call may end at the same time in two transactions: the second waits here and then sees the first.
    -- What the first has made due may be younger than the second's now(), which is the start of its transaction.
    -- In id order, so that two batches cannot lock each other out; NO KEY, so that inserts with a foreign key pass.
    PERFORM 1 FROM calls WHERE id = ANY (touched) ORDER BY id FOR NO KEY UPDATE;
    UPDATE calls c
    SET state = s.state, state_reason = s.reason, waiting_until = s.until, updated_at = now()
    FROM (
        SELECT c.id,
               CASE WHEN j.failed THEN 'failed'
                    WHEN j.open AND NOT j.busy THEN 'waiting'
                    WHEN j.open THEN 'processing'
                    WHEN c.recording = 'none' THEN 'no_recording'
                    ELSE 'completed' END AS state,
               CASE WHEN j.failed THEN j.failed_reason
                    WHEN j.open AND NOT j.busy THEN j.wait_reason
                    WHEN j.open THEN NULL
                    ELSE j.any_failed_reason END AS reason,
               CASE WHEN j.open AND NOT j.busy AND NOT j.failed THEN j.until END AS until
        FROM calls c
        CROSS JOIN LATERAL (
            SELECT coalesce(bool_or(state IN ('failed', 'cancelled') AND critical), false) AS failed,
                   coalesce(bool_or(state IN ('available', 'running')), false) AS open,
                   coalesce(bool_or(state = 'running' OR (state = 'available' AND run_at <= clock_timestamp())), false) AS busy,
                   min(reason) FILTER (WHERE state IN ('failed', 'cancelled') AND critical) AS failed_reason,
                   min(reason) FILTER (WHERE state IN ('failed', 'cancelled')) AS any_failed_reason,
                   (array_agg(reason ORDER BY run_at) FILTER (WHERE state = 'available'))[1] AS wait_reason,
                   min(run_at) FILTER (WHERE state = 'available') AS until
            FROM jobs j WHERE j.call_id = c.id AND j.run = c.run
        ) j
        WHERE c.id = ANY (touched)
    ) s
    WHERE c.id = s.id
      AND (c.state, c.state_reason, c.waiting_until) IS DISTINCT FROM (s.state, s.reason, s.until);
    RETURN NULL;
END $$;
