//! Calls of four steps: each step's end inserts the next job, and the call's state follows.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use goto_automation::model::{CallId, Direction, NewCall, Party};
use goto_automation::queue::{self, Done, Handler, Job, Lease, NewJob, StepError, Waker};
use goto_automation::store;

use crate::Figures;
use crate::server::{Database, Server};
use crate::workers::{Empty, Running, all_written, policy, workers};

const CALLS: usize = 5_000;
/// Calls that come in with one commit.
const GROUP: usize = 50;
const STEPS: [&str; 4] = ["first", "second", "third", "last"];
const SLOTS: usize = 20;

/// Hands on to the next step.
struct Handing {
    to: &'static str,
}

#[async_trait]
impl Handler for Handing {
    async fn run(&self, job: &Job, _: &Lease) -> Result<Done, StepError> {
        Ok(Done::then([NewJob::new(self.to, job.call_id, job.run)]))
    }
}

pub(crate) async fn measure(server: &Server) -> anyhow::Result<Figures> {
    let database = server.database().await?;
    let rate = chains(&database).await?;
    server.drop(database).await?;
    Ok(vec![("pipeline_chains_per_s", rate)])
}

/// Calls per second from the first enqueue until the last is finished.
pub(crate) async fn chains(database: &Database) -> anyhow::Result<f64> {
    let (waker, last) = (Waker::default(), Empty::until(CALLS));
    let mut workers = workers(&database.url, &waker)?;
    for pair in STEPS.windows(2) {
        workers = workers.step(policy(pair[0], SLOTS), Arc::new(Handing { to: pair[1] }));
    }
    let running = Running::start(workers.step(policy(STEPS[3], SLOTS), last.clone()), &waker, &database.url)?;
    let began = Instant::now();
    for _ in 0..CALLS / GROUP {
        ring(database, &waker).await?;
    }
    last.reached().await?;
    all_written(database).await?;
    let rate = CALLS as f64 / began.elapsed().as_secs_f64();
    let finished: i64 =
        sqlx::query_scalar("SELECT count(*) FROM calls WHERE state = 'completed'").fetch_one(&database.pool).await?;
    anyhow::ensure!(finished == CALLS as i64, "{finished} of {CALLS} calls are finished");
    running.stop().await?;
    Ok(rate)
}

/// Calls and their first jobs, as webhooks that come together make them.
async fn ring(database: &Database, waker: &Waker) -> anyhow::Result<()> {
    let calls: Vec<(CallId, NewCall)> = (0..GROUP).map(|_| (CallId::fresh(), call())).collect();
    let rows: Vec<(CallId, &str, &NewCall)> = calls.iter().map(|(id, call)| (*id, "bench", call)).collect();
    let jobs: Vec<NewJob> = calls.iter().map(|(id, _)| NewJob::new(STEPS[0], *id, 1)).collect();
    let mut transaction = database.pool.begin().await?;
    store::calls::insert(&mut transaction, &rows).await?;
    queue::enqueue(&mut transaction, &jobs).await?;
    transaction.commit().await?;
    waker.wake(STEPS[0]);
    Ok(())
}

fn call() -> NewCall {
    let nobody = Party { name: None, number: None };
    NewCall {
        external_id: CallId::fresh().to_string(),
        direction: Direction::Inbound,
        caller: nobody.clone(),
        called: nobody,
        started_at: None,
        ended_at: None,
        duration_seconds: None,
        recording_url: Some("https://recordings.example.com/call.wav".to_owned()),
    }
}
