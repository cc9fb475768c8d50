//! Workers with empty steps, in this process or in another.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use goto_automation::model::CallId;
use goto_automation::queue::{
    self, Backoff, Done, Handler, Job, Lease, NewJob, StepError, StepPolicy, Waker, WorkerSettings, Workers,
};
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::latency;
use crate::server::Database;

/// The step of a backlog.
pub(crate) const EMPTY: &str = "empty";
/// Nothing here takes so long: a bench that hangs says so.
const PATIENCE: Duration = Duration::from_mins(2);
/// Jobs in one enqueueing statement.
const CHUNK: usize = 5_000;

pub(crate) fn policy(name: &'static str, concurrency: usize) -> StepPolicy {
    StepPolicy {
        name,
        concurrency,
        max_attempts: 5,
        max_run: Duration::from_mins(5),
        backoff: Backoff { first: Duration::from_secs(1), factor: 2.0, longest: Duration::from_mins(1) },
    }
}

/// The defaults of the product.
fn settings() -> WorkerSettings {
    WorkerSettings {
        lease: Duration::from_secs(90),
        sweep_interval: Duration::from_secs(10),
        shutdown_timeout: Duration::from_secs(30),
        poison_limit: 5,
        retry_scale: 1.0,
        prices: Arc::default(),
        history_after: Duration::from_hours(30 * 24),
    }
}

pub(crate) fn workers(url: &str, waker: &Waker) -> anyhow::Result<Workers> {
    let options = PgConnectOptions::from_str(url)?;
    Ok(Workers::new(options.clone(), options, waker.clone(), settings()))
}

/// Does nothing, and counts.
#[derive(Default)]
pub(crate) struct Empty {
    done: AtomicUsize,
    reached: Notify,
    until: AtomicUsize,
}

#[async_trait]
impl Handler for Empty {
    async fn run(&self, _: &Job, _: &Lease) -> Result<Done, StepError> {
        let done = self.done.fetch_add(1, Ordering::AcqRel) + 1;
        if done == self.until.load(Ordering::Acquire) {
            self.reached.notify_one();
        }
        Ok(Done::end())
    }
}

impl Empty {
    pub(crate) fn until(count: usize) -> Arc<Self> {
        Arc::new(Self { until: AtomicUsize::new(count), ..Self::default() })
    }

    pub(crate) async fn reached(&self) -> anyhow::Result<()> {
        timeout(PATIENCE, self.reached.notified()).await.context("the workers did not come to the end")
    }
}

/// Workers that run until they are told to stop.
pub(crate) struct Running {
    stop: CancellationToken,
    workers: tokio::task::JoinHandle<anyhow::Result<()>>,
    notifier: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(workers: Workers, waker: &Waker, url: &str) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let options = PgConnectOptions::from_str(url)?;
        let notifier = tokio::spawn(waker.clone().notify(options, stop.clone()));
        Ok(Self { workers: tokio::spawn(workers.run(stop.clone())), stop, notifier })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.notifier.await?;
        self.workers.await?
    }
}

/// Jobs of one step, each of a call of its own, due at once.
pub(crate) async fn enqueue(db: &PgPool, step: &'static str, count: usize) -> anyhow::Result<()> {
    let jobs: Vec<NewJob> = (0..count).map(|_| NewJob::new(step, CallId::fresh(), 1)).collect();
    let mut transaction = db.begin().await?;
    for chunk in jobs.chunks(CHUNK) {
        queue::enqueue(&mut transaction, chunk).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Waits until the last job is not only done but written.
pub(crate) async fn all_written(database: &Database) -> anyhow::Result<()> {
    let written = async {
        while database.open_jobs().await? > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, written).await.context("the ends were not written")?
}

/// This program again, as another process. Killed with the value.
pub(crate) struct OtherProcess {
    child: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl OtherProcess {
    /// Starts it, and waits until it says that it is ready.
    pub(crate) async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("child")
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut process = Self { child, lines: BufReader::new(output).lines() };
        if process.line().await?.as_deref() != Some("ready") {
            bail!("the other process did not start");
        }
        Ok(process)
    }

    pub(crate) async fn line(&mut self) -> anyhow::Result<Option<String>> {
        timeout(PATIENCE, self.lines.next_line()).await?.context("the other process is gone")
    }

    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// What another process does: `work URL CONCURRENCY`, or `enqueue URL COUNT`.
pub(crate) async fn child(arguments: &[String]) -> anyhow::Result<()> {
    let [task, url, number] = arguments else { bail!("child TASK URL NUMBER") };
    match task.as_str() {
        "work" => work(url, number.parse()?).await,
        "enqueue" => enqueue_slowly(url, number.parse()?).await,
        other => bail!("no such task: {other}"),
    }
}

async fn work(url: &str, concurrency: usize) -> anyhow::Result<()> {
    let waker = Waker::default();
    let workers = workers(url, &waker)?.step(policy(EMPTY, concurrency), Empty::until(usize::MAX));
    let running = Running::start(workers, &waker, url)?;
    // Listening and idle.
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("ready");
    std::future::pending::<()>().await;
    running.stop().await
}

/// One job at a time, long after the one before; prints when each had been committed, in nanoseconds of the clock.
async fn enqueue_slowly(url: &str, count: usize) -> anyhow::Result<()> {
    let (db, waker, stop) = (PgPool::connect(url).await?, Waker::default(), CancellationToken::new());
    let notifier = tokio::spawn(waker.clone().notify(PgConnectOptions::from_str(url)?, stop.clone()));
    println!("ready");
    for _ in 0..count {
        tokio::time::sleep(latency::pause()).await;
        let (call, at) = enqueue_one(&db, &waker).await?;
        println!("{call} {at}");
    }
    stop.cancel();
    notifier.await?;
    Ok(())
}

/// Enqueues one job as the product does: committed, then woken. When the commit was answered is read before the wake.
pub(crate) async fn enqueue_one(db: &PgPool, waker: &Waker) -> anyhow::Result<(Uuid, u128)> {
    let job = NewJob::new(EMPTY, CallId::fresh(), 1);
    let mut connection = db.acquire().await?;
    queue::enqueue(&mut connection, std::slice::from_ref(&job)).await?;
    let at = nanoseconds();
    waker.wake(EMPTY);
    Ok((job.call_id.0, at))
}

/// The clock that all processes of the machine share.
pub(crate) fn nanoseconds() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}
