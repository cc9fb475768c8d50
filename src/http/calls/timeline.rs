//! All that happened to a call, in order: what came in, every attempt of every step, every message, every act of a person.

use poem_openapi::Object;
use sqlx::PgPool;
use uuid::Uuid;

use super::super::problem::Problem;
use super::super::schema::{Nullable, Timestamp};
use super::words::Happened;
use crate::model::CallId;
use crate::model::price::CURRENCY;
use crate::queue::{self, AttemptRow, JobFilter, JobRow};
use crate::store::audit::ActRow;
use crate::store::bounded;
use crate::store::calls::CallRow;
use crate::store::deliveries::DeliveryRow;
use crate::store::events::EventRow;
use crate::store::{audit, deliveries, events};

/// More jobs than any call has.
const ALL_JOBS: i64 = 10_000;

/// What happened to a call.
#[derive(Debug, Object)]
pub struct Timeline {
    /// Our id of the call.
    call_id: Uuid,
    /// The earliest first; what is still to come stands last.
    items: Vec<Line>,
}

/// Something that happened, or will.
#[derive(Debug, Object)]
#[oai(rename = "TimelineEntry")]
struct Line {
    /// When it happened or began, or until when a step waits.
    at: Timestamp,
    /// What it is; the other fields go by it.
    kind: Happened,
    /// The step of an attempt or a wait, the channel of a delivery, the source of an event, the word of an act.
    name: String,
    /// What became of it: `completed`, `retry`, `waiting`, `failed`, `timeout`, `panic`, `given_back`, `lost`, `cancelled`
    /// or `running` of an attempt; the state of a delivery; `accepted`, `duplicate`, `ignored` or `rejected` of an event;
    /// `done`, `unchanged` or `refused` of an act; `waiting` of a wait.
    outcome: String,
    /// End of an attempt; null while it runs, and of everything else.
    ended_at: Nullable<Timestamp>,
    /// Number of the pipeline's run, of attempts and waits.
    run: Nullable<i32>,
    /// Job of an attempt or a wait.
    job_id: Nullable<i64>,
    /// Number of the attempt, from 1.
    attempt: Nullable<i32>,
    /// Who: the process of an attempt, the person or API key of an act, to whom a delivery goes.
    who: Nullable<String>,
    /// What an attempt that was `lost` came to after all, when its process was heard of again; its work was not taken.
    late_outcome: Nullable<String>,
    /// Stable word of what went wrong.
    error_class: Nullable<String>,
    /// What went wrong or is waited for, for a person.
    detail: Nullable<String>,
    /// The upstream's id of the last request of an attempt.
    upstream_request_id: Nullable<String>,
    /// Model that answered.
    model: Nullable<String>,
    /// What an attempt has cost, in millionths of the currency; null = not known, or nothing to pay for.
    cost_micro_units: Nullable<i64>,
    /// ISO 4217.
    currency: String,
}

/// All of it. The parts may be of moments a few milliseconds apart.
pub async fn load(db: &PgPool, call: &CallRow) -> Result<Timeline, Problem> {
    let id = CallId(call.id);
    let of_call = JobFilter { call_id: Some(call.id), limit: ALL_JOBS, ..JobFilter::default() };
    let jobs = queue::list(db, &of_call).await?;
    let run_of = |job_id: i64| jobs.iter().find(|job| job.id == job_id).map(|job| job.run);
    let objects: Vec<String> = jobs.iter().map(|job| format!("job {}", job.id)).collect();
    let mut items: Vec<Line> = events::of_call(db, id).await?.into_iter().map(Line::event).collect();
    let attempts = queue::attempts_of_call(db, call.id).await?;
    items.extend(attempts.into_iter().map(|attempt| Line::attempt(run_of(attempt.job_id), attempt)));
    items.extend(jobs.into_iter().filter_map(Line::job));
    items.extend(bounded(db, async |db| deliveries::of_call(db, id).await).await?.into_iter().map(Line::delivery));
    items.extend(audit::acts_on(db, id, &objects).await?.into_iter().map(Line::act));
    items.sort_by_key(|line| line.at.0);
    Ok(Timeline { call_id: call.id, items })
}

impl Line {
    fn new(at: chrono::DateTime<chrono::Utc>, kind: Happened, name: String, outcome: String) -> Self {
        Self {
            at: Timestamp(at),
            kind,
            name,
            outcome,
            ended_at: None.into(),
            run: None.into(),
            job_id: None.into(),
            attempt: None.into(),
            who: None.into(),
            late_outcome: None.into(),
            error_class: None.into(),
            detail: None.into(),
            upstream_request_id: None.into(),
            model: None.into(),
            cost_micro_units: None.into(),
            currency: CURRENCY.to_owned(),
        }
    }

    fn event(event: EventRow) -> Self {
        let line = Self::new(event.received_at, Happened::Event, event.source, event.verdict);
        Self { detail: event.detail.into(), ..line }
    }

    fn attempt(run: Option<i32>, attempt: AttemptRow) -> Self {
        Self {
            ended_at: Some(Timestamp(attempt.ended_at)).into(),
            run: run.into(),
            job_id: Some(attempt.job_id).into(),
            attempt: Some(attempt.attempt).into(),
            who: Some(attempt.worker).into(),
            late_outcome: attempt.late_outcome.into(),
            error_class: attempt.error_class.into(),
            detail: attempt.message.into(),
            upstream_request_id: attempt.request_id.into(),
            model: attempt.model.into(),
            cost_micro_units: attempt.cost_micro_units.into(),
            ..Self::new(attempt.started_at, Happened::Attempt, attempt.step, attempt.outcome)
        }
    }

    /// What is open of a job; what it has behind it are attempts.
    fn job(job: JobRow) -> Option<Self> {
        let (at, kind, outcome) = match (job.state.as_str(), job.claimed_at) {
            ("running", Some(claimed_at)) => (claimed_at, Happened::Attempt, "running"),
            ("available", _) => (job.run_at, Happened::Wait, "waiting"),
            _ => return None,
        };
        let is_running = kind == Happened::Attempt;
        let attempt = is_running.then_some(job.starts);
        Some(Self {
            run: Some(job.run).into(),
            job_id: Some(job.id).into(),
            attempt: attempt.into(),
            who: job.worker.filter(|_| is_running).into(),
            detail: job.pause_reason.or(job.reason).into(),
            ..Self::new(at, kind, job.step, outcome.to_owned())
        })
    }

    fn delivery(delivery: DeliveryRow) -> Self {
        Self {
            who: Some(delivery.destination).into(),
            detail: delivery.detail.into(),
            ..Self::new(delivery.updated_at, Happened::Delivery, delivery.channel, delivery.state)
        }
    }

    fn act(act: ActRow) -> Self {
        Self { who: Some(act.actor).into(), ..Self::new(act.at, Happened::Act, act.action, act.result) }
    }
}
