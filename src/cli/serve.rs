//! `serve`: webhooks and API.

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  goto-automation serve
  goto-automation serve --with-worker --migrate

Needs DATABASE_URL and GOTO_WEBHOOK_SECRET. It refuses to start on a
database that is behind.";

/// Serve webhooks and the API.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Work on jobs in the same process.
    #[arg(long)]
    pub with_worker: bool,
    /// Bring the database up to date first.
    #[arg(long)]
    pub migrate: bool,
}
