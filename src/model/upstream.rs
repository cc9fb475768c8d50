//! What an upstream may do to us, in the words that the queue acts on, and what a call to it has used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FailureClass;

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
    /// What kind of trouble, for filters and counts.
    pub class: FailureClass,
    /// For an operator: what happened and what a person can do about it (see [`FailureClass`]). Never a secret, never a
    /// signed URL's query.
    pub message: String,
    /// The upstream's own id of the request, for its support.
    pub request_id: Option<String>,
    /// What was used all the same, where the upstream answered: an answer that is of no use is paid for too.
    pub usage: Option<Box<Usage>>,
    /// Nothing follows from it for others who ask the same upstream: it is about this one recipient, our own disk or our
    /// own settings. [`Fault::Permanent`] never says anything of the upstream as a whole.
    pub is_no_sign: bool,
}

impl UpstreamError {
    /// An error with the given consequence; what else is known is added by [`Self::with_request_id`],
    /// [`Self::with_usage`] and [`Self::as_no_sign`].
    pub fn new(fault: Fault, class: FailureClass, message: impl Into<String>) -> Self {
        Self { fault, class, message: message.into(), request_id: None, usage: None, is_no_sign: false }
    }

    /// The same, with the upstream's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, request_id: Option<String>) -> Self {
        self.request_id = request_id;
        self
    }

    /// The same, of which nothing follows for others.
    #[must_use]
    pub fn as_no_sign(mut self) -> Self {
        self.is_no_sign = true;
        self
    }

    /// The same, with what was used up to it.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = (!usage.is_nothing()).then(|| Box::new(usage));
        self
    }
}

/// What requests to one model of a paid upstream have used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Model as the upstream named it in its answer.
    pub model: Option<String>,
    /// Tokens read by the model.
    pub input_tokens: i64,
    /// Of those, the ones that the upstream had read before and sells for less.
    pub cached_tokens: i64,
    /// Tokens written by the model, its hidden reasoning included.
    pub output_tokens: i64,
    /// Seconds of audio sent.
    pub audio_seconds: f64,
    /// A request was answered, and the upstream did not say what it used.
    pub unmeasured: bool,
}

impl Usage {
    /// Adds another request's usage; the last known model name wins.
    pub fn add(&mut self, other: &Self) {
        self.model = other.model.clone().or(self.model.take());
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.audio_seconds += other.audio_seconds;
        self.unmeasured |= other.unmeasured;
    }

    /// Whether no paid request was answered at all.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What one attempt has used, a line for each model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UsageByModel(Vec<Usage>);

impl UsageByModel {
    /// Adds a request's usage to its model's line.
    pub fn add(&mut self, usage: &Usage) {
        match self.0.iter_mut().find(|line| line.model == usage.model) {
            _ if usage.is_nothing() => {}
            Some(line) => line.add(usage),
            None => self.0.push(usage.clone()),
        }
    }

    /// One line for each model, in the order of their first use.
    pub fn lines(&self) -> &[Usage] {
        &self.0
    }

    /// All lines as one, under the name of the last.
    pub fn total(&self) -> Usage {
        let mut total = Usage::default();
        for line in &self.0 {
            total.add(line);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_has_a_line_and_nothing_has_none() {
        let usage = |model: &str, input_tokens| Usage { model: Some(model.into()), input_tokens, ..Usage::default() };
        let mut used = UsageByModel::default();
        for line in [usage("a", 1), Usage::default(), usage("b", 10), usage("a", i64::MAX)] {
            used.add(&line);
        }
        assert_eq!(used.lines(), [usage("a", i64::MAX), usage("b", 10)]);
        assert_eq!(used.total(), usage("b", i64::MAX));
    }

    #[test]
    fn usage_stored_by_an_earlier_version_is_read() {
        let stored = r#"{"model":"a","input_tokens":1,"output_tokens":2,"audio_seconds":3.5}"#;
        let usage: Usage = serde_json::from_str(stored).unwrap();
        assert_eq!((usage.audio_seconds, usage.cached_tokens, usage.unmeasured), (3.5, 0, false));
    }
}
