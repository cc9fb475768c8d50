//! What there is to see: jobs and attempts, those in the history too.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::job::{AttemptRow, JobRow};
use crate::model::Fence;

/// Which jobs; `None` = all.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// One of the states, or `waiting` for available jobs that are not due yet.
    pub state: Option<String>,
    /// One step.
    pub step: Option<String>,
    /// One call.
    pub call_id: Option<Uuid>,
    /// Error class of the last attempt, such as `timeout`.
    pub class: Option<String>,
    /// Part of the reason, in any case of letters.
    pub reason: Option<String>,
    /// Made then or later.
    pub created_from: Option<DateTime<Utc>>,
    /// Made before.
    pub created_before: Option<DateTime<Utc>>,
    /// At most so many.
    pub limit: i64,
}

/// Jobs, newest first.
pub async fn list(db: &PgPool, filter: &JobFilter) -> Result<Vec<JobRow>, sqlx::Error> {
    sqlx::query_as!(
        JobRow,
        r#"SELECT j.id AS "id!", j.step AS "step!", call_id AS "call_id!", target, run AS "run!", state AS "state!",
                run_at AS "run_at!", starts AS "starts!", attempts AS "attempts!", crashes AS "crashes!", reason,
                waiting_since, worker, claimed_at, lease_until, created_at AS "created_at!", finished_at,
                priority AS "priority!", c.paused_at AS "paused_at?", c.paused_by AS "paused_by?",
                c.pause_reason AS "pause_reason?"
         FROM every_job j
         LEFT JOIN step_controls c ON c.step = j.step AND c.paused_at IS NOT NULL AND j.state = 'available'
         WHERE ($1::text IS NULL OR state = $1 OR ($1 = 'waiting' AND state = 'available' AND run_at > now()))
           AND ($2::text IS NULL OR j.step = $2) AND ($3::uuid IS NULL OR call_id = $3)
           AND ($4::text IS NULL OR EXISTS (
               SELECT 1 FROM every_job_attempt a WHERE a.job_id = j.id AND a.attempt = j.starts AND a.error_class = $4))
           AND ($5::text IS NULL OR position(lower($5) IN lower(reason)) > 0)
           AND ($6::timestamptz IS NULL OR created_at >= $6) AND ($7::timestamptz IS NULL OR created_at < $7)
         ORDER BY j.id DESC LIMIT $8"#,
        filter.state,
        filter.step,
        filter.call_id,
        filter.class,
        filter.reason,
        filter.created_from,
        filter.created_before,
        filter.limit
    )
    .fetch_all(db)
    .await
}

/// One job.
pub async fn show(db: &PgPool, id: i64) -> Result<Option<JobRow>, sqlx::Error> {
    sqlx::query_as!(
        JobRow,
        r#"SELECT j.id AS "id!", j.step AS "step!", call_id AS "call_id!", target, run AS "run!", state AS "state!",
                run_at AS "run_at!", starts AS "starts!", attempts AS "attempts!", crashes AS "crashes!", reason,
                waiting_since, worker, claimed_at, lease_until, created_at AS "created_at!", finished_at,
                priority AS "priority!", c.paused_at AS "paused_at?", c.paused_by AS "paused_by?",
                c.pause_reason AS "pause_reason?"
         FROM every_job j
         LEFT JOIN step_controls c ON c.step = j.step AND c.paused_at IS NOT NULL AND j.state = 'available'
         WHERE j.id = $1"#,
        id
    )
    .fetch_optional(db)
    .await
}

/// All attempts of a call, in the order in which they started.
pub async fn attempts_of_call(db: &PgPool, call_id: Uuid) -> Result<Vec<AttemptRow>, sqlx::Error> {
    sqlx::query_as!(
        AttemptRow,
        r#"SELECT job_id AS "job_id!", step AS "step!", attempt AS "attempt!", worker AS "worker!",
                started_at AS "started_at!", ended_at AS "ended_at!", outcome AS "outcome!", error_class, message,
                request_id, model, input_tokens AS "input_tokens!", output_tokens AS "output_tokens!",
                audio_seconds AS "audio_seconds!", cost_micro_units, late_outcome, late_at
         FROM every_job_attempt WHERE call_id = $1 ORDER BY started_at, job_id, attempt"#,
        call_id
    )
    .fetch_all(db)
    .await
}

/// All attempts of a job.
pub async fn attempts_of_job(db: &PgPool, id: i64) -> Result<Vec<AttemptRow>, sqlx::Error> {
    sqlx::query_as!(
        AttemptRow,
        r#"SELECT job_id AS "job_id!", step AS "step!", attempt AS "attempt!", worker AS "worker!",
                started_at AS "started_at!", ended_at AS "ended_at!", outcome AS "outcome!", error_class, message,
                request_id, model, input_tokens AS "input_tokens!", output_tokens AS "output_tokens!",
                audio_seconds AS "audio_seconds!", cost_micro_units, late_outcome, late_at
         FROM every_job_attempt WHERE job_id = $1 ORDER BY attempt"#,
        id
    )
    .fetch_all(db)
    .await
}

/// Whether the attempt with this lease was lost with its worker, or taken from it by a cancel: what it had used was
/// written nowhere. (A job that runs is not in the history, nor is any other of its run.)
pub async fn was_lost(db: &PgPool, lease: Fence) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM job_attempts
                          WHERE job_id = $1 AND token = $2 AND outcome IN ('lost', 'cancelled')) AS "lost!""#,
        lease.job_id.0,
        lease.token
    )
    .fetch_one(db)
    .await
}
