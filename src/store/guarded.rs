//! Connections that are safe to cut off.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

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
