//! A worker whose hands the histories move: the queue's own claimer, writer and renewer, one move at a time. The only
//! place that knows how these are put together.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::Task;
use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

use super::operations::How;
use super::{LOOK_AGAIN, LOOK_DEADLINE, MAX_ATTEMPTS, SLOTS};
use crate::model::{FailureClass, Fence};
use crate::queue::claim::Claimer;
use crate::queue::control::Controls;
use crate::queue::heads::LaneHead;
use crate::queue::job::{Backoff, Done, Failure, Job, NewJob, StepError, StepPolicy};
use crate::queue::lease::{End, Held, Lane, Lease};
use crate::queue::link::Link;
use crate::queue::renew::Renewer;
use crate::queue::wake::Waker;
use crate::queue::writer::Writer;

pub(super) struct Worker {
    claimer: Claimer,
    writer: Writer,
    renewer: Renewer,
    claimed: Vec<UnboundedReceiver<Task<Job>>>,
    /// What its handlers hold.
    pub(super) leases: Vec<Lease>,
    /// Token of a claim whose answer was lost.
    pub(super) unsure: Option<i64>,
    /// Claims that it never heard of.
    unheard: HashSet<Fence>,
}

/// Its connections, which survive it.
pub(super) struct Links {
    pub(super) claimer: Link,
    pub(super) writer: Link,
    pub(super) renewer: Link,
}

pub(super) fn policy(name: &'static str) -> StepPolicy {
    StepPolicy {
        name,
        concurrency: SLOTS,
        max_attempts: MAX_ATTEMPTS,
        max_run: Duration::from_hours(1),
        backoff: Backoff { first: Duration::from_mins(5), factor: 2.0, longest: Duration::from_mins(15) },
    }
}

impl Worker {
    pub(super) fn new(links: Links, lease: Duration, steps: &[&'static str]) -> Self {
        let (wake, held, stop) = (Arc::new(Notify::new()), Arc::new(Held::default()), CancellationToken::new());
        let (ends, ends_to_write) = mpsc::unbounded_channel();
        let (mut lanes, mut claimed) = (Vec::new(), Vec::new());
        for step in steps {
            let (sender, receiver) = mpsc::unbounded_channel();
            lanes.push((Arc::new(Lane::new(policy(step), 1.0, Arc::default(), wake.clone())), sender));
            claimed.push(receiver);
        }
        Self {
            renewer: Renewer { link: links.renewer, lease, held: held.clone(), stop: stop.clone() },
            writer: Writer { link: links.writer, ends: ends_to_write, held: held.clone(), waker: Waker::default() },
            claimer: Claimer {
                link: links.claimer,
                worker: format!("worker {:08x}", rand::random::<u32>()),
                lease,
                heads: lanes.iter().map(|_| LaneHead::default()).collect(),
                lanes,
                wake,
                controls: Controls::new(Waker::default()),
                held,
                ends,
                stop,
            },
            claimed,
            leases: Vec::new(),
            unsure: None,
            unheard: HashSet::new(),
        }
    }

    /// Forgets everything, as a killed process does.
    pub(super) fn crash(self) -> Links {
        Links { claimer: self.claimer.link, writer: self.writer.link, renewer: self.renewer.link }
    }

    /// Free slots of each step, as operators say now. `None`: the database did not say so.
    pub(super) async fn free(&mut self) -> Option<Vec<usize>> {
        let Claimer { link, lanes, controls, .. } = &mut self.claimer;
        *controls = Controls::new(Waker::default());
        let known = controls.look(link, lanes.iter().map(|(lane, _)| lane.as_ref())).await;
        known.then(|| lanes.iter().map(|(lane, _)| lane.free()).collect())
    }

    /// Claims for all free slots; gives back what it got, step by step. `None`: the database did not do it.
    pub(super) async fn claim(&mut self) -> Option<Vec<Lease>> {
        let free = self.free().await?;
        let wanted: Vec<usize> = (0..free.len()).filter(|lane| free[*lane] > 0).collect();
        if wanted.is_empty() {
            return Some(Vec::new());
        }
        // Between two moves lies more time than a claim goes on without a look from the start.
        self.claimer.heads.iter_mut().for_each(LaneHead::forget);
        self.claimer.claim(&wanted, &mut self.unsure).await?;
        let mut got = Vec::new();
        for claimed in &mut self.claimed {
            while let Ok(task) = claimed.try_recv() {
                got.push(task.ctx().data().get::<Lease>().expect("the claimer puts a lease into every task").clone());
            }
        }
        self.leases.extend(got.iter().cloned());
        Some(got)
    }

    /// Claims, and does not hear what it got.
    pub(super) async fn lose_claim(&mut self) -> Option<Vec<Fence>> {
        let known = self.leases.len();
        let got: Vec<Fence> = self.claim().await?.iter().map(Lease::fence).collect();
        self.leases.truncate(known);
        self.unheard.extend(&got);
        self.claimer.held.leave(got.iter().copied());
        self.unsure = got.first().map(|fence| fence.token).or(self.unsure);
        Some(got)
    }

    /// Ends one of its leases.
    pub(super) fn end(&mut self, index: usize, how: How, next: &[NewJob], message: &str) {
        let lease = self.leases.swap_remove(index);
        let failure = Failure { class: FailureClass::Internal, message: message.to_owned() };
        match how {
            How::Finish { .. } => lease.finish(Done::then(next.iter().cloned())),
            How::Retry => lease.fail("retry", StepError::Retry(failure)),
            How::Panic => lease.fail("panic", StepError::Retry(failure)),
            How::Refuse => lease.fail("retry", StepError::Permanent(failure)),
            How::RetryAfter => lease.fail("retry", StepError::RetryAfter(super::COME_AGAIN, failure)),
            How::Wait => {
                let wait = StepError::Wait { delay: LOOK_AGAIN, deadline: LOOK_DEADLINE, reason: failure };
                lease.fail("retry", wait);
            }
            How::GiveBack => {}
        }
    }

    /// What has ended and is not written yet, in its order.
    pub(super) fn ended(&mut self) -> Vec<End> {
        let mut ends = Vec::new();
        while let Ok(end) = self.writer.ends.try_recv() {
            if !self.unheard.remove(&end.fence) {
                ends.push(end);
            }
        }
        ends
    }

    /// Writes one batch to its end. False: there was none after many tries.
    pub(super) async fn write(&mut self, ends: Vec<End>) -> bool {
        let mut pending = vec![ends];
        for _ in 0..100 {
            let Some(batch) = pending.pop() else { return true };
            pending.extend(self.writer.write_one(batch).await);
        }
        false
    }

    pub(super) async fn renew(&mut self) {
        self.renewer.renew_all().await;
    }

    /// What it renews.
    pub(super) fn held(&self) -> Vec<Fence> {
        self.renewer.held.renewable()
    }

    /// Those of its leases that it knows to be lost.
    pub(super) fn lost(&self) -> HashSet<Fence> {
        self.leases.iter().filter(|lease| lease.lost().now_or_never().is_some()).map(Lease::fence).collect()
    }
}
