//! Workers: the queue's tasks around apalis's monitor, one apalis worker per step, from start to graceful stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use apalis::prelude::{Data, Monitor, WorkerBuilder};
use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::archive::Archivist;
use super::backend::StepBackend;
use super::claim::Claimer;
use super::control::Controls;
use super::job::{Done, Job, StepError, StepPolicy};
use super::lease::{Held, Lane, Lease};
use super::link::Link;
use super::renew::Renewer;
use super::sweep::Sweeper;
use super::wake::Waker;
use super::writer::Writer;
use crate::model::PriceList;

/// How long the last ends may take to reach the database at a stop; past it their leases run out.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// How the queue's statements are planned (ADR 0001): once, because a plan of its own for each execution costs more than
/// it gives; and never so that the table is scanned, which looks cheap to a plan that is made while it is empty.
const PLANS: [(&str, &str); 4] =
    [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("enable_mergejoin", "off"), ("jit", "off")];

/// What does a step's work. A second run of the same job must be harmless: every kill can cause one.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. May be dropped at any await point: at its time limit, at a stop, or when the lease is lost.
    async fn run(&self, job: &Job, lease: &Lease) -> Result<Done, StepError>;
}

/// The settings of a process's workers.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// How long a claim is valid without renewal.
    pub lease: Duration,
    /// How often expired leases are looked for.
    pub sweep_interval: Duration,
    /// How long running jobs may go on after a stop was asked for.
    pub shutdown_timeout: Duration,
    /// Starts without an end, in a row, after which a job is parked.
    pub poison_limit: i32,
    /// Factor on our own delays; never on an upstream's, never on a deadline.
    pub retry_scale: f64,
    /// What paid upstreams cost.
    pub prices: Arc<PriceList>,
    /// How long finished jobs stay in the hot tables.
    pub history_after: Duration,
}

/// The workers of one process. Register the steps, then [`run`](Self::run).
pub struct Workers {
    options: PgConnectOptions,
    listen_options: PgConnectOptions,
    waker: Waker,
    settings: WorkerSettings,
    steps: Vec<(StepPolicy, Arc<dyn Handler>)>,
    known: Vec<StepPolicy>,
}

impl Workers {
    /// Workers on the database of `options`; `listen_options` must be a direct connection (no transaction pooler).
    pub fn new(
        options: PgConnectOptions,
        listen_options: PgConnectOptions,
        waker: Waker,
        settings: WorkerSettings,
    ) -> Self {
        Self { options, listen_options, waker, settings, steps: Vec::new(), known: Vec::new() }
    }

    /// Works on a step, with `policy.concurrency` slots unless operators say otherwise.
    #[must_use]
    pub fn step(mut self, policy: StepPolicy, handler: Arc<dyn Handler>) -> Self {
        self.known.push(policy);
        self.steps.push((policy, handler));
        self
    }

    /// Does not work on a step but rescues its jobs when another process has died.
    #[must_use]
    pub fn knows(mut self, policy: StepPolicy) -> Self {
        self.known.push(policy);
        self
    }

    /// Runs until `stop`: then claims no more, lets running jobs go on for `shutdown_timeout`, and gives the rest back
    /// without an attempt used. Survives any absence of the database.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        // However this ends, also by being dropped: nobody claims on for workers that are gone.
        let stop = stop.child_token();
        let _stopped = stop.clone().drop_guard();
        let worker = process_name();
        let wake = Arc::new(Notify::new());
        let held = Arc::new(Held::default());
        let (ends, ends_to_write) = mpsc::unbounded_channel();
        let quit = CancellationToken::new();
        let _quitted = quit.clone().drop_guard();
        let tasks = TaskTracker::new();

        let mut lanes = Vec::new();
        let mut monitor = Monitor::new().should_restart(|_, _| true);
        for (policy, handler) in &self.steps {
            let lane =
                Arc::new(Lane::new(*policy, self.settings.retry_scale, self.settings.prices.clone(), wake.clone()));
            self.waker.attach(&lane);
            let (claimed, to_run) = mpsc::unbounded_channel();
            lanes.push((lane, claimed));
            monitor = register(monitor, format!("{worker}/{}", policy.name), StepBackend::new(to_run), handler.clone());
        }

        self.keep_house(&tasks, &held, &quit);
        let writer = tokio::spawn(
            Writer { link: self.link("writer"), ends: ends_to_write, held: held.clone(), waker: self.waker.clone() }
                .run(),
        );
        let claimer = Claimer {
            link: self.claiming_link(),
            worker: worker.clone(),
            lease: self.settings.lease,
            lanes,
            wake,
            controls: Controls::new(self.waker.clone()),
            held: held.clone(),
            ends,
            stop: stop.clone(),
        };
        let claiming = tokio::spawn(claimer.run());

        tracing::info!(%worker, steps = %self.names(), "Workers are ready.");
        // Dropped at the limit: handlers that still run are aborted, and their leases give the jobs back.
        let drained = {
            let running = monitor.run_with_signal(async {
                stop.cancelled().await;
                let _ = claiming.await;
                Ok(())
            });
            tokio::pin!(running);
            tokio::select! {
                ended = &mut running => ended.context("a worker ended by itself").map(|()| true),
                () = limit_after(&stop, self.settings.shutdown_timeout) => Ok(false),
            }
        };
        stop.cancel();
        let written = timeout(FLUSH_LIMIT, writer).await.is_ok();
        quit.cancel();
        tasks.close();
        tasks.wait().await;
        tracing::info!(%worker, all_finished = matches!(drained, Ok(true)), all_written = written && held.is_empty(),
            "Workers have stopped.");
        drained.map(|_| ())
    }

    /// Starts all that goes on until `quit`, whatever is claimed or ends.
    fn keep_house(&self, tasks: &TaskTracker, held: &Arc<Held>, quit: &CancellationToken) {
        tasks.spawn(self.waker.clone().listen(self.listen_options.clone(), quit.clone()));
        tasks.spawn(self.renewer(held, quit).run());
        tasks.spawn(self.sweeper(quit).run());
        tasks.spawn(self.archivist(quit).run());
    }

    fn names(&self) -> String {
        self.steps
            .iter()
            .map(|(policy, _)| format!("{}={}", policy.name, policy.concurrency))
            .collect::<Vec<_>>()
            .join(",")
    }

    fn link(&self, task: &'static str) -> Link {
        Link::new(self.options.clone().options(PLANS), task)
    }

    /// A claim need not wait for the disk: its token is random and comes never again, so that one which a crash of the
    /// server undoes leaves a worker whose every write is refused, and whatever it wrote before has made the claim durable.
    fn claiming_link(&self) -> Link {
        Link::new(self.options.clone().options(PLANS).options([("synchronous_commit", "off")]), "claimer")
    }

    fn renewer(&self, held: &Arc<Held>, quit: &CancellationToken) -> Renewer {
        Renewer { link: self.link("renewer"), lease: self.settings.lease, held: held.clone(), stop: quit.clone() }
    }

    fn sweeper(&self, quit: &CancellationToken) -> Sweeper {
        Sweeper {
            link: self.link("sweeper"),
            policies: self.known.clone(),
            lease: self.settings.lease,
            interval: self.settings.sweep_interval,
            poison_limit: self.settings.poison_limit,
            retry_scale: self.settings.retry_scale,
            waker: self.waker.clone(),
            stop: quit.clone(),
        }
    }

    fn archivist(&self, quit: &CancellationToken) -> Archivist {
        let link = Link::new(self.options.clone(), "archivist");
        Archivist { link, keep: self.settings.history_after, stop: quit.clone() }
    }
}

/// The function that apalis calls for each job, its handler and lease injected.
async fn handle(job: Job, lease: Data<Lease>, handler: Data<Arc<dyn Handler>>) -> Result<Done, StepError> {
    handler.run(&job, &lease).await
}

fn register(monitor: Monitor, name: String, backend: StepBackend, handler: Arc<dyn Handler>) -> Monitor {
    monitor.register(move |restart| {
        WorkerBuilder::new(format!("{name}/{restart}")).backend(backend.clone()).data(handler.clone()).build(handle)
    })
}

async fn limit_after(stop: &CancellationToken, limit: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(limit).await;
}

/// New in every process, so that a reborn worker is never taken for the one that died.
fn process_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    format!("{host}:{}:{:08x}", std::process::id(), rand::random::<u32>())
}
