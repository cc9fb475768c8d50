//! The queue by itself: what becomes of a job in every way in which a step can end.

mod bulk;
mod control;
mod crashes;
mod harness;
mod history;
mod neighbours;
mod network;

use goto_automation::model::CallId;
use goto_automation::queue::{self, NewJob, Retried};
use uuid::Uuid;

use harness::{MAX_ATTEMPTS, TestQueue};

#[tokio::test]
async fn a_step_that_ends_well_makes_the_next_job_in_the_same_write() {
    let queue = TestQueue::new().await;
    let _workers = queue.work();
    let first = queue.enqueue("first").await;
    queue.until("SELECT count(*) = 2 FROM jobs WHERE state = 'completed'").await;

    let attempts = queue.attempts(first).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].outcome.as_str(), attempts[0].attempt), ("completed", 1));
    let job = queue.job(first).await;
    assert_eq!((job.starts, job.attempts, job.crashes), (1, 1, 0));
    let born: bool = sqlx::query_scalar("SELECT (SELECT finished_at FROM jobs WHERE step = 'first') = (SELECT created_at FROM jobs WHERE step = 'effect')")
        .fetch_one(queue.pool()).await.unwrap();
    assert!(born, "the next job was born in the transaction that ended the first");
}

#[tokio::test]
async fn the_same_job_is_enqueued_once() {
    let queue = TestQueue::new().await;
    let call = CallId::fresh();
    let target = Uuid::now_v7();
    let one = queue.enqueue_job(NewJob::new("effect", call, 1)).await;
    assert_eq!(queue.enqueue_job(NewJob::new("effect", call, 1)).await, one);
    assert_ne!(queue.enqueue_job(NewJob::for_target("effect", call, 1, target)).await, one);
    assert_ne!(queue.enqueue_job(NewJob::new("effect", call, 2)).await, one);
    let jobs: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(queue.pool()).await.unwrap();
    assert_eq!(jobs, 3);
}

#[tokio::test]
async fn a_retry_after_stores_exactly_that_due_time_and_uses_no_attempt() {
    let queue = TestQueue::new().await;
    let _workers = queue.work();
    let id = queue.enqueue("retry_after").await;
    let job = queue.until_attempted(id).await;
    let attempts = queue.attempts(id).await;
    assert_eq!((job.state.as_str(), job.starts, job.attempts), ("available", 1, 0));
    assert_eq!((job.run_at - attempts[0].ended_at).num_microseconds(), Some(30_000_000));
    assert_eq!(attempts[0].outcome, "waiting");
    assert_eq!(job.reason.as_deref(), Some("retry_after says no"));
}

#[tokio::test]
async fn a_failing_step_is_tried_again_after_stored_delays_and_then_fails() {
    let queue = TestQueue::new().await;
    let _workers = queue.work();
    let id = queue.enqueue("retry").await;
    let job = queue.until_state(id, "failed").await;
    let attempts = queue.attempts(id).await;
    assert_eq!(attempts.len(), MAX_ATTEMPTS as usize);
    assert_eq!(job.attempts, MAX_ATTEMPTS);
    for (index, pair) in attempts.windows(2).enumerate() {
        let least = 0.2 * 2f64.powi(index as i32) * 0.8;
        let waited = (pair[1].started_at - pair[0].ended_at).as_seconds_f64();
        assert!(waited >= least.min(0.8), "attempt {} came after {waited} s, not {least} s", index + 2);
    }
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["retry", "retry", "retry", "failed"]);

    assert_eq!(queue::retry(queue.pool(), &queue.waker, id).await.unwrap(), Retried::Due);
    queue.until_state(id, "failed").await;
    let attempts = queue.attempts(id).await;
    assert_eq!(attempts.len(), 2 * MAX_ATTEMPTS as usize, "a retry deletes nothing");
}

#[tokio::test]
async fn a_permanent_failure_and_a_panic_are_told_apart() {
    let queue = TestQueue::new().await;
    let _workers = queue.work();
    let refused = queue.enqueue("refuse").await;
    let panicking = queue.enqueue("panic").await;
    queue.until_state(refused, "failed").await;
    queue.until_state(panicking, "failed").await;
    let refused = queue.attempts(refused).await;
    assert_eq!((refused.len(), refused[0].outcome.as_str()), (1, "failed"));
    assert_eq!(refused[0].error_class.as_deref(), Some("refused"));
    let panicked = queue.attempts(panicking).await;
    assert_eq!((panicked.len(), panicked[0].outcome.as_str()), (MAX_ATTEMPTS as usize, "panic"));
    assert!(panicked[0].message.as_deref().unwrap().contains("the step of the test panics"));
}

#[tokio::test]
async fn waiting_ends_at_its_deadline() {
    let queue = TestQueue::new().await;
    let id = queue.enqueue("retry_after").await;
    sqlx::query("UPDATE jobs SET waits = 9, waiting_since = now() - interval '7 days' WHERE id = $1")
        .bind(id)
        .execute(queue.pool())
        .await
        .unwrap();
    let _workers = queue.work();
    let job = queue.until_state(id, "failed").await;
    let reason = job.reason.unwrap();
    assert!(reason.starts_with("Given up after waiting since "), "{reason}");
    assert!(reason.ends_with("retry_after says no"), "{reason}");
}

#[tokio::test]
async fn what_runs_or_is_finished_cannot_be_retried() {
    let queue = TestQueue::new().await;
    let _workers = queue.work();
    let done = queue.enqueue("effect").await;
    let held = queue.enqueue("hold").await;
    queue.until_state(done, "completed").await;
    queue.until_state(held, "running").await;
    let retried = async |id| queue::retry(queue.pool(), &queue.waker, id).await.unwrap();
    assert_eq!(retried(done).await, Retried::Refused("completed".to_owned()));
    assert_eq!(retried(held).await, Retried::Refused("running".to_owned()));
    assert_eq!(retried(1_000_000).await, Retried::NotFound);
    queue.release().await;
}

#[tokio::test]
async fn a_cancelled_job_is_dropped_by_its_worker_and_stays_cancelled() {
    let queue = TestQueue::new().await;
    let _workers = queue.work();
    let call = CallId::fresh();
    let id = queue.enqueue_job(NewJob::new("hold", call, 1)).await;
    queue.until("SELECT count(*) = 1 FROM effects").await;
    let mut connection = queue.pool().acquire().await.unwrap();
    assert_eq!(queue::cancel_open_of_call(&mut connection, call.0).await.unwrap(), 1);
    queue.release().await;
    // The handler either hears of it from the renewer or ends late: in both cases nothing of it is written.
    tokio::time::sleep(harness::LEASE).await;
    assert_eq!(queue.job(id).await.state, "cancelled");
    let attempts = queue.attempts(id).await;
    assert_eq!((attempts.len(), attempts[0].outcome.as_str()), (1, "cancelled"));
}
