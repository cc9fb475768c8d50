-- The calls of which the triggers have made something else.
SELECT c.external_id FROM sample s JOIN calls c USING (id) LEFT JOIN call_texts t ON t.call_id = c.id
WHERE (s.state, s.facts, s.words, s.topics)
    IS DISTINCT FROM (c.state, (c.sentiment, c.urgency, c.topics, c.open_actions)::text, tsvector_to_array(t.words),
        (SELECT array_agg(k::text ORDER BY k) FROM call_topics k
         WHERE k.topic = ANY (c.topics) AND k.occurred_at = c.occurred_at AND k.call_id = c.id))
