//! The queue's own parts, put together for tests as `workers.rs` does it for the product.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::worker::{Links, Worker, policy};
use super::{LEASE, POISON_LIMIT};
use crate::queue::sweep::Sweeper;
use crate::queue::wake::Waker;
use crate::queue::{WorkerSettings, Workers};

/// Makes connections as the product does.
fn workers(options: &PgConnectOptions) -> Workers {
    let settings = WorkerSettings {
        lease: LEASE,
        sweep_interval: LEASE,
        shutdown_timeout: LEASE,
        poison_limit: POISON_LIMIT,
        retry_scale: 1.0,
        prices: Arc::default(),
        history_after: LEASE,
    };
    Workers::new(options.clone(), options.clone(), Waker::default(), settings)
}

pub(super) fn worker(options: &PgConnectOptions, steps: &[&'static str]) -> Worker {
    let workers = workers(options);
    let (claimer, writer, renewer) = (workers.claiming_link(), workers.link("writer"), workers.link("renewer"));
    Worker::new(Links { claimer, writer, renewer }, LEASE, steps)
}

pub(super) fn sweeper(options: &PgConnectOptions, steps: &[&'static str]) -> Sweeper {
    Sweeper {
        link: workers(options).link("sweeper"),
        policies: steps.iter().map(|step| policy(step)).collect(),
        // Here it is only how long the server must have been up.
        lease: Duration::from_millis(1),
        interval: LEASE,
        poison_limit: POISON_LIMIT,
        retry_scale: 1.0,
        waker: Waker::default(),
        stop: CancellationToken::new(),
    }
}
