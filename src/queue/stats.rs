//! How the queue stands: for health in a glance, for operators step by step. Every count is read off a small index, so
//! that a million finished jobs make no difference.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

/// How the queue stands, for health.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Due and not taken, although their step is not paused.
    pub due: i64,
    /// Being worked on.
    pub running: i64,
    /// Age of the oldest due job, in seconds.
    pub oldest_due_seconds: f64,
    /// Steps that operators have paused.
    pub paused: Vec<Pause>,
}

/// A step that is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Step.
    pub step: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Jobs that would be taken if it were not.
    pub due: i64,
}

/// One step, now and in the last hour.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StepStats {
    /// Step.
    pub step: String,
    /// Due and waiting together.
    pub available: i64,
    /// Due and not taken.
    pub due: i64,
    /// Age of the oldest due one, in seconds.
    pub oldest_due_seconds: Option<f64>,
    /// Due later.
    pub waiting: i64,
    /// When the next of those is due.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Being worked on.
    pub running: i64,
    /// Need a person.
    pub failed: i64,
    /// Stopped by a person, or replaced by a later run.
    pub cancelled: i64,
    /// The last hour.
    pub last_hour: LastHour,
    /// Since when it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// Why.
    pub pause_reason: Option<String>,
    /// Jobs at the same time in each worker process, where an operator said so.
    pub slots: Option<i32>,
}

/// What ended in the last hour.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LastHour {
    /// Jobs that completed.
    pub completed: i64,
    /// Attempts by outcome, `completed` included, in the order of the alphabet.
    pub attempts: Vec<OutcomeCount>,
    /// Half of the completed attempts took at most so many seconds.
    pub run_seconds_p50: Option<f64>,
    /// 95 % of them.
    pub run_seconds_p95: Option<f64>,
    /// Half of the completed jobs were due for at most so many seconds before their last attempt began.
    pub queue_seconds_p50: Option<f64>,
    /// 95 % of them.
    pub queue_seconds_p95: Option<f64>,
}

/// So many attempts came to this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutcomeCount {
    /// As in `job_attempts`.
    pub outcome: String,
    /// So many.
    pub attempts: i64,
}

/// Due and running jobs, and pauses.
pub async fn standing(db: &mut PgConnection) -> Result<Standing, sqlx::Error> {
    let running = sqlx::query_scalar!(r#"SELECT count(*) AS "running!" FROM jobs WHERE state = 'running'"#);
    let mut standing = Standing { running: running.fetch_one(&mut *db).await?, ..Standing::default() };
    let controls = super::controls(&mut *db).await?;
    let pauses = controls.into_iter().filter_map(|control| Some((control.step, control.paused_at?)));
    standing.paused = pauses.map(|(step, since)| Pause { step, since, due: 0 }).collect();
    let due = sqlx::query!(
        r#"SELECT step, count(*) AS "due!", extract(epoch FROM now() - min(run_at))::float8 AS "oldest_due_seconds!"
           FROM jobs WHERE state = 'available' AND run_at <= now() GROUP BY step"#
    );
    for row in due.fetch_all(db).await? {
        if let Some(pause) = standing.paused.iter_mut().find(|pause| pause.step == row.step) {
            pause.due = row.due;
        } else {
            standing.due += row.due;
            standing.oldest_due_seconds = standing.oldest_due_seconds.max(row.oldest_due_seconds);
        }
    }
    Ok(standing)
}

/// All steps that have anything to tell of, and those in `steps` in any case and first.
pub async fn stats(db: &PgPool, steps: &[&str]) -> Result<Vec<StepStats>, sqlx::Error> {
    let mut all: Vec<StepStats> =
        steps.iter().map(|step| StepStats { step: (*step).to_owned(), ..StepStats::default() }).collect();
    open(db, &mut all).await?;
    stopped(db, &mut all).await?;
    ended(db, &mut all).await?;
    for control in super::controls(db).await? {
        let step = of_step(&mut all, &control.step);
        (step.paused_at, step.paused_by, step.pause_reason) =
            (control.paused_at, control.paused_by, control.pause_reason);
        step.slots = control.slots;
    }
    Ok(all)
}

fn of_step<'a>(all: &'a mut Vec<StepStats>, step: &str) -> &'a mut StepStats {
    let index = all.iter().position(|known| known.step == step).unwrap_or_else(|| {
        all.push(StepStats { step: step.to_owned(), ..StepStats::default() });
        all.len() - 1
    });
    &mut all[index]
}

async fn open(db: &PgPool, all: &mut Vec<StepStats>) -> Result<(), sqlx::Error> {
    // Apart, so that each is read off its own index.
    let rows = sqlx::query!(
        r#"SELECT step AS "step!", count(*) FILTER (WHERE run_at <= now()) AS "due!",
                  count(*) FILTER (WHERE run_at > now()) AS "waiting!", 0::bigint AS "running!",
                  extract(epoch FROM now() - min(run_at) FILTER (WHERE run_at <= now()))::float8 AS oldest_due_seconds,
                  min(run_at) FILTER (WHERE run_at > now()) AS next_run_at
           FROM jobs WHERE state = 'available' GROUP BY step
           UNION ALL
           SELECT step, 0, 0, count(*), NULL, NULL FROM jobs WHERE state = 'running' GROUP BY step"#
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let step = of_step(all, &row.step);
        step.available += row.due + row.waiting;
        step.due += row.due;
        step.waiting += row.waiting;
        step.running += row.running;
        step.oldest_due_seconds = step.oldest_due_seconds.or(row.oldest_due_seconds);
        step.next_run_at = step.next_run_at.or(row.next_run_at);
    }
    Ok(())
}

async fn stopped(db: &PgPool, all: &mut Vec<StepStats>) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT step, count(*) FILTER (WHERE state = 'failed') AS "failed!",
                  count(*) FILTER (WHERE state = 'cancelled') AS "cancelled!"
           FROM jobs WHERE state IN ('failed', 'cancelled') GROUP BY step"#
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let step = of_step(all, &row.step);
        (step.failed, step.cancelled) = (row.failed, row.cancelled);
    }
    Ok(())
}

async fn ended(db: &PgPool, all: &mut Vec<StepStats>) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"WITH a AS (
               SELECT a.step, a.outcome, extract(epoch FROM a.ended_at - a.started_at)::float8 AS ran,
                      -- When it was due is kept for the last attempt of a job only.
                      extract(epoch FROM a.started_at - j.run_at)::float8 AS queued
               FROM job_attempts a
               LEFT JOIN jobs j ON j.id = a.job_id AND a.outcome = 'completed' AND j.starts = a.attempt
               WHERE a.ended_at > now() - interval '1 hour'
           )
           SELECT step, outcome, count(*) AS "attempts!",
                  percentile_cont(0.5) WITHIN GROUP (ORDER BY ran) AS run_p50,
                  percentile_cont(0.95) WITHIN GROUP (ORDER BY ran) AS run_p95,
                  percentile_cont(0.5) WITHIN GROUP (ORDER BY greatest(queued, 0)) AS queue_p50,
                  percentile_cont(0.95) WITHIN GROUP (ORDER BY greatest(queued, 0)) AS queue_p95
           FROM a GROUP BY step, outcome ORDER BY step, outcome"#
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let hour = &mut of_step(all, &row.step).last_hour;
        if row.outcome == "completed" {
            hour.completed = row.attempts;
            (hour.run_seconds_p50, hour.run_seconds_p95) = (row.run_p50, row.run_p95);
            (hour.queue_seconds_p50, hour.queue_seconds_p95) = (row.queue_p50, row.queue_p95);
        }
        hour.attempts.push(OutcomeCount { outcome: row.outcome, attempts: row.attempts });
    }
    Ok(())
}
