//! `migrate`: the database's schema.

use clap::Args;

use super::Failure;
use crate::app::Database;
use crate::config::Config;
use crate::shutdown::Shutdown;
use crate::telemetry;

/// Bring the database up to date and exit.
///
/// Needs `DATABASE_URL`. Safe to repeat, and safe while servers and workers run, unless the changelog says that workers of
/// the version before have to be stopped. It waits for tables that are in use, two minutes at most.
#[derive(Args)]
pub struct MigrateArgs {}

pub(super) async fn run(_: MigrateArgs) -> Result<(), Failure> {
    let config = Config::from_environment()?;
    let settings = config.require_database()?;
    telemetry::init(&config.app);
    let shutdown = Shutdown::on_signals()?;
    if Database::for_migrations(settings)?.ready(true, &shutdown).await? {
        eprintln!("The database is up to date.");
        Ok(())
    } else {
        Err(Failure::failed("Stopped while waiting for the database; nothing was done."))
    }
}
