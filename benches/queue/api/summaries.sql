-- Transcripts of 600 words and analyses of those of the calls $1 to $2 that were recorded; and what the search has of them,
-- put together from that of the paragraphs.
WITH chosen AS (
    SELECT c.*, ('x' || right(id::text, 8))::bit(32)::bigint AS n, facts_of(c) AS facts FROM calls c
    WHERE id BETWEEN ('0195' || lpad(to_hex($1::bigint), 28, '0'))::uuid AND ('0195' || lpad(to_hex($2::bigint), 28, '0'))::uuid
), texts AS (
    SELECT c.*, left(p1.text, 300) AS summary, p1.words || p2.words || p3.words || p4.words || p5.words || p6.words AS words,
        p1.segments || p2.segments || p3.segments || p4.segments || p5.segments || p6.segments AS segments
    FROM chosen c
    JOIN paragraphs p1 ON p1.id = 1 + c.n * 7919 % 6000
    JOIN paragraphs p2 ON p2.id = 1 + c.n * 104 % 5987 JOIN paragraphs p3 ON p3.id = 1 + c.n * 31 % 5981
    JOIN paragraphs p4 ON p4.id = 1 + c.n * 57 % 5953 JOIN paragraphs p5 ON p5.id = 1 + c.n * 13 % 5939
    JOIN paragraphs p6 ON p6.id = 1 + c.n * 87 % 5927
    WHERE state <> 'no_recording'
), words AS (
    INSERT INTO call_texts (call_id, occurred_at, words)
    SELECT id, occurred_at, setweight(to_tsvector('english', caller_name || ' | ' || called_name), 'A')
        || setweight(to_tsvector('english', summary || E'\n' || array_to_string(topics, ' | ')), 'B') || words
        || number_words(caller_number || ' | ' || called_number, 'A')
        || array_to_tsvector(moments_of(occurred_at) || facts)
    FROM texts
), names AS (
    INSERT INTO call_texts (call_id, occurred_at, words)
    SELECT id, occurred_at, setweight(to_tsvector('english', caller_name || ' | ' || called_name), 'A')
        || number_words(caller_number || ' | ' || called_number, 'A')
        || array_to_tsvector(moments_of(occurred_at) || facts)
    FROM chosen WHERE state = 'no_recording'
)
INSERT INTO call_summaries (call_id, run, transcript, transcribed_with, summary, statements, sentiment, urgency, topics,
    analyzed_with, prompt_version, created_at, updated_at)
SELECT id, 1, jsonb_build_object('language', 'en', 'timing', 'estimated', 'segments', segments), 'ear', summary,
    '[{"text":"A statement.","evidence":[1,2],"supported":true}]', sentiment, urgency, topics, 'mind', '1',
    ended_at + interval '2 minutes', ended_at + interval '3 minutes'
FROM texts
