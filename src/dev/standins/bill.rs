//! What the two models would charge for: the other side of the product's own sums.

use std::sync::{Mutex, PoisonError};

/// What was used of the models by all answers that left the stand-ins. Each answer carries its own along, so that the
/// door can add it up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bill {
    /// Seconds of audio that were transcribed.
    pub audio_seconds: f64,
    /// Tokens that were read.
    pub input_tokens: i64,
    /// Tokens that were written.
    pub output_tokens: i64,
}

/// A bill that grows.
#[derive(Debug, Default)]
pub(super) struct RunningBill(Mutex<Bill>);

impl RunningBill {
    pub(super) fn add(&self, more: &Bill) {
        let mut bill = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bill.audio_seconds += more.audio_seconds;
        bill.input_tokens += more.input_tokens;
        bill.output_tokens += more.output_tokens;
    }

    pub(super) fn read(&self) -> Bill {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
