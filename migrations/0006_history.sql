-- Finished jobs leave the hot tables by age (JOB_HISTORY_DAYS), all of a run of a call together (queue/archive.rs).
-- The rows stay as they are: a column that is added to `jobs` or `job_attempts` later is added here too, and both views
-- are made anew.

CREATE TABLE jobs_history (
    LIKE jobs,
    PRIMARY KEY (id),
    -- Lets the planner leave the history out where somebody looks for open jobs.
    CHECK (state IN ('completed', 'failed', 'cancelled'))
);
CREATE INDEX jobs_history_stopped ON jobs_history (state, id) WHERE state IN ('failed', 'cancelled');
-- For the page of a call, and so that a step is enqueued once although its job is in the history.
CREATE UNIQUE INDEX jobs_history_once
    ON jobs_history (call_id, run, step, coalesce(target, '00000000-0000-0000-0000-000000000000'));

CREATE TABLE job_attempts_history (LIKE job_attempts, PRIMARY KEY (job_id, attempt));
CREATE INDEX job_attempts_history_call ON job_attempts_history (call_id);

-- For whoever looks; nobody works on these.
CREATE VIEW every_job AS SELECT * FROM jobs UNION ALL SELECT * FROM jobs_history;
CREATE VIEW every_job_attempt AS SELECT * FROM job_attempts UNION ALL SELECT * FROM job_attempts_history;

-- Autovacuum. The default waits until a fifth of a table is dead, and then works slowly so as not to disturb. Both are
-- wrong here: a job is written twice (claimed, ended), each time as a new row with new index entries, because its state
-- is part of two indexes. Under a backlog the dead entries stand at the head of the index of due jobs, where every claim
-- walks over them: half of the throughput (ADR 0001). So: look after each thousand, however large the table has grown
-- (it is looked once a minute at most, `autovacuum_naptime`), and work ten times faster than the default.
-- No truncation: giving the empty end of the table back to the disk needs the one lock that stops every claim.
ALTER TABLE jobs SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_limit = 2000, vacuum_truncate = off);
-- Attempts are only added, and taken away by the history: often enough that BRIN and visibility map are up to date.
ALTER TABLE job_attempts SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_limit = 2000, vacuum_truncate = off);
-- These two grow for ever, and only their youngest rows change, several times each: a share of the table would come too
-- late. The free space in each page lets a change of state stay in its page and out of the indexes, since no index has
-- one of the changed columns (HOT).
ALTER TABLE calls SET (
    fillfactor = 85, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 5000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE deliveries SET (
    fillfactor = 85, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_threshold = 5000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);
