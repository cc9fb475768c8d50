//! THE list of steps, in the order in which a call travels:
//!
//! ```text
//! webhook -> intake -> download -> transcribe -> analyze -> notify -> one notify per destination
//! ```
//!
//! Adding a step: one new file here, and one line in [`STEPS`]. A step is a policy (how often, how long) and a `run`
//! whose result says what happens next. Payloads are ids, rows are truth; a second run of a step is harmless.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use chrono::NaiveTime;
use chrono_tz::Tz;
use sqlx::PgPool;
use url::Url;

use self::gate::Gate;
use crate::channels::Channel;
use crate::config::OnUnknown;
use crate::providers::language_model::LanguageModel;
use crate::providers::recordings::Recordings;
use crate::providers::speech::Speech;
use crate::queue::{Done, Job, Lease, StepError, StepPolicy};
use crate::store::StoreError;

pub mod actions;
mod analyze;
pub mod audio;
pub mod call_ended;
mod download;
pub mod forgetting;
pub mod gate;
pub mod intake;
pub mod keys;
pub mod kpi;
mod notify;
pub mod operate;
mod paid;
pub mod rerun;
pub mod runner;
pub mod search;
mod transcribe;

/// Name of the step that fetches the recording.
pub const DOWNLOAD: &str = "download";
/// Name of the step that turns it into words.
pub const TRANSCRIBE: &str = "transcribe";
/// Name of the step that says what the words mean.
pub const ANALYZE: &str = "analyze";
/// Name of the step that tells people.
pub const NOTIFY: &str = "notify";

/// Every step, in order.
pub static STEPS: [Step; 4] = [
    Step { policy: download::POLICY, run: |rooms, job, lease| Box::pin(download::run(rooms, job, lease)) },
    Step { policy: transcribe::POLICY, run: |rooms, job, lease| Box::pin(transcribe::run(rooms, job, lease)) },
    Step { policy: analyze::POLICY, run: |rooms, job, lease| Box::pin(analyze::run(rooms, job, lease)) },
    Step { policy: notify::POLICY, run: |rooms, job, lease| Box::pin(notify::run(rooms, job, lease)) },
];

/// One step of the pipeline.
pub struct Step {
    /// Its name, and how often and how long it may try.
    pub policy: StepPolicy,
    run: for<'a> fn(&'a Rooms, &'a Job, &'a Lease) -> StepFuture<'a>,
}

type StepFuture<'a> = Pin<Box<dyn Future<Output = Result<Done, StepError>> + Send + 'a>>;

/// What the steps work with: built once, in `app`.
pub struct Rooms {
    /// Database.
    pub db: PgPool,
    /// Downloads and the store.
    pub recordings: Recordings,
    /// Speech to text.
    pub speech: Speech,
    /// The language model.
    pub language_model: LanguageModel,
    /// Whether the upstreams may be asked now.
    pub gate: Gate,
    /// Ways to reach people.
    pub channels: Vec<Arc<dyn Channel>>,
    /// What the steps may be told.
    pub settings: PipelineSettings,
}

/// Settings that steps look at.
#[derive(Debug, Clone)]
pub struct PipelineSettings {
    /// Where people reach us, for links in messages.
    pub public_url: Url,
    /// Zone of days and of times in messages.
    pub time_zone: Tz,
    /// Tell of calls without a recording too.
    pub notify_no_recording: bool,
    /// No messages between these times of day; urgency 5 passes.
    pub quiet_hours: Option<(NaiveTime, NaiveTime)>,
    /// What to do when a message may or may not have arrived.
    pub on_unknown: OnUnknown,
    /// Part of what identifies a paid answer, and named where an answer does not name its own.
    pub transcription_model: String,
    /// Part of what identifies a paid answer.
    pub analysis_model: String,
    /// Longest question to the language model in tokens, as estimated.
    pub analysis_max_input_tokens: usize,
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => error.into(),
            // Whatever is said here is refused, as the write was.
            StoreError::LeaseLost => anyhow::Error::from(error).into(),
        }
    }
}

/// Index of a step in [`STEPS`] by its name.
pub fn position(step: &str) -> Option<usize> {
    STEPS.iter().position(|known| known.policy.name == step)
}

/// The names of all steps, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|step| step.policy.name)
}
