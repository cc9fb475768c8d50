//! SQL: one file per table, one function per query. Looks at `jobs` for one purpose only: the fence in its writes.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use sqlx::{PgConnection, PgPool};
use tokio::time::timeout;

use crate::model::database_is_away;

pub mod actions;
pub mod answers;
pub mod audit;
pub mod call_list;
pub mod calls;
pub mod changes;
pub mod deliveries;
pub mod events;
mod facts;
mod guarded;
pub mod idempotent_answers;
pub mod keys;
pub mod kpis;
mod leads;
pub mod migrations;
pub mod providers;
pub mod recordings;
pub mod search;
mod stretches;
pub mod summaries;
pub mod sums;
pub mod tsquery;
pub mod vocabulary;
pub mod whole_call;

pub use guarded::{Guarded, GuardedTransaction};

/// Why a write of a result did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The job's lease has passed to somebody else: nothing was written, and nothing may be done any more.
    #[error("the lease of this job has passed to another worker; nothing was written")]
    LeaseLost,
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What fenced writes return.
pub type Result<T> = std::result::Result<T, StoreError>;

/// No honest query takes longer: the server stops one before (`statement_timeout` in `app`).
const QUERY_LIMIT: Duration = Duration::from_secs(25);

/// Does work on a connection of the pool, under a time limit of ours: the server's own does not help where the network
/// swallows everything, and its connection would be lost to the pool until the kernel gives it up. Past the limit, and
/// when the caller is dropped in the middle, the connection is closed.
pub(crate) async fn bounded<T, E: From<sqlx::Error>>(
    db: &PgPool,
    work: impl AsyncFnOnce(&mut PgConnection) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let mut connection = Guarded::acquire(db).await?;
    let Ok(result) = timeout(QUERY_LIMIT, work(&mut connection)).await else {
        let silence = format!("no answer within {} s", QUERY_LIMIT.as_secs());
        return Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, silence)).into());
    };
    connection.release();
    result
}

/// Longest pause between two tries of a patient write.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Repeats a write for as long as the database is away: for what must not be lost because it cannot be had again, a paid
/// answer or the word that a message is about to leave or was sent. Only for writes that may be repeated; the step's time limit ends it.
pub async fn patiently<T, F>(write: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    write
        .retry(ExponentialBuilder::default().with_max_delay(LONGEST_PAUSE).without_max_times())
        .when(|error| matches!(error, StoreError::Database(error) if database_is_away(error)))
        .notify(|error, pause| tracing::warn!(%error, ?pause, "A result waits for the database."))
        .await
}

fn fenced(rows: u64) -> Result<()> {
    if rows == 0 { Err(StoreError::LeaseLost) } else { Ok(()) }
}
