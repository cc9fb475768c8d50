//! Asks for the words of the pieces, some at a time, each paid for once. A piece that is more than the server takes at
//! once is asked about in halves, and those that are as long after it are halved without being sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::unusable;
use crate::model::{UpstreamError, Usage};
use crate::pipeline::audio::Piece;
use crate::pipeline::paid::{self, Paid};
use crate::pipeline::{Rooms, TRANSCRIBE, gate};
use crate::providers::speech::{SpeechAnswer, SpeechError, SpeechPiece};
use crate::queue::{Job, Lease, StepError};

/// Pieces of one call that are sent at the same time.
pub(super) const PARALLEL_PIECES: usize = 4;
/// Nothing shorter is halved, in seconds: a server that finds this too long takes nothing, and half a sentence is hard
/// to understand.
const SHORTEST_HALVED: f64 = 4.0;
/// A refused request costs nothing.
static NOTHING: Usage =
    Usage { model: None, input_tokens: 0, cached_tokens: 0, output_tokens: 0, audio_seconds: 0.0, unmeasured: false };

/// A piece and what was heard in it.
pub(super) struct Heard {
    /// Without its sound.
    pub piece: Piece,
    /// The words.
    pub answer: SpeechAnswer,
}

/// Whose pieces are sent, and what was learned of the server meanwhile.
pub(super) struct Listener<'a> {
    rooms: &'a Rooms,
    job: &'a Job,
    lease: &'a Lease,
    failed: AtomicBool,
    /// Longest piece that the server may take, in seconds.
    longest: Mutex<f64>,
}

/// What is kept of a question: the words, or that the piece is to be halved. Without the latter a later attempt might
/// find a server that takes the whole piece, and pay again for what it has of the halves.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Answered {
    Words(Box<SpeechAnswer>),
    InHalves { in_halves: bool },
}

impl<'a> Listener<'a> {
    /// Nothing is sent yet, and nothing known of the server.
    pub fn new(rooms: &'a Rooms, job: &'a Job, lease: &'a Lease) -> Self {
        Self { rooms, job, lease, failed: AtomicBool::new(false), longest: Mutex::new(f64::INFINITY) }
    }

    /// Sends the pieces as they are cut, some at a time. After a failure no further piece is sent, but those under way
    /// are awaited and their answers kept: they are paid for.
    pub async fn hear_all(&self, mut cut: mpsc::Receiver<Piece>) -> Result<Vec<Heard>, StepError> {
        let pieces = stream::poll_fn(|context| cut.poll_recv(context));
        let results: Vec<Result<Vec<Heard>, StepError>> = pieces
            .take_while(|_| std::future::ready(!self.failed.load(Ordering::Relaxed)))
            .map(|piece| self.hear(piece).inspect_err(|_| self.failed.store(true, Ordering::Relaxed)))
            .buffered(PARALLEL_PIECES)
            .collect()
            .await;
        // What the step does next is said by the one who knows best, not by the one who was first.
        if let Some(telling) = gate::most_telling(results.iter().filter_map(|heard| heard.as_ref().err())) {
            return Err(telling.clone());
        }
        Ok(results.into_iter().flatten().flatten().collect())
    }

    /// The words of one piece, or those of its halves.
    fn hear(&self, piece: Piece) -> BoxFuture<'_, Result<Vec<Heard>, StepError>> {
        async move {
            match self.ask(&piece).await? {
                Answered::Words(answer) => Ok(vec![Heard { piece: piece.without_samples(), answer: *answer }]),
                Answered::InHalves { .. } => {
                    let (first, second) = piece.halves();
                    let mut heard = self.hear(first).await?;
                    heard.extend(self.hear(second).await?);
                    Ok(heard)
                }
            }
        }
        .boxed()
    }

    async fn ask(&self, piece: &Piece) -> Result<Answered, StepError> {
        let wav = Bytes::from(piece.to_wav().map_err(unusable)?);
        let input = [self.rooms.settings.transcription_model.as_bytes(), &wav];
        paid::answer(self.rooms, self.job, self.lease, TRANSCRIBE, &input, self.send(piece.seconds(), wav.clone()))
            .await
    }

    async fn send(&self, seconds: f64, wav: Bytes) -> Result<Answered, UpstreamError> {
        let can_be_halved = seconds >= SHORTEST_HALVED;
        if can_be_halved && seconds > self.longest() {
            return Ok(Answered::InHalves { in_halves: true });
        }
        let request = SpeechPiece { wav, seconds, file_name: "piece.wav".to_owned(), language: None };
        match self.rooms.speech.transcribe(request).await {
            Ok(answer) => Ok(Answered::Words(Box::new(answer))),
            Err(SpeechError::TooMuch { most_seconds, error }) if can_be_halved => {
                let most = most_seconds.filter(|most| *most < seconds).unwrap_or(seconds.next_down());
                tracing::warn!(seconds, most, reason = %error.message, "A piece is too long for the server; halving it.");
                self.learn(most);
                Ok(Answered::InHalves { in_halves: true })
            }
            Err(SpeechError::TooMuch { error, .. } | SpeechError::Other(error)) => Err(error),
        }
    }

    fn longest(&self) -> f64 {
        *self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, most: f64) {
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = longest.min(most);
    }
}

impl Paid for Answered {
    fn usage(&self) -> &Usage {
        match self {
            Self::Words(answer) => &answer.usage,
            Self::InHalves { .. } => &NOTHING,
        }
    }

    fn request_id(&self) -> Option<&str> {
        match self {
            Self::Words(answer) => answer.request_id.as_deref(),
            Self::InHalves { .. } => None,
        }
    }
}
