//! Run a call again from a step: keeps all earlier results as versions, and sends nothing again unless asked.

use sqlx::{PgConnection, PgPool};

use super::{ANALYZE, DOWNLOAD, NOTIFY, STEPS, TRANSCRIBE, names, position};
use crate::config::OnUnknown;
use crate::model::{CallId, DeliveryState};
use crate::queue::{self, NewJob, Waker};
use crate::store;
use crate::store::calls::CallRow;
use crate::store::deliveries::DeliveryRow;

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
    #[error("cannot start at `{step}`: {missing}")]
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

/// What running a call again would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The call.
    pub call_id: CallId,
    /// The step that it begins with.
    pub step: &'static str,
    /// Tell everybody again, even those who were told before.
    pub send_again: bool,
    /// The messages that will be sent, as things stand.
    pub sends: Vec<Message>,
    /// Those that will not, although nobody knows whether they arrived: a person has to look.
    pub held: Vec<Message>,
}

/// What is to be known of messages, to say which ones a run sends.
#[derive(Debug, Clone)]
pub struct Telling {
    /// Where calls are told, by channel.
    pub destinations: Vec<(String, String)>,
    /// `NOTIFY_NO_RECORDING`.
    pub no_recording: bool,
    /// `NOTIFY_ON_UNKNOWN`.
    pub on_unknown: OnUnknown,
}

/// A message about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Word of the channel.
    pub channel: String,
    /// To whom.
    pub destination: String,
    /// An earlier try of it may have arrived.
    pub possible_repeat: bool,
}

impl Plan {
    /// The steps that will run, in order.
    pub fn steps(&self) -> impl Iterator<Item = &'static str> {
        names().skip_while(|name| *name != self.step)
    }
}

/// Looks whether a call can be run again from `step`, and what that would do. Without `telling` it does not say who hears
/// of it.
pub async fn plan(
    db: &PgPool,
    call: &CallRow,
    step: &str,
    send_again: bool,
    telling: Option<&Telling>,
) -> Result<Plan, RerunError> {
    let index = position(step)
        .ok_or_else(|| RerunError::UnknownStep(step.to_owned(), names().collect::<Vec<_>>().join(", ")))?;
    let (step, call_id) = (STEPS[index].policy.name, CallId(call.id));
    let missing = match step {
        DOWNLOAD if call.recording_url.is_none() => Some("the call has no recording"),
        TRANSCRIBE if store::recordings::of_call(db, call_id).await?.is_none() => {
            Some("no recording was downloaded yet; start at `download`")
        }
        ANALYZE if store::summaries::transcript(db, call_id).await?.is_none() => {
            Some("there is no transcript yet; start earlier")
        }
        NOTIFY if call.recording != "none" && store::summaries::analysis(db, call_id).await?.is_none() => {
            Some("there is no analysis yet; start earlier")
        }
        _ => None,
    };
    if let Some(missing) = missing {
        return Err(RerunError::Missing { step, missing });
    }
    let (sends, held) = match telling {
        Some(telling) if telling.no_recording || call.recording != "none" => {
            // Who is told again is told anew, whatever became of the messages before.
            let round = if send_again { call.notify_round + 1 } else { call.notify_round };
            telling.sort(store::deliveries::of_round(db, call_id, round).await?)
        }
        _ => (Vec::new(), Vec::new()),
    };
    Ok(Plan { call_id, step, send_again, sends, held })
}

impl Telling {
    /// Messages that will be sent, and those that will be held, as [`super::notify`] does it; `ledger` = what has become of
    /// them so far.
    fn sort(&self, ledger: Vec<DeliveryRow>) -> (Vec<Message>, Vec<Message>) {
        let (mut sends, mut held) = (Vec::new(), Vec::new());
        for (channel, destination) in self.destinations.iter().cloned() {
            let row = ledger.iter().find(|row| row.channel == channel && row.destination == destination);
            let state = row.map_or("", |row| row.state.as_str());
            let was_repeated = row.is_some_and(|row| row.repeated);
            let is_unsure = state == DeliveryState::Sending.as_str() || state == DeliveryState::Unknown.as_str();
            let message = Message { channel, destination, possible_repeat: is_unsure || was_repeated };
            if is_unsure && (was_repeated || self.on_unknown == OnUnknown::Hold) {
                held.push(message);
            } else if state != DeliveryState::Sent.as_str() {
                sends.push(message);
            }
        }
        (sends, held)
    }
}

/// Begins the new run and gives back its number. What is still open of the earlier run is cancelled; all its results are
/// kept. Whoever commits wakes the step.
pub async fn begin(db: &mut PgConnection, plan: &Plan) -> Result<i32, RerunError> {
    queue::hold_call(&mut *db, plan.call_id.0).await?;
    // Jobs before calls, as everywhere: the other order could lock out a worker that ends one of them.
    queue::cancel_open_of_call(&mut *db, plan.call_id.0).await?;
    let run = store::calls::begin_run(&mut *db, plan.call_id, plan.send_again).await?;
    let run = run.ok_or(RerunError::UnknownCall)?;
    queue::enqueue(db, &[NewJob::new(plan.step, plan.call_id, run)]).await?;
    Ok(run)
}

/// Both at once, in a transaction of its own. `send_again`: tell everybody again, even those who were told before.
pub async fn rerun(
    db: &PgPool,
    waker: &Waker,
    call_id: CallId,
    step: &str,
    send_again: bool,
) -> Result<i32, RerunError> {
    let call = store::calls::get(db, call_id).await?.ok_or(RerunError::UnknownCall)?;
    let plan = plan(db, &call, step, send_again, None).await?;
    let mut transaction = db.begin().await?;
    let run = begin(&mut transaction, &plan).await?;
    transaction.commit().await?;
    waker.wake(plan.step);
    Ok(run)
}
