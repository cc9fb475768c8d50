//! Step 2: turn the recording into words, each channel apart, cut at silence, silent parts never sent. Attempts: 8 in
//! about 23 hours (15 s, 1 min, 4 min, 16 min, 1 h, 4 h, 12 h apart).

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use self::listen::{Heard, Listener, PARALLEL_PIECES};
use super::audio::{self, AudioError, Channels, Whole};
use super::{ANALYZE, Rooms, TRANSCRIBE, gate};
use crate::model::{FailureClass, Segment, Speaker, Timing, Transcript};
use crate::queue::{Backoff, Done, Job, Lease, NewJob, StepError, StepPolicy};
use crate::store;

mod listen;

pub(super) const POLICY: StepPolicy = StepPolicy {
    name: TRANSCRIBE,
    concurrency: 4,
    max_attempts: 8,
    max_run: Duration::from_hours(2),
    backoff: Backoff { first: Duration::from_secs(15), factor: 4.0, longest: Duration::from_hours(12) },
};

pub(super) async fn run(rooms: &Rooms, job: &Job, lease: &Lease) -> Result<Done, StepError> {
    let Some(recording) = store::recordings::of_call(&rooms.db, job.call_id).await? else {
        tracing::warn!("The recording is gone; nothing to transcribe.");
        return Ok(Done::end());
    };
    rooms.speech.is_configured().map_err(|error| StepError::from_upstream(error, job.waits))?;
    rooms.gate.check(gate::TRANSCRIPTION, job).await?;
    let file =
        rooms.recordings.open(&recording.path).await.map_err(|error| StepError::from_upstream(error, job.waits))?;

    let (pieces, cut) = mpsc::channel(PARALLEL_PIECES);
    let decoding = AbortOnDropHandle::new(tokio::task::spawn_blocking(move || audio::cut(file, &pieces)));
    let heard = Listener::new(rooms, job, lease).hear_all(cut).await?;
    let whole = decoding.await.map_err(anyhow::Error::from)?.map_err(unusable)?;

    let model = heard.iter().find_map(|piece| piece.answer.usage.model.clone());
    let model = model.unwrap_or_else(|| rooms.settings.transcription_model.clone());
    let transcript = assemble(&heard, whole);
    tracing::info!(pieces = heard.len(), segments = transcript.segments.len(), "Recording transcribed.");
    store::summaries::save_transcript(&rooms.db, lease.fence(), job.call_id, job.run, &transcript, &model).await?;
    Ok(Done::then([NewJob::new(ANALYZE, job.call_id, job.run)]))
}

fn unusable(error: AudioError) -> StepError {
    match error {
        AudioError::Unsupported(what) => StepError::permanent(
            FailureClass::UnsupportedAudio,
            format!(
                "The recording cannot be transcribed: {what}. If others can, it is damaged, and this call stays without a \
                 transcript; else have the telephone system record another format."
            ),
        ),
        AudioError::Io(error) => StepError::from(anyhow::Error::from(error)),
    }
}

/// All pieces as one conversation, ordered by time.
fn assemble(heard: &[Heard], Whole { channels, ends_early }: Whole) -> Transcript {
    let mut segments: Vec<Segment> = heard
        .iter()
        .flat_map(|heard| {
            let speaker = speaker(heard.piece.channel, channels);
            let timed = if heard.answer.segments.is_empty() {
                heard.piece.spread(&heard.answer.text)
            } else {
                let start = heard.piece.start_ms;
                let timed = heard.answer.segments.iter();
                timed.map(|s| (start + s.start_ms, start + s.end_ms, s.text.trim().to_owned())).collect()
            };
            timed.into_iter().map(move |(start_ms, end_ms, text)| Segment { speaker, start_ms, end_ms, text })
        })
        .filter(|segment| !segment.text.is_empty())
        .collect();
    segments.sort_by_key(|segment| (segment.start_ms, segment.end_ms));
    let language = heard.iter().find_map(|heard| heard.answer.language.clone());
    let by_model = !heard.is_empty() && heard.iter().all(|h| !h.answer.segments.is_empty() || h.answer.text.is_empty());
    let timing = if by_model { Timing::Model } else { Timing::Estimated };
    Transcript { language, timing, segments, ends_early }
}

/// The first of two channels is our side (`GoTo` writes what the participant said there), the second the other side.
fn speaker(channel: usize, channels: Channels) -> Speaker {
    match (channels, channel) {
        (Channels::One, _) => Speaker::Unknown,
        (Channels::Two, 0) => Speaker::Agent,
        (Channels::Two, _) => Speaker::Customer,
    }
}
