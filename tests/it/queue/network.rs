//! A network between workers and database that swallows everything for a while.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::harness::{LEASE, TestQueue, settings, workers};
use crate::support::{Gate, GatedUpstream};

/// Longer than the queue waits for one answer.
const ABSENCE: Duration = Duration::from_secs(11);

async fn work_through_a_gate(queue: &TestQueue) -> (GatedUpstream, AbortOnDropHandle<()>) {
    let (gate, url) = GatedUpstream::to_database(queue.db.url()).await.unwrap();
    let work = workers(&url, queue.pool().clone(), queue.waker.clone(), settings());
    let work = tokio::spawn(async move { work.run(CancellationToken::new()).await.unwrap() });
    (gate, AbortOnDropHandle::new(work))
}

#[tokio::test]
async fn who_comes_back_first_lets_the_others_come_back_too() {
    let queue = TestQueue::new().await;
    let (first, _first) = work_through_a_gate(&queue).await;
    let held = queue.enqueue("hold").await;
    queue.until("SELECT count(*) = 1 FROM effects").await;
    let (second, _second) = work_through_a_gate(&queue).await;
    sleep(LEASE / 2).await;
    first.set(Gate::HoldRequests);
    second.set(Gate::HoldRequests);
    sleep(ABSENCE).await;
    second.set(Gate::Open);
    sleep(LEASE / 2).await;
    first.set(Gate::Open);
    sleep(LEASE * 2).await;
    queue.release().await;
    queue.until_state(held, "completed").await;
    assert_eq!(queue.effects(held).await, (1, 1));
}
