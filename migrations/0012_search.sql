-- The list of calls and the search in them, such that a million calls are no slower than a thousand.
--
-- 1. What a list filters by stands in `calls` itself, in one index that has all of it, so that the usual question, a page
--    of the newest that fit, is read off one index from its head. What is rare (a failed call among completed ones) has a
--    small index of its own: walking the large one would look at everything.
-- 2. Words stand in a table of their own, because a change of a call must not touch the index of words.
-- 3. Nothing of this is written when a webhook comes in, but for the plain indexes of `calls`.
--
-- The tables stand still while this runs, some minutes for a million calls: `calls` is written anew (two generated columns)
-- and gets its indexes. Stop the workers before it; webhooks that come meanwhile get 503 and are sent again. What was said
-- in earlier calls is read afterwards, by the servers, while everything runs.

-- All tables at the start, so that nothing is undone when they cannot be had. Who runs the migrations tries again
-- (store/migrations.rs). It waits little longer than `deadlock_timeout` (1 s), for only then PostgreSQL makes an
-- autovacuum give way; and not longer, because a worker that has one of the tables and waits for another is to be let go
-- before its own second is over.
SET LOCAL lock_timeout = '1200ms';
LOCK TABLE jobs, call_summaries, calls, action_items, audit_log IN ACCESS EXCLUSIVE MODE;

-- The digits of a number in any notation: +1 (555) 010-0002 and +15550100002 are one number.
CREATE FUNCTION digits_of(number text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN nullif(translate(number, translate(number, '0123456789', ''), ''), '');

ALTER TABLE calls
    -- Of the latest analysis, kept by the trigger below.
    ADD COLUMN sentiment     text CHECK (sentiment IN ('positive', 'neutral', 'negative', 'mixed')),
    ADD COLUMN urgency       smallint CHECK (urgency BETWEEN 1 AND 5),
    ADD COLUMN topics        text[],
    -- How many of its action items are still to be done.
    ADD COLUMN open_actions  integer NOT NULL DEFAULT 0,
    -- Cut: an index takes no text of any length, and no number of a telephone is that long.
    ADD COLUMN caller_digits text GENERATED ALWAYS AS (digits_of(left(caller_number, 64))) STORED,
    ADD COLUMN called_digits text GENERATED ALWAYS AS (digits_of(left(called_number, 64))) STORED;

ALTER TABLE action_items
    -- False once a later run of the analysis has taken its place: then it is a version of the past, and in no list.
    ADD COLUMN current boolean NOT NULL DEFAULT true;
UPDATE action_items a SET current = false
WHERE run < (SELECT max(s.run) FROM call_summaries s WHERE s.call_id = a.call_id AND s.summary IS NOT NULL);

UPDATE calls c SET sentiment = s.sentiment, urgency = s.urgency, topics = s.topics,
    open_actions = (SELECT count(*) FROM action_items a
                    WHERE a.call_id = c.id AND a.current AND a.state = 'open')
FROM (SELECT DISTINCT ON (call_id) call_id, run, sentiment, urgency, topics
      FROM call_summaries WHERE summary IS NOT NULL ORDER BY call_id, run DESC) s
WHERE s.call_id = c.id;

-- Newest first, with all that a filter asks for. With `state` in an index a change of it writes a new entry into each
-- index of the call (no HOT any more): once when a call ends, and when it waits. A table of their own for these columns
-- was the other way; it costs each webhook a second row.
CREATE INDEX calls_list ON calls (occurred_at DESC, id DESC)
    INCLUDE (started_at, state, direction, sentiment, urgency, open_actions, duration_seconds, caller_digits, called_digits);
DROP INDEX calls_newest;

-- Few among many. Each is in the order of the list, so that a page is read off its head.
CREATE INDEX calls_unfinished ON calls (state, occurred_at DESC, id DESC)
    INCLUDE (started_at, direction, sentiment, urgency, open_actions, duration_seconds, caller_digits, called_digits)
    WHERE state <> 'completed';
CREATE INDEX calls_unknown_direction ON calls (occurred_at DESC, id DESC) WHERE direction = 'unknown';
CREATE INDEX calls_missed ON calls (occurred_at DESC, id DESC) WHERE direction = 'inbound' AND duration_seconds = 0;
CREATE INDEX calls_by_sentiment ON calls (sentiment, occurred_at DESC, id DESC) WHERE sentiment IS NOT NULL;
CREATE INDEX calls_urgent ON calls (occurred_at DESC, id DESC) INCLUDE (urgency) WHERE urgency >= 4;
CREATE INDEX calls_with_open_actions ON calls (occurred_at DESC, id DESC)
    INCLUDE (started_at, state, direction, sentiment, urgency, open_actions, duration_seconds, caller_digits, called_digits)
    WHERE open_actions > 0;
-- What has an analysis and yet did not go well: next to nothing, which the planner cannot know.
CREATE INDEX calls_unfinished_analyzed ON calls (state, occurred_at DESC, id DESC) INCLUDE (sentiment, urgency)
    WHERE state <> 'completed' AND sentiment IS NOT NULL;
CREATE INDEX calls_unfinished_open ON calls (state, occurred_at DESC, id DESC)
    WHERE state <> 'completed' AND open_actions > 0;
-- Without the list of waiting changes, which every reader would have to look through.
-- Topics where the order is another one, or words are looked for. A call that comes in has none, and stays out of it.
CREATE INDEX calls_topics ON calls USING gin (topics) WITH (fastupdate = off) WHERE topics IS NOT NULL;
CREATE INDEX calls_caller ON calls (caller_digits text_pattern_ops, occurred_at DESC)
    INCLUDE (id, started_at, state, direction, sentiment, urgency, open_actions, duration_seconds);
-- Many callers of one place: with the whole number in front all of their calls would be read and sorted for a page.
CREATE INDEX calls_caller_place ON calls ((left(caller_digits, 8)), occurred_at DESC, id DESC)
    INCLUDE (caller_digits, started_at, state, direction, sentiment, urgency, open_actions, duration_seconds);
CREATE INDEX calls_called ON calls (called_digits text_pattern_ops, occurred_at DESC)
    INCLUDE (id, started_at, state, direction, sentiment, urgency, open_actions, duration_seconds);
-- The other orders of the list. What is not known comes last.
CREATE INDEX calls_longest ON calls (coalesce(duration_seconds, -1) DESC, occurred_at DESC, id DESC);
CREATE INDEX calls_most_urgent ON calls ((coalesce(urgency, 0)::integer) DESC, occurred_at DESC, id DESC);
-- The sender's id alone is asked for, too; the same pair the other way round serves both.
ALTER TABLE calls ADD CONSTRAINT calls_external_id UNIQUE (external_id, source);
ALTER TABLE calls DROP CONSTRAINT calls_source_external_id_key;

-- The calls of each topic in the order of the list, with what else is asked for and seldom changes (never `state`, for which
-- the queue would write here, too). An index of arrays finds them in no order: all of a topic's calls would be read for a page.
CREATE TABLE call_topics (
    topic         text NOT NULL,
    occurred_at   timestamptz NOT NULL,
    -- No foreign key: the rows are kept by the trigger below.
    call_id       uuid NOT NULL,
    started_at    timestamptz,
    direction     text NOT NULL,
    sentiment     text,
    urgency       smallint,
    open_actions  integer NOT NULL,
    caller_digits text,
    called_digits text,
    PRIMARY KEY (topic, occurred_at, call_id)
        INCLUDE (started_at, direction, sentiment, urgency, open_actions, caller_digits, called_digits)
);
CREATE FUNCTION topics_of(call calls) RETURNS SETOF call_topics LANGUAGE sql STABLE AS $$
    SELECT DISTINCT topic, call.occurred_at, call.id, call.started_at, call.direction, call.sentiment, call.urgency,
        call.open_actions, call.caller_digits, call.called_digits
    FROM unnest(call.topics) topic
$$;
INSERT INTO call_topics SELECT t.* FROM calls c CROSS JOIN LATERAL topics_of(c) t WHERE c.topics IS NOT NULL;

CREATE FUNCTION note_topics() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM call_topics WHERE topic = ANY (OLD.topics) AND occurred_at = OLD.occurred_at AND call_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO call_topics SELECT * FROM topics_of(NEW);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER calls_note_new_topics AFTER INSERT ON calls
    FOR EACH ROW WHEN (NEW.topics IS NOT NULL) EXECUTE FUNCTION note_topics();
CREATE TRIGGER calls_note_topics AFTER DELETE OR UPDATE OF topics, sentiment, urgency, open_actions ON calls
    FOR EACH ROW EXECUTE FUNCTION note_topics();

-- What was done to a call and its jobs, for its timeline.
CREATE INDEX audit_log_object ON audit_log (object);

-- ---- Words ----

-- How words are read (SEARCH_LANGUAGE), one row. Text and not regconfig, which pg_upgrade refuses to carry over.
CREATE TABLE search_settings (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    language    text NOT NULL,
    -- Calls with a greater id are still to be read in this language; null = none. A server does it in the background.
    stale_after uuid
);
INSERT INTO search_settings (language, stale_after) VALUES ('english', '00000000-0000-0000-0000-000000000000');

-- What is said in and about a call, for the search. There is no row before there is something to find: the transcript,
-- or the end of a call that has none.
CREATE TABLE call_texts (
    call_id     uuid PRIMARY KEY REFERENCES calls (id) ON DELETE CASCADE,
    -- As in `calls`, where it never changes.
    occurred_at timestamptz NOT NULL,
    -- Weight A: names and numbers. B: summary and topics. D: the transcript. Beside the words of the language
    -- `#2000010555` is a number from its end, so that it is found without its country, too, and `@2/1534` is a stretch of
    -- time (see moments_of), with which the search begins among the newest calls. No word of a text begins so. With `~` some
    -- do (`~/notes`), so texts come without it: what begins so is a fact (see facts_of), and decides who sees the call.
    words       tsvector NOT NULL
);
CREATE INDEX call_texts_newest ON call_texts (occurred_at DESC, call_id DESC);
CREATE INDEX call_texts_words ON call_texts USING gin (words) WITH (fastupdate = off);
-- Words stand in the row as they are, but for those of a very long call: who ranks a thousand matches reads a page for each,
-- and not three more of a table beside it (measured at a million calls: 2 instead of 5 to 17 ms for a thousand).
ALTER TABLE call_texts ALTER COLUMN words SET STORAGE EXTERNAL;
ALTER TABLE call_texts SET (toast_tuple_target = 8160);
ALTER TABLE call_texts SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE call_texts ALTER COLUMN words SET STATISTICS 1000;

-- The numbers in a text, each of 5 digits or more, from their ends. A blank may be within a number or between two: what
-- stands between blanks is a number, too.
CREATE FUNCTION number_words(text text, weight text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(string_agg(DISTINCT '#' || reverse(digits) || ':1' || weight, ' '), '')::tsvector
    FROM (SELECT digits_of(found[1]) AS digits FROM regexp_matches(text, '(\d[\d ()./-]{3,30}\d)', 'g') found
          UNION SELECT digits_of(found[1]) FROM regexp_matches(text, '(\d[\d()./-]{3,30}\d)', 'g') found) numbers
    WHERE length(digits) BETWEEN 5 AND 20
);

-- The stretches of time that hold a moment: of 1 hour, 8 hours, 64 hours, and so on up to 3.7 years. A common word is
-- in most calls; together with such a stretch its index is read there alone.
CREATE FUNCTION moments_of(at timestamptz) RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE
RETURN ARRAY(
    SELECT '@' || level || '/' || greatest(floor(extract(epoch FROM at))::bigint, 0) / (3600 * 8 ^ level)::bigint
    FROM generate_series(0, 5) level
);

-- What lists are filtered by, as words of the index, so that calls that speak of something and pass a filter are found in it
-- alone. Each of these is true of a call whenever it stands there, but for the state, which may have changed since; and each
-- that is true stands there. Numbers by their first 4, 6 and 8 digits.
CREATE FUNCTION facts_of(call calls) RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT array_remove(ARRAY[
            '~direction/' || call.direction,
            '~sentiment/' || call.sentiment,
            '~urgency/' || call.urgency,
            CASE WHEN call.open_actions > 0 THEN '~open' END,
            CASE WHEN call.direction = 'inbound' AND call.duration_seconds = 0 THEN '~missed' END,
            CASE WHEN call.started_at IS NULL THEN '~unstarted' END,
            CASE WHEN call.state = 'no_recording' THEN '~state/no_recording' END], NULL)
        || ARRAY(SELECT '~topic/' || left(topic, 500) FROM unnest(call.topics) topic WHERE topic IS NOT NULL)
        || ARRAY(SELECT '~' || side || '/' || left(digits, length)
                 FROM (VALUES ('caller', call.caller_digits), ('called', call.called_digits)) numbers (side, digits),
                     unnest('{4,6,8}'::int[]) length
                 WHERE length(digits) >= length)
$$;

-- The words of a call. No more than a megabyte of them has room. What is longer is cut before this (index_calls), and should
-- it still be too much, the call is found by its names and numbers alone: it has to end, whatever was said in it.
CREATE FUNCTION words_of_call(
    language regconfig, names text, numbers text, summary text, topics text, said text, facts text[]
) RETURNS tsvector LANGUAGE plpgsql STABLE AS $$
DECLARE
    known tsvector := setweight(to_tsvector(language, names), 'A') || number_words(numbers, 'A')
        || array_to_tsvector(facts);
BEGIN
    RETURN known
        || setweight(to_tsvector(language, summary || E'\n' || topics), 'B') || number_words(summary, 'B')
        || to_tsvector(language, said) || number_words(said, 'D');
EXCEPTION WHEN program_limit_exceeded OR data_exception THEN
    RETURN known;
END $$;

-- Writes the words of these calls anew.
CREATE FUNCTION index_calls(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- One after the other: who comes later also reads later. In id order, so that nobody locks anybody out.
    PERFORM 1 FROM calls WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
    INSERT INTO call_texts (call_id, occurred_at, words)
    SELECT c.id, c.occurred_at,
           words_of_call(
               l.language,
               translate(concat_ws(' | ', left(c.caller_name, 500), left(c.called_name, 500)), '~', ' '),
               concat_ws(' | ', left(c.caller_number, 64), left(c.called_number, 64)),
               translate(left(coalesce(a.summary, ''), 100000), '~', ' '),
               translate(left(coalesce(array_to_string(a.topics, ' | '), ''), 10000), '~', ' '),
               translate(left(coalesce(t.text, ''), 400000), '~', ' '),
               moments_of(c.occurred_at) || facts_of(c))
    FROM calls c
    CROSS JOIN (SELECT language::regconfig FROM search_settings) l
    LEFT JOIN LATERAL (
        SELECT summary, topics FROM call_summaries
        WHERE call_id = c.id AND summary IS NOT NULL ORDER BY run DESC LIMIT 1
    ) a ON true
    LEFT JOIN LATERAL (
        SELECT string_agg(segment ->> 'text', E'\n' ORDER BY place) AS text
        FROM (SELECT transcript FROM call_summaries
              WHERE call_id = c.id AND transcript IS NOT NULL ORDER BY run DESC LIMIT 1) latest,
             jsonb_array_elements(latest.transcript -> 'segments') WITH ORDINALITY AS s (segment, place)
    ) t ON true
    WHERE c.id = ANY (ids)
    ON CONFLICT (call_id) DO UPDATE SET words = excluded.words;
END $$;

-- At statement level: the queue ends hundreds of calls in one, and one by one they cost fifteen times as much.
CREATE FUNCTION index_ended_calls() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended uuid[];
BEGIN
    SELECT array_agg(n.id) INTO ended FROM new_rows n
    WHERE n.state IN ('no_recording', 'failed', 'waiting') AND NOT EXISTS (
        SELECT FROM call_texts t WHERE t.call_id = n.id
            AND (n.state <> 'no_recording' OR t.words @@ '''~state/no_recording'''::tsquery));
    IF ended IS NOT NULL THEN
        PERFORM index_calls(ended);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER calls_index AFTER UPDATE ON calls
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION index_ended_calls();

-- ---- What follows an analysis ----

-- What a call shows of its latest analysis, and what is found in it, in the transaction that changes it. Deferred to its
-- end, because an analysis comes with several action items: the first look finds all of them, and the others find nothing
-- to change. Jobs are locked before calls there as everywhere, and calls before action items (lock_call_of_summary).
CREATE FUNCTION project_call_facts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was_open boolean;
    is_open boolean;
BEGIN
    -- Two people may change two action items of one call at the same time: the second waits here, and then counts what
    -- the first has left.
    SELECT open_actions > 0 INTO was_open FROM calls WHERE id = coalesce(NEW.call_id, OLD.call_id) FOR NO KEY UPDATE;
    UPDATE calls c
    SET sentiment = s.sentiment, urgency = s.urgency, topics = s.topics, open_actions = s.open_actions,
        updated_at = now()
    FROM (
        SELECT a.sentiment, a.urgency, a.topics,
               (SELECT count(*) FROM action_items i
                WHERE i.call_id = changed.id AND i.current AND i.state = 'open')::integer AS open_actions
        FROM (SELECT coalesce(NEW.call_id, OLD.call_id) AS id) changed
        LEFT JOIN LATERAL (
            SELECT * FROM call_summaries WHERE call_id = changed.id AND summary IS NOT NULL ORDER BY run DESC LIMIT 1
        ) a ON true
    ) s
    WHERE c.id = coalesce(NEW.call_id, OLD.call_id)
      AND (c.sentiment, c.urgency, c.topics, c.open_actions)
          IS DISTINCT FROM (s.sentiment, s.urgency, s.topics, s.open_actions)
    RETURNING c.open_actions > 0 INTO is_open;
    IF TG_TABLE_NAME = 'call_summaries' THEN
        PERFORM index_calls(ARRAY[coalesce(NEW.call_id, OLD.call_id)]);
    ELSIF is_open <> was_open THEN
        UPDATE call_texts
        SET words = CASE WHEN is_open THEN words || array_to_tsvector('{~open}') ELSE ts_delete(words, '~open') END
        WHERE call_id = coalesce(NEW.call_id, OLD.call_id);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER call_summaries_project_facts
    AFTER INSERT OR DELETE OR UPDATE OF transcript, summary, sentiment, urgency, topics ON call_summaries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION project_call_facts();
CREATE CONSTRAINT TRIGGER action_items_project_facts
    AFTER INSERT OR DELETE OR UPDATE OF state, current, call_id ON action_items
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION project_call_facts();

-- At once, for what is deferred: who edits an action item locks its call first, too.
CREATE FUNCTION lock_call_of_summary() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM calls WHERE id = coalesce(NEW.call_id, OLD.call_id) FOR NO KEY UPDATE;
    RETURN NULL;
END $$;
CREATE TRIGGER call_summaries_lock_call
    AFTER INSERT OR DELETE OR UPDATE OF transcript, summary, sentiment, urgency, topics ON call_summaries
    FOR EACH ROW EXECUTE FUNCTION lock_call_of_summary();
