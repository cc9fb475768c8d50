//! Rescue: jobs whose lease ran out go back to the queue. A start without an end counts and waits like a failed
//! attempt; too many in a row and the job is parked, so that one that kills its worker cannot stop the others.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::job::StepPolicy;
use super::link::Link;
use super::wake::Waker;
use crate::model::FailureClass;

pub(super) struct Sweeper {
    pub(super) link: Link,
    pub(super) policies: Vec<StepPolicy>,
    pub(super) lease: Duration,
    pub(super) interval: Duration,
    pub(super) poison_limit: i32,
    pub(super) retry_scale: f64,
    pub(super) waker: Waker,
    pub(super) stop: CancellationToken,
}

impl Sweeper {
    /// Sweeps until it is told to stop.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(self.interval) => {}
            }
            // The first answer after an absence must not be that of a rescue: it would tell too late that there was one.
            let Ok(asked_at) = self.link.run(database_time).await else { continue };
            // Workers that could not renew while the database was away get one full lease to do so.
            if self.link.came_back_within(self.lease) {
                continue;
            }
            self.sweep(asked_at).await;
        }
        self.link.close().await;
    }

    async fn sweep(&mut self, asked_at: DateTime<Utc>) {
        let terms = Terms::new(&self.policies, self.retry_scale);
        let (lease, poison_limit) = (self.lease, self.poison_limit);
        let Ok(rescued) = self.link.run(async |db| rescue(db, &terms, lease, poison_limit, asked_at).await).await
        else {
            return;
        };
        for job in &rescued {
            if job.parked {
                tracing::error!(job_id = job.id, step = %job.step, call_id = %job.call_id,
                    "A job killed its worker again and again and was parked.");
            } else {
                tracing::warn!(job_id = job.id, step = %job.step, call_id = %job.call_id, worker = %job.worker,
                    "A worker did not come back; its job goes back to the queue.");
            }
        }
        self.waker.wake_many(self.policies.iter().map(|policy| policy.name));
    }
}

/// The policies, column by column.
struct Terms {
    steps: Vec<String>,
    firsts: Vec<f64>,
    factors: Vec<f64>,
    longests: Vec<f64>,
    max_attempts: Vec<i32>,
}

impl Terms {
    fn new(policies: &[StepPolicy], scale: f64) -> Self {
        Self {
            steps: policies.iter().map(|policy| policy.name.to_owned()).collect(),
            firsts: policies.iter().map(|policy| policy.backoff.first.as_secs_f64() * scale).collect(),
            factors: policies.iter().map(|policy| policy.backoff.factor).collect(),
            longests: policies.iter().map(|policy| policy.backoff.longest.as_secs_f64() * scale).collect(),
            max_attempts: policies.iter().map(|policy| policy.max_attempts).collect(),
        }
    }
}

struct Rescued {
    id: i64,
    step: String,
    call_id: uuid::Uuid,
    worker: String,
    parked: bool,
}

async fn database_time(db: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(db).await
}

/// Only steps that this process knows are rescued, since their policy says how long to wait. The database's clock
/// decides, and a server that has just started knows nothing of who was alive. `asked_at` is what that clock said before:
/// a statement that a broken network delivers late, when nobody waits for it any more, does nothing.
async fn rescue(
    db: &mut PgConnection,
    terms: &Terms,
    lease: Duration,
    poison_limit: i32,
    asked_at: DateTime<Utc>,
) -> Result<Vec<Rescued>, sqlx::Error> {
    sqlx::query_as!(
        Rescued,
        r#"
        WITH term AS (
            SELECT * FROM unnest($1::text[], $2::float8[], $3::float8[], $4::float8[], $5::int[])
                AS t (step, first, factor, longest, max_attempts)
        ),
        lost AS MATERIALIZED (
            SELECT id, lease_token FROM jobs
            WHERE state = 'running' AND lease_until < now()
              AND now() - pg_postmaster_start_time() > make_interval(secs => $6)
              AND now() - $8 < make_interval(secs => $6 / 3)
              AND step = ANY ($1)
            ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED
        ),
        verdict AS MATERIALIZED (
            SELECT j.id, lost.lease_token AS token, j.worker, j.claimed_at, j.starts, j.call_id, j.step,
                   j.crashes + 1 >= $7 AS poison, j.attempts >= term.max_attempts AS spent,
                   least(term.longest, term.first * power(term.factor, j.attempts - 1)) * (0.8 + 0.4 * random()) AS delay
            FROM lost JOIN jobs j ON j.id = lost.id JOIN term ON term.step = j.step
        ),
        a AS (
            INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome,
                error_class, message, cost_micro_units)
            -- What it had paid for and stored is counted by the attempt that finds it.
            SELECT id, starts, call_id, step, worker, token, claimed_at, now(), 'lost',
                   CASE WHEN poison THEN $10::text ELSE $9::text END,
                   'The worker died or froze in the middle of the step. If that goes on, look at its log.', 0
            FROM verdict ON CONFLICT (job_id, attempt) DO NOTHING
        )
        UPDATE jobs j SET
            state = CASE WHEN v.poison OR v.spent THEN 'failed' ELSE 'available' END,
            crashes = j.crashes + 1,
            waits = 0, waiting_since = NULL,
            run_at = CASE WHEN v.poison OR v.spent THEN j.run_at ELSE now() + make_interval(secs => v.delay) END,
            reason = CASE WHEN v.poison THEN 'poison: its worker died or froze ' || (j.crashes + 1)
                              || ' times in a row while working on it. Nothing was lost: look at the worker''s log, then run the job again.'
                          WHEN v.spent THEN 'Its worker died or froze in the last attempt. Nothing was lost: '
                              || 'look at the worker''s log, then run the job again.'
                          ELSE 'The worker died or froze in the middle of the step; another one takes over.' END,
            lease_token = NULL, lease_until = NULL,
            finished_at = CASE WHEN v.poison OR v.spent THEN now() END
        FROM verdict v WHERE j.id = v.id
        RETURNING j.id, j.step, j.call_id, coalesce(j.worker, '') AS "worker!", v.poison OR v.spent AS "parked!"
        "#,
        &terms.steps,
        &terms.firsts,
        &terms.factors,
        &terms.longests,
        &terms.max_attempts,
        lease.as_secs_f64(),
        poison_limit,
        asked_at,
        FailureClass::Lost.as_str(),
        FailureClass::Poison.as_str()
    )
    .fetch_all(db)
    .await
}
