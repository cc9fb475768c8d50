//! What the database says of a history, and whether that is what the model says.

use std::collections::BTreeMap;
use std::fmt::Debug;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::job::{Attempt, ModelJob};
use super::model::Model;

/// All rows of some calls.
pub(super) struct Rows {
    jobs: Vec<JobState>,
    attempts: BTreeMap<i64, Vec<Attempt>>,
    calls: Vec<CallState>,
    now: DateTime<Utc>,
}

#[derive(Debug, sqlx::FromRow)]
struct JobState {
    id: i64,
    call_id: Uuid,
    step: String,
    target: Option<Uuid>,
    run: i32,
    state: String,
    priority: i16,
    starts: i32,
    attempts: i32,
    crashes: i32,
    waits: i32,
    run_at: DateTime<Utc>,
    waiting_since: Option<DateTime<Utc>>,
    lease_until: Option<DateTime<Utc>>,
    lease_token: Option<i64>,
    reason: Option<String>,
    is_finished: bool,
    delivery: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
struct CallState {
    id: Uuid,
    run: i32,
    state: String,
    state_reason: Option<String>,
    waiting_until: Option<DateTime<Utc>>,
}

impl Rows {
    pub(super) async fn read(db: &PgPool, calls: &[Uuid]) -> Result<Self, sqlx::Error> {
        let jobs = "SELECT j.*, j.finished_at IS NOT NULL AS is_finished, d.state AS delivery
            FROM jobs j LEFT JOIN deliveries d ON d.id = j.target WHERE j.call_id = ANY ($1) ORDER BY j.id";
        let jobs = sqlx::query_as(jobs).bind(calls).fetch_all(db).await?;
        let attempts = "SELECT job_id, attempt, token, outcome, late_outcome
            FROM job_attempts WHERE call_id = ANY ($1) ORDER BY job_id, attempt";
        let attempts: Vec<(i64, i32, i64, String, Option<String>)> =
            sqlx::query_as(attempts).bind(calls).fetch_all(db).await?;
        let states = "SELECT id, run, state, state_reason, waiting_until FROM calls WHERE id = ANY ($1)";
        let calls = sqlx::query_as(states).bind(calls).fetch_all(db).await?;
        let now = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(db).await?;
        let mut by_job: BTreeMap<i64, Vec<Attempt>> = BTreeMap::new();
        for (job, number, token, outcome, late) in attempts {
            by_job.entry(job).or_default().push(Attempt { number, token, outcome, late });
        }
        Ok(Self { jobs, attempts: by_job, calls, now })
    }

    /// The first difference. The model learns what only the database can know: ids, and times within their bounds.
    pub(super) fn compare(&self, model: &mut Model) -> Result<(), String> {
        if self.jobs.len() != model.jobs.len() {
            return Err(format!("{} jobs, expected {}", self.jobs.len(), model.jobs.len()));
        }
        for row in &self.jobs {
            let Some(job) = model.jobs.iter_mut().find(|job| row.is_row_of(job)) else {
                return Err(format!("an unexpected job: {row:?}"));
            };
            let complain = |what| format!("job {}: {what}\n{row:?}", row.id);
            row.compare(job, model.now, self.now).map_err(complain)?;
            let made = self.attempts.get(&row.id).map_or(&[][..], Vec::as_slice);
            equal("attempts", made, &job.past).map_err(complain)?;
            if !job.is_bounded() {
                return Err(complain(format!("too many starts: {made:?}")));
            }
        }
        self.compare_calls(model)
    }

    fn compare_calls(&self, model: &mut Model) -> Result<(), String> {
        let time_has_passed = model.now;
        model.now = self.now;
        let touched = std::mem::take(&mut model.touched);
        for index in 0..model.calls.len() {
            let now = model.projection(&model.calls[index]);
            let call = &mut model.calls[index];
            if touched.contains(&call.id) {
                call.expected.clear();
            }
            if !call.expected.contains(&now) {
                call.expected.push(now);
            }
            let row = self.calls.iter().find(|row| row.id == call.id).ok_or("a call is gone")?;
            equal("run of the call", &row.run, &call.run)?;
            let fits = call.expected.iter().any(|expected| {
                row.state == expected.state
                    && expected.reasons.contains(&row.state_reason)
                    && row.waiting_until == expected.until
            });
            if !fits {
                return Err(format!("{row:?}, expected one of {:?} (before: {time_has_passed})", call.expected));
            }
        }
        Ok(())
    }
}

impl JobState {
    fn is_row_of(&self, job: &ModelJob) -> bool {
        (self.call_id, self.run, self.step.as_str(), self.target)
            == (job.new.call_id.0, job.new.run, job.new.step, job.new.target)
    }

    fn compare(&self, job: &mut ModelJob, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<(), String> {
        equal("id", &self.id, job.id.get_or_insert(self.id))?;
        equal("state", &self.state.as_str(), &job.state)?;
        equal("priority", &self.priority, &job.priority)?;
        let counts = (self.starts, self.attempts, self.crashes, self.waits);
        equal("starts, attempts, crashes, waits", &counts, &(job.starts, job.attempts, job.crashes, job.waits))?;
        equal("token", &self.lease_token, &job.token)?;
        equal("delivery", &self.delivery.as_deref(), &job.delivery)?;
        equal("finished", &self.is_finished, &!job.is_open())?;
        let begins = match (&self.reason, &job.reason) {
            (Some(reason), Some(beginning)) => reason.starts_with(beginning),
            (reason, expected) => reason == expected,
        };
        if !begins {
            return Err(format!("reason, expected {:?}", job.reason));
        }
        job.reason.clone_from(&self.reason);
        for (name, moment, found) in [
            ("run_at", &mut job.run_at, Some(self.run_at)),
            ("waiting_since", &mut job.waiting_since, self.waiting_since),
            ("lease_until", &mut job.lease_until, self.lease_until),
        ] {
            let expected = *moment;
            if !moment.settle(found, from, to) {
                return Err(format!("{name}, expected {expected:?} between {from} and {to}"));
            }
        }
        Ok(())
    }
}

fn equal<T: PartialEq + Debug + ?Sized>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}
