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

/// Claims from a backlog go on behind the last one, which must not make them blind for what comes in before it.
#[tokio::test]
async fn what_comes_in_before_the_head_of_a_backlog_does_not_wait_for_its_end() {
    let queue = TestQueue::new().await;
    sqlx::query("INSERT INTO jobs (step, call_id) SELECT 'effect', gen_random_uuid() FROM generate_series(1, 3000)")
        .execute(queue.pool())
        .await
        .unwrap();
    let _workers = queue.work();
    queue.until("SELECT count(*) > 100 FROM jobs WHERE state = 'completed'").await;
    sqlx::query(
        "INSERT INTO jobs (step, call_id, priority, run_at) VALUES ('effect', gen_random_uuid(), 5, now()),
             ('effect', gen_random_uuid(), 0, now() - interval '1 hour')",
    )
    .execute(queue.pool())
    .await
    .unwrap();
    queue.until("SELECT count(*) = 3002 FROM jobs WHERE state = 'completed'").await;
    let behind: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM jobs WHERE claimed_at > (
             SELECT max(claimed_at) FROM jobs WHERE priority = 5 OR run_at < created_at - interval '1 minute')",
    )
    .fetch_one(queue.pool())
    .await
    .unwrap();
    assert!(behind > 100, "only {behind} of the backlog came after them");
}
