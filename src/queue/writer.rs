//! Complete: one writer per process takes all ends that came together while the last write was under way, and writes
//! results, attempts and next jobs in one statement. Nothing lingers on purpose.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::PgConnection;
use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

use super::job::Failure;
use super::lease::{Bill, End, Held, Verdict};
use super::link::{Link, is_data_error};
use super::wake::Waker;
use crate::model::{FailureClass, Fence};

/// Most ends in one statement.
const BATCH: usize = 500;

pub(super) struct Writer {
    pub(super) link: Link,
    pub(super) ends: UnboundedReceiver<End>,
    pub(super) held: Arc<Held>,
    pub(super) waker: Waker,
}

impl Writer {
    /// Writes until every sender of ends is gone.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.ends.recv_many(&mut batch, BATCH).await > 0 {
            let mut pending = vec![std::mem::take(&mut batch)];
            while let Some(ends) = pending.pop() {
                pending.extend(self.write_one(ends).await);
            }
        }
        self.link.close().await;
    }

    /// Writes one batch; gives back what is still to be written.
    pub(super) async fn write_one(&mut self, ends: Vec<End>) -> Vec<Vec<End>> {
        let written = match self.link.run(async |db| complete(db, &ends).await).await {
            Ok(written) => written,
            Err(error) if is_data_error(&error) => return self.refused(ends, &error),
            // Kept: the token makes a repeat harmless.
            Err(error) => {
                tracing::debug!(%error, ends = ends.len(), "Finished steps wait for the database.");
                return vec![ends];
            }
        };
        let late: Vec<&End> = ends.iter().filter(|end| !written.contains(&end.fence)).collect();
        if !late.is_empty() {
            self.note_late(&late).await;
        }
        self.held.leave(ends.iter().map(|end| end.fence));
        self.waker.wake_many(ends.iter().flat_map(following));
        Vec::new()
    }

    /// What to write instead of ends that the database refuses: one bad row must hold up nobody, whatever is bad in it.
    fn refused(&self, mut ends: Vec<End>, error: &sqlx::Error) -> Vec<Vec<End>> {
        if ends.len() > 1 {
            // Halved until the bad one stands alone.
            let rest = ends.split_off(ends.len() / 2);
            return vec![ends, rest];
        }
        let end = &mut ends[0];
        if matches!(&end.verdict, Verdict::Fail { failure, .. } if failure.class == FailureClass::Unstorable) {
            tracing::error!(%error, step = end.step, job_id = end.fence.job_id.0,
                "The database refuses even the failure of a step; its lease is left to run out.");
            self.held.leave([end.fence]);
            return Vec::new();
        }
        tracing::error!(%error, step = end.step, job_id = end.fence.job_id.0, "The database refused the end of a step.");
        let message =
            "The step's outcome could not be stored. This is a bug: please report it with the call's id.".to_owned();
        end.verdict =
            Verdict::Fail { outcome: "failed", failure: Failure { class: FailureClass::Unstorable, message } };
        (end.request_id, end.bill) = (None, Bill::default());
        vec![ends]
    }

    async fn note_late(&mut self, late: &[&End]) {
        for end in late {
            tracing::warn!(
                job_id = end.fence.job_id.0,
                step = end.step,
                outcome = outcome(&end.verdict),
                "A late end was refused: somebody else had taken over the job."
            );
        }
        let _ = self.link.run(async |db| note_late(db, late).await).await;
    }
}

/// Steps that this end gives work to.
fn following(end: &End) -> Vec<&'static str> {
    match &end.verdict {
        Verdict::Done(done) => done.next.iter().map(|job| job.step).collect(),
        Verdict::GiveBack => vec![end.step],
        Verdict::Later { .. } | Verdict::Fail { .. } => Vec::new(),
    }
}

fn outcome(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Done(_) => "completed",
        Verdict::Fail { outcome: "retry", .. } => "failed",
        Verdict::Later { outcome, .. } | Verdict::Fail { outcome, .. } => outcome,
        Verdict::GiveBack => "given_back",
    }
}

fn waits_for(verdict: &Verdict) -> Option<&'static str> {
    if let Verdict::Later { waits_for, .. } = verdict { *waits_for } else { None }
}

/// The ends of a batch, column by column.
#[derive(Default)]
struct Columns {
    ids: Vec<i64>,
    tokens: Vec<i64>,
    states: Vec<String>,
    outcomes: Vec<String>,
    delays: Vec<Option<f64>>,
    deadlines: Vec<Option<f64>>,
    classes: Vec<Option<String>>,
    messages: Vec<Option<String>>,
    results: Vec<Option<Uuid>>,
    request_ids: Vec<Option<String>>,
    models: Vec<Option<String>>,
    input_tokens: Vec<i64>,
    output_tokens: Vec<i64>,
    audio_seconds: Vec<f64>,
    costs: Vec<Option<i64>>,
    waits_for: Vec<Option<String>>,
}

/// The jobs that follow, column by column; `owner` is the job whose end makes them, under the token of that end: a late
/// end of the same job may be in the same batch.
#[derive(Default)]
struct NextColumns {
    owners: Vec<i64>,
    tokens: Vec<i64>,
    steps: Vec<String>,
    calls: Vec<Uuid>,
    targets: Vec<Option<Uuid>>,
    runs: Vec<i32>,
    critical: Vec<bool>,
    priorities: Vec<i16>,
}

fn columns(ends: &[End]) -> (Columns, NextColumns) {
    let mut c = Columns::default();
    let mut n = NextColumns::default();
    for end in ends {
        let (state, delay, deadline, failure) = match &end.verdict {
            Verdict::Done(_) => ("completed", None, None, None),
            Verdict::Later { delay, deadline, failure, .. } => {
                ("available", Some(delay.as_secs_f64()), deadline.map(|d| d.as_secs_f64()), Some(failure))
            }
            Verdict::Fail { failure, .. } => ("failed", None, None, Some(failure)),
            Verdict::GiveBack => ("available", Some(0.0), None, None),
        };
        c.ids.push(end.fence.job_id.0);
        c.tokens.push(end.fence.token);
        c.states.push(state.to_owned());
        c.outcomes.push(outcome(&end.verdict).to_owned());
        c.delays.push(delay);
        c.deadlines.push(deadline);
        c.classes.push(failure.map(|failure| failure.class.to_string()));
        c.messages.push(failure.map(|failure| clean(&failure.message)));
        c.request_ids.push(end.request_id.as_deref().map(clean));
        c.models.push(end.bill.usage.model.as_deref().map(clean));
        c.input_tokens.push(end.bill.usage.input_tokens);
        c.output_tokens.push(end.bill.usage.output_tokens);
        c.audio_seconds.push(end.bill.usage.audio_seconds);
        c.costs.push(end.bill.cost);
        c.waits_for.push(waits_for(&end.verdict).map(str::to_owned));
        let Verdict::Done(done) = &end.verdict else {
            c.results.push(None);
            continue;
        };
        c.results.push(done.result);
        for job in &done.next {
            n.owners.push(end.fence.job_id.0);
            n.tokens.push(end.fence.token);
            n.steps.push(job.step.to_owned());
            n.calls.push(job.call_id.0);
            n.targets.push(job.target);
            n.runs.push(job.run);
            n.critical.push(job.critical);
            n.priorities.push(end.priority);
        }
    }
    (c, n)
}

/// PostgreSQL's text has no NUL; a message is a sentence, not a page.
fn clean(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(2_000).collect()
}

/// Writes all ends whose lease still stands; gives back which those were. Locks jobs in id order, as every statement
/// that locks several does, so that renewals and completions never wait for one another in a circle.
#[expect(
    clippy::too_many_lines,
    reason = "one statement, because the end, the attempt and the next jobs are one truth"
)]
async fn complete(db: &mut PgConnection, ends: &[End]) -> Result<HashSet<Fence>, sqlx::Error> {
    let (c, n) = columns(ends);
    let rows = sqlx::query!(
        r#"
        WITH e AS (
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::float8[], $6::float8[],
                $7::text[], $8::text[], $9::uuid[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::float8[],
                $15::bigint[], $24::text[])
            AS t (id, token, state, outcome, delay, deadline, class, message, result, request_id, model, input_tokens,
                output_tokens, audio_seconds, cost, waits_for)
        ),
        -- Looked up one by one, by id alone: a join may scan the table under a plan that was made while it was small, and
        -- "state = 'running'" would walk the dead entries of that partial index for each row (ADR 0001).
        l AS MATERIALIZED (
            SELECT e.*, j.worker, j.claimed_at, j.starts, j.call_id, j.run, j.step,
                   e.deadline IS NOT NULL
                       AND now() - coalesce(j.waiting_since, now()) >= make_interval(secs => e.deadline) AS overdue
            FROM (SELECT * FROM e ORDER BY id) e CROSS JOIN LATERAL (
                SELECT * FROM jobs WHERE jobs.id = e.id AND jobs.lease_token = e.token FOR UPDATE) j
        ),
        n AS (
            -- None of them can be in the history: a run goes there as a whole, and a job of this one is not finished.
            INSERT INTO jobs (step, call_id, target, run, critical, priority)
            SELECT x.step, x.call_id, x.target, x.run, x.critical, x.priority
            FROM unnest($16::bigint[], $17::bigint[], $18::text[], $19::uuid[], $20::uuid[], $21::int[], $22::bool[],
                $23::smallint[])
                AS x (owner, token, step, call_id, target, run, critical, priority)
            WHERE (x.owner, x.token) IN (SELECT id, token FROM l)
            ON CONFLICT DO NOTHING RETURNING call_id, run
        ),
        u AS (
            UPDATE jobs j SET
                state = CASE WHEN l.overdue THEN 'failed' ELSE l.state END,
                run_at = CASE WHEN l.state = 'available' AND NOT l.overdue AND l.outcome <> 'given_back'
                              THEN now() + make_interval(secs => l.delay) ELSE j.run_at END,
                attempts = j.attempts - (l.outcome IN ('waiting', 'given_back'))::int,
                crashes = CASE WHEN l.outcome = 'given_back' THEN j.crashes ELSE 0 END,
                waits = CASE WHEN l.outcome = 'waiting' THEN j.waits + 1
                             WHEN l.outcome = 'given_back' THEN j.waits ELSE 0 END,
                waiting_since = CASE WHEN l.outcome = 'waiting' THEN coalesce(j.waiting_since, now())
                                     WHEN l.outcome = 'given_back' THEN j.waiting_since END,
                reason = CASE WHEN l.overdue THEN 'Given up after waiting since '
                                  || to_char(j.waiting_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC": ') || l.message
                              ELSE l.message END,
                result = coalesce(l.result, j.result), waits_for = l.waits_for,
                lease_token = NULL, lease_until = NULL,
                handed_on = l.state = 'completed' AND (l.call_id, l.run) IN (SELECT call_id, run FROM n),
                finished_at = CASE WHEN l.state = 'available' AND NOT l.overdue THEN NULL ELSE now() END
            FROM l WHERE j.id = l.id RETURNING j.id
        ),
        a AS (
            INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome,
                error_class, message, request_id, model, input_tokens, output_tokens, audio_seconds, cost_micro_units)
            SELECT id, starts, call_id, step, worker, token, claimed_at, now(),
                   CASE WHEN overdue THEN 'failed' ELSE outcome END, class, message, request_id, model, input_tokens,
                   output_tokens, audio_seconds, cost
            FROM l
            ON CONFLICT (job_id, attempt) DO NOTHING
        )
        SELECT l.id AS "id!", l.token AS "token!" FROM l
        "#,
        &c.ids,
        &c.tokens,
        &c.states,
        &c.outcomes,
        &c.delays as &[Option<f64>],
        &c.deadlines as &[Option<f64>],
        &c.classes as &[Option<String>],
        &c.messages as &[Option<String>],
        &c.results as &[Option<Uuid>],
        &c.request_ids as &[Option<String>],
        &c.models as &[Option<String>],
        &c.input_tokens,
        &c.output_tokens,
        &c.audio_seconds,
        &c.costs as &[Option<i64>],
        &n.owners,
        &n.tokens,
        &n.steps,
        &n.calls,
        &n.targets as &[Option<Uuid>],
        &n.runs,
        &n.critical,
        &n.priorities,
        &c.waits_for as &[Option<String>]
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| Fence { job_id: crate::model::JobId(row.id), token: row.token }).collect())
}

/// Marks the attempts of workers that came back after their job had been taken over or cancelled. A handler that gave
/// way to a cancel as it was told to is not late.
async fn note_late(db: &mut PgConnection, late: &[&End]) -> Result<(), sqlx::Error> {
    let ids: Vec<i64> = late.iter().map(|end| end.fence.job_id.0).collect();
    let tokens: Vec<i64> = late.iter().map(|end| end.fence.token).collect();
    let outcomes: Vec<String> = late.iter().map(|end| outcome(&end.verdict).to_owned()).collect();
    sqlx::query!(
        "UPDATE job_attempts a SET late_outcome = t.outcome, late_at = now()
         FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS t (id, token, outcome)
         WHERE a.job_id = t.id AND a.token = t.token
           AND (a.outcome = 'lost' OR (a.outcome = 'cancelled' AND t.outcome <> 'given_back'))",
        &ids,
        &tokens,
        &outcomes
    )
    .execute(db)
    .await?;
    Ok(())
}
