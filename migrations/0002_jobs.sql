-- The queue. A row of `jobs` is the job; `job_attempts` tells what became of each start.

CREATE TABLE jobs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    step          text NOT NULL,
    -- No foreign key: the queue knows calls by id only, and the check would lock the call at every enqueue.
    call_id       uuid NOT NULL,
    -- What within the call the step is for (a delivery); null = the call itself.
    target        uuid,
    run           integer NOT NULL DEFAULT 1,
    state         text NOT NULL DEFAULT 'available'
                  CHECK (state IN ('available', 'running', 'completed', 'failed', 'cancelled')),
    priority      smallint NOT NULL DEFAULT 0,
    -- False where its failure is not the call's failure (a message to one destination).
    critical      boolean NOT NULL DEFAULT true,
    run_at        timestamptz NOT NULL DEFAULT now(),
    -- Starts so far, never reset: the number of the attempt.
    starts        integer NOT NULL DEFAULT 0,
    -- Attempts used of those that the step allows; an operator's retry sets it back.
    attempts      integer NOT NULL DEFAULT 0,
    -- Starts without an end, in a row.
    crashes       integer NOT NULL DEFAULT 0,
    -- Waits in a row that used no attempt, and since when: a deadline ends them.
    waits         integer NOT NULL DEFAULT 0,
    waiting_since timestamptz,
    -- Why it waits or failed, for a person; null while it is due or runs.
    reason        text,
    lease_token   bigint,
    lease_until   timestamptz,
    worker        text,
    claimed_at    timestamptz,
    -- Row that holds what the step made.
    result        uuid,
    created_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz
);

-- Claims: the due ones of a step, in order.
CREATE INDEX jobs_due ON jobs (step, priority DESC, run_at, id) WHERE state = 'available';
-- The sweeper's look for expired leases.
CREATE INDEX jobs_running ON jobs (id) WHERE state = 'running';
-- A step is enqueued once per call, run and target, however often the step before it runs.
CREATE UNIQUE INDEX jobs_once
    ON jobs (call_id, run, step, coalesce(target, '00000000-0000-0000-0000-000000000000'));

CREATE TABLE job_attempts (
    job_id        bigint NOT NULL,
    attempt       integer NOT NULL,
    call_id       uuid NOT NULL,
    step          text NOT NULL,
    worker        text NOT NULL,
    token         bigint NOT NULL,
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz NOT NULL,
    -- completed, retry, waiting, failed, timeout, panic, given_back, lost
    outcome       text NOT NULL,
    error_class   text,
    message       text,
    request_id    text,
    model         text,
    input_tokens  bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    audio_seconds double precision NOT NULL DEFAULT 0,
    -- A worker that had lost its lease came back with this outcome at this time; it was refused.
    late_outcome  text,
    late_at       timestamptz,
    PRIMARY KEY (job_id, attempt)
);
CREATE INDEX job_attempts_call ON job_attempts (call_id);

-- calls.state follows the jobs in the same transaction, whoever writes them: the queue needs no SQL of the calls, and no
-- caller can forget it. Statement level, so that a batch of completions costs one look.
CREATE FUNCTION project_call_states() RETURNS trigger LANGUAGE plpgsql AS $$
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
            SELECT coalesce(bool_or(state = 'failed' AND critical), false) AS failed,
                   coalesce(bool_or(state IN ('available', 'running')), false) AS open,
                   coalesce(bool_or(state = 'running' OR (state = 'available' AND run_at <= clock_timestamp())), false) AS busy,
                   min(reason) FILTER (WHERE state = 'failed' AND critical) AS failed_reason,
                   min(reason) FILTER (WHERE state = 'failed') AS any_failed_reason,
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

CREATE TRIGGER jobs_project_call_states AFTER UPDATE ON jobs
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION project_call_states();
