-- Finished jobs leave the hot tables by age (JOB_HISTORY_DAYS), all of a run of a call together (queue/archive.rs).
-- The rows stay as they are: a column that is added to `jobs` or `job_attempts` later is added here too, and both views
-- are made anew.

CREATE TABLE jobs_history (
    LIKE jobs,
    PRIMARY KEY (id),
    -- Lets the planner leave the history out where somebody looks for open jobs.
    CHECK (state IN ('completed', 'failed', 'cancelled'))
);
CREATE INDEX jobs_history_stopped ON jobs_history (state, id) WHERE state IN ('failed', 'cancelled');
-- For the page of a call, and so that a step is enqueued once although its job is in the history.
CREATE UNIQUE INDEX jobs_history_once
    ON jobs_history (call_id, run, step, coalesce(target, '00000000-0000-0000-0000-000000000000'));

CREATE TABLE job_attempts_history (LIKE job_attempts, PRIMARY KEY (job_id, attempt));
CREATE INDEX job_attempts_history_call ON job_attempts_history (call_id);

-- For whoever looks; nobody works on these.
CREATE VIEW every_job AS SELECT * FROM jobs UNION ALL SELECT * FROM jobs_history;
CREATE VIEW every_job_attempt AS SELECT * FROM job_attempts UNION ALL SELECT * FROM job_attempts_history;

-- Autovacuum. The default waits until a fifth of a table is dead, and then works slowly so as not to disturb. Both are
-- wrong here: a job is written twice (claimed, ended), each time as a new row with new index entries, because its state
-- is part of two indexes. Under a backlog the dead entries stand at the head of the index of due jobs, where every claim
-- walks over them: half of the throughput (ADR 0001). So: look after each thousand, however large the table has grown
-- (it is looked once a minute at most, `autovacuum_naptime`), and work ten times faster than the default.
-- No truncation: giving the empty end of the table back to the disk needs the one lock that stops every claim.
ALTER TABLE jobs SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_limit = 2000, vacuum_truncate = off);
-- Attempts are only added, and taken away by the history: often enough that BRIN and visibility map are up to date.
ALTER TABLE job_attempts SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_limit = 2000, vacuum_truncate = off);
-- These two grow for ever, and only their youngest rows change, several times each: a share of the table would come too
-- late. The free space in each page lets a change of state stay in its page and out of the indexes, since no index has
-- one of the changed columns (HOT).
ALTER TABLE calls SET (
    fillfactor = 85, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 5000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE deliveries SET (
    fillfactor = 85, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 5000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);

-- As in 0008, but that a call whose job was cancelled by a person is not completed: it failed, until the job is retried.
-- (A re-run cancels jobs as well; it writes the call's state itself, later in the same transaction.)
CREATE OR REPLACE FUNCTION project_call_states() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched uuid[];
BEGIN
    -- Without a join: its plan would be that of the first batch, and a claim or a renewal should cost nothing here.
    SELECT array_agg(DISTINCT n.call_id) INTO touched
    FROM new_rows n
    WHERE n.state <> 'running'
      -- The call was being processed and still is: nobody can have ended a job that nobody else sees yet.
      AND NOT (n.state = 'completed' AND n.handed_on);
    IF EXISTS (SELECT FROM new_rows WHERE state = 'running' AND starts > 1) THEN
        -- A job that waited is taken up again.
        SELECT coalesce(touched, '{}') || array_agg(DISTINCT n.call_id) INTO touched
        FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE n.state = 'running' AND n.reason IS DISTINCT FROM o.reason;
    END IF;
    IF touched IS NULL OR touched = '{}' THEN
        RETURN NULL;
    END IF;
    -- A job may end without its handler: parked, waited in vain, out of attempts, cancelled. The message that it was for
    -- must not look as if somebody would still send it.
    IF EXISTS (SELECT FROM new_rows WHERE state IN ('failed', 'cancelled')) THEN
        UPDATE deliveries d
        SET state = CASE d.state WHEN 'sending' THEN 'unknown' ELSE 'failed' END,
            detail = coalesce(d.detail, n.reason), updated_at = now()
        FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE n.state IN ('failed', 'cancelled') AND n.state <> o.state
          AND d.id = n.target AND d.state IN ('pending', 'sending');
    END IF;
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
