//! Workers of the queue with steps made for tests, in this process or in one that can be killed.

use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goto_automation::model::{CallId, FailureClass};
use goto_automation::queue::{
    self, Backoff, Done, Failure, Handler, Job, Lease, NewJob, StepError, StepPolicy, Waker, WorkerSettings, Workers,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::Database;

/// Tells the re-executed test binary which database to work on.
const WORK_ON: &str = "GTA_TEST_WORK_ON";

/// Short, so that the stories are; long against a round trip on a busy machine.
pub const LEASE: Duration = Duration::from_secs(2);

/// What a step of the tests does is fixed by its name.
pub const STEPS: [&str; 8] = ["effect", "hold", "first", "retry", "refuse", "retry_after", "abort", "panic"];

/// Attempts that every step of the tests has.
pub const MAX_ATTEMPTS: i32 = 4;

pub fn policy(name: &'static str) -> StepPolicy {
    StepPolicy {
        name,
        concurrency: 8,
        max_attempts: MAX_ATTEMPTS,
        max_run: Duration::from_secs(20),
        backoff: Backoff { first: Duration::from_millis(200), factor: 2.0, longest: Duration::from_secs(1) },
    }
}

pub fn settings() -> WorkerSettings {
    WorkerSettings {
        lease: LEASE,
        sweep_interval: Duration::from_millis(200),
        shutdown_timeout: Duration::from_secs(1),
        poison_limit: 3,
        retry_scale: 1.0,
        prices: Arc::default(),
        history_after: Duration::from_hours(30 * 24),
    }
}

/// Does what its step is named after, and writes each start down, whatever becomes of it.
struct TestStep {
    name: &'static str,
    db: PgPool,
}

#[async_trait]
impl Handler for TestStep {
    async fn run(&self, job: &Job, lease: &Lease) -> Result<Done, StepError> {
        self.note(job, "start").await;
        let failure = |class| Failure { class, message: format!("{} says no", self.name) };
        match self.name {
            "first" => return Ok(Done::then([NewJob::new("effect", job.call_id, job.run)])),
            "hold" => self.until_released().await,
            "retry" => return Err(StepError::Retry(failure(FailureClass::ServerError))),
            "refuse" => return Err(StepError::Permanent(failure(FailureClass::Refused))),
            "retry_after" => {
                return Err(StepError::RetryAfter(Duration::from_secs(30), failure(FailureClass::RateLimited)));
            }
            "abort" => std::process::abort(),
            "panic" => panic!("the step of the test panics"),
            _ => {}
        }
        lease.note_request(Some("request-1"));
        self.note(job, "end").await;
        Ok(Done::end())
    }
}

impl TestStep {
    async fn note(&self, job: &Job, what: &str) {
        sqlx::query("INSERT INTO effects (job_id, what, pid) VALUES ($1, $2, $3)")
            .bind(job.id.0)
            .bind(what)
            .bind(std::process::id() as i32)
            .execute(&self.db)
            .await
            .unwrap();
    }

    async fn until_released(&self) {
        while sqlx::query("SELECT 1 FROM released").fetch_optional(&self.db).await.unwrap().is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A queue in a database of its own.
pub struct TestQueue {
    pub db: Database,
    pub waker: Waker,
}

impl TestQueue {
    pub async fn new() -> Self {
        let db = Database::fresh().await;
        sqlx::raw_sql(
            "CREATE TABLE effects (id bigserial, job_id bigint, what text, pid int, at timestamptz DEFAULT now());
             CREATE TABLE released (at timestamptz)",
        )
        .execute(db.pool())
        .await
        .unwrap();
        Self { db, waker: Waker::default() }
    }

    pub fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    /// Enqueues one job of a fresh call and gives back its id; 0 = it is not among the hot ones.
    pub async fn enqueue(&self, step: &'static str) -> i64 {
        self.enqueue_job(NewJob::new(step, CallId::fresh(), 1)).await
    }

    pub async fn enqueue_job(&self, job: NewJob) -> i64 {
        let mut connection = self.pool().acquire().await.unwrap();
        queue::enqueue(&mut connection, std::slice::from_ref(&job)).await.unwrap();
        self.waker.wake(job.step);
        sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM jobs WHERE call_id = $1 AND run = $3 AND step = $2")
            .bind(job.call_id.0)
            .bind(job.step)
            .bind(job.run)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// Workers in this process, until dropped.
    pub fn work(&self) -> AbortOnDropHandle<()> {
        self.work_with(settings())
    }

    pub fn work_with(&self, settings: WorkerSettings) -> AbortOnDropHandle<()> {
        let work = workers(self.db.url(), self.pool().clone(), self.waker.clone(), settings);
        AbortOnDropHandle::new(tokio::spawn(async move { work.run(CancellationToken::new()).await.unwrap() }))
    }

    pub async fn release(&self) {
        sqlx::query("INSERT INTO released VALUES (now())").execute(self.pool()).await.unwrap();
    }

    pub async fn job(&self, id: i64) -> queue::JobRow {
        queue::show(self.pool(), id).await.unwrap().expect("the job is there")
    }

    pub async fn attempts(&self, id: i64) -> Vec<queue::AttemptRow> {
        queue::attempts_of_job(self.pool(), id).await.unwrap()
    }

    /// `(start, end)` lines that the steps of a job have written.
    pub async fn effects(&self, id: i64) -> (i64, i64) {
        sqlx::query_as(
            "SELECT count(*) FILTER (WHERE what = 'start'), count(*) FILTER (WHERE what = 'end') FROM effects WHERE job_id = $1",
        )
        .bind(id)
        .fetch_one(self.pool())
        .await
        .unwrap()
    }

    /// Waits until a question that the database answers with true or false is true.
    pub async fn until(&self, question: &'static str) {
        let asked = async {
            loop {
                // Restarted servers refuse for a moment.
                if let Ok(true) = sqlx::query_scalar(question).fetch_one(self.pool()).await {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(Duration::from_secs(40), asked).await.is_err() {
            let jobs = queue::list(self.pool(), &queue::JobFilter { limit: 20, ..Default::default() }).await;
            panic!("waited too long for: {question}\n{jobs:#?}");
        }
    }

    /// Waits until the job is in this state.
    pub async fn until_state(&self, id: i64, state: &str) -> queue::JobRow {
        let reached = async {
            loop {
                let job = self.job(id).await;
                if job.state == state {
                    return job;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(Duration::from_secs(40), reached).await.ok() {
            Some(job) => job,
            None => panic!("not {state}: {:#?}\n{:#?}", self.job(id).await, self.attempts(id).await),
        }
    }

    /// Waits until the job has ended an attempt and is not running.
    pub async fn until_attempted(&self, id: i64) -> queue::JobRow {
        loop {
            let job = self.job(id).await;
            if job.starts > 0 && job.state != "running" {
                return job;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub fn workers(url: &str, db: PgPool, waker: Waker, settings: WorkerSettings) -> Workers {
    let options = PgConnectOptions::from_str(url).unwrap();
    let workers = Workers::new(options.clone(), options, waker, settings);
    STEPS
        .into_iter()
        .fold(workers, |workers, name| workers.step(policy(name), Arc::new(TestStep { name, db: db.clone() })))
}

/// Works on a test's database in a process of its own; does nothing when run as a test.
#[tokio::test(flavor = "multi_thread")]
async fn work_in_a_process() {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    let Ok(url) = std::env::var(WORK_ON) else { return };
    let db = PgPool::connect_lazy(&url).unwrap();
    let stop = CancellationToken::new();
    let on_term = stop.clone();
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    tokio::spawn(async move {
        term.recv().await;
        on_term.cancel();
    });
    workers(&url, db, Waker::default(), settings()).run(stop).await.unwrap();
}

/// A worker process of the tests; killed when dropped.
pub struct WorkerProcess(Child);

impl WorkerProcess {
    pub fn start(queue: &TestQueue) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "queue::harness::work_in_a_process", "--nocapture"]);
        Self(command.env(WORK_ON, queue.db.url()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    pub async fn ended(&mut self) {
        while !self.has_ended() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
