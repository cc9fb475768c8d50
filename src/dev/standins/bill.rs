//! What the two models would charge for: the other side of the product's own sums.

use super::Effect;

/// What was used of the models by answers that they computed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bill {
    /// Seconds of audio that were transcribed.
    pub audio_seconds: f64,
    /// Tokens that were read.
    pub input_tokens: i64,
    /// Tokens that were written.
    pub output_tokens: i64,
}

impl Bill {
    /// What these deeds come to.
    pub(super) fn of<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> Self {
        effects.into_iter().fold(Self::default(), |bill, Effect { usage, .. }| Self {
            audio_seconds: bill.audio_seconds + usage.audio_seconds,
            input_tokens: bill.input_tokens + usage.input_tokens,
            output_tokens: bill.output_tokens + usage.output_tokens,
        })
    }
}
