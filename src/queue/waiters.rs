//! Waiters: jobs that wait for the same thing ([`StepError::WaitFor`](super::StepError)). When it is there they need not
//! sit out their delays.

use std::time::Duration;

use sqlx::PgPool;

/// Most jobs that are let go in one statement: what it locks, others wait for.
const BATCH: i64 = 500;

/// When jobs that are let go are due: one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// From now until the first one's turn.
    pub first: Duration,
    /// From one turn to the next.
    pub apart: Duration,
    /// Whoever would have to wait longer than so much from the first turn on waits only so long.
    pub longest: Duration,
}

/// Sees to it that, of the jobs of the step that wait for `what`, the one that is due first is due after `delay` at the
/// latest. False = none waits. Wake the step if that is now.
pub async fn hasten(db: &PgPool, step: &str, what: &str, delay: Duration) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"WITH first AS (
               SELECT id, run_at FROM jobs
               WHERE state = 'available' AND step = $1 AND waits_for = $2 AND waiting_since IS NOT NULL
               -- A job that somebody else is at need not be waited for: another will do.
               ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
           ),
           hastened AS (
               UPDATE jobs SET run_at = now() + make_interval(secs => $3) FROM first
               WHERE jobs.id = first.id AND first.run_at > now() + make_interval(secs => $3)
           )
           SELECT EXISTS (SELECT 1 FROM first) AS "one!""#,
        step,
        what,
        delay.as_secs_f64()
    )
    .fetch_one(db)
    .await
}

/// Lets all jobs of the step go that wait for `what`, in the order in which they were made; `reason` stands at each until
/// its turn. Gives back how many there were. Wake the step if there were some. May be repeated.
pub async fn release(db: &PgPool, step: &str, what: &str, reason: &str, turns: Turns) -> Result<u64, sqlx::Error> {
    let mut released = 0;
    loop {
        let batch = sqlx::query!(
            "WITH waiting AS MATERIALIZED (
                 SELECT id FROM jobs
                 WHERE state = 'available' AND step = $1 AND waits_for = $2 AND waiting_since IS NOT NULL
                 ORDER BY id LIMIT $3 FOR UPDATE
             ),
             placed AS (SELECT id, $4 + row_number() OVER (ORDER BY id) - 1 AS place FROM waiting)
             UPDATE jobs SET waits_for = NULL, reason = $5,
                 run_at = least(run_at, now() + make_interval(secs => $6 + least(placed.place * $7::float8, $8)))
             FROM placed WHERE jobs.id = placed.id",
            step,
            what,
            BATCH,
            released as i64,
            reason,
            turns.first.as_secs_f64(),
            turns.apart.as_secs_f64(),
            turns.longest.as_secs_f64()
        )
        .execute(db)
        .await?
        .rows_affected();
        released += batch;
        if batch < BATCH.unsigned_abs() {
            return Ok(released);
        }
    }
}
