//! The words of the queue: what a job is, what a step may say at its end, and what a step's policy fixes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::{CallId, FailureClass, Fault, JobId, UpstreamError, database_is_away};

/// A job to be made. Enqueued once per `(call, run, step, target)`: a repeat is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Step that will do it.
    pub step: &'static str,
    /// Call that it belongs to.
    pub call_id: CallId,
    /// What within the call it is for; `None` = the call itself.
    pub target: Option<Uuid>,
    /// Run of the pipeline.
    pub run: i32,
    /// False where its failure is not the call's failure.
    pub critical: bool,
}

impl NewJob {
    /// A job for the call as a whole, in the given run.
    pub fn new(step: &'static str, call_id: CallId, run: i32) -> Self {
        Self { step, call_id, target: None, run, critical: true }
    }

    /// A job for something within the call, whose failure does not fail the call.
    pub fn for_target(step: &'static str, call_id: CallId, run: i32, target: Uuid) -> Self {
        Self { step, call_id, target: Some(target), run, critical: false }
    }
}

/// A claimed job, as its handler sees it. Ids only: rows are truth, and what is gone is a finished job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its row.
    pub id: JobId,
    /// Call that it belongs to.
    pub call_id: CallId,
    /// What within the call it is for.
    pub target: Option<Uuid>,
    /// Run of the pipeline.
    pub run: i32,
    /// Higher goes first; the jobs that follow have it too.
    pub priority: i16,
    /// Number of this start, from 1, over the job's whole life.
    pub attempt: i32,
    /// Attempts used, this one included; compared with [`StepPolicy::max_attempts`].
    pub attempts: i32,
    /// Waits in a row before this start.
    pub waits: i32,
}

/// The good end of a step: the row that holds what it made, and the jobs that follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Row that holds what the step made, if any.
    pub result: Option<Uuid>,
    /// Jobs to be made in the same transaction.
    pub next: Vec<NewJob>,
}

impl Done {
    /// Nothing follows.
    pub fn end() -> Self {
        Self::default()
    }

    /// These jobs follow.
    pub fn then(next: impl IntoIterator<Item = NewJob>) -> Self {
        Self { result: None, next: next.into_iter().collect() }
    }

    /// The row that holds what the step made.
    #[must_use]
    pub fn with_result(mut self, result: Uuid) -> Self {
        self.result = Some(result);
        self
    }
}

/// What went wrong, in a word for filters and a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of trouble.
    pub class: FailureClass,
    /// What happened and what to do.
    pub message: String,
}

impl Failure {
    /// An error for which nobody has found a class and a sentence.
    pub(super) fn unforeseen(error: &str) -> Self {
        let message =
            format!("The step met an unforeseen error ({error}). If that goes on, report it with the call's id.");
        Self { class: FailureClass::Internal, message }
    }
}

/// How a step ended when it did not end well. It says what happens next; nobody matches on texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Try again after the step's backoff; uses an attempt. What `?` makes of any error.
    #[error("{}", .0.message)]
    Retry(Failure),
    /// Never try again by itself.
    #[error("{}", .0.message)]
    Permanent(Failure),
    /// An upstream said when to come again: exactly then, no attempt used, for at most [`PAUSED_DEADLINE`].
    #[error("{}", .1.message)]
    RetryAfter(Duration, Failure),
    /// Not yet: asked again after `delay`, no attempt used, until `deadline` has passed since the first wait in a row.
    #[error("{}", .reason.message)]
    Wait {
        /// Until the next look.
        delay: Duration,
        /// From the first wait until the job fails.
        deadline: Duration,
        /// What is being waited for.
        reason: Failure,
    },
    /// Others wait for the same: not before `delay` has passed, exactly, unless [`hasten`](super::hasten) or
    /// [`release`](super::release) say so. No attempt used, for at most [`PAUSED_DEADLINE`].
    #[error("{}", .reason.message)]
    WaitFor {
        /// The word under which they are let go.
        what: &'static str,
        /// Until it is due if nobody lets it go.
        delay: Duration,
        /// Why.
        reason: Failure,
    },
}

/// How long something that is not there yet is waited for.
pub const NOT_READY_DEADLINE: Duration = Duration::from_hours(24);
/// How long a key, a quota or a provider that names its own times is waited for.
pub const PAUSED_DEADLINE: Duration = Duration::from_hours(168);

/// Delays of the looks for something that is not there yet: GoTo attaches recordings seconds to tens of minutes after
/// a call. Then the last one for ever.
const NOT_READY_LADDER: [u64; 9] = [15, 30, 60, 120, 300, 600, 1_200, 2_400, 3_600];
/// Delays of the looks at a provider that refuses everybody.
const PAUSED_LADDER: [u64; 4] = [60, 300, 900, 3_600];

impl StepError {
    /// What an upstream's fault means for a job that has waited `waits` times in a row.
    pub fn from_upstream(error: UpstreamError, waits: i32) -> Self {
        let failure = Failure { class: error.class, message: error.message };
        match error.fault {
            Fault::NotReady => {
                Self::Wait { delay: rung(&NOT_READY_LADDER, waits), deadline: NOT_READY_DEADLINE, reason: failure }
            }
            Fault::Blocked => {
                Self::Wait { delay: rung(&PAUSED_LADDER, waits), deadline: PAUSED_DEADLINE, reason: failure }
            }
            Fault::RetryAfter(delay) => Self::RetryAfter(delay, failure),
            Fault::Transient => Self::Retry(failure),
            Fault::Permanent => Self::Permanent(failure),
        }
    }

    /// A permanent failure with the given class and sentence.
    pub fn permanent(class: FailureClass, message: impl Into<String>) -> Self {
        Self::Permanent(Failure { class, message: message.into() })
    }
}

fn rung(ladder: &[u64], waits: i32) -> Duration {
    let index = usize::try_from(waits).unwrap_or(0).min(ladder.len() - 1);
    Duration::from_secs(ladder[index])
}

impl From<anyhow::Error> for StepError {
    fn from(error: anyhow::Error) -> Self {
        Self::Retry(Failure::unforeseen(&format!("{error:#}")))
    }
}

/// While the database is away nobody's attempts are used: the step begins anew when it is back.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

impl From<sqlx::Error> for StepError {
    fn from(error: sqlx::Error) -> Self {
        let away = database_is_away(&error);
        let (what, then) = if away {
            ("does not answer", "look after PostgreSQL and DATABASE_URL")
        } else {
            ("refused a query", "report it with the call's id: it is a bug")
        };
        let failure = Failure {
            class: FailureClass::Database,
            message: format!("The database {what} ({error}). If that goes on, {then}."),
        };
        if away { Self::RetryAfter(DATABASE_PAUSE, failure) } else { Self::Retry(failure) }
    }
}

/// Stored exponential backoff: `first`, then each `factor` times longer, at most `longest`, each 20 % more or less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// After the first failed attempt.
    pub first: Duration,
    /// Growth per attempt.
    pub factor: f64,
    /// No delay is longer.
    pub longest: Duration,
}

impl Backoff {
    /// Delay after the given number of used attempts, without jitter.
    pub fn after(&self, attempts: i32) -> Duration {
        let grown = self.first.as_secs_f64() * self.factor.powi((attempts - 1).max(0));
        Duration::from_secs_f64(grown.min(self.longest.as_secs_f64()))
    }
}

/// What is fixed for a step: a literal at the top of its file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepPolicy {
    /// Name in rows, settings and commands.
    pub name: &'static str,
    /// Slots per process unless `WORKER_CONCURRENCY` says otherwise.
    pub concurrency: usize,
    /// Attempts until the job fails.
    pub max_attempts: i32,
    /// Longest run of one attempt unless `STEP_MAX_RUN` says otherwise.
    pub max_run: Duration,
    /// Delays between attempts.
    pub backoff: Backoff,
}

/// A job's row, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct JobRow {
    /// Id.
    pub id: i64,
    /// Step.
    pub step: String,
    /// Call.
    pub call_id: Uuid,
    /// What within the call.
    pub target: Option<Uuid>,
    /// Run of the pipeline.
    pub run: i32,
    /// `available`, `running`, `completed`, `failed`, `cancelled`.
    pub state: String,
    /// When it is due, or was.
    pub run_at: DateTime<Utc>,
    /// Starts so far.
    pub starts: i32,
    /// Attempts used.
    pub attempts: i32,
    /// Starts without an end, in a row.
    pub crashes: i32,
    /// Why it waits or failed.
    pub reason: Option<String>,
    /// Since when it waits without using attempts; a deadline counts from here.
    pub waiting_since: Option<DateTime<Utc>>,
    /// Process that works on it or did last.
    pub worker: Option<String>,
    /// When that process took it.
    pub claimed_at: Option<DateTime<Utc>>,
    /// Until when its lease is valid.
    pub lease_until: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Higher goes first; 0 unless an operator said otherwise.
    pub priority: i16,
    /// Since when its step is paused, if that is what keeps it from being taken.
    pub paused_at: Option<DateTime<Utc>>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// Why.
    pub pause_reason: Option<String>,
}

/// One attempt's row, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AttemptRow {
    /// Job.
    pub job_id: i64,
    /// Step.
    pub step: String,
    /// Number, from 1.
    pub attempt: i32,
    /// Process.
    pub worker: String,
    /// Claimed.
    pub started_at: DateTime<Utc>,
    /// Ended, or found to be lost.
    pub ended_at: DateTime<Utc>,
    /// `completed`, `retry`, `waiting`, `failed`, `timeout`, `panic`, `given_back`, `lost`, `cancelled`.
    pub outcome: String,
    /// Short word of the error.
    pub error_class: Option<String>,
    /// Sentence of the error.
    pub message: Option<String>,
    /// The upstream's id of the last request.
    pub request_id: Option<String>,
    /// Model that answered.
    pub model: Option<String>,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Seconds of audio sent.
    pub audio_seconds: f64,
    /// What that cost, in millionths of a US dollar, at the prices of the day on which it ended; `None` = not known.
    pub cost_micro_units: Option<i64>,
    /// What a worker that had lost its lease wanted to write.
    pub late_outcome: Option<String>,
    /// When that was refused.
    pub late_at: Option<DateTime<Utc>>,
}
