//! Run a call again from a step: keeps all earlier results as versions, and sends nothing again unless asked.

use sqlx::PgPool;

use super::{ANALYZE, DOWNLOAD, NOTIFY, STEPS, TRANSCRIBE, names, position};
use crate::model::CallId;
use crate::queue::{self, NewJob, Waker};
use crate::store;

/// Why a call cannot be run again from there.
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    /// No such step.
    #[error("`{0}` is no step; the steps are {1}")]
    UnknownStep(String, String),
    /// No such call.
    #[error("there is no call with this id")]
    UnknownCall,
    /// Nothing to start from.
    #[error("cannot start at `{step}`: {missing}; start earlier")]
    Missing {
        /// Where it should have started.
        step: &'static str,
        /// What is not there.
        missing: &'static str,
    },
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Begins a new run from `step` and gives back its number. What is still open of the earlier run is cancelled.
/// `send_again`: tell everybody again, even those who were told before.
pub async fn rerun(
    db: &PgPool,
    waker: &Waker,
    call_id: CallId,
    step: &str,
    send_again: bool,
) -> Result<i32, RerunError> {
    let index = position(step)
        .ok_or_else(|| RerunError::UnknownStep(step.to_owned(), names().collect::<Vec<_>>().join(", ")))?;
    let step = STEPS[index].policy.name;
    let call = store::calls::get(db, call_id).await?.ok_or(RerunError::UnknownCall)?;
    let missing = match step {
        DOWNLOAD if call.recording_url.is_none() => Some("the call has no recording"),
        TRANSCRIBE if store::recordings::of_call(db, call_id).await?.is_none() => {
            Some("no recording was downloaded yet")
        }
        ANALYZE if store::summaries::transcript(db, call_id).await?.is_none() => Some("there is no transcript yet"),
        NOTIFY if call.recording != "none" && store::summaries::analysis(db, call_id).await?.is_none() => {
            Some("there is no analysis yet")
        }
        _ => None,
    };
    if let Some(missing) = missing {
        return Err(RerunError::Missing { step, missing });
    }
    let mut transaction = db.begin().await?;
    queue::hold_call(&mut transaction, call_id.0).await?;
    // Jobs before calls, as everywhere: the other order could lock out a worker that ends one of them.
    queue::cancel_open_of_call(&mut transaction, call_id.0).await?;
    let run = store::calls::begin_run(&mut transaction, call_id, send_again).await?.ok_or(RerunError::UnknownCall)?;
    queue::enqueue(&mut transaction, &[NewJob::new(step, call_id, run)]).await?;
    transaction.commit().await?;
    waker.wake(step);
    Ok(run)
}
