//! Turns: how many answers are made at the same time.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// One is made here while another one waits for the database. More at the same time take longer, each of them: eight that
/// read lists had 20 ms at the 99th percentile on ten connections, and 18 on four (two cores, a million calls).
const OF_EACH_CORE: usize = 2;
/// Nobody waits longer: whoever has a turn may be waiting for a database that is away.
const PATIENCE: Duration = Duration::from_millis(150);

/// The turns of a server. Clones share them.
#[derive(Clone)]
pub struct Turns(Arc<Semaphore>);

impl Turns {
    /// As many as this machine can use.
    pub fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(cores * OF_EACH_CORE)))
    }

    /// Waits for a turn, in the order of arrival. `None` = it did not come, and whoever waited goes on without.
    pub async fn take(&self) -> Option<OwnedSemaphorePermit> {
        timeout(PATIENCE, self.0.clone().acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_too_long_goes_on_without() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let first = turns.take().await;
        assert!(first.is_some() && turns.take().await.is_none());
        drop(first);
        assert!(turns.take().await.is_some());
    }
}
