//! One history: every operation is done to the real queue and to the model, and then all rows are compared.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::clock;
use super::job::{Ended, first_state};
use super::model::{Model, ModelCall};
use super::operations::{Fate, How, Jump, Operation, after};
use super::rows::Rows;
use super::worker::Worker;
use super::{LEASE, STEPS, WORKERS, hands};
use crate::model::{CallId, Fence};
use crate::queue;
use crate::queue::job::{Job, NewJob};
use crate::queue::lease::{End, Lease};
use crate::queue::sweep::Sweeper;

/// Nothing is due within this time after an operation, so that both clocks agree on what is due.
const GRAIN: TimeDelta = TimeDelta::minutes(1);
/// More rounds than the longest history needs to drain.
const ROUNDS: usize = 300;
pub(super) type Outcome = Result<(), String>;

/// A history's own steps and calls, in a database that it shares with others.
pub(super) struct World {
    pub(super) db: PgPool,
    pub(super) steps: Vec<&'static str>,
    workers: Vec<Worker>,
    sweeper: Sweeper,
    pub(super) model: Model,
    /// What has ended and is not written yet.
    ended: HashMap<Fence, Ended>,
    /// Makes every message another one.
    said: usize,
}

impl World {
    pub(super) async fn new(db: PgPool, options: &PgConnectOptions) -> Result<Self, String> {
        static WORLDS: AtomicUsize = AtomicUsize::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let steps: Vec<&'static str> = (0..STEPS).map(|step| &*format!("step {step} of {number}").leak()).collect();
        let workers = (0..WORKERS).map(|_| hands::worker(options, &steps)).collect();
        let sweeper = hands::sweeper(options, &steps);
        let mut world = Self { db, steps, workers, sweeper, model: Model::default(), ended: HashMap::new(), said: 0 };
        world.compare().await?;
        Ok(world)
    }

    /// Does one thing, and looks at what has become of everything.
    pub(super) async fn carry_out(&mut self, operation: Operation) -> Outcome {
        self.act(operation).await?;
        self.compare().await
    }

    /// Lets workers work and time pass until nothing is left to do. All steps end in the one given way, or with the
    /// death of their worker. Every history drains, and there is an end to trying.
    pub(super) async fn drain(&mut self, how: Option<How>) -> Outcome {
        for step in 0..STEPS {
            self.carry_out(Operation::Resume { step }).await?;
            self.carry_out(Operation::Limit { step, slots: None }).await?;
        }
        for _ in 0..ROUNDS {
            if self.model.jobs.iter().all(|job| !job.is_open()) {
                return Ok(());
            }
            self.carry_out(Operation::Clock(Jump::Next)).await?;
            self.carry_out(Operation::Sweep { late: false }).await?;
            for worker in 0..WORKERS {
                self.carry_out(Operation::Claim { worker }).await?;
                if let Some(how) = how {
                    self.carry_out(Operation::EndAll { worker, how }).await?;
                    self.carry_out(Operation::Write { worker, fate: Fate::Written }).await?;
                } else {
                    self.carry_out(Operation::Crash { worker }).await?;
                }
            }
        }
        Err(format!("not drained after {ROUNDS} rounds: {:#?}", self.model.jobs))
    }

    async fn compare(&mut self) -> Outcome {
        let calls: Vec<Uuid> = self.model.calls.iter().map(|call| call.id).collect();
        let rows = Rows::read(&self.db, &calls).await.map_err(|error| error.to_string())?;
        rows.compare(&mut self.model)
    }

    async fn act(&mut self, operation: Operation) -> Outcome {
        match operation {
            Operation::Enqueue { calls } => self.enqueue(calls).await,
            Operation::EnqueueAgain { pick } => self.enqueue_again(pick).await,
            Operation::Claim { worker } => self.claim(worker, true).await,
            Operation::LoseClaim { worker } => self.claim(worker, false).await,
            Operation::End { worker, pick, how } => {
                let held = self.workers[worker].leases.len();
                if held > 0 { self.end(worker, pick % held, how).await } else { Ok(()) }
            }
            Operation::EndAll { worker, how } => {
                while !self.workers[worker].leases.is_empty() {
                    self.end(worker, 0, how).await?;
                }
                Ok(())
            }
            Operation::Write { worker, fate } => self.write(worker, fate).await,
            Operation::Renew { worker } => self.renew(worker).await,
            Operation::Sweep { late } => self.sweep(late).await,
            Operation::Clock(jump) => self.pass_time(jump).await,
            Operation::Crash { worker } => {
                let links = self.workers.remove(worker).crash();
                self.workers.insert(worker, Worker::new(links, LEASE, &self.steps));
                Ok(())
            }
            Operation::Retry { pick } => self.retry(pick).await,
            Operation::RetryFailed { step } => self.retry_failed(step).await,
            Operation::Cancel { pick } => self.cancel(pick).await,
            Operation::Rerun { pick } => self.begin_again(pick).await,
            Operation::Prioritize { pick, priority } => self.prioritize(pick, priority).await,
            Operation::Pause { .. } | Operation::Resume { .. } | Operation::Limit { .. } => {
                self.control(operation).await.map_err(said)
            }
        }
    }

    async fn enqueue(&mut self, calls: usize) -> Outcome {
        for _ in 0..calls {
            let call_id = CallId::fresh();
            let first = NewJob::new(self.steps[0], call_id, 1);
            let insert = "INSERT INTO calls (id, source, external_id, direction, recording)
                VALUES ($1, 'signed', $1::text, 'inbound', 'available')";
            let mut born = self.db.begin().await.map_err(said)?;
            sqlx::query(insert).bind(call_id.0).execute(&mut *born).await.map_err(said)?;
            queue::enqueue(&mut born, std::slice::from_ref(&first)).await.map_err(said)?;
            born.commit().await.map_err(said)?;
            self.model.calls.push(ModelCall { id: call_id.0, run: 1, expected: Vec::new() });
            self.model.enqueue(&first, 0);
        }
        Ok(())
    }

    async fn enqueue_again(&mut self, pick: usize) -> Outcome {
        let Some(job) = picked(&self.model.jobs, pick) else { return Ok(()) };
        let mut db = self.db.acquire().await.map_err(said)?;
        queue::enqueue(&mut db, &[job.new.clone(), job.new.clone()]).await.map_err(said)
    }

    async fn claim(&mut self, worker: usize, is_heard: bool) -> Outcome {
        let worker = &mut self.workers[worker];
        let free = worker.free().await.ok_or("the controls are not known")?;
        for (number, step) in self.steps.iter().enumerate() {
            let busy = worker.leases.iter().filter(|lease| lease.policy().name == *step).count();
            if free[number] != self.model.slots(number).saturating_sub(busy) {
                return Err(format!("{free:?} free slots, {busy} busy with {step}: {:?}", self.model.controls));
            }
        }
        if free.iter().all(|free| *free == 0) {
            return Ok(());
        }
        if let Some(token) = worker.unsure {
            self.model.unclaim(token);
        }
        let due = |(step, free): (&&'static str, usize)| self.model.claimable(step, free);
        let expected: Vec<i64> = self.steps.iter().zip(free).flat_map(due).collect();
        let got: Vec<Fence> = if is_heard {
            worker.claim().await.map(|got| got.iter().map(Lease::fence).collect())
        } else {
            worker.lose_claim().await
        }
        .ok_or("a claim failed")?;
        let ids: Vec<i64> = got.iter().map(|fence| fence.job_id.0).collect();
        if ids != expected {
            return Err(format!("claimed {ids:?}, expected {expected:?}"));
        }
        for fence in got {
            self.model.claim(fence);
        }
        Ok(())
    }

    async fn end(&mut self, worker: usize, index: usize, how: How) -> Outcome {
        let lease = &self.workers[worker].leases[index];
        let (fence, next) = (lease.fence(), self.next(lease.job(), how));
        let (attempts, priority) = (lease.job().attempts, lease.job().priority);
        for target in next.iter().filter_map(|job| job.target.map(|target| (target, job.call_id))) {
            let insert = "INSERT INTO deliveries (id, call_id, channel, destination, round, state)
                VALUES ($1, $2, 'slack', $1::text, 1, $3) ON CONFLICT DO NOTHING";
            let insert = sqlx::query(insert).bind(target.0).bind(target.1.0).bind(first_state(target.0));
            insert.execute(&self.db).await.map_err(said)?;
        }
        self.said += 1;
        let message = format!("says no for the {}. time", self.said);
        self.workers[worker].end(index, how, &next, &message);
        self.ended.insert(fence, Ended { fence, how, attempts, priority, next, message });
        Ok(())
    }

    /// The step that follows, and messages, of which two steps may think that they are the first to say it.
    fn next(&self, job: &Job, how: How) -> Vec<NewJob> {
        let How::Finish { next } = how else { return Vec::new() };
        let own = self.model.jobs.iter().find(|own| own.id == Some(job.id.0)).map_or(self.steps[0], |own| own.new.step);
        let step = self.steps.iter().position(|step| *step == own).and_then(after);
        let follows = step.map(|step| NewJob::new(self.steps[step], job.call_id, job.run));
        let message = |number: usize| {
            let target = Uuid::from_u128(job.call_id.0.as_u128() ^ ((job.run as u128) << 8) ^ number as u128);
            NewJob::for_target(self.steps[STEPS - 1], job.call_id, job.run, target)
        };
        follows.into_iter().take(next).chain((1..next).map(message)).collect()
    }

    async fn write(&mut self, worker: usize, fate: Fate) -> Outcome {
        let worker = &mut self.workers[worker];
        let ends = worker.ended();
        let batches: Vec<Vec<End>> = match fate {
            Fate::Written => vec![ends],
            Fate::WrittenTwice => vec![ends.clone(), ends],
            Fate::Scattered => ends.into_iter().rev().map(|end| vec![end]).collect(),
        };
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            let fences: Vec<Fence> = batch.iter().map(|end| end.fence).collect();
            if !worker.write(batch).await {
                return Err("a write never ended".to_owned());
            }
            for fence in fences {
                self.model.end(self.ended.get(&fence).ok_or("an end of nobody")?);
            }
        }
        Ok(())
    }

    async fn renew(&mut self, worker: usize) -> Outcome {
        let worker = &mut self.workers[worker];
        self.model.renew(&worker.held());
        worker.renew().await;
        let wrong = |lease: &&Lease| worker.lost().contains(&lease.fence()) == self.model.stands(lease.fence());
        let wrong: Vec<i64> = worker.leases.iter().filter(wrong).map(|lease| lease.fence().job_id.0).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("told wrong things of its leases: {wrong:?}")) }
    }

    async fn sweep(&mut self, late: bool) -> Outcome {
        let hour = TimeDelta::hours(1);
        self.sweeper.sweep(if late { self.model.now - hour } else { self.model.now + hour }).await;
        if !late {
            self.model.sweep();
        }
        Ok(())
    }

    async fn pass_time(&mut self, jump: Jump) -> Outcome {
        let now = self.model.now;
        let mut to_come: Vec<TimeDelta> =
            self.model.moments().into_iter().map(|at| at - now).filter(|wait| *wait > TimeDelta::zero()).collect();
        to_come.sort();
        let mut time = match jump {
            Jump::Minutes(minutes) => TimeDelta::minutes(minutes),
            Jump::Next => to_come.first().map_or(TimeDelta::zero(), |wait| TimeDelta::minutes(wait.num_minutes() + 1)),
        };
        for wait in to_come {
            if wait > time && wait < time + GRAIN * 2 {
                time = TimeDelta::minutes(wait.num_minutes() + 1);
            }
        }
        let calls: Vec<Uuid> = self.model.calls.iter().map(|call| call.id).collect();
        clock::pass(&self.db, &calls, time).await.map_err(said)?;
        self.model.pass(time);
        Ok(())
    }
}

pub(super) fn picked<T>(all: &[T], pick: usize) -> Option<&T> {
    pick.checked_rem(all.len()).map(|index| &all[index])
}

pub(super) fn said(error: sqlx::Error) -> String {
    error.to_string()
}
