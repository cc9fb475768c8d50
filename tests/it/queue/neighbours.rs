//! What one job does must not become another one's trouble.

use std::time::Duration;

use goto_automation::queue::WorkerSettings;
use tokio::time::sleep;

use super::harness::{TestQueue, settings};

#[tokio::test]
async fn a_busy_step_does_not_keep_another_one_from_its_due_times() {
    let queue = TestQueue::new().await;
    // No sweeper that would wake everybody now and then.
    let _workers = queue.work_with(WorkerSettings { sweep_interval: Duration::from_hours(1), ..settings() });
    let retried = queue.enqueue("retry").await;
    let busy = async {
        loop {
            queue.enqueue("effect").await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = busy => {}
        job = queue.until_state(retried, "failed") => assert_eq!(job.starts, 4),
    }
}

#[tokio::test]
async fn an_end_that_the_database_never_takes_holds_up_nobody() {
    let queue = TestQueue::new().await;
    sqlx::query("ALTER TABLE job_attempts ADD CHECK (step <> 'first' OR outcome = 'lost')")
        .execute(queue.pool())
        .await
        .unwrap();
    let refused = queue.enqueue("first").await;
    let _workers = queue.work();
    queue.until("SELECT count(*) = 1 FROM effects").await;
    let other = queue.enqueue("effect").await;
    queue.until_state(other, "completed").await;
    let parked = queue.until_state(refused, "failed").await;
    assert!(parked.reason.as_deref().unwrap().starts_with("poison"), "{parked:#?}");
}
