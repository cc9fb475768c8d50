//! `worker`: jobs only.

use clap::Args;

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
