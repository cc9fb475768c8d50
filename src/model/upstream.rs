//! What an upstream may do to us, in the words that the queue acts on, and what a call to it has used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why an upstream did not give what was asked, as far as somebody acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not there yet (a recording that is still being made). Waits without using an attempt, up to a deadline.
    NotReady,
    /// The upstream said when to come again. Waits exactly that long without using an attempt.
    RetryAfter(Duration),
    /// It refuses everybody: key, quota, permission, missing settings. Waits for a person without using attempts.
    Blocked,
    /// Passing: the same question may be answered later. Uses an attempt.
    Transient,
    /// The same question will never get a better answer.
    Permanent,
}

/// A failed request to an upstream.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    /// What follows from it.
    pub fault: Fault,
    /// Short stable word for filters and counts: `rate_limited`, `quota`, `key_refused`, `timeout`, `not_audio`, ...
    pub class: &'static str,
    /// A sentence for an operator: what happened and what to do. Never a secret, never a signed URL's query.
    pub message: String,
    /// The upstream's own id of the request, for its support.
    pub request_id: Option<String>,
}

impl UpstreamError {
    /// An error with the given consequence; `request_id` is added by [`Self::with_request_id`].
    pub fn new(fault: Fault, class: &'static str, message: impl Into<String>) -> Self {
        Self { fault, class, message: message.into(), request_id: None }
    }

    /// The same, with the upstream's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, request_id: Option<String>) -> Self {
        self.request_id = request_id;
        self
    }
}

/// What one attempt has used of paid upstreams. Sums over its requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Model as the upstream named it in its answer.
    pub model: Option<String>,
    /// Tokens read by the model.
    pub input_tokens: i64,
    /// Tokens written by the model, its hidden reasoning included.
    pub output_tokens: i64,
    /// Seconds of audio sent.
    pub audio_seconds: f64,
}

impl Usage {
    /// Adds another request's usage; the last known model name wins.
    pub fn add(&mut self, other: &Self) {
        self.model = other.model.clone().or(self.model.take());
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.audio_seconds += other.audio_seconds;
    }
}
