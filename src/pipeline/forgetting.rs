//! What is kept for a day goes when it is older: changes, and answers to requests with an `Idempotency-Key`.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::model::database_is_away;
use crate::store::{changes, idempotent_answers};

/// It is kept for so long: who follows the changes may be away for a day.
pub const KEPT: Duration = Duration::from_hours(24);
/// Rows that go in one transaction.
const BATCH: i64 = 2_000;
/// Most of these in one round: the rest has time until the next one.
const BATCHES: usize = 100;

/// Forgets every `interval`, until it is told to stop. Any number of processes may.
pub async fn keep_forgetting(db: PgPool, interval: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        match forget(&db).await {
            Ok(()) => {}
            Err(error) if database_is_away(&error) => {
                tracing::debug!(%error, "What is too old waits for the database.");
            }
            Err(error) => tracing::error!(%error, "What is too old was not deleted. This is a bug; please report it."),
        }
    }
}

/// Deletes what is too old, batch by batch.
pub async fn forget(db: &PgPool) -> Result<(), sqlx::Error> {
    // One of them may fail for ever: the other goes all the same.
    let (changes, answers) = (forget_changes(db).await, forget_answers(db).await);
    changes.and(answers)
}

async fn forget_changes(db: &PgPool) -> Result<(), sqlx::Error> {
    for _ in 0..BATCHES {
        if changes::forget(db, KEPT, BATCH).await? < BATCH as u64 {
            break;
        }
    }
    Ok(())
}

async fn forget_answers(db: &PgPool) -> Result<(), sqlx::Error> {
    for _ in 0..BATCHES {
        if idempotent_answers::forget(db, KEPT, BATCH).await? < BATCH as u64 {
            break;
        }
    }
    Ok(())
}
