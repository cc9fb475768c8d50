//! The schema's version: which migrations the binary carries and which of them the database has.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection as _, PgPool};

static MIGRATOR: Migrator = sqlx::migrate!();

/// Applies what is missing. Several processes may do so at once: sqlx takes an advisory lock.
pub async fn apply(db: &PgPool) -> Result<(), MigrateError> {
    // A connection of its own: a migration may take, and wait for another process's, longer than any query may.
    let mut connection = db.acquire().await?.detach();
    sqlx::raw_sql("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        .execute(&mut connection)
        .await?;
    MIGRATOR.run(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Descriptions of the migrations that the database does not have yet; empty = up to date.
///
/// The query is not checked at compile time: the table is sqlx's own and absent from an empty database.
pub async fn missing(db: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    let known: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(db).await?;
    let applied: Vec<i64> = if known {
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(db).await?
    } else {
        Vec::new()
    };
    let missing = MIGRATOR.iter().filter(|migration| !applied.contains(&migration.version));
    Ok(missing.map(|migration| format!("{:04} {}", migration.version, migration.description)).collect())
}
