-- Calls and what is known about them. Steps, channels and sources are text without a CHECK, so that a new one needs no
-- migration; states are closed sets and checked.

CREATE TABLE calls (
    id               uuid PRIMARY KEY,
    source           text NOT NULL,
    external_id      text NOT NULL,
    -- A projection of the call's jobs, kept by the trigger in 0002; nothing is ever scheduled from it.
    state            text NOT NULL DEFAULT 'processing'
                     CHECK (state IN ('processing', 'waiting', 'completed', 'no_recording', 'failed')),
    state_reason     text,
    waiting_until    timestamptz,
    direction        text NOT NULL CHECK (direction IN ('inbound', 'outbound', 'unknown')),
    caller_name      text,
    caller_number    text,
    called_name      text,
    called_number    text,
    started_at       timestamptz,
    ended_at         timestamptz,
    duration_seconds integer,
    recording        text NOT NULL CHECK (recording IN ('available', 'none', 'pending', 'expired', 'erased')),
    recording_url    text,
    -- Number of the pipeline's run; a re-run counts it up and keeps the earlier results.
    run              integer NOT NULL DEFAULT 1,
    -- Counted up when somebody asks for the messages to be sent again.
    notify_round     integer NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    -- Lists are ordered by this: the start of the call, or its arrival where the start is not known.
    occurred_at      timestamptz NOT NULL GENERATED ALWAYS AS (coalesce(started_at, created_at)) STORED,
    UNIQUE (source, external_id)
);
CREATE INDEX calls_newest ON calls (occurred_at DESC, id DESC);

-- Every signed body, as it came, so that it can be replayed.
CREATE TABLE webhook_events (
    id          uuid PRIMARY KEY,
    source      text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    body        bytea NOT NULL,
    verdict     text NOT NULL CHECK (verdict IN ('accepted', 'duplicate', 'ignored', 'rejected')),
    -- Why it was rejected or ignored.
    detail      text,
    call_id     uuid REFERENCES calls (id)
);
CREATE INDEX webhook_events_call ON webhook_events (call_id) WHERE call_id IS NOT NULL;

CREATE TABLE recordings (
    id         uuid PRIMARY KEY,
    call_id    uuid NOT NULL REFERENCES calls (id),
    -- Inside the store; made by us from the content's hash.
    path       text NOT NULL,
    sha256     text NOT NULL,
    bytes      bigint NOT NULL,
    media_type text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Several devices may record one call: the same content twice is one recording.
    UNIQUE (call_id, sha256)
);

-- Transcript and analysis of one run. A re-run makes a new row and keeps the old one.
CREATE TABLE call_summaries (
    call_id          uuid NOT NULL REFERENCES calls (id),
    run              integer NOT NULL,
    transcript       jsonb,
    transcribed_with text,
    summary          text,
    statements       jsonb,
    sentiment        text CHECK (sentiment IN ('positive', 'neutral', 'negative', 'mixed')),
    urgency          smallint CHECK (urgency BETWEEN 1 AND 5),
    topics           text[],
    analyzed_with    text,
    prompt_version   text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (call_id, run)
);

CREATE TABLE action_items (
    id         uuid PRIMARY KEY,
    call_id    uuid NOT NULL REFERENCES calls (id),
    run        integer NOT NULL,
    position   integer NOT NULL,
    text       text NOT NULL,
    owner      text,
    due_words  text,
    due_at     timestamptz,
    state      text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
    evidence   integer[] NOT NULL,
    supported  boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (call_id, run, position)
);

-- Answers that were paid for, stored before anything is done with them: a second run of a step finds its answer here
-- and does not pay twice.
CREATE TABLE step_answers (
    call_id    uuid NOT NULL REFERENCES calls (id),
    step       text NOT NULL,
    run        integer NOT NULL,
    -- SHA-256 of everything that was asked.
    input_hash text NOT NULL,
    answer     jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (call_id, step, run, input_hash)
);

-- The ledger of messages. A message leaves only for a row that was `pending`, and the row is `sending` before the first
-- byte is written: what a process left in `sending` may or may not have arrived.
CREATE TABLE deliveries (
    id           uuid PRIMARY KEY,
    call_id      uuid NOT NULL REFERENCES calls (id),
    channel      text NOT NULL,
    destination  text NOT NULL,
    round        integer NOT NULL,
    state        text NOT NULL DEFAULT 'pending'
                 CHECK (state IN ('pending', 'sending', 'sent', 'unknown', 'failed')),
    -- True once a message was sent again after an outcome that nobody knows.
    repeated     boolean NOT NULL DEFAULT false,
    -- What the other side calls the message: Slack's ts, the mail server's queue id.
    reference    text,
    detail       text,
    -- The same for every try, so that the receiving side can tell a repeat.
    message_date timestamptz NOT NULL DEFAULT now(),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (call_id, channel, destination, round)
);

CREATE TABLE api_keys (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    prefix       text NOT NULL UNIQUE,
    -- SHA-256 of the whole key: 256 random bits need no slow hash (OWASP ASVS 5.0, V11.4.2).
    hash         bytea NOT NULL,
    scopes       text[] NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);
