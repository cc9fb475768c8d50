//! Hangs the steps under the queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Rooms, STEPS, Step};
use crate::config::QueueConfig;
use crate::model::PriceList;
use crate::queue::{Done, Handler, Job, Lease, StepError, StepPolicy, WorkerSettings, Workers};

/// Runs one step in the rooms.
struct Runner {
    step: &'static Step,
    rooms: Arc<Rooms>,
}

#[async_trait]
impl Handler for Runner {
    async fn run(&self, job: &Job, lease: &Lease) -> Result<Done, StepError> {
        (self.step.run)(&self.rooms, job, lease).await
    }
}

/// The queue's settings, from ours.
pub fn worker_settings(config: &QueueConfig, prices: Arc<PriceList>) -> WorkerSettings {
    WorkerSettings {
        lease: config.lease,
        sweep_interval: config.sweep_interval,
        shutdown_timeout: config.shutdown_timeout,
        poison_limit: config.poison_limit,
        retry_scale: config.retry_scale,
        prices,
        history_after: config.history_after,
    }
}

/// Registers the steps that this process works on; the others it only rescues.
pub fn register(mut workers: Workers, rooms: &Arc<Rooms>, config: &QueueConfig) -> Workers {
    for step in &STEPS {
        let policy = configured(step.policy, config);
        let ours = config.steps.as_ref().is_none_or(|steps| steps.iter().any(|name| name == policy.name));
        workers = if ours && policy.concurrency > 0 {
            workers.step(policy, Arc::new(Runner { step, rooms: rooms.clone() }))
        } else {
            workers.knows(policy)
        };
    }
    workers
}

/// A step's policy with what `WORKER_CONCURRENCY` and `STEP_MAX_RUN` say of it.
fn configured(policy: StepPolicy, config: &QueueConfig) -> StepPolicy {
    let concurrency = config.concurrency.get(policy.name).copied().unwrap_or(policy.concurrency);
    let max_run: Duration = config.max_run.get(policy.name).copied().unwrap_or(policy.max_run);
    StepPolicy { concurrency, max_run, ..policy }
}
