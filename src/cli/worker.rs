//! `worker`: jobs only.

use clap::Args;

use super::Failure;
use crate::app::{self, Database};
use crate::config::Values;
use crate::queue::Waker;
use crate::shutdown::{self, Shutdown};
use crate::{pipeline, telemetry};

const EXAMPLES: &str = "\
Examples:
  goto-automation worker
  goto-automation worker --steps download,transcribe
  goto-automation worker --concurrency transcribe=4,notify=8

Needs DATABASE_URL. Any number of workers on any number of machines share
one database. SIGTERM lets running jobs end within SHUTDOWN_TIMEOUT and
gives the rest back.";

/// Work on jobs.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct WorkerArgs {
    /// Steps to work on, separated by commas; `WORKER_STEPS` or all unless told.
    #[arg(long, value_name = "STEP,...")]
    pub steps: Option<String>,
    /// Jobs at the same time for each step; `WORKER_CONCURRENCY` unless told.
    #[arg(long, value_name = "STEP=N,...")]
    pub concurrency: Option<String>,
    /// Bring the database up to date first.
    #[arg(long)]
    pub migrate: bool,
}

pub(super) async fn run(args: WorkerArgs) -> Result<(), Failure> {
    let mut values = Values::from_environment();
    for (flag, name, value) in
        [("--steps", "WORKER_STEPS", args.steps), ("--concurrency", "WORKER_CONCURRENCY", args.concurrency)]
    {
        let Some(value) = value else { continue };
        // An empty variable counts as not set, but who types a flag wants something.
        if value.trim().is_empty() {
            return Err(Failure::usage(format!("{flag} is empty. Name steps, or leave it out.")));
        }
        values.set(name, value);
    }
    let config = values.read()?;
    let settings = config.require_database()?;
    config.queue.check_steps(&pipeline::names().collect::<Vec<_>>())?;
    telemetry::init(&config.app);
    telemetry::announce(&config, "worker", false);
    let shutdown = Shutdown::on_signals()?;
    shutdown::watchdog();
    let database = Database::new(settings)?;
    if database.ready(args.migrate, &shutdown).await? {
        let waker = Waker::default();
        database.spawn_notifier(&waker, &shutdown);
        shutdown::ready("Working.");
        app::work(&config, &database, waker, &shutdown).await?;
    }
    shutdown::stopping();
    Ok(())
}
