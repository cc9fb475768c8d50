//! What was said, by whom and when.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text_enum;

text_enum!(
    /// Who speaks.
    Speaker {
        /// Our side: the first channel of a two-channel recording.
        Agent = "agent",
        /// The other side: the second channel.
        Customer = "customer",
        /// One channel only: nobody can tell.
        Unknown = "unknown",
    }
);

text_enum!(
    /// Where the times of a transcript come from.
    Timing {
        /// The model gave segment times.
        Model = "model",
        /// Words were spread over the voiced time of their piece.
        Estimated = "estimated",
    }
);

/// A whole call in words, ordered by start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    /// ISO 639-1 code, if the model told it.
    pub language: Option<String>,
    /// Where the times come from.
    pub timing: Timing,
    /// What was said; its position is the index that evidence points at.
    pub segments: Vec<Segment>,
    /// What the recording lacks at its end, so that it was not heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_early: Option<EndsEarly>,
}

/// A recording that was cut off: it announces more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndsEarly {
    /// Seconds that are there.
    pub heard_seconds: i64,
    /// Seconds that it announces.
    pub promised_seconds: i64,
}

/// A sentence for people.
impl fmt::Display for EndsEarly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The recording ends early: {} of {} seconds.", self.heard_seconds, self.promised_seconds)
    }
}

/// A stretch of speech by one speaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Who speaks.
    pub speaker: Speaker,
    /// From the start of the recording, in milliseconds.
    pub start_ms: i64,
    /// From the start of the recording, in milliseconds.
    pub end_ms: i64,
    /// The words.
    pub text: String,
}
