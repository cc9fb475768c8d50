-- The projection of a call's state (0002), made quick. It locks and looks at every call that a batch of ends touches, but
-- three of four ends only hand on to the call's next step, which changes nothing that the call shows: those are left out.

-- True where the job's end made the next job of its call and run, in the same transaction.
ALTER TABLE jobs ADD COLUMN handed_on boolean NOT NULL DEFAULT false;

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
