-- API keys: bound to a part of the calls, rotated in pairs. Answers to POST requests that may come again.

ALTER TABLE api_keys
    -- The key opens only calls in this direction; null = in any. All of these together.
    ADD COLUMN only_direction text CHECK (only_direction IN ('inbound', 'outbound', 'unknown')),
    -- ... whose caller's or called number begins so, as the telephone system writes it.
    ADD COLUMN only_number    text CHECK (only_number <> ''),
    -- ... that occurred at this time or later.
    ADD COLUMN only_from      timestamptz,
    -- ... that occurred before this time.
    ADD COLUMN only_to        timestamptz,
    -- The key that takes its place. Until it expires both are good.
    ADD COLUMN replaced_by    uuid REFERENCES api_keys (id);

-- Whether a key with these bounds opens a call. The one definition of it: all queries of the API that read calls, or
-- what hangs on them, ask it. So plain that the planner puts its text into the query, and what is null vanishes.
CREATE FUNCTION call_is_within(
    direction text, caller_number text, called_number text, occurred_at timestamptz,
    only_direction text, only_number text, only_from timestamptz, only_to timestamptz
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (only_direction IS NULL OR direction = only_direction)
    AND (only_number IS NULL
         OR coalesce(starts_with(caller_number, only_number), false)
         OR coalesce(starts_with(called_number, only_number), false))
    AND (only_from IS NULL OR occurred_at >= only_from)
    AND (only_to IS NULL OR occurred_at < only_to);

-- What a POST with an Idempotency-Key was answered, written with what it did. Kept for 24 hours.
CREATE TABLE idempotent_answers (
    api_key_id      uuid NOT NULL REFERENCES api_keys (id),
    idempotency_key text NOT NULL,
    -- SHA-256 of method, path, query and body: another request under the same key is refused.
    request_hash    bytea NOT NULL,
    -- Random; from it and the caller's key come the secrets of an answer, which `body` does not have.
    nonce           bytea NOT NULL,
    status          smallint NOT NULL,
    body            text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (api_key_id, idempotency_key)
);
CREATE INDEX idempotent_answers_age ON idempotent_answers (created_at);
