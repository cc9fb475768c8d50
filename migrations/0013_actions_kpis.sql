-- Action items that people work on, and the numbers of each day. Nothing is written anew, but workers of an earlier version
-- must be stopped before this and stay so: they know nothing of `current` and `edited_at`. What they save leaves the items
-- of earlier runs in the lists, and a step that they repeat deletes what people have changed.

SET LOCAL lock_timeout = '1200ms';
LOCK TABLE calls, action_items IN ACCESS EXCLUSIVE MODE;

ALTER TABLE action_items
    -- Counted up with each change: the item's ETag.
    ADD COLUMN version       integer NOT NULL DEFAULT 1,
    -- When a person last changed it. From then on no run of the analysis touches it.
    ADD COLUMN edited_at     timestamptz,
    -- What the analysis had said before a person changed the text: by this a later run knows it again.
    ADD COLUMN proposed_text text,
    -- When it was last made `done`.
    ADD COLUMN completed_at  timestamptz;

-- Lists: all of them, those in one state, those of one owner; newest first.
CREATE INDEX action_items_newest ON action_items (created_at DESC, id DESC) WHERE current;
CREATE INDEX action_items_by_state ON action_items (state, created_at DESC, id DESC) WHERE current;
CREATE INDEX action_items_by_owner ON action_items (lower(owner), created_at DESC, id DESC)
    WHERE current AND owner IS NOT NULL;
-- What is due, and what is overdue.
CREATE INDEX action_items_due ON action_items (due_at) WHERE current AND state = 'open' AND due_at IS NOT NULL;

-- The numbers of each day, added up by the workers (pipeline/kpi.rs) from the calls that began on it.
CREATE TABLE kpis (
    -- Days are those of TIME_ZONE; who sets another one gets other rows.
    time_zone        text NOT NULL,
    day              date NOT NULL,
    -- Since when it is known that one of the day's calls has changed; null once the day has been added up anew.
    stale_since      timestamptz DEFAULT now(),
    added_up_at      timestamptz,
    calls            integer NOT NULL DEFAULT 0,
    missed           integer NOT NULL DEFAULT 0,
    -- Those whose length is known, and their lengths together.
    timed            integer NOT NULL DEFAULT 0,
    duration_seconds bigint NOT NULL DEFAULT 0,
    positive         integer NOT NULL DEFAULT 0,
    neutral          integer NOT NULL DEFAULT 0,
    negative         integer NOT NULL DEFAULT 0,
    mixed            integer NOT NULL DEFAULT 0,
    -- Over all that are analyzed, whose number is the sum of the four above.
    urgency_sum      integer NOT NULL DEFAULT 0,
    urgent           integer NOT NULL DEFAULT 0,
    action_items     integer NOT NULL DEFAULT 0,
    action_items_done integer NOT NULL DEFAULT 0,
    -- When those that are open are due, in order: how many are overdue changes without anybody writing.
    open_due_at      timestamptz[] NOT NULL DEFAULT '{}',
    -- Whole seconds from the end of a call to its first message, in order, and how many calls took each: percentiles of
    -- several days cannot be had from those of each.
    notified_after   integer[] NOT NULL DEFAULT '{}',
    notified_calls   integer[] NOT NULL DEFAULT '{}',
    -- Millionths of the currency, as far as it is known, and the calls of which a part is not.
    cost_micro_units bigint NOT NULL DEFAULT 0,
    costs_unknown    integer NOT NULL DEFAULT 0,
    PRIMARY KEY (time_zone, day)
);
CREATE INDEX kpis_stale ON kpis (time_zone, day) WHERE stale_since IS NOT NULL;

-- A call that is gone can be asked for its day no more. Whichever it was in each time zone, it is one of these.
CREATE FUNCTION mark_days_of_deleted_calls() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE kpis SET stale_since = coalesce(stale_since, now()) WHERE (time_zone, day) IN (
        SELECT time_zone, day FROM kpis
        WHERE day IN (SELECT (started_at AT TIME ZONE 'UTC')::date + shift FROM old_rows, generate_series(-1, 1) shift)
        -- In order, as everybody who marks days.
        ORDER BY time_zone, day FOR UPDATE);
    RETURN NULL;
END $$;
CREATE TRIGGER calls_mark_days AFTER DELETE ON calls
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_days_of_deleted_calls();

-- How far the changes (0014) have been followed for the days of a time zone.
CREATE TABLE kpi_progress (
    time_zone   text PRIMARY KEY,
    transaction bigint NOT NULL,
    change      bigint NOT NULL,
    -- All that was committed up to then has been followed: its days are stale, or have been added up.
    followed_at timestamptz NOT NULL DEFAULT now()
);
