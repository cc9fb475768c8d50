//! Claim: as many due jobs as there are free slots, for all steps of the process in one statement.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Task, TaskBuilder, TaskId};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::control::Controls;
use super::heads::{Head, LaneHead};
use super::job::Job;
use super::lease::{End, Held, Lane, Lease};
use super::link::Link;
use crate::model::{CallId, Fence, JobId};

/// The safety net under NOTIFY: no due job waits longer than this for an idle process.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The same where the last claim from a backlog did not look at its beginning. Most often a freed slot wakes it before.
const HALF_KNOWN_SLEEP: Duration = Duration::from_millis(10);

/// Between two claims that the database refuses.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Claimer {
    pub(super) link: Link,
    pub(super) worker: String,
    pub(super) lease: Duration,
    pub(super) lanes: Vec<(Arc<Lane>, UnboundedSender<Task<Job>>)>,
    /// Of the lanes, in their order.
    pub(super) heads: Vec<LaneHead>,
    pub(super) wake: Arc<Notify>,
    pub(super) controls: Controls,
    pub(super) held: Arc<Held>,
    pub(super) ends: UnboundedSender<End>,
    pub(super) stop: CancellationToken,
}

impl Claimer {
    /// Claims until it is told to stop.
    pub(super) async fn run(mut self) {
        let mut unsure: Option<i64> = None;
        let mut next_look = Instant::now();
        while !self.stop.is_cancelled() {
            // Handlers free their slots one by one: let those that are about to end do so, and claim once for all.
            tokio::task::yield_now().await;
            // Where it fails the link has paused already.
            if !self.controls.look(&mut self.link, self.lanes.iter().map(|(lane, _)| lane.as_ref())).await {
                continue;
            }
            let due = Instant::now() >= next_look;
            let wanted: Vec<usize> = (0..self.lanes.len())
                .filter(|&i| self.lanes[i].0.free() > 0 && (self.lanes[i].0.take_mark() || due))
                .collect();
            if wanted.is_empty() {
                let sleep = if due { Instant::now() + LONGEST_SLEEP } else { next_look };
                tokio::select! {
                    () = self.stop.cancelled() => break,
                    () = self.wake.notified() => {}
                    () = sleep_until(sleep.min(self.controls.next_look())) => {}
                }
                continue;
            }
            if let Some(until_next) = self.claim(&wanted, &mut unsure).await {
                let next = Instant::now() + until_next.min(LONGEST_SLEEP);
                // A claim for some lanes knows nothing of the others: only a look at all may put off the next one.
                next_look = if due { next } else { next_look.min(next) };
            } else {
                for &lane in &wanted {
                    self.lanes[lane].0.mark();
                }
                // The link has paused already where the database is away; this is for a claim that it refuses.
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
        if let Some(token) = unsure {
            let _ = self.link.run(async |db| give_back(db, token).await).await;
        }
        self.link.close().await;
    }

    /// One claim; `None` when the database did not answer. Tells how long until the next job is due.
    pub(super) async fn claim(&mut self, wanted: &[usize], unsure: &mut Option<i64>) -> Option<Duration> {
        // A claim whose answer was lost may have been committed: first give back what carries its token.
        if let Some(token) = *unsure {
            self.link.run(async |db| give_back(db, token).await).await.ok()?;
            *unsure = None;
        }
        let token: i64 = rand::random();
        let asks: Vec<Ask> = wanted.iter().map(|&index| self.ask(index)).collect();
        let worker = self.worker.clone();
        let lease = self.lease;
        *unsure = Some(token);
        let claimed = self.link.run(async |db| claim(db, &asks, token, lease, &worker).await).await.ok()?;
        *unsure = None;
        let is_half_known = self.look_on(&asks, &claimed.jobs);
        self.hand_out(claimed.jobs, token);
        Some(if is_half_known { claimed.until_next.min(HALF_KNOWN_SLEEP) } else { claimed.until_next })
    }

    fn ask(&self, lane: usize) -> Ask {
        let slots = &self.lanes[lane].0;
        Ask { lane, step: slots.policy.name, free: slots.free(), from: self.heads[lane].next(Instant::now()) }
    }

    /// A claim that was filled may have left more behind it: the next one goes on there. One that began in the middle and
    /// found less than it asked for may have left something before it. Tells whether there is such a lane.
    fn look_on(&mut self, asks: &[Ask], jobs: &[Claim]) -> bool {
        let mut is_half_known = false;
        for ask in asks {
            let mut of_step = jobs.iter().filter(|claim| claim.step == ask.step);
            let last = of_step.next_back().map(|claim| claim.place);
            let is_filled = of_step.count() + usize::from(last.is_some()) >= ask.free;
            match last {
                Some(last) if is_filled => {
                    self.heads[ask.lane].advance(ask.from, last, Instant::now());
                    self.lanes[ask.lane].0.mark();
                }
                _ => {
                    self.heads[ask.lane].forget();
                    is_half_known |= ask.from.is_some();
                }
            }
        }
        is_half_known
    }

    fn hand_out(&self, jobs: Vec<Claim>, token: i64) {
        for Claim { step, job, .. } in jobs {
            let Some((lane, claimed)) = self.lanes.iter().find(|(lane, _)| lane.policy.name == step) else { continue };
            let fence = Fence { job_id: job.id, token };
            let lease = Lease::new(job.clone(), fence, lane.clone(), self.ends.clone(), &self.held);
            let id = TaskId::from_int(u64::try_from(job.id.0).unwrap_or_default());
            // A worker that is gone drops the task, and the lease gives the job back.
            let _ = claimed.send(TaskBuilder::new(job).task_id(id).data(lease).build());
        }
    }
}

/// What a claim asks for.
struct Ask {
    lane: usize,
    step: &'static str,
    free: usize,
    /// Only jobs behind this one.
    from: Option<Head>,
}

/// A job that was claimed.
struct Claim {
    step: String,
    job: Job,
    place: Head,
}

struct Claimed {
    /// Those of a step in the order in which they were due.
    jobs: Vec<Claim>,
    until_next: Duration,
}

async fn claim(
    db: &mut PgConnection,
    asks: &[Ask],
    token: i64,
    lease: Duration,
    worker: &str,
) -> Result<Claimed, sqlx::Error> {
    let steps: Vec<String> = asks.iter().map(|ask| ask.step.to_owned()).collect();
    let free: Vec<i64> = asks.iter().map(|ask| ask.free as i64).collect();
    let priorities: Vec<Option<i16>> = asks.iter().map(|ask| ask.from.map(|head| head.priority)).collect();
    let times: Vec<Option<DateTime<Utc>>> = asks.iter().map(|ask| ask.from.map(|head| head.run_at)).collect();
    let ids: Vec<Option<i64>> = asks.iter().map(|ask| ask.from.map(|head| head.id)).collect();
    // `= ANY (ARRAY (..))`: joined instead, the planner guesses a tenth of the table and scans it (ADR 0001).
    let rows = sqlx::query_as!(
        Row,
        r#"
        WITH want AS (
            SELECT * FROM unnest($1::text[], $2::bigint[], $6::smallint[], $7::timestamptz[], $8::bigint[])
                AS w (step, free, priority, run_at, id)
        ),
        pick AS MATERIALIZED (
            SELECT p.id FROM want CROSS JOIN LATERAL (
                SELECT id FROM jobs
                WHERE state = 'available' AND jobs.step = want.step AND run_at <= now()
                ORDER BY priority DESC, run_at, id LIMIT want.free
                FOR UPDATE SKIP LOCKED) p
            WHERE want.id IS NULL
            UNION ALL
            SELECT p.id FROM want CROSS JOIN LATERAL (
                SELECT id FROM jobs
                WHERE state = 'available' AND jobs.step = want.step AND run_at <= now()
                    AND priority = want.priority AND (jobs.run_at, jobs.id) > (want.run_at, want.id)
                ORDER BY priority DESC, run_at, id LIMIT want.free
                FOR UPDATE SKIP LOCKED) p
            WHERE want.id IS NOT NULL
        ),
        taken AS (
            UPDATE jobs SET state = 'running', starts = starts + 1, attempts = attempts + 1, reason = NULL,
                lease_token = $3, lease_until = now() + make_interval(secs => $4), worker = $5, claimed_at = now()
            WHERE id = ANY (ARRAY (SELECT id FROM pick))
            RETURNING id, step, call_id, target, run, starts, attempts, waits, priority, run_at
        )
        SELECT id, step, call_id, target, run, priority, starts, attempts, waits, run_at, NULL::float8 AS "until_next"
        FROM (SELECT * FROM taken ORDER BY priority DESC, run_at, id) t
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            extract(epoch FROM min(soon.run_at) - now())::float8
        FROM want CROSS JOIN LATERAL (
            SELECT run_at FROM jobs
            WHERE state = 'available' AND jobs.step = want.step AND priority = 0 AND run_at > now()
            ORDER BY priority DESC, run_at, id LIMIT 1) soon
        "#,
        &steps,
        &free,
        token,
        lease.as_secs_f64(),
        worker,
        &priorities as &[Option<i16>],
        &times as &[Option<DateTime<Utc>>],
        &ids as &[Option<i64>]
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().fold(Claimed { jobs: Vec::new(), until_next: LONGEST_SLEEP }, Claimed::with))
}

/// A job that was taken, or how long until the next one is due.
struct Row {
    id: Option<i64>,
    step: Option<String>,
    call_id: Option<Uuid>,
    target: Option<Uuid>,
    run: Option<i32>,
    priority: Option<i16>,
    starts: Option<i32>,
    attempts: Option<i32>,
    waits: Option<i32>,
    run_at: Option<DateTime<Utc>>,
    until_next: Option<f64>,
}

impl Claimed {
    fn with(mut self, row: Row) -> Self {
        if let (Some(id), Some(step), Some(call_id), Some(run_at)) = (row.id, row.step, row.call_id, row.run_at) {
            let priority = row.priority.unwrap_or(0);
            let job = Job {
                id: JobId(id),
                call_id: CallId(call_id),
                target: row.target,
                run: row.run.unwrap_or(1),
                priority,
                attempt: row.starts.unwrap_or(1),
                attempts: row.attempts.unwrap_or(1),
                waits: row.waits.unwrap_or(0),
            };
            self.jobs.push(Claim { step, job, place: Head { priority, run_at, id } });
        } else if let Some(seconds) = row.until_next {
            self.until_next = Duration::from_secs_f64(seconds.max(0.001));
        }
        self
    }
}

/// Undoes a claim that nobody knows the outcome of.
async fn give_back(db: &mut PgConnection, token: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE jobs SET state = 'available', starts = starts - 1, attempts = attempts - 1, lease_token = NULL,
             lease_until = NULL
         WHERE id = ANY (ARRAY (SELECT id FROM jobs WHERE state = 'running' AND lease_token = $1 ORDER BY id FOR UPDATE))",
        token
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Puts jobs into the queue, in the caller's transaction. A job that exists already, if only in the history, is left as
/// it is.
pub async fn enqueue(db: &mut PgConnection, jobs: &[super::NewJob]) -> Result<(), sqlx::Error> {
    let steps: Vec<String> = jobs.iter().map(|job| job.step.to_owned()).collect();
    let calls: Vec<Uuid> = jobs.iter().map(|job| job.call_id.0).collect();
    let targets: Vec<Option<Uuid>> = jobs.iter().map(|job| job.target).collect();
    let runs: Vec<i32> = jobs.iter().map(|job| job.run).collect();
    let critical: Vec<bool> = jobs.iter().map(|job| job.critical).collect();
    sqlx::query!(
        "INSERT INTO jobs (step, call_id, target, run, critical)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::int[], $5::bool[])
             AS n (step, call_id, target, run, critical)
         WHERE NOT EXISTS (
             SELECT 1 FROM jobs_history h WHERE h.call_id = n.call_id AND h.run = n.run AND h.step = n.step
                 AND coalesce(h.target, '00000000-0000-0000-0000-000000000000')
                     = coalesce(n.target, '00000000-0000-0000-0000-000000000000'))
         ON CONFLICT DO NOTHING",
        &steps,
        &calls,
        &targets as &[Option<Uuid>],
        &runs,
        &critical
    )
    .execute(db)
    .await?;
    Ok(())
}
