//! The writer's connection is cut in the middle: what is done stays done, once.

use std::time::Duration;

use goto_automation::queue::WorkerSettings;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::harness::{TestQueue, settings, workers};
use crate::support::{Gate, GatedUpstream};

/// Nobody takes over a job while a story lasts: a job that were only rescued would never be finished in time.
fn patient() -> WorkerSettings {
    WorkerSettings { lease: Duration::from_mins(10), ..settings() }
}

/// Cuts off the writer in the middle of its statement, if it is in one, and if need be waits for somebody in it. How
/// often it did.
async fn cut(queue: &TestQueue, only_waiting: bool) -> i64 {
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'goto-automation writer' AND state = 'active'
        AND (wait_event_type = 'Lock' OR NOT $1)";
    sqlx::query_scalar(cut).bind(only_waiting).fetch_one(queue.pool()).await.unwrap()
}

/// Every job has run once, ended once, and made what follows once.
async fn assert_each_done_once(queue: &TestQueue, firsts: i64) {
    let question = "SELECT count(*) FILTER (WHERE step = 'first'), count(*) FILTER (WHERE step = 'effect'),
        coalesce(max(starts), 0)::bigint, coalesce(max(attempts), 0)::bigint FROM jobs WHERE state = 'completed'";
    let jobs: (i64, i64, i64, i64) = sqlx::query_as(question).fetch_one(queue.pool()).await.unwrap();
    assert_eq!(jobs, (firsts, firsts, 1, 1));
    let question =
        "SELECT count(*), count(DISTINCT job_id), count(late_at) FROM job_attempts WHERE outcome = 'completed'";
    let attempts: (i64, i64, i64) = sqlx::query_as(question).fetch_one(queue.pool()).await.unwrap();
    assert_eq!(attempts, (2 * firsts, 2 * firsts, 0));
    let question = "SELECT count(*), count(DISTINCT job_id) FROM effects WHERE what = 'start'";
    let starts: (i64, i64) = sqlx::query_as(question).fetch_one(queue.pool()).await.unwrap();
    assert_eq!(starts, (2 * firsts, 2 * firsts));
}

async fn completed(queue: &TestQueue) -> i64 {
    let question = "SELECT count(*) FROM jobs WHERE state = 'completed'";
    sqlx::query_scalar(question).fetch_one(queue.pool()).await.unwrap()
}

async fn enqueue_firsts(queue: &TestQueue, count: i64) {
    let insert = "INSERT INTO jobs (step, call_id) SELECT 'first', gen_random_uuid() FROM generate_series(1, $1)";
    sqlx::query(insert).bind(count).execute(queue.pool()).await.unwrap();
    queue.waker.wake("first");
}

#[tokio::test]
async fn a_writer_that_is_cut_off_again_and_again_loses_nothing_and_repeats_nothing() {
    let queue = TestQueue::new().await;
    let _workers = queue.work_with(patient());
    let (mut cuts, mut firsts, mut before) = (0, 0, -1);
    while cuts < 15 {
        enqueue_firsts(&queue, 50).await;
        firsts += 50;
        let mut done = completed(&queue).await;
        while done < 2 * firsts {
            // It is let through once after each cut, or it would only ever wait for longer and longer.
            if done > before && cuts < 15 && cut(&queue, false).await > 0 {
                (cuts, before) = (cuts + 1, done);
            }
            done = completed(&queue).await;
        }
    }
    assert_each_done_once(&queue, firsts).await;
}

#[tokio::test]
async fn a_writer_that_is_cut_off_while_it_waits_for_a_row_writes_when_it_is_free() {
    let queue = TestQueue::new().await;
    let mut holding = queue.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE effects IN ACCESS EXCLUSIVE MODE").execute(&mut *holding).await.unwrap();
    enqueue_firsts(&queue, 5).await;
    let _workers = queue.work_with(patient());
    queue.until("SELECT count(*) = 5 FROM jobs WHERE state = 'running'").await;
    let mut somebody = queue.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM jobs WHERE id = 3 FOR UPDATE").execute(&mut *somebody).await.unwrap();
    holding.rollback().await.unwrap();
    let mut cuts = 0;
    while cuts < 3 {
        cuts += cut(&queue, true).await;
    }
    let written: i64 =
        sqlx::query_scalar("SELECT count(*) FROM job_attempts WHERE job_id = 3").fetch_one(queue.pool()).await.unwrap();
    assert_eq!(written, 0, "nothing is half written");
    somebody.rollback().await.unwrap();
    queue.until("SELECT count(*) = 5 FROM jobs WHERE step = 'effect' AND state = 'completed'").await;
    assert_each_done_once(&queue, 5).await;
}

/// Workers behind a gate, whose connections have been made and have worked.
async fn work_behind_a_gate(queue: &TestQueue) -> (GatedUpstream, AbortOnDropHandle<()>) {
    let (gate, url) = GatedUpstream::to_database(queue.db.url()).await.unwrap();
    let work = workers(&url, queue.pool().clone(), queue.waker.clone(), patient());
    let work = AbortOnDropHandle::new(tokio::spawn(async move { work.run(CancellationToken::new()).await.unwrap() }));
    enqueue_firsts(queue, 1).await;
    queue.until("SELECT count(*) = 1 FROM jobs WHERE step = 'effect' AND state = 'completed'").await;
    (gate, work)
}

#[tokio::test]
async fn a_commit_whose_answer_was_swallowed_is_not_done_again() {
    let queue = TestQueue::new().await;
    let (gate, _workers) = work_behind_a_gate(&queue).await;
    let mut holding = queue.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE effects IN ACCESS EXCLUSIVE MODE").execute(&mut *holding).await.unwrap();
    enqueue_firsts(&queue, 5).await;
    let all_at_it = "SELECT count(*) = 5 FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO effects%'";
    queue.until(all_at_it).await;
    gate.set(Gate::HoldAnswers);
    holding.rollback().await.unwrap();
    queue.until("SELECT count(*) > 1 FROM jobs WHERE step = 'first' AND state = 'completed'").await;
    gate.drop_held().await;
    queue.until("SELECT count(*) = 6 FROM jobs WHERE step = 'effect' AND state = 'completed'").await;
    assert_each_done_once(&queue, 6).await;
}

#[tokio::test]
async fn a_claim_whose_answer_was_swallowed_is_given_back_and_counts_for_nothing() {
    let queue = TestQueue::new().await;
    let (gate, _workers) = work_behind_a_gate(&queue).await;
    gate.set(Gate::HoldAnswers);
    enqueue_firsts(&queue, 5).await;
    queue.until("SELECT count(*) = 5 FROM jobs WHERE state = 'running'").await;
    gate.drop_held().await;
    queue.until("SELECT count(*) = 6 FROM jobs WHERE step = 'effect' AND state = 'completed'").await;
    assert_each_done_once(&queue, 6).await;
}
