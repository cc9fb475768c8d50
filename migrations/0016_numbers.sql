-- One number, however it is written: 0044 20 7946 0000 and +44 (0)20 7946 0000 are +44 20 7946 0000. So far the list found
-- them by their own digits alone, and what was asked for came without 00.

SET LOCAL lock_timeout = '1200ms';
LOCK TABLE calls IN SHARE ROW EXCLUSIVE MODE;

CREATE FUNCTION plain_digits(text text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN translate(text, translate(text, '0123456789', ''), '');

-- Of a text: 00123 may be the number of an order there.
CREATE OR REPLACE FUNCTION number_words(text text, weight text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(string_agg(DISTINCT '#' || reverse(digits) || ':1' || weight, ' '), '')::tsvector
    FROM (SELECT plain_digits(found[1]) AS digits FROM regexp_matches(text, '(\d[\d ()./-]{3,30}\d)', 'g') found
          UNION SELECT plain_digits(found[1]) FROM regexp_matches(text, '(\d[\d()./-]{3,30}\d)', 'g') found) numbers
    WHERE length(digits) BETWEEN 5 AND 20
);

-- Of a party to a call.
CREATE OR REPLACE FUNCTION digits_of(number text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN nullif(regexp_replace(plain_digits(replace(number, '(0)', '')), '^(00)+(?=.)', ''), '');

-- What earlier calls have of it: the columns of digits, which follow from the numbers, the topics' rows, and the facts.
DO $$
DECLARE
    changed uuid[];
BEGIN
    WITH written AS (
        UPDATE calls SET caller_number = caller_number, called_number = called_number, topics = topics
        WHERE caller_digits IS DISTINCT FROM digits_of(left(caller_number, 64))
           OR called_digits IS DISTINCT FROM digits_of(left(called_number, 64))
        RETURNING id
    )
    SELECT array_agg(w.id) INTO changed FROM written w WHERE EXISTS (SELECT FROM call_texts t WHERE t.call_id = w.id);
    IF changed IS NOT NULL THEN
        PERFORM index_calls(changed);
    END IF;
END $$;
