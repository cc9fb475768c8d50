//! One job in memory: what a claim, an end, a rescue and a cancel make of it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::moment::Moment;
use super::operations::How;
use super::{COME_AGAIN, LOOK_AGAIN, LOOK_DEADLINE, MAX_ATTEMPTS, POISON_LIMIT};
use crate::model::Fence;
use crate::queue::job::{NewJob, PAUSED_DEADLINE};

#[derive(Debug, Clone)]
pub(super) struct ModelJob {
    pub(super) new: NewJob,
    /// Known once the database has said so.
    pub(super) id: Option<i64>,
    pub(super) state: &'static str,
    pub(super) priority: i16,
    pub(super) starts: i32,
    pub(super) attempts: i32,
    pub(super) crashes: i32,
    pub(super) waits: i32,
    pub(super) run_at: Moment,
    pub(super) waiting_since: Moment,
    pub(super) lease_until: Moment,
    pub(super) token: Option<i64>,
    /// How it begins.
    pub(super) reason: Option<String>,
    /// State of the message that it is for.
    pub(super) delivery: Option<&'static str>,
    pub(super) past: Vec<Attempt>,
    /// How often an operator gave it all its attempts again.
    pub(super) retries: i32,
}

/// A row of `job_attempts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) number: i32,
    pub(super) token: i64,
    pub(super) outcome: String,
    pub(super) late: Option<String>,
}

impl Attempt {
    /// A handler that gives way to a cancel is not late.
    pub(super) fn was_taken(&self, how: How) -> bool {
        self.outcome == "lost" || (self.outcome == "cancelled" && how != How::GiveBack)
    }
}

/// What a handler has said, on its way to the writer.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) fence: Fence,
    pub(super) how: How,
    /// Attempts used when it was claimed.
    pub(super) attempts: i32,
    /// Of the job when it was claimed, and so of those that follow.
    pub(super) priority: i16,
    pub(super) next: Vec<NewJob>,
    pub(super) message: String,
}

impl Ended {
    fn is_last(&self) -> bool {
        self.attempts >= MAX_ATTEMPTS
    }

    pub(super) fn outcome(&self) -> &'static str {
        match self.how {
            How::Finish { .. } => "completed",
            How::Refuse => "failed",
            How::Retry if self.is_last() => "failed",
            How::Retry => "retry",
            How::Panic => "panic",
            How::RetryAfter | How::Wait => "waiting",
            How::GiveBack => "given_back",
        }
    }
}

impl ModelJob {
    pub(super) fn new(new: NewJob, priority: i16) -> Self {
        Self {
            delivery: new.target.map(first_state),
            new,
            id: None,
            state: "available",
            priority,
            starts: 0,
            attempts: 0,
            crashes: 0,
            waits: 0,
            run_at: Moment::after(0.0),
            waiting_since: Moment::Never,
            lease_until: Moment::Never,
            token: None,
            reason: None,
            past: Vec::new(),
            retries: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, "available" | "running")
    }

    pub(super) fn is_held_under(&self, fence: Fence) -> bool {
        self.id == Some(fence.job_id.0) && self.token == Some(fence.token)
    }

    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.state == "available" && self.run_at.is_past(now)
    }

    /// Starts are bounded: whatever happens, an attempt that is neither a wait nor given back is one of those allowed.
    pub(super) fn is_bounded(&self) -> bool {
        let used = self.past.iter().filter(|attempt| !matches!(attempt.outcome.as_str(), "waiting" | "given_back"));
        used.count() <= (MAX_ATTEMPTS * (1 + self.retries)) as usize
    }

    /// The lease is over, and this became of it.
    pub(super) fn leave(&mut self, state: &'static str, outcome: &str) {
        if let Some(token) = self.token.take() {
            self.past.push(Attempt { number: self.starts, token, outcome: outcome.to_owned(), late: None });
        }
        self.lease_until = Moment::Never;
        self.become_(state);
    }

    /// A message whose job ends without its handler is not waited for any more.
    fn become_(&mut self, state: &'static str) {
        self.state = state;
        if matches!(state, "failed" | "cancelled") {
            self.delivery = match self.delivery {
                Some("pending") => Some("failed"),
                Some("sending") => Some("unknown"),
                other => other,
            };
        }
    }

    pub(super) fn end(&mut self, ended: &Ended, now: DateTime<Utc>) {
        let said = Some(ended.message.clone());
        if matches!(ended.how, How::RetryAfter | How::Wait | How::GiveBack) {
            self.attempts -= 1;
        }
        if ended.how == How::GiveBack {
            return self.leave("available", "given_back");
        }
        self.crashes = 0;
        let (delay, deadline) = match ended.how {
            How::RetryAfter => (COME_AGAIN, PAUSED_DEADLINE),
            How::Wait => (LOOK_AGAIN, LOOK_DEADLINE),
            how => {
                (self.waits, self.waiting_since) = (0, Moment::Never);
                self.reason = said.filter(|_| !matches!(how, How::Finish { .. }));
                let state = match how {
                    How::Finish { .. } => "completed",
                    How::Retry | How::Panic if !ended.is_last() => "available",
                    _ => "failed",
                };
                if state == "available" {
                    self.run_at = backoff(self.attempts);
                }
                return self.leave(state, ended.outcome());
            }
        };
        self.waits += 1;
        let overdue = self.waiting_since.is_past(now - deadline);
        if self.waiting_since == Moment::Never {
            self.waiting_since = Moment::after(0.0);
        }
        if overdue {
            self.reason = Some("Given up after waiting since ".to_owned());
            self.leave("failed", "failed");
        } else {
            (self.reason, self.run_at) = (said, Moment::after(delay.as_secs_f64()));
            self.leave("available", "waiting");
        }
    }

    pub(super) fn rescue(&mut self) {
        self.crashes += 1;
        (self.waits, self.waiting_since) = (0, Moment::Never);
        let (state, reason) = if self.crashes >= POISON_LIMIT {
            ("failed", "poison: ")
        } else if self.attempts >= MAX_ATTEMPTS {
            ("failed", "Its worker died or froze in the last attempt.")
        } else {
            self.run_at = backoff(self.attempts);
            ("available", "The worker died or froze")
        };
        self.reason = Some(reason.to_owned());
        self.leave(state, "lost");
    }
}

/// Half of the messages are on their way when their job is made.
pub(super) fn first_state(target: Uuid) -> &'static str {
    if target.as_u128().is_multiple_of(2) { "pending" } else { "sending" }
}

/// 5, 10, 15, 15 ... minutes, 20 % more or less.
fn backoff(attempts: i32) -> Moment {
    let delay = 60.0 * [5.0, 10.0, 15.0][attempts.clamp(1, 3) as usize - 1];
    Moment::Within { least: 0.8 * delay, most: 1.2 * delay }
}
