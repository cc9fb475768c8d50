-- Writes a sample of the calls once more, with the triggers.
CREATE TEMPORARY TABLE sample AS
SELECT c.id, c.state, (c.sentiment, c.urgency, c.topics, c.open_actions)::text AS facts, tsvector_to_array(t.words) AS words,
    (SELECT array_agg(k::text ORDER BY k) FROM call_topics k
     WHERE k.topic = ANY (c.topics) AND k.occurred_at = c.occurred_at AND k.call_id = c.id) AS topics
FROM (SELECT * FROM calls ORDER BY hashtext(external_id) LIMIT 200) c LEFT JOIN call_texts t ON t.call_id = c.id;
UPDATE call_summaries SET summary = summary WHERE call_id IN (SELECT id FROM sample);
UPDATE calls SET topics = topics WHERE id IN (SELECT id FROM sample);
UPDATE jobs SET reason = reason WHERE call_id IN (SELECT id FROM sample);
SELECT index_calls(array_agg(id)) FROM sample;
