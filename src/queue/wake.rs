//! Wake: who has work to do hears of it at once. NOTIFY is never sent inside an enqueueing transaction, where it would
//! take a database-wide lock at commit; notices are gathered and sent after commit, one round trip at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::lease::Lane;
use super::link::Link;

/// A notice names the steps that have work, separated by commas; an empty one means that anything may have changed.
pub(super) const CHANNEL: &str = "goto_automation_jobs";
/// A listener whose connection died silently would listen for ever: it is asked this often whether it still lives.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(5);

/// Tells claimers that a step has work: those of this process directly, the others by NOTIFY.
#[derive(Clone, Default)]
pub struct Waker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lanes: RwLock<HashMap<&'static str, Arc<Lane>>>,
    pending: Mutex<BTreeSet<String>>,
    news: Notify,
    /// Counted up whenever operators may have said something.
    controls: AtomicU64,
}

impl Waker {
    /// Call it after the transaction with the new job has committed. Never waits, never fails: the claimers' own look
    /// each second is the safety net.
    pub fn wake(&self, step: &str) {
        let free_here = {
            let lanes = self.0.lanes.read().unwrap_or_else(PoisonError::into_inner);
            lanes.get(step).is_some_and(|lane| {
                lane.mark();
                lane.free() > 0
            })
        };
        if !free_here {
            self.0.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(step.to_owned());
            self.0.news.notify_one();
        }
    }

    pub(super) fn wake_many(&self, steps: impl IntoIterator<Item = &'static str>) {
        steps.into_iter().collect::<BTreeSet<_>>().into_iter().for_each(|step| self.wake(step));
    }

    pub(super) fn attach(&self, lane: &Arc<Lane>) {
        self.0.lanes.write().unwrap_or_else(PoisonError::into_inner).insert(lane.policy.name, lane.clone());
    }

    /// Changes whenever operators may have said something.
    pub(super) fn news_of_controls(&self) -> u64 {
        self.0.controls.load(Ordering::Acquire)
    }

    /// Marks the named steps, or everything when the text is empty, as after a time without a listener.
    fn mark_here(&self, steps: &str) {
        if steps.is_empty() {
            self.0.controls.fetch_add(1, Ordering::AcqRel);
        }
        for (name, lane) in self.0.lanes.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if steps.is_empty() || steps.split(',').any(|step| step == *name) {
                lane.mark();
            }
        }
    }

    /// Sends notices to other processes until told to stop; one such task per process.
    pub async fn notify(self, options: PgConnectOptions, stop: CancellationToken) {
        let mut link = Link::new(options, "notifier");
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.news.notified() => {}
            }
            let steps = std::mem::take(&mut *self.0.pending.lock().unwrap_or_else(PoisonError::into_inner));
            if steps.is_empty() {
                continue;
            }
            let payload = steps.into_iter().collect::<Vec<_>>().join(",");
            // A lost notice costs a second at most, so it is not repeated.
            let _ = link
                .run(async |db| sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, payload).fetch_one(db).await)
                .await;
        }
        link.close().await;
    }

    /// Listens for notices of other processes until told to stop. The listener is rebuilt on any error.
    pub(super) async fn listen(self, options: PgConnectOptions, stop: CancellationToken) {
        let options = options.application_name("goto-automation listener");
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.listen_once(&options) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "The listener lost its connection; polling goes on.");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(Duration::from_millis(500)) => {}
            }
        }
    }

    async fn listen_once(&self, options: &PgConnectOptions) -> Result<(), sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PING_LIMIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        bounded(listener.listen(CHANNEL)).await?;
        // Whatever came while nobody listened.
        self.mark_here("");
        loop {
            match timeout(PING_INTERVAL, listener.try_recv()).await {
                Ok(Ok(Some(notice))) => self.mark_here(notice.payload()),
                Ok(Ok(None)) => return Err(sqlx::Error::WorkerCrashed),
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    bounded(sqlx::query("SELECT 1").execute(&mut listener)).await?;
                }
            }
        }
    }
}

async fn bounded<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(PING_LIMIT, answer).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
