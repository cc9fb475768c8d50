//! The queue under really killed and stopped processes.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::harness::{LEASE, TestQueue, WorkerProcess};

#[tokio::test]
async fn the_job_of_a_killed_worker_is_taken_over() {
    let queue = TestQueue::new().await;
    let held = queue.enqueue("hold").await;
    let first = WorkerProcess::start(&queue);
    queue.until("SELECT count(*) = 1 FROM effects").await;
    first.signal(Signal::SIGKILL);
    queue.release().await;
    let _second = WorkerProcess::start(&queue);
    queue.until_state(held, "completed").await;
    let attempts = queue.attempts(held).await;
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["lost", "completed"]);
    assert_ne!(attempts[0].worker, attempts[1].worker);
    assert_eq!(queue.effects(held).await, (2, 1));
}

#[tokio::test]
async fn a_worker_that_was_frozen_beyond_its_lease_writes_nothing() {
    let queue = TestQueue::new().await;
    let held = queue.enqueue("hold").await;
    let frozen = WorkerProcess::start(&queue);
    queue.until("SELECT count(*) = 1 FROM effects").await;
    frozen.signal(Signal::SIGSTOP);
    let _other = WorkerProcess::start(&queue);
    queue.until("SELECT count(DISTINCT pid) = 2 FROM effects").await;
    queue.release().await;
    queue.until_state(held, "completed").await;
    frozen.signal(Signal::SIGCONT);
    queue.until("SELECT count(*) = 1 FROM job_attempts WHERE late_outcome IS NOT NULL").await;

    let attempts = queue.attempts(held).await;
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["lost", "completed"]);
    assert!(attempts[0].late_at.is_some(), "the late end is visible in the attempt that was lost");
    assert_eq!(queue.job(held).await.state, "completed");
}

#[tokio::test]
async fn a_job_that_kills_its_worker_is_parked_and_the_others_run_on() {
    let queue = TestQueue::new().await;
    let deadly = queue.enqueue("abort").await;
    let mut worker = WorkerProcess::start(&queue);
    for _ in 0..20 {
        queue.enqueue("effect").await;
    }
    // A supervisor restarts the process until the job is parked.
    while queue.job(deadly).await.state != "failed" {
        if worker.has_ended() {
            worker = WorkerProcess::start(&queue);
        }
        sleep(Duration::from_millis(50)).await;
    }
    let job = queue.job(deadly).await;
    assert_eq!((job.starts, job.crashes), (3, 3));
    assert!(job.reason.unwrap().starts_with("poison"));
    let classes: Vec<_> = queue.attempts(deadly).await.into_iter().filter_map(|attempt| attempt.error_class).collect();
    assert_eq!(classes, ["lost", "lost", "poison"]);
    if worker.has_ended() {
        worker = WorkerProcess::start(&queue);
    }
    queue.until("SELECT count(*) = 20 FROM jobs WHERE step = 'effect' AND state = 'completed'").await;
    let parked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM jobs WHERE state = 'failed'").fetch_one(queue.pool()).await.unwrap();
    assert_eq!(parked, 1);
    drop(worker);
}

#[tokio::test]
async fn a_stop_in_the_middle_uses_no_attempt() {
    let queue = TestQueue::new().await;
    let held = queue.enqueue("hold").await;
    let mut worker = WorkerProcess::start(&queue);
    queue.until("SELECT count(*) = 1 FROM effects").await;
    worker.signal(Signal::SIGTERM);
    worker.ended().await;
    let job = queue.job(held).await;
    assert_eq!((job.state.as_str(), job.starts, job.attempts, job.crashes), ("available", 1, 0, 0));
    assert_eq!(queue.attempts(held).await[0].outcome, "given_back");
}

#[tokio::test]
async fn workers_that_are_dropped_give_back_and_claim_no_more() {
    let queue = TestQueue::new().await;
    let held = queue.enqueue("hold").await;
    let workers = queue.work();
    queue.until("SELECT count(*) = 1 FROM effects").await;
    drop(workers);
    queue.until("SELECT count(*) = 1 FROM job_attempts WHERE outcome = 'given_back'").await;
    sleep(LEASE).await;
    let job = queue.job(held).await;
    assert_eq!((job.state.as_str(), job.starts, job.attempts), ("available", 1, 0));
}

#[tokio::test]
async fn two_processes_run_two_thousand_jobs_each_exactly_once() {
    let queue = TestQueue::new().await;
    sqlx::query("INSERT INTO jobs (step, call_id) SELECT 'effect', gen_random_uuid() FROM generate_series(1, 2000)")
        .execute(queue.pool())
        .await
        .unwrap();
    let _workers = (WorkerProcess::start(&queue), WorkerProcess::start(&queue));
    queue.until("SELECT count(*) = 2000 FROM jobs WHERE state = 'completed'").await;
    let (starts, jobs, processes): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT job_id), count(DISTINCT pid) FROM effects WHERE what = 'start'",
    )
    .fetch_one(queue.pool())
    .await
    .unwrap();
    assert_eq!((starts, jobs, processes), (2000, 2000, 2));
    let attempts: i64 = sqlx::query_scalar("SELECT count(*) FROM job_attempts WHERE outcome = 'completed'")
        .fetch_one(queue.pool())
        .await
        .unwrap();
    assert_eq!(attempts, 2000);
}

#[tokio::test]
async fn a_lease_is_kept_for_as_long_as_its_worker_lives() {
    let queue = TestQueue::new().await;
    let held = queue.enqueue("hold").await;
    let _workers = (WorkerProcess::start(&queue), WorkerProcess::start(&queue));
    queue.until("SELECT count(*) = 1 FROM effects").await;
    sleep(LEASE * 2).await;
    queue.release().await;
    queue.until_state(held, "completed").await;
    assert_eq!(queue.effects(held).await, (1, 1));
}
