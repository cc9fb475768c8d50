//! A worker like the program's own, with steps that no worker should have. They are registered through the queue's public
//! API beside the real ones, and their process is this very program, started again with `--work`.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use goto_automation::app::{self, Database};
use goto_automation::config::Config;
use goto_automation::model::{CallId, FailureClass};
use goto_automation::pipeline::runner;
use goto_automation::queue::{self, Backoff, Done, Handler, Job, Lease, NewJob, StepError, StepPolicy, Waker, Workers};
use goto_automation::shutdown::Shutdown;
use goto_automation::telemetry;
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

/// Ends its process at once.
pub const ABORT: &str = "torture_abort";
/// Awaits for ever.
pub const HANG: &str = "torture_hang";
/// Keeps a blocking thread busy long after its time limit.
pub const BURN: &str = "torture_burn";
/// Panics.
pub const PANIC: &str = "torture_panic";

/// Longest run of a bad step, and of every other one in this scenario.
pub const MAX_RUN: Duration = Duration::from_secs(10);
/// Attempts of those that do not end their process.
pub const MAX_ATTEMPTS: i32 = 2;
/// More than the starts after which a job is parked.
const ABORTS: i32 = 20;
/// How long a thread burns.
const BURNING: Duration = Duration::from_secs(20);

const STEPS: [(&str, i32); 4] = [(ABORT, ABORTS), (HANG, MAX_ATTEMPTS), (BURN, MAX_ATTEMPTS), (PANIC, MAX_ATTEMPTS)];

struct BadStep(&'static str);

#[async_trait]
impl Handler for BadStep {
    async fn run(&self, _: &Job, _: &Lease) -> Result<Done, StepError> {
        match self.0 {
            ABORT => std::process::abort(),
            HANG => std::future::pending().await,
            BURN => {
                let burned = tokio::task::spawn_blocking(burn).await;
                Err(StepError::permanent(FailureClass::Internal, format!("It was never stopped: {burned:?}")))
            }
            PANIC => panic!("this step panics"),
            other => Err(StepError::permanent(FailureClass::Internal, format!("There is no step {other}."))),
        }
    }
}

fn burn() -> u64 {
    let (began, mut rounds) = (Instant::now(), 0_u64);
    while began.elapsed() < BURNING {
        rounds = std::hint::black_box(rounds.wrapping_add(1));
    }
    rounds
}

/// Makes so many jobs of a bad step.
pub async fn enqueue(db: &PgPool, step: &'static str, count: usize) -> anyhow::Result<()> {
    let jobs: Vec<NewJob> = (0..count).map(|_| NewJob::new(step, CallId::fresh(), 1)).collect();
    Ok(queue::enqueue(&mut *db.acquire().await?, &jobs).await?)
}

/// Works until it is asked to stop.
pub async fn work() -> anyhow::Result<()> {
    let config = Config::from_environment()?;
    telemetry::init(&config.app);
    let shutdown = Shutdown::on_signals()?;
    let settings = config.require_database()?;
    let database = Database::new(settings)?;
    let waker = Waker::default();
    database.spawn_notifier(&waker, &shutdown);
    let rooms = app::rooms(&config, &database, waker.clone())?;
    let options = PgConnectOptions::from_str(settings.url.expose_secret())?;
    let worker_settings = runner::worker_settings(&config.queue, config.prices.list.clone());
    let workers = Workers::new(options.clone(), options, waker, worker_settings);
    let workers =
        STEPS.into_iter().fold(runner::register(workers, &rooms, &config.queue), |workers, (name, attempts)| {
            workers.step(policy(name, attempts), Arc::new(BadStep(name)))
        });
    workers.run(shutdown.token()).await
}

fn policy(name: &'static str, max_attempts: i32) -> StepPolicy {
    let backoff = Backoff { first: Duration::from_secs(10), factor: 2.0, longest: Duration::from_mins(1) };
    StepPolicy { name, concurrency: 1, max_attempts, max_run: MAX_RUN, backoff }
}
