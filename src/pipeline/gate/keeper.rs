//! Keeper: who waits for a provider is let go when it works again, and as long as it does not, somebody asks.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Gate, PACED, SLOT, Standing, place, standing, step_of};
use crate::queue::{self, Turns};
use crate::store;

/// For so long after a recovery the keeper looks for jobs whose wait was written after the others had been let go: by a
/// worker that was frozen for nearly its lease, or because the database or the only worker was away just then. Else they
/// would lie until their own delay of an hour is over.
const STRAGGLERS: f64 = 600.0;

impl Gate {
    /// Looks after the waiting jobs every `interval`, until it is told to stop. A new process may have new settings, so
    /// what is paused is probed at its start.
    pub async fn keep(&self, interval: Duration, stop: CancellationToken) {
        let mut told = store::providers::probe_soon(&self.db).await.is_ok();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            if !told {
                told = store::providers::probe_soon(&self.db).await.is_ok();
            }
            if let Err(error) = self.look_after_all().await {
                tracing::debug!(%error, "Nobody looked after the jobs that wait for providers.");
            }
        }
    }

    async fn look_after_all(&self) -> Result<(), sqlx::Error> {
        for row in store::providers::all(&self.db).await? {
            match standing(&row) {
                // The one who was to probe died, was cancelled, or is busy with something else.
                Standing::Paused if row.prober.is_none() && row.probe_in.is_some_and(|seconds| seconds <= 0.0) => {
                    self.send_next(&row.name, Duration::ZERO).await?;
                }
                Standing::Paced | Standing::Open if row.recovered_for.is_some_and(|seconds| seconds < STRAGGLERS) => {
                    self.let_go(&row.name, Duration::ZERO).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// One of those that wait for the provider is due after `delay`.
    pub(super) async fn send_next(&self, provider: &str, delay: Duration) -> Result<(), sqlx::Error> {
        let step = step_of(provider);
        if queue::hasten(&self.db, step, provider, delay).await? && delay.is_zero() {
            self.waker.wake(step);
        }
        Ok(())
    }

    /// All that wait for the provider go on after `rest`, in their turns; gives back how many.
    pub(super) async fn let_go(&self, provider: &str, rest: Duration) -> Result<u64, sqlx::Error> {
        let step = step_of(provider);
        let place = place(provider);
        let reason = format!("Waits for its turn: {place} works again, and is not to be asked by all calls at once.");
        let turns = Turns { first: rest + SLOT, apart: SLOT, longest: PACED };
        let released = queue::release(&self.db, step, provider, &reason, turns).await?;
        if released > 0 {
            self.waker.wake(step);
        }
        Ok(released)
    }

    /// Whether calls have failed at it lately.
    pub(super) async fn looks_doubted(&self, provider: &str) -> Result<bool, sqlx::Error> {
        self.looks_open(provider).await?;
        Ok(self.seen().find(provider).is_some_and(|row| row.is_doubted))
    }
}
