//! The right to work on a job: what a handler holds while it runs, and the book of all that this process holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc::UnboundedSender};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::job::{Done, Failure, Job, PAUSED_DEADLINE, StepError, StepPolicy};
use crate::model::{Fence, PriceList, Usage, UsageByModel, clock, price};

/// A claim on a job. Ends exactly once: by [`Lease::finish`] or [`Lease::fail`], or by being dropped, which gives the
/// job back without an attempt used. That covers a stop, tasks that were never started, and aborted handlers.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    job: Job,
    fence: Fence,
    lane: Arc<Lane>,
    lost: CancellationToken,
    notes: Mutex<Notes>,
    ended: AtomicBool,
    ends: UnboundedSender<End>,
}

/// What an attempt leaves beside its outcome.
#[derive(Debug, Clone, Default)]
struct Notes {
    used: UsageByModel,
    request_id: Option<String>,
}

/// One finished attempt on its way to the writer.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) fence: Fence,
    pub(super) step: &'static str,
    /// Of the job, and so of those that follow.
    pub(super) priority: i16,
    pub(super) verdict: Verdict,
    pub(super) request_id: Option<String>,
    pub(super) bill: Bill,
}

/// What an attempt has used and what that costs, at the prices of the day on which it ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Bill {
    /// All models together. The name is of the last one, or of the one that keeps the cost from being known.
    pub(super) usage: Usage,
    /// In micro-units; `None` = not known.
    pub(super) cost: Option<i64>,
}

impl Bill {
    fn new(used: &UsageByModel, prices: &PriceList) -> Self {
        let (now, mut usage) = (clock::now(), used.total());
        if let Some(model) = price::unpriced(used.lines(), now, prices) {
            usage.model = Some(model.to_owned());
        }
        Self { usage, cost: price::cost(used.lines(), now, prices) }
    }
}

/// What the writer makes of an attempt.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Done(Done),
    /// Later again. `deadline`: fails instead when it has been waiting for so long without an attempt.
    Later {
        outcome: &'static str,
        delay: Duration,
        deadline: Option<Duration>,
        /// What it waits for together with others.
        waits_for: Option<&'static str>,
        failure: Failure,
    },
    Fail {
        outcome: &'static str,
        failure: Failure,
    },
    GiveBack,
}

/// The slots of one step in this process.
pub(super) struct Lane {
    pub(super) policy: StepPolicy,
    /// As operators and settings say now; none while the step is paused, and until that is known.
    slots: AtomicUsize,
    /// Factor on our own delays (`RETRY_SCALE`).
    pub(super) retry_scale: f64,
    /// What paid upstreams cost.
    pub(super) prices: Arc<PriceList>,
    busy: AtomicUsize,
    /// Set when a claim may find something; cleared before asking.
    dirty: AtomicBool,
    wake: Arc<Notify>,
}

impl Lane {
    pub(super) fn new(policy: StepPolicy, retry_scale: f64, prices: Arc<PriceList>, wake: Arc<Notify>) -> Self {
        let (slots, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { policy, slots, retry_scale, prices, busy, dirty: AtomicBool::new(true), wake }
    }

    /// None are free where more jobs run than there are slots now: those go on.
    pub(super) fn free(&self) -> usize {
        self.slots.load(Ordering::Acquire).saturating_sub(self.busy.load(Ordering::Acquire))
    }

    /// From now on so many jobs at the same time.
    pub(super) fn set_slots(&self, slots: usize) {
        if self.slots.swap(slots, Ordering::AcqRel) < slots {
            self.mark();
        }
    }

    pub(super) fn mark(&self) {
        self.dirty.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// True once after each [`Self::mark`].
    pub(super) fn take_mark(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }
}

impl Lease {
    pub(super) fn new(job: Job, fence: Fence, lane: Arc<Lane>, ends: UnboundedSender<End>, held: &Held) -> Self {
        lane.busy.fetch_add(1, Ordering::AcqRel);
        let lost = held.enter(fence, lane.policy.max_run);
        Self(Arc::new(Inner { job, fence, lane, lost, notes: Mutex::default(), ended: AtomicBool::new(false), ends }))
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.0.job
    }

    /// The fence for writes of results.
    pub fn fence(&self) -> Fence {
        self.0.fence
    }

    /// Adds what a request to an upstream has used; kept with the attempt, however it ends.
    pub fn note_usage(&self, usage: &Usage) {
        self.notes().used.add(usage);
    }

    /// Keeps the upstream's id of the latest request with the attempt.
    pub fn note_request(&self, request_id: Option<&str>) {
        if let Some(id) = request_id {
            self.notes().request_id = Some(id.to_owned());
        }
    }

    pub(super) fn policy(&self) -> &StepPolicy {
        &self.0.lane.policy
    }

    /// Resolves when somebody else has the job: the handler is then dropped.
    pub(super) async fn lost(&self) {
        self.0.lost.cancelled().await;
    }

    pub(super) fn finish(&self, done: Done) {
        self.end(Verdict::Done(done));
    }

    /// Ends the attempt. `outcome` is the word in the attempts for an error that uses one.
    pub(super) fn fail(&self, outcome: &'static str, error: StepError) {
        let scaled = |delay: Duration| delay.mul_f64(self.0.lane.retry_scale);
        self.end(match error {
            StepError::Permanent(failure) => Verdict::Fail { outcome: "failed", failure },
            StepError::Retry(failure) if self.0.job.attempts >= self.policy().max_attempts => {
                Verdict::Fail { outcome, failure }
            }
            StepError::Retry(failure) => {
                let jitter = rand::random_range(0.8..1.2);
                let delay = scaled(self.policy().backoff.after(self.0.job.attempts)).mul_f64(jitter);
                Verdict::Later { outcome, delay, deadline: None, waits_for: None, failure }
            }
            StepError::RetryAfter(delay, failure) => waiting(delay, PAUSED_DEADLINE, None, failure),
            StepError::Wait { delay, deadline, reason } => waiting(scaled(delay), deadline, None, reason),
            StepError::WaitFor { what, delay, reason } => waiting(delay, PAUSED_DEADLINE, Some(what), reason),
        });
    }

    fn end(&self, verdict: Verdict) {
        if !self.0.ended.swap(true, Ordering::AcqRel) {
            self.0.send(verdict);
        }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Later again, without an attempt.
fn waiting(delay: Duration, deadline: Duration, waits_for: Option<&'static str>, failure: Failure) -> Verdict {
    Verdict::Later { outcome: "waiting", delay, deadline: Some(deadline), waits_for, failure }
}

impl Inner {
    fn send(&self, verdict: Verdict) {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bill = Bill::new(&notes.used, &self.lane.prices);
        let (fence, step, request_id) = (self.fence, self.lane.policy.name, notes.request_id);
        let priority = self.job.priority;
        // The writer outlives every lease; where it is gone the process ends, and the lease runs out.
        let _ = self.ends.send(End { fence, step, priority, verdict, request_id, bill });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.send(Verdict::GiveBack);
        }
        self.lane.busy.fetch_sub(1, Ordering::AcqRel);
        self.lane.mark();
    }
}

/// All leases of this process that are not written back yet, finished ones included: they are renewed until the
/// database has taken their end.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<Fence, Holding>>);

struct Holding {
    lost: CancellationToken,
    /// Past this the time limit has struck: the lease is not renewed, so that a handler that cannot be dropped does
    /// not keep its job for ever.
    until: Instant,
}

/// Time for a handler that was dropped at its limit to get its end written.
const GRACE: Duration = Duration::from_secs(30);

impl Held {
    fn enter(&self, fence: Fence, max_run: Duration) -> CancellationToken {
        let lost = CancellationToken::new();
        let holding = Holding { lost: lost.clone(), until: Instant::now() + max_run + GRACE };
        self.book().insert(fence, holding);
        lost
    }

    /// Those to renew now.
    pub(super) fn renewable(&self) -> Vec<Fence> {
        let now = Instant::now();
        self.book().iter().filter(|(_, holding)| holding.until > now).map(|(fence, _)| *fence).collect()
    }

    /// The end was written, or refused for good.
    pub(super) fn leave(&self, fences: impl IntoIterator<Item = Fence>) {
        let mut book = self.book();
        for fence in fences {
            book.remove(&fence);
        }
    }

    /// Somebody else has the job: its handler is told to stop.
    pub(super) fn lose(&self, fence: Fence) {
        if let Some(holding) = self.book().get(&fence) {
            holding.lost.cancel();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.book().is_empty()
    }

    fn book(&self) -> std::sync::MutexGuard<'_, HashMap<Fence, Holding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
