//! Group commit: calls that arrive while a commit is under way go into the next one together, without lingering. Each
//! sender is answered after its own rows are durable, and a body that the database refuses fails alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::{FIRST_RUN, first_step};
use crate::model::{CallId, NewCall};
use crate::queue::{self, NewJob, Waker};
use crate::store;

/// While one commit waits for the disk, the next one is being filled.
const COMMITTERS: usize = 2;
/// Most calls in one commit.
const MOST: usize = 64;
/// Most calls that wait for one; who comes later waits at the door.
const WAITING: usize = 1_024;
/// A commit that takes longer has failed: its connection may be half open. Below the limit of the webhook's answer.
const COMMIT_LIMIT: Duration = Duration::from_millis(1_500);
/// Somebody else may hold a call of the group for long; then each goes by itself, and the others do not wait for it.
const BEGIN_SHARED: &str = "BEGIN; SET LOCAL lock_timeout = '300ms'";

/// A call on its way in.
pub(super) struct Arrival {
    /// The id that it gets if it is new.
    pub(super) id: CallId,
    pub(super) source: &'static str,
    /// As it came.
    pub(super) body: Bytes,
    pub(super) call: Box<NewCall>,
}

/// What became of it.
pub(super) enum Fate {
    /// It is durable, with its event and its first job.
    New { call_id: CallId, external_id: String },
    /// Its source has told of it before; nothing was written.
    Known(Arrival),
}

/// The way into the next commit.
#[derive(Clone)]
pub(super) struct Group {
    waiting: mpsc::Sender<Waiting>,
}

struct Waiting {
    arrival: Arrival,
    answer: oneshot::Sender<Result<Fate, sqlx::Error>>,
}

impl Group {
    pub(super) fn new(db: PgPool, waker: Waker) -> Self {
        let (waiting, arrivals) = mpsc::channel(WAITING);
        let arrivals = Arc::new(Mutex::new(arrivals));
        for _ in 0..COMMITTERS {
            let committer = Committer { db: db.clone(), waker: waker.clone(), arrivals: arrivals.clone() };
            tokio::spawn(committer.run());
        }
        Self { waiting }
    }

    /// Waits until it is durable, known or refused.
    pub(super) async fn commit(&self, arrival: Arrival) -> Result<Fate, sqlx::Error> {
        let (answer, fate) = oneshot::channel();
        self.waiting.send(Waiting { arrival, answer }).await.map_err(|_| sqlx::Error::WorkerCrashed)?;
        fate.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }
}

#[derive(Clone)]
struct Committer {
    db: PgPool,
    waker: Waker,
    arrivals: Arc<Mutex<mpsc::Receiver<Waiting>>>,
}

impl Committer {
    async fn run(self) {
        let mut group = Vec::with_capacity(MOST);
        loop {
            if self.arrivals.lock().await.recv_many(&mut group, MOST).await == 0 {
                return;
            }
            // Who has given up comes again: to write it now would only make that one a duplicate.
            group.retain(|waiting| !waiting.answer.is_closed());
            self.commit(&mut group).await;
        }
    }

    /// Commits all, or else each by itself, so that every one hears of its own fate.
    async fn commit(&self, group: &mut Vec<Waiting>) {
        // In one order everywhere, so that two groups never wait for one another in a circle.
        group.sort_by(|a, b| a.arrival.call.external_id.cmp(&b.arrival.call.external_id));
        match self.insert(group).await {
            Ok(new) => self.answer(group, &new),
            Err(error) if group.len() > 1 && is_about_rows(&error) => {
                tracing::debug!(%error, calls = group.len(), "A group of calls is taken in one by one.");
                // Side by side, and beside the groups to come: one of them may have to wait.
                for waiting in group.drain(..) {
                    let committer = self.clone();
                    tokio::spawn(async move { committer.commit_alone(waiting).await });
                }
            }
            Err(error) => {
                tracing::debug!(%error, calls = group.len(), "A group of calls was not taken in.");
                refuse(group, error);
            }
        }
    }

    async fn commit_alone(self, waiting: Waiting) {
        let mut alone = vec![waiting];
        match self.insert(&alone).await {
            Ok(new) => self.answer(&mut alone, &new),
            Err(error) => refuse(&mut alone, error),
        }
    }

    fn answer(&self, group: &mut Vec<Waiting>, new: &HashSet<CallId>) {
        let first: HashSet<&'static str> =
            group.iter().filter(|w| new.contains(&w.arrival.id)).map(|w| first_step(&w.arrival)).collect();
        for Waiting { arrival, answer } in group.drain(..) {
            let fate = if new.contains(&arrival.id) {
                Fate::New { call_id: arrival.id, external_id: arrival.call.external_id }
            } else {
                Fate::Known(arrival)
            };
            // A sender that has given up meanwhile comes again, and finds a duplicate.
            let _ = answer.send(Ok(fate));
        }
        for step in first {
            self.waker.wake(step);
        }
    }

    /// One transaction; tells which calls are new.
    async fn insert(&self, group: &[Waiting]) -> Result<HashSet<CallId>, sqlx::Error> {
        let work = async {
            let mut connection = store::Guarded::acquire(&self.db).await?;
            let begin = if group.len() > 1 { BEGIN_SHARED } else { "BEGIN" };
            let mut transaction = connection.begin_with(begin).await?;
            let new = insert(&mut transaction, group).await?;
            transaction.commit().await?;
            connection.release();
            Ok(new)
        };
        timeout(COMMIT_LIMIT, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}

/// The error goes to one of them; for the others it is enough to know that the database did not take them.
fn refuse(group: &mut Vec<Waiting>, error: sqlx::Error) {
    let mut error = Some(error);
    for waiting in group.drain(..) {
        let _ = waiting.answer.send(Err(error.take().unwrap_or(sqlx::Error::PoolTimedOut)));
    }
}

async fn insert(db: &mut PgConnection, group: &[Waiting]) -> Result<HashSet<CallId>, sqlx::Error> {
    // The first of those that came with the same id; the others find it there.
    let mut seen = HashSet::new();
    let calls: Vec<(CallId, &str, &NewCall)> = group
        .iter()
        .map(|w| (w.arrival.id, w.arrival.source, &*w.arrival.call))
        .filter(|(_, source, call)| seen.insert((*source, call.external_id.as_str())))
        .collect();
    let new = store::calls::insert(db, &calls).await?;
    let events: Vec<(CallId, &str, &[u8])> = group
        .iter()
        .filter(|w| new.contains(&w.arrival.id))
        .map(|w| (w.arrival.id, w.arrival.source, &*w.arrival.body))
        .collect();
    let jobs: Vec<NewJob> = group
        .iter()
        .filter(|w| new.contains(&w.arrival.id))
        .map(|w| NewJob::new(first_step(&w.arrival), w.arrival.id, FIRST_RUN))
        .collect();
    if !new.is_empty() {
        store::events::insert_accepted(db, &events).await?;
        queue::enqueue(db, &jobs).await?;
    }
    Ok(new)
}

/// Refused for what stands in one of the rows (22, 23), for a lock on one of them (55), or to break a deadlock (40): the
/// others may do (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn is_about_rows(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(verdict) = error else { return false };
    verdict.code().is_some_and(|code| ["22", "23", "40", "54", "55"].iter().any(|class| code.starts_with(class)))
}
