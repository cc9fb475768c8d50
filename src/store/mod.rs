//! SQL: one file per table, one function per query. Looks at `jobs` for one purpose only: the fence in its writes.

pub mod answers;
pub mod calls;
pub mod deliveries;
pub mod events;
mod guarded;
pub mod keys;
pub mod migrations;
pub mod recordings;
pub mod summaries;

pub use guarded::Guarded;

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

fn fenced(rows: u64) -> Result<()> {
    if rows == 0 { Err(StoreError::LeaseLost) } else { Ok(()) }
}
