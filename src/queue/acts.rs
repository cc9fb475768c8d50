//! The operator's hand: run jobs again, cancel them, put them first. Acts on many jobs choose them once, then go in
//! batches in the order of their ids, and leave alone what has been started since: two operators who do the same at the
//! same time do it once.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::admin::{JobFilter, show};
use super::wake::Waker;

/// Jobs of one transaction of an act on many.
pub const BATCH: usize = 100;

/// What is done to jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Due now, with all attempts. For those that failed, were cancelled, or wait. Deletes nothing, and a message that
    /// may have arrived is not sent again unseen: the ledger of deliveries knows it.
    Retry,
    /// Never done, for this reason. For those that are open, or failed. A worker that holds one loses its lease: what it
    /// writes from now on is refused, and its handler is dropped at the next renewal.
    Cancel(String),
    /// Taken before others of their step with a lower number, and so are the jobs that follow them. For those that are
    /// open, or failed. One that runs hands the number that it was started with to those that follow.
    Prioritize(i16),
}

impl Act {
    /// `retry`, `cancel`, `prioritize`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel(_) => "cancel",
            Self::Prioritize(_) => "prioritize",
        }
    }

    /// The states that it can be for.
    fn states(&self) -> Vec<String> {
        let states: &[&str] = match self {
            Self::Retry => &["failed", "cancelled", "available"],
            Self::Cancel(_) | Self::Prioritize(_) => &["available", "running", "failed"],
        };
        states.iter().map(ToString::to_string).collect()
    }

    /// The states that it is for where nobody names one.
    fn usual_states(&self) -> Vec<String> {
        let states: &[&str] = match self {
            Self::Retry => &["failed"],
            Self::Cancel(_) | Self::Prioritize(_) => &["available", "running"],
        };
        states.iter().map(ToString::to_string).collect()
    }
}

/// The jobs that an act is for.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// In their order.
    pub ids: Vec<i64>,
    /// When they were chosen, by the database's clock.
    pub at: DateTime<Utc>,
}

/// Jobs of one step and state, and of one class where they failed: a line of what an act would do.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Lot {
    /// Step.
    pub step: String,
    /// State; `waiting` = available later.
    pub state: String,
    /// Error class of the last attempt.
    pub class: Option<String>,
    /// So many.
    pub jobs: i64,
    /// When the oldest of them was made.
    pub oldest: DateTime<Utc>,
}

/// Chooses jobs, the oldest first.
pub async fn choose(db: &PgPool, act: &Act, filter: &JobFilter) -> Result<Chosen, sqlx::Error> {
    // Before the look, so that what changes while it is under way is left alone.
    let at = now(db).await?;
    let (states, waiting) = match filter.state.as_deref() {
        None => (act.usual_states(), false),
        Some("waiting") => (vec!["available".to_owned()], true),
        Some(state) => (vec![state.to_owned()], false),
    };
    let ids = sqlx::query_scalar!(
        "SELECT id FROM jobs j
         WHERE state = ANY ($1) AND (NOT $2::bool OR run_at > now())
           AND ($3::text IS NULL OR step = $3) AND ($4::uuid IS NULL OR call_id = $4)
           AND ($5::text IS NULL OR EXISTS (
               SELECT 1 FROM job_attempts a WHERE a.job_id = j.id AND a.attempt = j.starts AND a.error_class = $5))
           AND ($6::text IS NULL OR position(lower($6) IN lower(reason)) > 0)
           AND ($7::timestamptz IS NULL OR created_at >= $7) AND ($8::timestamptz IS NULL OR created_at < $8)
           -- Of a call that has begun a later run, nothing of the earlier ones can be run again.
           AND ($10::text <> 'retry' OR NOT EXISTS (
               SELECT 1 FROM every_job later WHERE later.call_id = j.call_id AND later.run > j.run))
         ORDER BY id LIMIT $9",
        &states,
        waiting,
        filter.step,
        filter.call_id,
        filter.class,
        filter.reason,
        filter.created_from,
        filter.created_before,
        filter.limit,
        act.name()
    )
    .fetch_all(db)
    .await?;
    Ok(Chosen { ids, at })
}

/// These jobs, whatever they are.
pub async fn choose_these(db: &PgPool, ids: &[i64]) -> Result<Chosen, sqlx::Error> {
    Ok(Chosen { ids: ids.to_vec(), at: now(db).await? })
}

async fn now(db: &PgPool) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(db).await
}

/// What has been chosen, the largest lot first.
pub async fn lots(db: &PgPool, chosen: &Chosen) -> Result<Vec<Lot>, sqlx::Error> {
    sqlx::query_as!(
        Lot,
        r#"SELECT j.step, CASE WHEN j.state = 'available' AND j.run_at > now() THEN 'waiting' ELSE j.state END AS "state!",
                  CASE WHEN j.state IN ('failed', 'available') THEN a.error_class END AS class, count(*) AS "jobs!",
                  min(j.created_at) AS "oldest!"
           FROM jobs j LEFT JOIN job_attempts a ON a.job_id = j.id AND a.attempt = j.starts
           WHERE j.id = ANY ($1) GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3"#,
        &chosen.ids
    )
    .fetch_all(db)
    .await
}

/// Does it to one batch of the chosen jobs, in the caller's transaction; gives back those that it was done to. The
/// others are not in a state for it, or were started since they were chosen.
pub async fn act(
    db: &mut PgConnection,
    act: &Act,
    ids: &[i64],
    chosen_at: DateTime<Utc>,
) -> Result<Vec<Touched>, sqlx::Error> {
    match act {
        Act::Retry => {
            hold_calls(db, ids).await?;
            make_due(db, ids, chosen_at).await
        }
        Act::Cancel(reason) => cancel(db, ids, &act.states(), reason, Some(chosen_at)).await,
        Act::Prioritize(priority) => prioritize(db, ids, *priority, &act.states()).await,
    }
}

/// A job that something was done to.
#[derive(Debug, Clone)]
pub struct Touched {
    /// Its id.
    pub id: i64,
    /// Its step, to be woken.
    pub step: String,
    /// Its call.
    pub call_id: Uuid,
}

async fn make_due(db: &mut PgConnection, ids: &[i64], chosen_at: DateTime<Utc>) -> Result<Vec<Touched>, sqlx::Error> {
    sqlx::query_as!(
        Touched,
        "UPDATE jobs SET state = 'available', attempts = 0, crashes = 0, waits = 0, waiting_since = NULL,
             run_at = now(), reason = NULL, finished_at = NULL
         WHERE id = ANY (ARRAY (
             SELECT id FROM jobs j
             -- Not now(): who waited here for another operator began before that one made the job due.
             WHERE id = ANY ($1)
               AND (state IN ('failed', 'cancelled') OR (state = 'available' AND run_at > clock_timestamp()))
               AND (claimed_at IS NULL OR claimed_at <= $2)
               AND NOT EXISTS (SELECT 1 FROM every_job later WHERE later.call_id = j.call_id AND later.run > j.run)
             ORDER BY id FOR UPDATE))
         RETURNING id, step, call_id",
        ids,
        chosen_at
    )
    .fetch_all(db)
    .await
}

/// The start that a cancel ends is an attempt like others.
async fn cancel(
    db: &mut PgConnection,
    ids: &[i64],
    states: &[String],
    reason: &str,
    chosen_at: Option<DateTime<Utc>>,
) -> Result<Vec<Touched>, sqlx::Error> {
    sqlx::query_as!(
        Touched,
        r#"WITH l AS MATERIALIZED (
               SELECT id, state, starts, call_id, step, worker, lease_token, claimed_at FROM jobs
               WHERE id = ANY ($1) AND state = ANY ($2) AND (state <> 'failed' OR finished_at <= $4)
               ORDER BY id FOR UPDATE
           ),
           a AS (
               INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome,
                   message, cost_micro_units)
               -- What it had paid for and stored is counted by the attempt that finds it.
               SELECT id, starts, call_id, step, worker, lease_token, claimed_at, now(), 'cancelled', $3, 0
               FROM l WHERE state = 'running'
               ON CONFLICT (job_id, attempt) DO NOTHING
           )
           UPDATE jobs SET state = 'cancelled', reason = $3, lease_token = NULL, lease_until = NULL, finished_at = now()
           WHERE id = ANY (ARRAY (SELECT id FROM l))
           RETURNING id, step, call_id"#,
        ids,
        states,
        reason,
        chosen_at
    )
    .fetch_all(db)
    .await
}

async fn prioritize(
    db: &mut PgConnection,
    ids: &[i64],
    priority: i16,
    states: &[String],
) -> Result<Vec<Touched>, sqlx::Error> {
    sqlx::query_as!(
        Touched,
        "UPDATE jobs SET priority = $2
         WHERE id = ANY (ARRAY (SELECT id FROM jobs WHERE id = ANY ($1) AND state = ANY ($3) ORDER BY id FOR UPDATE))
         RETURNING id, step, call_id",
        ids,
        priority,
        states
    )
    .fetch_all(db)
    .await
}

/// Why nothing was done to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// There is no such job.
    NotFound,
    /// It was so already.
    IsSo,
    /// It is in this state, which the act is not for.
    Refused(String),
}

/// Why the act did nothing to this job, as it stands now.
pub async fn why_not(db: &PgPool, act: &Act, id: i64) -> Result<WhyNot, sqlx::Error> {
    let Some(job) = show(db, id).await? else { return Ok(WhyNot::NotFound) };
    let hot = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM jobs WHERE id = $1) AS "hot!""#, id);
    Ok(match (act, job.state.as_str()) {
        _ if !hot.fetch_one(db).await? => WhyNot::Refused(format!("{} long ago and in the history", job.state)),
        (Act::Retry, "available") | (Act::Cancel(_), "cancelled") => WhyNot::IsSo,
        (Act::Retry, "failed" | "cancelled") if replaced(db, job.call_id, job.run).await? => {
            WhyNot::Refused(format!("of run {} of its call, and a later run has begun", job.run))
        }
        _ => WhyNot::Refused(job.state),
    })
}

async fn replaced(db: &PgPool, call_id: Uuid, run: i32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM every_job WHERE call_id = $1 AND run > $2) AS "replaced!""#,
        call_id,
        run
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

/// Makes a failed, cancelled or waiting job due now, with all its attempts; deletes nothing. A job that runs, is
/// finished, or belongs to an earlier run of its call is refused.
pub async fn retry(db: &PgPool, waker: &Waker, id: i64) -> Result<Retried, sqlx::Error> {
    let chosen = choose_these(db, &[id]).await?;
    let mut transaction = db.begin().await?;
    let done = act(&mut transaction, &Act::Retry, &chosen.ids, chosen.at).await?;
    transaction.commit().await?;
    for job in &done {
        waker.wake(&job.step);
    }
    if !done.is_empty() {
        return Ok(Retried::Due);
    }
    Ok(match why_not(db, &Act::Retry, id).await? {
        WhyNot::NotFound => Retried::NotFound,
        WhyNot::IsSo => Retried::Due,
        WhyNot::Refused(state) => Retried::Refused(state),
    })
}

/// Until the caller's transaction ends, nobody else begins a run of this call or retries one of its jobs. Take it before
/// looking at what to cancel: the jobs that an earlier holder made are seen only by a statement that starts after it. No
/// worker waits for it. The lock is of PostgreSQL's advisory kind, because a row of the call or of its jobs would be
/// locked in another order than workers lock them.
pub async fn hold_call(db: &mut PgConnection, call_id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))", call_id).execute(db).await?;
    Ok(())
}

/// The same for the calls of these jobs, in the order of the locks, so that two who hold several never wait in a circle.
async fn hold_calls(db: &mut PgConnection, jobs: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(key)
         FROM (SELECT DISTINCT hashtextextended(call_id::text, 0) AS key FROM jobs WHERE id = ANY ($1) ORDER BY key) calls",
        jobs
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Cancels what is still open of a call, in the caller's transaction, which holds the call ([`hold_call`]): a re-run
/// takes its place. A worker that holds one of the jobs loses its lease.
pub async fn cancel_open_of_call(db: &mut PgConnection, call_id: Uuid) -> Result<u64, sqlx::Error> {
    let open = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE call_id = $1 AND state IN ('available', 'running') ORDER BY id FOR UPDATE",
        call_id
    );
    let open = open.fetch_all(&mut *db).await?;
    let states = ["available", "running"].map(str::to_owned);
    let reason = "A later run of the call took its place.";
    Ok(cancel(db, &open, &states, reason, None).await?.len() as u64)
}
