-- Calls of numbers $1 to $2 of $3, evenly over the two years before $4; the last one is the newest.
WITH made AS (
INSERT INTO calls (id, source, external_id, state, direction, caller_name, caller_number, called_name, called_number,
    started_at, ended_at, duration_seconds, recording, sentiment, urgency, topics, open_actions, created_at)
SELECT ('0195' || lpad(to_hex(i), 28, '0'))::uuid, 'signed', 'bench-' || i,
    CASE WHEN i % 1000 = 7 THEN 'failed' WHEN i % 10 = 3 THEN 'no_recording' ELSE 'completed' END,
    CASE WHEN r1 < 0.7 THEN 'inbound' ELSE 'outbound' END, 'Caller ' || (r2 * 50000)::int,
    '+1555' || lpad((power(r2, 2) * 50000)::int::text, 7, '0'), 'Team ' || (r3 * 40)::int, '+15550' || (r3 * 40)::int,
    at, at + d * interval '1 second', d, CASE WHEN i % 10 = 3 THEN 'none' ELSE 'available' END,
    CASE WHEN i % 10 <> 3 THEN (ARRAY['neutral','neutral','neutral','positive','positive','negative','mixed'])[1 + floor(r3 * 7)::int] END,
    CASE WHEN i % 10 <> 3 THEN (ARRAY[1,1,1,2,2,2,3,3,4,5])[1 + floor(r4 * 10)::int] END,
    CASE WHEN i % 10 <> 3 THEN ARRAY['topic' || floor(power(r1, 3) * 300)::int, 'topic' || floor(r4 * 300)::int] END,
    CASE WHEN i % 10 <> 3 AND r5 < 0.03 THEN 1 ELSE 0 END, at
FROM (SELECT i, $4::timestamptz - ($3::bigint - i) * (interval '730 days' / $3::bigint) AS at, random() AS r1, random() AS r2,
             random() AS r3, random() AS r4, random() AS r5, (random() * random() * 1800)::int AS d
      FROM generate_series($1::bigint, $2::bigint) i) random
RETURNING *)
INSERT INTO call_topics SELECT t.* FROM made CROSS JOIN LATERAL topics_of(made::calls) t WHERE made.topics IS NOT NULL
