//! From the commit of a job until the first line of its handler, on idle workers: enqueued by another process, and by
//! the workers' own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use goto_automation::queue::{Done, Handler, Job, Lease, StepError, Waker};
use uuid::Uuid;

use crate::Figures;
use crate::report::percentile;
use crate::server::{Database, Server};
use crate::workers::{EMPTY, OtherProcess, Running, all_written, enqueue_one, nanoseconds, policy, workers};

const JOBS: usize = 1_000;

/// Notes when each job began.
#[derive(Default)]
struct Noting(Mutex<HashMap<Uuid, u128>>);

#[async_trait]
impl Handler for Noting {
    async fn run(&self, job: &Job, _: &Lease) -> Result<Done, StepError> {
        let at = nanoseconds();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(job.call_id.0, at);
        Ok(Done::end())
    }
}

/// Between two jobs: the workers are idle again, and not in step with any clock of theirs.
pub(crate) fn pause() -> Duration {
    Duration::from_micros(rand::random_range(4_000..8_000))
}

pub(crate) async fn measure(server: &Server) -> anyhow::Result<Figures> {
    let mut apart = run(server, by_another_process).await?;
    let mut local = run(server, by_this_process).await?;
    Ok(vec![
        ("latency_p50_ms", percentile(&mut apart, 50)),
        ("latency_p99_ms", percentile(&mut apart, 99)),
        ("latency_local_p50_ms", percentile(&mut local, 50)),
        ("latency_local_p99_ms", percentile(&mut local, 99)),
    ])
}

/// Milliseconds of each job; `enqueue` tells when each had been committed.
async fn run(
    server: &Server,
    enqueue: impl AsyncFn(&Database, &Waker) -> anyhow::Result<Vec<(Uuid, u128)>>,
) -> anyhow::Result<Vec<f64>> {
    let database = server.database().await?;
    let (waker, noting) = (Waker::default(), Arc::new(Noting::default()));
    let workers = workers(&database.url, &waker)?.step(policy(EMPTY, 10), noting.clone());
    let running = Running::start(workers, &waker, &database.url)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let committed = enqueue(&database, &waker).await?;
    all_written(&database).await?;
    running.stop().await?;
    server.drop(database).await?;
    let begun = std::mem::take(&mut *noting.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(committed.iter().map(|(call, at)| begun[call].saturating_sub(*at) as f64 / 1e6).collect())
}

async fn by_another_process(database: &Database, _: &Waker) -> anyhow::Result<Vec<(Uuid, u128)>> {
    let mut other = OtherProcess::start(&["enqueue", &database.url, &JOBS.to_string()]).await?;
    let mut committed = Vec::new();
    while let Some(line) = other.line().await? {
        let (call, at) = line.split_once(' ').unwrap_or_default();
        committed.push((call.parse()?, at.parse()?));
    }
    Ok(committed)
}

async fn by_this_process(database: &Database, waker: &Waker) -> anyhow::Result<Vec<(Uuid, u128)>> {
    let mut committed = Vec::new();
    for _ in 0..JOBS {
        tokio::time::sleep(pause()).await;
        committed.push(enqueue_one(&database.pool, waker).await?);
    }
    Ok(committed)
}
