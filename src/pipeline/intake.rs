//! Intake: a signed body becomes an event, a call and the call's first job, in one transaction.

use sqlx::{Connection, PgConnection, PgPool};

use super::call_ended::{self, Event, Rejection};
use super::{DOWNLOAD, NOTIFY};
use crate::model::{CallId, NewCall, RecordingState};
use crate::queue::{self, NewJob, Waker};
use crate::store;

/// Source of calls that come by the signed webhook: external ids are unique within their source.
pub const SIGNED: &str = "signed";

/// Number of a call's first run.
const FIRST_RUN: i32 = 1;
/// What stands at a call that was not recorded.
const NO_RECORDING: &str = RecordingState::None.as_str();

/// What became of a body. Whatever it is, it is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// A new call, and its first job.
    Accepted {
        /// Our id.
        call_id: CallId,
        /// The sender's id.
        external_id: String,
    },
    /// A call that we know. Only a recording that it brings to a call without one is taken from it.
    Duplicate {
        /// Our id.
        call_id: CallId,
        /// The sender's id.
        external_id: String,
    },
    /// An event that makes no work.
    Ignored {
        /// As the sender calls it.
        event_type: String,
    },
    /// A body that cannot be read.
    Rejected(Rejection),
}

/// Takes in a body whose sender is known to be who they say. May be repeated with the same body: the second time it is
/// a duplicate. When this future is dropped in the middle, nothing is written, or (during the commit) everything.
pub async fn receive(db: &PgPool, waker: &Waker, source: &str, body: &[u8]) -> Result<Received, sqlx::Error> {
    let event = call_ended::parse(body);
    let mut connection = store::Guarded::acquire(db).await?;
    let mut transaction = connection.begin().await?;
    let mut first_step = None;
    let received = match event {
        Ok(Event::CallEnded(call)) => {
            let (received, step) = take_call(&mut transaction, source, body, call).await?;
            first_step = step;
            received
        }
        Ok(Event::Other { event_type }) => {
            store::events::insert(&mut transaction, source, body, "ignored", Some(&event_type), None).await?;
            Received::Ignored { event_type }
        }
        Err(rejection) => {
            let reason = rejection.to_string();
            store::events::insert(&mut transaction, source, body, "rejected", Some(&reason), None).await?;
            Received::Rejected(rejection)
        }
    };
    transaction.commit().await?;
    connection.release();
    if let Some(step) = first_step {
        waker.wake(step);
    }
    Ok(received)
}

/// Gives back the step to wake, too.
async fn take_call(
    db: &mut PgConnection,
    source: &str,
    body: &[u8],
    call: NewCall,
) -> Result<(Received, Option<&'static str>), sqlx::Error> {
    let Some(call_id) = store::calls::insert(db, source, &call).await? else {
        return take_known_call(db, source, body, call).await;
    };
    store::events::insert(db, source, body, "accepted", None, Some(call_id)).await?;
    let step = if call.recording_url.is_some() { DOWNLOAD } else { NOTIFY };
    queue::enqueue(db, &[NewJob::new(step, call_id, FIRST_RUN)]).await?;
    Ok((Received::Accepted { call_id, external_id: call.external_id }, Some(step)))
}

async fn take_known_call(
    db: &mut PgConnection,
    source: &str,
    body: &[u8],
    call: NewCall,
) -> Result<(Received, Option<&'static str>), sqlx::Error> {
    let find = async |db: &mut PgConnection| {
        store::calls::find(db, source, &call.external_id).await?.ok_or(sqlx::Error::RowNotFound)
    };
    let mut known = find(db).await?;
    let call_id = CallId(known.id);
    store::events::insert(db, source, body, "duplicate", None, Some(call_id)).await?;
    let mut step = None;
    if let Some(url) = &call.recording_url
        && known.recording == NO_RECORDING
    {
        queue::hold_call(db, known.id).await?;
        // Another body may have brought it meanwhile; from here on, none can.
        known = find(db).await?;
        if known.recording == NO_RECORDING {
            // The messages of the earlier run, which told of a call without a recording, are not wanted any more.
            queue::cancel_open_of_call(db, known.id).await?;
            let run = store::calls::attach_recording(db, call_id, url).await?;
            queue::enqueue(db, &[NewJob::new(DOWNLOAD, call_id, run)]).await?;
            step = Some(DOWNLOAD);
        }
    }
    Ok((Received::Duplicate { call_id, external_id: call.external_id }, step))
}
