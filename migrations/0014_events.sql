-- What has changed, for those who follow: the event stream of the API, and the numbers of each day. Ids and states only:
-- whoever wants more reads the rows. Kept for a day (pipeline/forgetting.rs).

-- For the triggers; all at the start, as in 0012. It takes a moment.
SET LOCAL lock_timeout = '1200ms';
LOCK TABLE jobs, call_summaries, calls, action_items IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE changes (
    -- Transactions end in another order than they take numbers. So readers go by the transaction, and read only what no
    -- open transaction can come before: `transaction < pg_snapshot_xmin(pg_current_snapshot())`.
    transaction bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL DEFAULT now(),
    -- call, job, action
    kind        text NOT NULL,
    -- One row for each statement, however many rows it changed: the queue writes hundreds of jobs in one. What belongs
    -- together stands at the same place of each array.
    call_ids    uuid[] NOT NULL,
    -- Of the call, the job, or the action item; as it was then.
    states      text[] NOT NULL,
    job_ids     bigint[],
    steps       text[],
    item_ids    uuid[],
    PRIMARY KEY (transaction, id)
);
-- Rows are only added, and taken away at the old end.
ALTER TABLE changes SET (autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_limit = 2000);

-- Written by triggers, in the transaction of the change: no writer can forget it, and none has to know who follows. At
-- statement level and without a join where the queue writes, because it writes much.

CREATE FUNCTION note_changed_calls() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (kind, call_ids, states)
    SELECT 'call', array_agg(id), array_agg(state) FROM new_rows HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER calls_note_new AFTER INSERT ON calls
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_changed_calls();
CREATE TRIGGER calls_note_changed AFTER UPDATE ON calls
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_changed_calls();

-- A transcript or an analysis is there, or is gone.
CREATE FUNCTION note_changed_summaries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (kind, call_ids, states)
    SELECT 'call', array_agg(c.id), array_agg(c.state) FROM new_rows n JOIN calls c ON c.id = n.call_id
    HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER call_summaries_note_new AFTER INSERT ON call_summaries
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_changed_summaries();
CREATE TRIGGER call_summaries_note_changed AFTER UPDATE ON call_summaries
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_changed_summaries();

CREATE TRIGGER call_summaries_note_deleted AFTER DELETE ON call_summaries
    REFERENCING OLD TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_changed_summaries();

-- A job has ended, waits, or goes back to the queue. Claims and renewals are no news: they are made many times a second.
CREATE FUNCTION note_changed_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (kind, call_ids, states, job_ids, steps)
    SELECT 'job', array_agg(call_id), array_agg(state), array_agg(id), array_agg(step) FROM new_rows
    WHERE state <> 'running' HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_note_changed AFTER UPDATE ON jobs
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_changed_jobs();

-- A person has changed an action item. (Those that an analysis makes come with it.)
CREATE FUNCTION note_changed_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (kind, call_ids, states, item_ids)
    SELECT 'action', array_agg(call_id), array_agg(state), array_agg(id) FROM new_rows WHERE current
    HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER action_items_note_changed AFTER UPDATE ON action_items
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_changed_items();
