//! What the queue promises, in memory: small enough to be read in one go and believed.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::job::{Ended, ModelJob};
use super::moment::Moment;
use super::{LEASE, LOOK_DEADLINE, SLOTS, STEPS};
use crate::model::Fence;
use crate::queue::job::{NewJob, PAUSED_DEADLINE};

/// One history's calls and jobs.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// What operators said of each step: paused, and how many slots.
    pub(super) controls: [(bool, Option<usize>); STEPS],
    pub(super) jobs: Vec<ModelJob>,
    pub(super) calls: Vec<ModelCall>,
    /// Calls whose jobs have changed since the last comparison.
    pub(super) touched: BTreeSet<Uuid>,
    /// The database's clock at the last comparison. Nothing is due, runs out or ends at a deadline within the next
    /// minute, so that it does not matter how fast the machine is.
    pub(super) now: DateTime<Utc>,
}

#[derive(Debug)]
pub(super) struct ModelCall {
    pub(super) id: Uuid,
    pub(super) run: i32,
    /// What may stand in its row: what its jobs say, and what they said before time passed, since nobody writes then.
    pub(super) expected: Vec<Projection>,
}

/// What a list of calls shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Projection {
    pub(super) state: &'static str,
    /// One of these.
    pub(super) reasons: Vec<Option<String>>,
    pub(super) until: Option<DateTime<Utc>>,
}

impl Model {
    /// Makes a job, unless it is there.
    pub(super) fn enqueue(&mut self, new: &NewJob, priority: i16) {
        let same = |job: &ModelJob| {
            (job.new.call_id, job.new.run, job.new.step, job.new.target) == (new.call_id, new.run, new.step, new.target)
        };
        if !self.jobs.iter().any(same) {
            self.jobs.push(ModelJob::new(new.clone(), priority));
        }
    }

    /// What a claim takes: what is due, in order, and no more than there are free slots.
    pub(super) fn claimable(&self, step: &str, free: usize) -> Vec<i64> {
        let mut due: Vec<&ModelJob> =
            self.jobs.iter().filter(|job| job.new.step == step && job.is_due(self.now)).collect();
        due.sort_by_key(|job| (-job.priority, job.run_at.known(), job.id));
        due.iter().take(free).filter_map(|job| job.id).collect()
    }

    pub(super) fn claim(&mut self, fence: Fence) {
        if let Some(job) = self.change(|job| job.id == Some(fence.job_id.0)) {
            job.state = "running";
            (job.starts, job.attempts) = (job.starts + 1, job.attempts + 1);
            (job.reason, job.token) = (None, Some(fence.token));
            job.lease_until = Moment::after(LEASE.as_secs_f64());
        }
    }

    /// Undoes a claim that its worker never heard of.
    pub(super) fn unclaim(&mut self, token: i64) {
        while let Some(job) = self.change(|job| job.token == Some(token)) {
            job.state = "available";
            (job.starts, job.attempts) = (job.starts - 1, job.attempts - 1);
            (job.token, job.lease_until) = (None, Moment::Never);
        }
    }

    /// An end is written if its lease still stands, and else noted where the lease was lost.
    pub(super) fn end(&mut self, ended: &Ended) {
        let (now, fence) = (self.now, ended.fence);
        if let Some(job) = self.change(|job| job.is_held_under(fence)) {
            job.end(ended, now);
            ended.next.iter().for_each(|next| self.enqueue(next, ended.priority));
        } else if let Some(job) = self.jobs.iter_mut().find(|job| job.id == Some(fence.job_id.0)) {
            let lost = job.past.iter_mut().find(|attempt| attempt.token == fence.token && attempt.was_taken(ended.how));
            if let Some(lost) = lost {
                lost.late = Some(ended.outcome().to_owned());
            }
        }
    }

    /// Who may go on.
    pub(super) fn renew(&mut self, fences: &[Fence]) {
        for job in &mut self.jobs {
            if fences.iter().any(|fence| job.is_held_under(*fence)) {
                job.lease_until = Moment::after(LEASE.as_secs_f64());
            }
        }
    }

    pub(super) fn sweep(&mut self) {
        let now = self.now;
        while let Some(job) = self.change(|job| job.state == "running" && job.lease_until.is_past(now)) {
            job.rescue();
        }
    }

    /// What may be run again by an operator: all but what runs or is finished, of the latest run of its call.
    pub(super) fn is_retryable(&self, index: usize) -> bool {
        let job = &self.jobs[index];
        let waits = job.state == "available" && !job.is_due(self.now);
        let runs = self.jobs.iter().filter(|other| other.new.call_id == job.new.call_id).map(|other| other.new.run);
        (waits || matches!(job.state, "failed" | "cancelled")) && runs.max() == Some(job.new.run)
    }

    pub(super) fn is_due(&self, index: usize) -> bool {
        self.jobs[index].is_due(self.now)
    }

    pub(super) fn retry(&mut self, index: usize) {
        let id = self.jobs[index].id;
        if let Some(job) = self.change(|job| job.id == id) {
            (job.state, job.reason, job.run_at) = ("available", None, Moment::after(0.0));
            (job.attempts, job.crashes, job.waits, job.waiting_since) = (0, 0, 0, Moment::Never);
            job.retries += 1;
        }
    }

    pub(super) fn cancel_open(&mut self, call: Uuid, reason: &str) {
        while let Some(job) = self.change(|job| job.new.call_id.0 == call && job.is_open()) {
            job.reason = Some(reason.to_owned());
            job.leave("cancelled", "cancelled");
        }
    }

    /// For what is open or has failed.
    pub(super) fn cancel(&mut self, id: Option<i64>, reason: &str) {
        if let Some(job) = self.change(|job| job.id == id && (job.is_open() || job.state == "failed")) {
            job.reason = Some(reason.to_owned());
            job.leave("cancelled", "cancelled");
        }
    }

    /// Slots of a step in each worker.
    pub(super) fn slots(&self, step: usize) -> usize {
        match self.controls[step] {
            (true, _) => 0,
            (false, slots) => slots.unwrap_or(SLOTS),
        }
    }

    /// Whoever holds this lease may still write.
    pub(super) fn stands(&self, fence: Fence) -> bool {
        self.jobs.iter().any(|job| job.is_held_under(fence))
    }

    /// Lets time pass: all that was is so much longer ago.
    pub(super) fn pass(&mut self, time: TimeDelta) {
        for job in &mut self.jobs {
            for moment in [&mut job.run_at, &mut job.waiting_since, &mut job.lease_until] {
                moment.recede(time);
            }
        }
        for projection in self.calls.iter_mut().flat_map(|call| &mut call.expected) {
            projection.until = projection.until.map(|until| until - time);
        }
    }

    /// Times at which something becomes due, runs out, or reaches its deadline.
    pub(super) fn moments(&self) -> Vec<DateTime<Utc>> {
        let open = self.jobs.iter().filter(|job| job.is_open());
        open.flat_map(|job| {
            let since = job.waiting_since.known();
            let due = job.run_at.known().filter(|_| job.state == "available");
            [due, job.lease_until.known(), since.map(|at| at + LOOK_DEADLINE), since.map(|at| at + PAUSED_DEADLINE)]
        })
        .flatten()
        .collect()
    }

    fn change(&mut self, which: impl Fn(&ModelJob) -> bool) -> Option<&mut ModelJob> {
        let job = self.jobs.iter_mut().find(|job| which(job))?;
        self.touched.insert(job.new.call_id.0);
        Some(job)
    }

    /// What the jobs of the call's present run say of it.
    pub(super) fn projection(&self, call: &ModelCall) -> Projection {
        let jobs: Vec<&ModelJob> =
            self.jobs.iter().filter(|job| job.new.call_id.0 == call.id && job.new.run == call.run).collect();
        let reasons = |which: &dyn Fn(&ModelJob) -> bool| -> Vec<Option<String>> {
            jobs.iter().filter(|job| which(job)).map(|job| job.reason.clone()).collect()
        };
        let has_failed = |job: &ModelJob| matches!(job.state, "failed" | "cancelled");
        let failed = reasons(&|job| has_failed(job) && job.new.critical);
        let next = jobs.iter().filter(|job| job.state == "available").filter_map(|job| job.run_at.known()).min();
        let open = jobs.iter().any(|job| job.is_open());
        let busy = jobs.iter().any(|job| job.state == "running" || job.is_due(self.now));
        let (state, reasons, until) = if !failed.is_empty() {
            ("failed", failed, None)
        } else if open && !busy {
            ("waiting", reasons(&|job| job.state == "available" && job.run_at.known() == next), next)
        } else if open {
            ("processing", vec![None], None)
        } else {
            ("completed", Some(reasons(&has_failed)).filter(|it| !it.is_empty()).unwrap_or(vec![None]), None)
        };
        Projection { state, reasons, until }
    }
}
