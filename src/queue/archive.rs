//! Archive: finished jobs and their attempts leave the hot tables by age, in small batches that wait for nobody. All jobs
//! of a call's run go together, and only when none of them can run again: so nothing that stays behind can enqueue one of
//! them a second time, and what a run has come to is never read off half of its jobs. Those who look see both
//! (`every_job`, `every_job_attempt`).

use std::time::Duration;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::link::Link;

/// Between two passes over the old jobs.
const INTERVAL: Duration = Duration::from_mins(10);
/// Between two batches: whoever works on calls goes first.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Archivist {
    pub(super) link: Link,
    pub(super) keep: Duration,
    pub(super) stop: CancellationToken,
}

impl Archivist {
    /// Moves what is old enough, now and every ten minutes, until it is told to stop.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.pass() => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
        self.link.close().await;
    }

    /// Walks over all jobs that are old enough, in the order of their ids. Ends early where another process is at it.
    async fn pass(&mut self) {
        let (keep, mut after, mut moved) = (self.keep, 0, 0);
        // The link has paused where the database did not answer.
        while let Ok(batch) = self.link.run(async |db| move_batch(db, keep, after).await).await {
            moved += batch.moved;
            match batch.last {
                Some(last) => after = last,
                None => break,
            }
            tokio::time::sleep(PAUSE).await;
        }
        if moved > 0 {
            tracing::info!(jobs = moved, "Finished jobs went to the history.");
        }
    }
}

struct Moved {
    /// The last job that was looked at; `None` = there are no more, or another process is at it.
    last: Option<i64>,
    moved: i64,
}

/// The next thousand jobs after `after`, and what else belongs to their runs. A locked job is somebody's who runs it again: its run stays for another time.
async fn move_batch(db: &mut PgConnection, keep: Duration, after: i64) -> Result<Moved, sqlx::Error> {
    sqlx::query_as!(
        Moved,
        r#"
        WITH seen AS MATERIALIZED (
            -- One process at a time: the lock goes with the statement. The number means nothing.
            SELECT id, call_id, run FROM jobs
            WHERE (SELECT pg_try_advisory_xact_lock(7281600456203))
              AND id > $2 AND created_at < now() - make_interval(secs => $1)
            ORDER BY id LIMIT 1000
        ),
        runs AS MATERIALIZED (
            SELECT s.call_id, s.run, j.jobs FROM (SELECT DISTINCT call_id, run FROM seen) s
            CROSS JOIN LATERAL (SELECT count(*) AS jobs FROM jobs WHERE call_id = s.call_id AND run = s.run) j
        ),
        -- Finished, and too long ago to be run again; of a run that a later one has replaced, failed ones too.
        old AS MATERIALIZED (
            SELECT j.id, r.call_id, r.run, r.jobs FROM runs r
            CROSS JOIN LATERAL (
                SELECT id FROM jobs
                WHERE call_id = r.call_id AND run = r.run AND finished_at < now() - make_interval(secs => $1)
                  AND (state IN ('completed', 'cancelled')
                       OR (state = 'failed'
                           AND EXISTS (SELECT 1 FROM jobs later WHERE later.call_id = r.call_id AND later.run > r.run)))
                FOR UPDATE SKIP LOCKED) j
        ),
        whole AS MATERIALIZED (
            SELECT o.id FROM (SELECT id, jobs, count(*) OVER (PARTITION BY call_id, run) AS got FROM old) o
            WHERE o.got = o.jobs
        ),
        gone AS (DELETE FROM jobs WHERE id = ANY (ARRAY (SELECT id FROM whole)) RETURNING *),
        kept AS (INSERT INTO jobs_history SELECT * FROM gone),
        gone_attempts AS (DELETE FROM job_attempts WHERE job_id = ANY (ARRAY (SELECT id FROM whole)) RETURNING *),
        kept_attempts AS (INSERT INTO job_attempts_history SELECT * FROM gone_attempts)
        SELECT (SELECT max(id) FROM seen) AS last, (SELECT count(*) FROM whole) AS "moved!"
        "#,
        keep.as_secs_f64(),
        after
    )
    .fetch_one(db)
    .await
}
