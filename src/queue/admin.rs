//! The operator's hand: look at jobs and attempts, run a job again.

use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::job::{AttemptRow, JobRow};
use super::wake::Waker;
use crate::model::Fence;

/// What `jobs list` shows; `None` = all.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// One of the states, or `waiting` for available jobs that are not due yet.
    pub state: Option<String>,
    /// One step.
    pub step: Option<String>,
    /// One call.
    pub call_id: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

/// Jobs, newest first.
pub async fn list(db: &PgPool, filter: &JobFilter) -> Result<Vec<JobRow>, sqlx::Error> {
    sqlx::query_as!(
        JobRow,
        "SELECT id, step, call_id, target, run, state, run_at, starts, attempts, crashes, reason, waiting_since, worker,
                claimed_at, lease_until, created_at, finished_at
         FROM jobs
         WHERE ($1::text IS NULL OR state = $1 OR ($1 = 'waiting' AND state = 'available' AND run_at > now()))
           AND ($2::text IS NULL OR step = $2) AND ($3::uuid IS NULL OR call_id = $3)
         ORDER BY id DESC LIMIT $4",
        filter.state,
        filter.step,
        filter.call_id,
        filter.limit
    )
    .fetch_all(db)
    .await
}

/// One job.
pub async fn show(db: &PgPool, id: i64) -> Result<Option<JobRow>, sqlx::Error> {
    sqlx::query_as!(
        JobRow,
        "SELECT id, step, call_id, target, run, state, run_at, starts, attempts, crashes, reason, waiting_since, worker,
                claimed_at, lease_until, created_at, finished_at
         FROM jobs WHERE id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// All attempts of a call, in the order in which they started.
pub async fn attempts_of_call(db: &PgPool, call_id: Uuid) -> Result<Vec<AttemptRow>, sqlx::Error> {
    sqlx::query_as!(
        AttemptRow,
        "SELECT job_id, step, attempt, worker, started_at, ended_at, outcome, error_class, message, request_id, model,
                input_tokens, output_tokens, audio_seconds, cost_micro_units, late_outcome, late_at
         FROM job_attempts WHERE call_id = $1 ORDER BY started_at, job_id, attempt",
        call_id
    )
    .fetch_all(db)
    .await
}

/// All attempts of a job.
pub async fn attempts_of_job(db: &PgPool, id: i64) -> Result<Vec<AttemptRow>, sqlx::Error> {
    sqlx::query_as!(
        AttemptRow,
        "SELECT job_id, step, attempt, worker, started_at, ended_at, outcome, error_class, message, request_id, model,
                input_tokens, output_tokens, audio_seconds, cost_micro_units, late_outcome, late_at
         FROM job_attempts WHERE job_id = $1 ORDER BY attempt",
        id
    )
    .fetch_all(db)
    .await
}

/// Whether the attempt with this lease was lost: its worker died or froze, and what it had used was written nowhere.
pub async fn was_lost(db: &PgPool, lease: Fence) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM job_attempts WHERE job_id = $1 AND token = $2 AND outcome = 'lost') AS "lost!""#,
        lease.job_id.0,
        lease.token
    )
    .fetch_one(db)
    .await
}

/// What an operator's retry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// It is due now, with all its attempts.
    Due,
    /// There is no such job.
    NotFound,
    /// It is in this state, which cannot be retried.
    Refused(String),
}

/// Until the caller's transaction ends, nobody else begins a run of this call or retries one of its jobs. Take it before
/// looking at what to cancel: the jobs that an earlier holder made are seen only by a statement that starts after it. No
/// worker waits for it. The lock is of PostgreSQL's advisory kind, because a row of the call or of its jobs would be
/// locked in another order than workers lock them.
pub async fn hold_call(db: &mut PgConnection, call_id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))", call_id).execute(db).await?;
    Ok(())
}

/// Makes a failed, cancelled or waiting job due now, with all its attempts; deletes nothing. A job that runs, is
/// finished, or belongs to an earlier run of its call is refused.
pub async fn retry(db: &PgPool, waker: &Waker, id: i64) -> Result<Retried, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let call_id =
        sqlx::query_scalar!("SELECT call_id FROM jobs WHERE id = $1", id).fetch_optional(&mut *transaction).await?;
    let Some(call_id) = call_id else { return Ok(Retried::NotFound) };
    hold_call(&mut transaction, call_id).await?;
    let retried = sqlx::query_scalar!(
        "UPDATE jobs SET state = 'available', attempts = 0, crashes = 0, waits = 0, waiting_since = NULL,
             run_at = now(), reason = NULL, finished_at = NULL
         WHERE id = $1 AND state IN ('failed', 'cancelled', 'available')
           AND run = (SELECT max(run) FROM jobs latest WHERE latest.call_id = jobs.call_id)
         RETURNING step",
        id
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    if let Some(step) = retried {
        waker.wake(&step);
        return Ok(Retried::Due);
    }
    Ok(match show(db, id).await? {
        None => Retried::NotFound,
        Some(job) if job.state == "failed" || job.state == "cancelled" => {
            Retried::Refused(format!("of run {} of its call, and a later run has begun", job.run))
        }
        Some(job) => Retried::Refused(job.state),
    })
}

/// Cancels what is still open of a call, in the caller's transaction, which holds the call ([`hold_call`]): a re-run
/// takes its place. A worker that holds one of the jobs loses its lease.
pub async fn cancel_open_of_call(db: &mut PgConnection, call_id: Uuid) -> Result<u64, sqlx::Error> {
    let cancelled = sqlx::query!(
        "UPDATE jobs SET state = 'cancelled', reason = 'A later run of the call took its place.', lease_token = NULL,
             lease_until = NULL, finished_at = now()
         WHERE id = ANY (ARRAY (SELECT id FROM jobs WHERE call_id = $1 AND state IN ('available', 'running')
                                ORDER BY id FOR UPDATE))",
        call_id
    )
    .execute(db)
    .await?;
    Ok(cancelled.rows_affected())
}

/// How the queue stands, for health.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Due and not taken.
    pub due: i64,
    /// Being worked on.
    pub running: i64,
    /// Waiting for a later time.
    pub waiting: i64,
    /// Need a person.
    pub failed: i64,
    /// Age of the oldest due job, in seconds.
    pub oldest_due_seconds: f64,
}

/// Counts of open and failed jobs.
pub async fn standing(db: impl PgExecutor<'_>) -> Result<Standing, sqlx::Error> {
    sqlx::query_as!(
        Standing,
        r#"SELECT count(*) FILTER (WHERE state = 'available' AND run_at <= now()) AS "due!",
                  count(*) FILTER (WHERE state = 'running') AS "running!",
                  count(*) FILTER (WHERE state = 'available' AND run_at > now()) AS "waiting!",
                  count(*) FILTER (WHERE state = 'failed') AS "failed!",
                  coalesce(extract(epoch FROM now() - min(run_at) FILTER (WHERE state = 'available' AND run_at <= now())),
                           0)::float8 AS "oldest_due_seconds!"
           FROM jobs WHERE state IN ('available', 'running', 'failed')"#
    )
    .fetch_one(db)
    .await
}
