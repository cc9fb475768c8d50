//! Intake: a signed body becomes an event, a call and the call's first job, in one transaction. Bodies that come at the
//! same time share their commit ([`group`]).

mod group;

use bytes::Bytes;
use sqlx::{Connection, PgConnection, PgPool};

use self::group::{Arrival, Fate, Group};
use super::call_ended::{self, Event, Rejection};
use super::{DOWNLOAD, NOTIFY};
use crate::model::{CallId, RecordingState};
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

/// Takes bodies in. One per process; clones share their commits.
#[derive(Clone)]
pub struct Intake {
    db: PgPool,
    waker: Waker,
    group: Group,
}

impl Intake {
    /// Begins its tasks, which end with the last clone. Call it within a tokio runtime.
    pub fn new(db: PgPool, waker: Waker) -> Self {
        let group = Group::new(db.clone(), waker.clone());
        Self { db, waker, group }
    }

    /// Takes in a body whose sender is known to be who they say. May be repeated with the same body: the second time it
    /// is a duplicate. When this future is dropped in the middle, nothing is written, or (during the commit) everything.
    pub async fn receive(&self, source: &'static str, body: Bytes) -> Result<Received, sqlx::Error> {
        match call_ended::parse(&body) {
            Ok(Event::CallEnded(call)) => {
                self.take_call(Arrival { id: CallId::fresh(), source, body, call: Box::new(call) }).await
            }
            Ok(Event::Other { event_type }) => {
                self.keep(source, &body, "ignored", &event_type).await?;
                Ok(Received::Ignored { event_type })
            }
            Err(rejection) => {
                self.keep(source, &body, "rejected", &rejection.to_string()).await?;
                Ok(Received::Rejected(rejection))
            }
        }
    }

    async fn take_call(&self, arrival: Arrival) -> Result<Received, sqlx::Error> {
        match self.group.commit(arrival).await? {
            Fate::New { call_id, external_id } => Ok(Received::Accepted { call_id, external_id }),
            Fate::Known(arrival) => self.take_known_call(&arrival).await,
        }
    }

    /// Keeps a body that makes no work.
    async fn keep(&self, source: &str, body: &[u8], verdict: &str, detail: &str) -> Result<(), sqlx::Error> {
        let mut connection = store::Guarded::acquire(&self.db).await?;
        store::events::insert(&mut connection, source, body, verdict, Some(detail), None).await?;
        connection.release();
        Ok(())
    }

    async fn take_known_call(&self, arrival: &Arrival) -> Result<Received, sqlx::Error> {
        let mut connection = store::Guarded::acquire(&self.db).await?;
        let mut transaction = connection.begin().await?;
        let (call_id, is_recorded_now) = take_known_call(&mut transaction, arrival).await?;
        transaction.commit().await?;
        connection.release();
        if is_recorded_now {
            self.waker.wake(DOWNLOAD);
        }
        Ok(Received::Duplicate { call_id, external_id: arrival.call.external_id.clone() })
    }
}

/// The step that a new call begins with.
fn first_step(arrival: &Arrival) -> &'static str {
    if arrival.call.recording_url.is_some() { DOWNLOAD } else { NOTIFY }
}

/// Keeps a later body for a known call, and begins a new run if it brings a recording to a call without one.
async fn take_known_call(db: &mut PgConnection, arrival: &Arrival) -> Result<(CallId, bool), sqlx::Error> {
    let Arrival { source, body, call, .. } = arrival;
    let find = async |db: &mut PgConnection| {
        store::calls::find(db, source, &call.external_id).await?.ok_or(sqlx::Error::RowNotFound)
    };
    let mut known = find(db).await?;
    let call_id = CallId(known.id);
    store::events::insert(db, source, body, "duplicate", None, Some(call_id)).await?;
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
            return Ok((call_id, true));
        }
    }
    Ok((call_id, false))
}
