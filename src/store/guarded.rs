//! Connections that are safe to cut off.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Longest time for undoing what was begun.
const UNDO_LIMIT: Duration = Duration::from_secs(2);

/// A connection of the pool for work under a time limit. It goes back to the pool only by [`Guarded::release`]; dropped
/// before, as at the limit, it is closed, because its server may be gone without a word and the next one to get it would
/// hang too.
pub struct Guarded(Option<PoolConnection<Postgres>>);

impl Guarded {
    /// Takes one out of the pool.
    pub async fn acquire(db: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self(Some(db.acquire().await?)))
    }

    /// Gives it back: its work is done.
    pub fn release(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl Deref for Guarded {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_deref().expect("taken by `release` and `drop` only, which end it")
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_deref_mut().expect("taken by `release` and `drop` only, which end it")
    }
}

/// A transaction on such a connection, for work in several places, in which no other one may begin. Dropped before its end
/// it is undone in the background; where that gets no answer, its connection is closed.
pub struct GuardedTransaction(Option<Guarded>);

impl GuardedTransaction {
    /// Begins one.
    pub async fn begin(db: &PgPool) -> Result<Self, sqlx::Error> {
        let mut begun = Self(Some(Guarded::acquire(db).await?));
        begun.execute("BEGIN").await?;
        Ok(begun)
    }

    /// Makes what was written in it true for all.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.execute("COMMIT").await?;
        if let Some(connection) = self.0.take() {
            connection.release();
        }
        Ok(())
    }
}

impl Drop for GuardedTransaction {
    fn drop(&mut self) {
        let (Some(mut connection), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        runtime.spawn(async move {
            // Also where it never began: then that is a mere warning of the server.
            if let Ok(Ok(_)) = timeout(UNDO_LIMIT, connection.execute("ROLLBACK")).await {
                connection.release();
            }
        });
    }
}

impl Deref for GuardedTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_deref().expect("taken by `commit` and `drop` only, which end it")
    }
}

impl DerefMut for GuardedTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_deref_mut().expect("taken by `commit` and `drop` only, which end it")
    }
}
