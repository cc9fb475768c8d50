//! All that is known about one call.

use sqlx::PgPool;
use uuid::Uuid;

use crate::cli::Failure;
use crate::cli::render::clean;
use crate::cli::session::Session;
use crate::model::Transcript;
use crate::queue::{self, AttemptRow, CallCost, JobFilter, JobRow};
use crate::store::calls::{self, CallRow};
use crate::store::deliveries::{self, DeliveryRow};
use crate::store::summaries::{self, ActionItemRow, StoredAnalysis};

/// More jobs than any call has.
const ALL_JOBS: i64 = 10_000;

/// A call with everything that belongs to it.
#[derive(Debug)]
pub struct Story {
    /// The call.
    pub call: CallRow,
    /// The latest transcript.
    pub transcript: Option<Transcript>,
    /// The latest analysis.
    pub analysis: Option<StoredAnalysis>,
    /// The action items of that analysis.
    pub action_items: Vec<ActionItemRow>,
    /// Messages, in the order in which they were made.
    pub deliveries: Vec<DeliveryRow>,
    /// Jobs of all runs, oldest first.
    pub jobs: Vec<JobRow>,
    /// Attempts of all runs, in the order in which they started.
    pub attempts: Vec<AttemptRow>,
    /// What they cost.
    pub cost: CallCost,
}

impl Story {
    /// Reads it all. The parts may be of moments a few milliseconds apart.
    pub async fn load(db: &PgPool, call: CallRow) -> Result<Self, sqlx::Error> {
        let id = call.id.into();
        let analysis = summaries::analysis(db, id).await?;
        let action_items = summaries::action_items(db, id).await?;
        let of_call = JobFilter { call_id: Some(call.id), limit: ALL_JOBS, ..JobFilter::default() };
        let mut jobs = queue::list(db, &of_call).await?;
        jobs.reverse();
        Ok(Self {
            transcript: summaries::transcript(db, id).await?,
            analysis,
            action_items,
            deliveries: deliveries::of_call(db, id).await?,
            jobs,
            attempts: queue::attempts_of_call(db, call.id).await?,
            cost: queue::costs_of_calls(db, &[call.id]).await?.remove(&call.id).unwrap_or_default(),
            call,
        })
    }
}

/// The call with this id: ours, or the sender's where that names one call only.
pub async fn find(Session { db, screen, .. }: &Session, given: &str) -> Result<CallRow, Failure> {
    if let Ok(id) = given.parse::<Uuid>()
        && let Some(call) = calls::get(db, id.into()).await?
    {
        return Ok(call);
    }
    let mut found = calls::by_external_id(db, given).await?;
    match found.len() {
        0 => {
            let (given, list) = (clean(given), screen.typed("calls list"));
            Err(Failure::failed(format!("There is no call `{given}`. `{list}` shows the newest.")))
        }
        1 => Ok(found.remove(0)),
        several => {
            let ids: Vec<_> = found.iter().map(|call| format!("  {}", call.id)).collect();
            let ids = ids.join("\n");
            Err(Failure::failed(format!(
                "{several} calls have this id, from several senders. Name one by our id:\n{ids}"
            )))
        }
    }
}
