-- What else hangs on the calls $1 to $2: recordings, action items, deliveries, jobs and attempts, those of the last 30 days
-- (before $3) in the hot tables and the others in the history.
WITH chosen AS MATERIALIZED (
    SELECT *, ('x' || right(id::text, 8))::bit(32)::bigint AS n, started_at >= $3::timestamptz - interval '30 days' AS hot
    FROM calls
    WHERE id BETWEEN ('0195' || lpad(to_hex($1::bigint), 28, '0'))::uuid AND ('0195' || lpad(to_hex($2::bigint), 28, '0'))::uuid
), recorded AS (
    SELECT * FROM chosen WHERE state <> 'no_recording'
), recordings AS (
    INSERT INTO recordings (id, call_id, path, sha256, bytes, media_type, created_at)
    SELECT gen_random_uuid(), id, left(sha, 2) || '/' || sha || '.wav', sha, duration_seconds * 16000, 'audio/wav', ended_at
    FROM (SELECT *, encode(sha256(id::text::bytea), 'hex') AS sha FROM recorded) r
), items AS (
    INSERT INTO action_items (id, call_id, run, position, text, owner, due_words, due_at, state, evidence, supported, created_at,
        completed_at)
    SELECT gen_random_uuid(), id, 1, 0, 'Send the papers of case ' || n, (ARRAY['Dana', 'Robin', 'Kim', 'Alex', NULL])[1 + n % 5],
        'within a week', ended_at + interval '7 days', CASE WHEN open_actions > 0 THEN 'open' ELSE 'done' END, '{3,4}', true,
        ended_at + interval '3 minutes', CASE WHEN open_actions = 0 THEN ended_at + interval '2 days' END
    FROM recorded WHERE open_actions > 0 OR n % 3 = 0
), sent AS (
    INSERT INTO deliveries (id, call_id, channel, destination, round, state, reference, message_date, created_at, updated_at)
    SELECT gen_random_uuid(), id, 'slack', '#calls', 1, 'sent', n::text, ended_at + interval '3 minutes',
        ended_at + interval '3 minutes', ended_at + interval '3 minutes' + n % 60 * interval '1 second'
    FROM recorded WHERE state = 'completed'
), work AS MATERIALIZED (
    SELECT c.*, n * 4 + place AS job_id, step, CASE WHEN c.state = 'failed' AND step = 'notify' THEN 'failed' ELSE 'completed' END AS end_state,
        ended_at + place * interval '40 seconds' AS done_at
    FROM chosen c, unnest('{download,transcribe,analyze,notify}'::text[]) WITH ORDINALITY AS s (step, place)
    WHERE place = 1 OR c.state <> 'no_recording'
), hot_jobs AS (
    INSERT INTO jobs (id, step, call_id, state, starts, attempts, handed_on, reason, created_at, run_at, claimed_at, finished_at)
    OVERRIDING SYSTEM VALUE
    SELECT job_id, step, id, end_state, 1, 1, step <> 'notify' AND state <> 'no_recording',
        CASE end_state WHEN 'failed' THEN 'It failed.' END, done_at, done_at, done_at, done_at
    FROM work WHERE hot
), old_jobs AS (
    INSERT INTO jobs_history (id, step, call_id, run, state, priority, critical, starts, attempts, crashes, waits, handed_on, reason,
        created_at, run_at, claimed_at, finished_at)
    SELECT job_id, step, id, 1, end_state, 0, true, 1, 1, 0, 0, step <> 'notify' AND state <> 'no_recording',
        CASE end_state WHEN 'failed' THEN 'It failed.' END, done_at, done_at, done_at, done_at
    FROM work WHERE NOT hot
), hot_attempts AS (
    INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome, model, cost_micro_units)
    SELECT job_id, 1, id, step, 'worker', job_id, done_at - interval '5 seconds', done_at,
        CASE end_state WHEN 'failed' THEN 'failed' ELSE 'completed' END, CASE step WHEN 'transcribe' THEN 'ear' WHEN 'analyze' THEN 'mind' END,
        CASE step WHEN 'transcribe' THEN duration_seconds * 100 WHEN 'analyze' THEN 900 ELSE 0 END
    FROM work WHERE hot
)
INSERT INTO job_attempts_history (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome, model, input_tokens,
    output_tokens, audio_seconds, cost_micro_units)
SELECT job_id, 1, id, step, 'worker', job_id, done_at - interval '5 seconds', done_at,
    CASE end_state WHEN 'failed' THEN 'failed' ELSE 'completed' END, CASE step WHEN 'transcribe' THEN 'ear' WHEN 'analyze' THEN 'mind' END,
    0, 0, 0, CASE step WHEN 'transcribe' THEN duration_seconds * 100 WHEN 'analyze' THEN 900 ELSE 0 END
FROM work WHERE NOT hot
