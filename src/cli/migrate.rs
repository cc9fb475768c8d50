//! `migrate`: the database's schema.

use clap::Args;

/// Bring the database up to date and exit.
///
/// Needs `DATABASE_URL`. Safe to repeat, and safe while servers and workers run.
#[derive(Args)]
pub struct MigrateArgs {}
