//! Step 1: stream the recording into the store. Attempts: 8 in about 23 hours (15 s, 1 min, 4 min, 16 min, 1 h, 4 h,
//! 12 h apart); a recording that is not there yet is waited for without using one, up to 24 hours.

use std::time::Duration;

use uuid::Uuid;

use super::{DOWNLOAD, Rooms, TRANSCRIBE, gate};
use crate::model::FailureClass;
use crate::queue::{Backoff, Done, Job, Lease, NewJob, StepError, StepPolicy};
use crate::store::{self, recordings::RecordingRow};

pub(super) const POLICY: StepPolicy = StepPolicy {
    name: DOWNLOAD,
    concurrency: 4,
    max_attempts: 8,
    max_run: Duration::from_mins(40),
    backoff: Backoff { first: Duration::from_secs(15), factor: 4.0, longest: Duration::from_hours(12) },
};

pub(super) async fn run(rooms: &Rooms, job: &Job, lease: &Lease) -> Result<Done, StepError> {
    let Some(call) = store::calls::get(&rooms.db, job.call_id).await? else {
        tracing::warn!("The call is gone; nothing to download.");
        return Ok(Done::end());
    };
    let Some(url) = call.recording_url else {
        return Err(StepError::permanent(
            FailureClass::NoRecording,
            "The call has no recording to download. A later webhook that names one begins a new run.",
        ));
    };
    let pass = rooms.gate.enter(gate::RECORDINGS, job).await?;
    let stored = match rooms.recordings.fetch(&url).await {
        Ok(stored) => stored,
        Err(error) => {
            lease.note_request(error.request_id.as_deref());
            return Err(pass.failed(error).await);
        }
    };
    pass.worked().await;
    let row = RecordingRow {
        id: Uuid::now_v7(),
        path: stored.path,
        sha256: stored.sha256,
        bytes: stored.bytes as i64,
        media_type: stored.media_type.to_owned(),
    };
    let recording = store::recordings::save(&rooms.db, lease.fence(), job.call_id, &row).await?;
    tracing::info!(bytes = row.bytes, media_type = row.media_type, "Recording stored.");
    Ok(Done::then([NewJob::new(TRANSCRIBE, job.call_id, job.run)]).with_result(recording))
}
