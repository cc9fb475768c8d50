//! The schema's version: which migrations the binary carries and which of them the database has.

use std::collections::HashMap;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::{Connection as _, PgPool};

static MIGRATOR: Migrator = sqlx::migrate!();

/// Between two tries, in which those work who wait for the tables.
const PAUSE: Duration = Duration::from_secs(2);
/// Together some two minutes, where each try waits for the tables as long as it may.
const TRIES: usize = 42;

/// Why the database was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others were at work all the time.
    #[error(
        "the tables that it changes were in use for two minutes: stop the workers, or whoever else is at them, and try again"
    )]
    InUse(#[source] MigrateError),
    /// The database refused it.
    #[error(transparent)]
    Refused(MigrateError),
}

/// Applies what is missing. Several processes may do so at once: sqlx takes an advisory lock. A migration takes the tables
/// that it changes at its start, for which it waits a moment and no more: whoever needs them waits behind it.
pub async fn apply(db: &PgPool) -> Result<(), Error> {
    (|| try_to_apply(db))
        .retry(ConstantBuilder::default().with_delay(PAUSE).with_max_times(TRIES))
        .when(tables_are_in_use)
        .notify(|error, _| tracing::warn!(%error, "A migration waits for tables that are in use; trying again."))
        .await
        .map_err(|error| if tables_are_in_use(&error) { Error::InUse(error) } else { Error::Refused(error) })
}

async fn try_to_apply(db: &PgPool) -> Result<(), MigrateError> {
    // A connection of its own: a migration may take, and wait for another process's, longer than any query may.
    let mut connection = db.acquire().await?.detach();
    sqlx::raw_sql("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        .execute(&mut connection)
        .await?;
    let applied = MIGRATOR.run(&mut connection).await;
    // Also after an error: it gives the advisory lock back.
    connection.close().await.ok();
    applied
}

/// Somebody has held a table for longer than `lock_timeout` (55P03), or waited for one that the migration had (40P01).
fn tables_are_in_use(error: &MigrateError) -> bool {
    let (MigrateError::Execute(sqlx::Error::Database(error))
    | MigrateError::ExecuteMigration(sqlx::Error::Database(error), _)) = error
    else {
        return false;
    };
    error.code().is_some_and(|code| ["55P03", "40P01"].contains(&code.as_ref()))
}

/// Descriptions of the migrations that the database does not have yet; empty = up to date. [`sqlx::Error::Migrate`] = it has
/// one in another form: of a build between two releases.
///
/// The query is not checked at compile time: the table is sqlx's own and absent from an empty database.
pub async fn missing(db: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    let known: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(db).await?;
    let applied: HashMap<i64, Vec<u8>> = if known {
        let rows = sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success").fetch_all(db).await?;
        rows.into_iter().collect()
    } else {
        HashMap::new()
    };
    let differs = |migration: &&Migration| {
        applied.get(&migration.version).is_some_and(|checksum| checksum.as_slice() != &*migration.checksum)
    };
    if let Some(other) = MIGRATOR.iter().find(differs) {
        return Err(MigrateError::VersionMismatch(other.version).into());
    }
    let missing = MIGRATOR.iter().filter(|migration| !applied.contains_key(&migration.version));
    Ok(missing.map(|migration| format!("{:04} {}", migration.version, migration.description)).collect())
}
